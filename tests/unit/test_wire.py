"""Request documents: one meaning in both encodings, and one error for everything else."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from oobdump.errors import RequestError, UnreadableRequest
from oobdump.request import FORMATS, AcceptedRequest, HandlerCall, Request
from oobdump.wire import (
    MAX_REQUEST_BYTES,
    accepted_to_bytes,
    read_accepted,
    read_request,
    request_for_handler,
    request_to_bytes,
)

ENCODINGS = ("json", "msgpack")
encodings = st.sampled_from(ENCODINGS)

KEYS = ("schema_version", "handlers", "format", "body", "body_base64", "targets", "timeout_s", "expires_in_s", "id")

likely_values = strategies.json_values | st.sampled_from(
    [1, "stacks", ["stacks"], {"name": "stacks"}, "json", "all", "0-7,12", 5, 2.5, True, "aGk=", ""]
)
documents = st.dictionaries(st.sampled_from(KEYS), likely_values, max_size=5) | st.builds(
    lambda document: {"handlers": "stacks", **document},
    st.dictionaries(st.sampled_from(KEYS[2:]), likely_values, max_size=3),
)
"""Objects that look like requests; about half of them are."""

MAX_MESSAGE_CHARS = 500


def encode(document: Any, encoding: str) -> bytes:
    """A document as anybody might write it."""
    return json.dumps(document).encode() if encoding == "json" else msgpack.packb(document)


def meaning(document: Any, encoding: str) -> Request | str:
    """What a document says, or the reason why it says nothing."""
    try:
        return read_request(encode(document, encoding), encoding)
    except RequestError as error:
        return str(error)


def refusal(data: bytes, encoding: str) -> RequestError | None:
    """The error for some bytes, None if they are a request; any other exception fails the test."""
    try:
        read_request(data, encoding)
    except RequestError as error:
        return error
    return None


# -- round trips -----------------------------------------------------------------------------------------------------


@strategies.FEW
@given(strategies.requests, encodings)
def test_round_trip(request_, encoding):
    """What is written reads back as an equal request, in either encoding."""
    assert read_request(request_to_bytes(request_, encoding), encoding) == request_


@strategies.FEW
@given(strategies.accepted_requests)
def test_accepted_round_trip(accepted):
    """A ``request.json`` reads back equal, file names that are no Unicode included."""
    assert read_accepted(accepted_to_bytes(accepted)) == accepted


@strategies.FEW
@given(documents)
def test_both_encodings_mean_the_same(document):
    """A document is the same request in JSON and in msgpack, or is refused for the same reason."""
    assert meaning(document, "json") == meaning(document, "msgpack")


# -- torn documents --------------------------------------------------------------------------------------------------


@strategies.FEW
@given(strategies.requests, encodings)
def test_every_torn_prefix_is_unreadable(request_, encoding):
    """Each prefix of a document says that it is not whole: it may still be in the writing."""
    whole = request_to_bytes(request_, encoding).rstrip(b"\n" if encoding == "json" else b"")
    for end in range(len(whole)):
        with pytest.raises(UnreadableRequest):
            read_request(whole[:end], encoding)
    assert read_request(whole, encoding) == request_


@strategies.FEW
@given(strategies.accepted_requests)
def test_every_torn_prefix_of_an_accepted_request_is_refused(accepted):
    """No prefix of a ``request.json`` is taken for a whole one."""
    whole = accepted_to_bytes(accepted).rstrip(b"\n")
    for end in range(len(whole)):
        with pytest.raises(UnreadableRequest):
            read_accepted(whole[:end])


@strategies.FEW
@given(strategies.requests, encodings, st.binary(min_size=1, max_size=5).filter(lambda data: data.strip()))
def test_rubbish_behind_a_document_is_refused(request_, encoding, rubbish):
    """A request is one document and nothing else."""
    data = request_to_bytes(request_, encoding) + rubbish
    assert isinstance(refusal(data, encoding), UnreadableRequest)


# -- rubbish ---------------------------------------------------------------------------------------------------------


def assert_harmless(error: RequestError | None) -> None:
    """A message from outside is short and can be shown."""
    if error is not None:
        assert str(error).isprintable()
        assert len(str(error)) < MAX_MESSAGE_CHARS


@strategies.FEW
@given(st.binary(max_size=60), encodings)
def test_rubbish_gives_request_error_and_nothing_else(data, encoding):
    """No bytes raise anything but ``RequestError``, and its message is harmless."""
    assert_harmless(refusal(data, encoding))


@strategies.FEW
@given(documents, encodings)
def test_any_object_gives_a_request_or_request_error(document, encoding):
    """Nor does any object with the right keys and the wrong values."""
    assert_harmless(refusal(encode(document, encoding), encoding))


@strategies.FEW
@given(strategies.requests, encodings, st.data())
def test_a_flipped_byte_gives_a_request_or_request_error(request_, encoding, data):
    """Nor does a request with one byte changed."""
    whole = bytearray(request_to_bytes(request_, encoding))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    assert_harmless(refusal(bytes(whole), encoding))


accepted_values = strategies.json_values | st.sampled_from([{"handlers": "stacks"}, [], ["rank00000.n0.5"], 1.5, "a"])


@strategies.FEW
@given(
    st.dictionaries(
        st.sampled_from((*KEYS, "request", "asked", "accepted_at", "accepted_by", "source")), accepted_values
    )
)
def test_any_accepted_object_gives_a_request_or_request_error(document):
    """A planted ``request.json`` raises nothing but ``RequestError``."""
    try:
        read_accepted(encode(document, "json"))
    except RequestError as error:
        assert_harmless(error)


@pytest.mark.parametrize(
    "change",
    [
        {"accepted_at": True},
        {"accepted_at": "now"},
        {"accepted_at": 1e300},
        {"accepted_at": None},
        {"id": "../x"},
        {"id": None},
        {"asked": "rank00000.n0.5"},
        {"asked": [5]},
        {"source": []},
        {"source": {"name": None}},
        {"request": "stacks"},
        {"request": {}},
        {"accepted_by": 5},
        {"more": 1},
    ],
)
def test_refuses_a_planted_request_json(change):
    """Each field of a ``request.json`` is what an acceptor writes, or the file is refused."""
    accepted = AcceptedRequest("a", request_for_handler("stacks"), ("rank00000.n0.5",), 1.0, "client")
    document = {**json.loads(accepted_to_bytes(accepted)), **change}
    with pytest.raises(RequestError):
        read_accepted(encode(document, "json"))


@pytest.mark.parametrize(
    ("data", "encoding", "says"),
    [
        (b"", "json", "not a whole"),
        (b"", "msgpack", "not a whole"),
        (b"[" * 100_000, "json", "not a whole"),
        (b"\x91" * 100_000, "msgpack", "not a whole"),
        (b'{"handlers": "a", "handlers": "b"}', "json", "twice"),
        (b"\x82\xa8handlers\xa1a\xa8handlers\xa1b", "msgpack", "twice"),
        (b'{"handlers": "a", "timeout_s": NaN}', "json", "NaN"),
        (b'{"handlers": "a", "timeout_s": Infinity}', "json", "Infinity"),
        (b'{"handlers": "a", "timeout_s": 1e999}', "json", "timeout_s"),
        (msgpack.packb({"handlers": "a", "timeout_s": float("nan")}), "msgpack", "timeout_s"),
        (b'{"handlers": "a", "timeout_s": true}', "json", "timeout_s"),
        (b'{"handlers": "a", "timeout_s": 0}', "json", "timeout_s"),
        (b'{"handlers": "a", "expires_in_s": 1e9}', "json", "expires_in_s"),
        (b'{"handlers": "a", "schema_version": 2}', "json", "schema_version"),
        (b'{"handlers": "a", "schema_version": true}', "json", "schema_version"),
        (b'{"handlers": "a", "verbose": 1}', "json", "verbose"),
        (b'{"handlers": ""}', "json", "handler name"),
        (b'{"handlers": "../a"}', "json", "handler name"),
        (b'{"handlers": "a\\n"}', "json", "handler name"),
        (b'{"handlers": []}', "json", "handlers"),
        (b'{"handlers": ' + json.dumps(["a"] * 65).encode() + b"}", "json", "1 to 64"),
        (b'{"handlers": {"name": "a", "params": {"x": [1]}}}', "json", "'x'"),
        (b'{"handlers": {"name": "a", "params": {"x": 1e999}}}', "json", "finite"),
        (msgpack.packb({"handlers": {"name": "a", "params": {"x": float("nan")}}}), "msgpack", "finite"),
        (b'{"handlers": {"name": "a", "params": {"x": "\\u0000"}}}', "json", "NUL"),
        (b'{"handlers": {"name": "a", "params": {"\\ud800": "x"}}}', "json", "surrogate"),
        (b'{"handlers": {"name": "a", "arguments": {}}}', "json", "arguments"),
        (b'{"handlers": "a", "body": "x", "body_base64": "eA=="}', "json", "not both"),
        (b'{"handlers": "a", "body_base64": "!"}', "json", "base64"),
        (b'{"handlers": "a", "body_base64": 5}', "json", "base64"),
        (b'{"handlers": "a", "format": "xml"}', "json", "xml"),
        (b'{"handlers": "a", "targets": " , "}', "json", "nobody"),
        (b'{"handlers": "a", "targets": true}', "json", "targets"),
        (b'{"handlers": "a", "id": ".."}', "json", "id"),
        (b'{"handlers": "a", "id": "a/b"}', "json", "id"),
        (msgpack.packb(msgpack.Timestamp(0)), "msgpack", "object"),
        (msgpack.packb({"handlers": msgpack.ExtType(5, b"x")}), "msgpack", "extension"),
        (msgpack.packb({5: "a"}), "msgpack", "not a whole"),
        (b'"stacks"', "json", "object"),
        (b'\xff\xfe{"handlers": "a"}', "json", "not a whole"),
        (b"{}", "yaml", "yaml"),
    ],
)
def test_refuses_with_a_reason(data, encoding, says):
    """Each known way to be wrong is named."""
    with pytest.raises(RequestError, match=says) as caught:
        read_request(data, encoding)
    assert_harmless(caught.value)


@pytest.mark.parametrize(
    "document",
    [
        {"handlers": "a" * 10_000},
        {"handlers": "a", "format": "x" * 10_000},
        {"handlers": "a", "id": "x" * 10_000},
        {"handlers": "a", "schema_version": "x" * 10_000},
        {"handlers": "a", "schema_version": ["x"] * 10_000},
        {"handlers": "a", "k" * 10_000: 1},
        {"handlers": {"name": "a", "format": "x" * 10_000}},
        {"handlers": {"name": "a", "params": {"k" * 10_000: []}}},
        {"handlers": "a", "body": "\0" * 10_000},
    ],
)
def test_a_long_value_is_not_quoted_in_full(document):
    """A refusal is read by a person: it shows enough of a value to find it, and no more."""
    assert_harmless(refusal(encode(document, "json"), "json"))


# -- sizes -----------------------------------------------------------------------------------------------------------


def test_refuses_more_bytes_than_are_read():
    """A document above the limit is refused whatever it says."""
    with pytest.raises(RequestError, match="bytes"):
        read_request(b'{"handlers": "a"}' + b" " * MAX_REQUEST_BYTES, "json")


def test_the_largest_request_can_be_accepted():
    """Whatever fits a request file fits ``request.json`` too, where its body and its texts take more bytes."""
    body = bytes(range(256)) * (MAX_REQUEST_BYTES // 256 - 1)
    request = Request((HandlerCall("a"),), body=body)
    accepted = AcceptedRequest("a", request, ("rank00000.n0.5",), 1.0, "client")
    assert read_accepted(accepted_to_bytes(accepted)) == accepted
    control = Request((HandlerCall("a", {"x": "\x01" * (MAX_REQUEST_BYTES - 1000)}),))
    assert len(request_to_bytes(control, "msgpack")) < MAX_REQUEST_BYTES
    accepted = AcceptedRequest("a", control, ("rank00000.n0.5",), 1.0, "client")
    assert read_accepted(accepted_to_bytes(accepted)) == accepted


def test_a_request_may_ask_the_largest_job():
    """100,000 workers with long names are asked by one ``request.json`` that reads back."""
    asked = tuple(f"rank{rank:05d}.{'compute-node' * 5}.{rank + 1}" for rank in range(100_000))
    accepted = AcceptedRequest("a", request_for_handler("stacks"), asked, 1.0, "client")
    assert read_accepted(accepted_to_bytes(accepted)).asked == asked


# -- meanings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"handlers": "a"}, Request((HandlerCall("a"),))),
        ({"handlers": ["a", {"name": "b"}]}, Request((HandlerCall("a"), HandlerCall("b")))),
        ({"handlers": {"name": "a", "format": "pickle"}}, Request((HandlerCall("a", {}, "pickle"),))),
        (
            {"handlers": {"name": "a", "params": {"x": 1, "y": 1.5, "z": True, "n": None, "t": "é"}}},
            Request((HandlerCall("a", {"x": "1", "y": "1.5", "z": "true", "t": "é"}),)),
        ),
        ({"handlers": "a", "body": "é"}, Request((HandlerCall("a"),), body="é".encode())),
        ({"handlers": "a", "body_base64": "/w=="}, Request((HandlerCall("a"),), body=b"\xff")),
        ({"handlers": "a", "targets": "0-7, 12"}, Request((HandlerCall("a"),), targets=("0-7", "12"))),
        ({"handlers": "a", "targets": [3, "n0,n1"]}, Request((HandlerCall("a"),), targets=("3", "n0", "n1"))),
        ({"handlers": "a", "timeout_s": 2}, Request((HandlerCall("a"),), timeout_s=2.0)),
        ({"handlers": "a", "targets": None, "id": None, "format": None}, Request((HandlerCall("a"),))),
        ({"handlers": "a", "schema_version": 1}, Request((HandlerCall("a"),))),
    ],
)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_reads(document, expected, encoding):
    """What a person may write, in either encoding."""
    assert meaning(document, encoding) == expected


def test_msgpack_carries_a_body_as_bytes():
    """Where the encoding has bytes, a body needs no base64."""
    data = msgpack.packb({"handlers": "a", "body": b"\x00\xff"})
    assert read_request(data, "msgpack").body == b"\x00\xff"


@strategies.FEW
@given(strategies.handler_names)
def test_an_empty_file_asks_for_one_handler(name):
    """``touch NAME`` asks for that handler and leaves all else at its default."""
    assert request_for_handler(name) == Request((HandlerCall(name),))


@pytest.mark.parametrize("name", ["", "a.b", "../a", "é", "a" * 101, "1a", "a\n"])
def test_an_empty_file_of_another_name_is_no_request(name):
    """A name that no handler can have is refused."""
    with pytest.raises(RequestError, match="handler name"):
        request_for_handler(name)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_can_be_asked_for(form):
    """The formats of the documentation are accepted for a request and for one handler of it."""
    document = {"handlers": [{"name": "a", "format": form}, "b"], "format": form}
    request = read_request(encode(document, "json"), "json")
    assert [request.format_of(call) for call in request.calls] == [form, form]
