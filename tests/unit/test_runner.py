"""One call of one handler: whatever it does, there is a part that says so and can be written."""

from __future__ import annotations

import json
import linecache
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oobdump import codecs
from oobdump.errors import OobdumpError, ParameterError, Refused
from oobdump.registry import Registry
from oobdump.request import HandlerCall
from oobdump.response import Part
from oobdump.runner import describe, failed, format_stack, run_call

JSON = codecs.get("json")


def run(fn, body=b"", codec=JSON, **params):
    """The part of a function that was registered and asked once."""
    registry = Registry()
    registry.register("it", fn)
    part = run_call(registry.get("it"), HandlerCall("it", params), body, codec)
    assert_can_be_written(part)
    return part


def assert_can_be_written(part):
    """What the store and the manifest need of every part."""
    assert isinstance(part, Part)
    assert part.handler == "it"
    assert memoryview(part.body).cast("B").nbytes >= 0
    assert 100 <= part.code <= 599
    assert type(part.code) is int
    assert part.seconds >= 0
    json.dumps([part.status, part.code, part.media_type, part.suffix, part.error and vars(part.error)])


# -- what goes well --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", codecs.names())
def test_a_value_goes_through_the_codec(name):
    """The part is a document of the format that was asked for."""
    codec = codecs.get(name)
    part = run(lambda *, times=2: {"x": "y" * times}, codec=codec, times="3")
    assert (part.status, part.code, part.media_type, part.suffix) == ("ok", 200, codec.media_type, codec.suffix)
    assert codec.decode(part.body) == {"x": "yyy"}
    assert part.error is None


def test_a_response_is_taken_as_it_is():
    """The other shape sees parameters and body, and chooses media type and status itself."""

    def fn(request, response):
        response.set_content(f"{request.get_param('a')}{request.get_param('b')}{request.body()!r}", "text/plain")
        response.set_status(201)

    part = run(fn, body=b"\x00", a="1")
    assert (part.status, part.code, part.media_type, part.suffix) == ("ok", 201, "text/plain", "txt")
    assert part.body == b"1b'\\x00'"


def test_a_response_without_content_is_one():
    """A handler that says nothing says 200."""
    part = run(lambda request, response: None)
    assert (part.status, part.code, part.body) == ("ok", 200, b"")


@given(st.integers(100, 599))
def test_the_status_tells_whether_it_went_well(code):
    """2xx and 3xx are fine, all else is an error that keeps its content."""

    def fn(_request, response):
        response.set_content("why", "text/plain")
        response.set_status(code)

    part = run(fn)
    assert (part.status, part.code, part.body) == ("ok" if 200 <= code < 400 else "error", code, b"why")
    assert (part.error is None) == (part.status == "ok")


def test_seconds_are_the_handlers():
    """How long the call took is in its part."""
    assert run(lambda: time.sleep(0.02)).seconds >= 0.02


# -- what goes wrong -------------------------------------------------------------------------------------------------


class Hopeless(Exception):
    """Cannot even say what happened."""

    def __str__(self):
        raise SystemExit


class HopelessOfOurs(OobdumpError):
    """The same, in our tree."""

    code = 503

    def __str__(self):
        raise ValueError


def raiser(error):
    """A handler that raises."""

    def deep_inside():
        raise error

    def outside():
        deep_inside()

    return outside


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ValueError("no luck"), 500, "no luck"),
        (KeyError("k"), 500, "'k'"),
        (SystemExit(3), 500, "3"),
        (KeyboardInterrupt(), 500, ""),
        (GeneratorExit(), 500, ""),
        (MemoryError(), 500, ""),
        (RecursionError("deep"), 500, "deep"),
        (Hopeless(), 500, "__str__ failed"),
        (HopelessOfOurs(), 503, "__str__ failed"),
        (Refused("later"), 503, "later"),
        (ParameterError("bad"), 400, "bad"),
        (UnicodeError("\ud800"), 500, "\ud800"),
        (Exception("x" * 100_000), 500, "x"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_is_raised_is_a_part(error, code, says):
    """Type, message and traceback are kept; the text is the one that HTTP would answer."""
    part = run(raiser(error))
    assert (part.status, part.code, part.media_type, part.suffix) == ("error", code, "text/plain", "txt")
    assert part.error.type == type(error).__name__
    assert says in part.error.message
    assert len(part.error.message) <= 4000
    assert part.body.startswith(b"Handler it failed: ")
    assert "in outside" in part.error.traceback
    assert part.error.traceback.endswith("in deep_inside")
    assert __file__ in part.error.traceback


def test_a_traceback_reads_no_sources(monkeypatch):
    """The file system that hangs may be the one with the sources."""
    monkeypatch.setattr(linecache, "getlines", None)
    monkeypatch.setattr(linecache, "updatecache", None)
    assert "deep_inside" in run(raiser(ValueError())).error.traceback


def test_a_traceback_is_bounded():
    """A recursion of a thousand frames is no page of a thousand lines."""

    def recurse():
        recurse()

    part = run(recurse)
    assert part.error.type == "RecursionError"
    assert len(part.error.traceback.splitlines()) <= 200


def test_a_parameter_that_is_wrong_is_a_400():
    """The asker hears what would be right, and the handler was not called."""
    part = run(lambda *, n=1: 1 / 0, n="many")
    assert (part.status, part.code) == ("error", 400)
    assert b"Invalid value for n" in part.body


# -- rubbish ---------------------------------------------------------------------------------------------------------


class BadCodec:
    """A codec that a package brought."""

    media_type, suffix = "application/x", "x"

    def __init__(self, result):
        self.result = result

    def encode(self, _value):
        """Raises, or gives what is not bytes."""
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


@pytest.mark.parametrize("result", [ValueError("cannot"), RecursionError(), "text", None, 5, memoryview(b"abcd")[::2]])
def test_a_codec_that_fails_is_a_part(result):
    """It raises or gives no bytes: that is the handler's outcome, not the end of the answer."""
    part = run(lambda: {"x": 1}, codec=BadCodec(result))
    assert (part.status, part.code) == ("error", 500)


RUBBISH = [None, "", "text", 5, -1, 5.5, float("nan"), float("inf"), 10**5000, [], object(), b"x"]


@pytest.mark.parametrize("value", RUBBISH, ids=lambda value: f"{type(value).__name__}")
@pytest.mark.parametrize("attribute", ["content", "media_type", "code"])
def test_rubbish_in_a_response_is_a_part(attribute, value):
    """A handler that sets the attributes itself may set anything; there is a part, and it can be written."""
    part = run(lambda request, response: setattr(response, attribute, value))
    assert part.status in ("ok", "error")
    if attribute == "code" and value != 5:
        assert (part.status, part.code) == ("error", 500)
    if attribute == "content" and not isinstance(value, bytes):
        assert (part.status, part.code) == ("error", 500)
        assert type(value).__name__ in part.error.message


@pytest.mark.parametrize(
    ("method", "arguments"), [("set_status", ("x",)), ("set_content", (5.5, "a")), ("set_content", ())]
)
def test_a_response_refuses_what_it_can_see(method, arguments):
    """The error is the handler's own, with where it stands."""
    part = run(lambda request, response: getattr(response, method)(*arguments))
    assert (part.status, part.code) == ("error", 500)


@pytest.mark.parametrize("code", [0, 99, 600, -1, pytest.param(10**5000, id="huge")])
def test_a_status_that_is_none_is_an_error(code):
    """No manifest and no HTTP reply can carry it."""
    part = run(lambda request, response: response.set_status(code))
    assert (part.status, part.code) == ("error", 500)
    assert "from 100 to 599" in part.error.message


# -- words -----------------------------------------------------------------------------------------------------------


def test_failed_says_why_in_its_body():
    """What there is no exception for."""
    part = failed("it", "refused", 503, "busy \ud800")
    assert_can_be_written(part)
    assert (part.status, part.code, part.body) == ("refused", 503, b"busy \\ud800")
    assert part.error.message == "busy \ud800"


def test_an_exception_that_was_never_raised():
    """It has no traceback, and is described all the same."""
    info = describe(ValueError("x"))
    assert (info.type, info.message, info.traceback) == ("ValueError", "x", "Traceback (most recent call last):")


def test_the_stack_of_another_thread():
    """Outermost first; of a thread that is gone there is none."""
    hold, there = threading.Lock(), threading.Event()
    hold.acquire()

    def where_it_hangs():
        there.set()
        hold.acquire()

    thread = threading.Thread(target=where_it_hangs)
    thread.start()
    there.wait(10)
    stack = format_stack(sys._current_frames().get(thread.ident)).splitlines()
    hold.release()
    thread.join()
    assert "in _bootstrap" in stack[0]
    assert any("in where_it_hangs" in line for line in stack[-2:])
    assert format_stack(None) == ""
