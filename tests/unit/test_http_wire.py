"""The claims of ``channels/http_wire.py``: what is a request, what is refused, and what is sent; h11 is the judge."""

from __future__ import annotations

import string
from collections.abc import Iterator

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from oobdump.channels.http_wire import (
    FORM,
    MAX_BODY_BYTES,
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_LINE_BYTES,
    HttpError,
    HttpRequest,
    Reply,
    RequestReader,
    pairs_of,
    reply_head,
    sendable,
)

SIMPLE = b"POST /handler/ping?a=1 HTTP/1.1\r\nHost: l\r\nX-One: 1\r\nContent-Length: 3\r\n\r\nabc"

# -- reading ---------------------------------------------------------------------------------------------------------


def read_all(data: bytes, step: int | None = None) -> list[HttpRequest]:
    """Every request in ``data``, fed in pieces of ``step`` bytes."""
    reader, found = RequestReader(), []
    for start in range(0, len(data), step or max(1, len(data))):
        reader.feed(data[start : start + (step or len(data))])
        while (request := reader.next()) is not None:
            found.append(request)
    return found


def refused(data: bytes, step: int | None = None) -> int:
    """The status that ``data`` is refused with."""
    with pytest.raises(HttpError) as caught:
        read_all(data, step)
    return caught.value.code


@pytest.mark.parametrize("step", [None, 1, 2, 7])
def test_a_request_reads_the_same_in_any_pieces(step: int | None) -> None:
    """Whole or byte by byte: method, path, query, headers and body are the same."""
    expected = HttpRequest(
        "POST", "/handler/ping", "a=1", {"host": "l", "x-one": "1", "content-length": "3"}, b"abc", 1
    )
    assert read_all(SIMPLE, step) == [expected]


@pytest.mark.parametrize("step", [None, 1, 5])
def test_what_follows_a_request_is_the_next_one(step: int | None) -> None:
    """Requests in one piece come out one by one, and an empty line too many between them is nothing."""
    found = read_all(SIMPLE + b"\r\n" + SIMPLE + b"GET / HTTP/1.1\r\nHost: l\r\n\r\n", step)
    assert [(request.method, request.body) for request in found] == [("POST", b"abc"), ("POST", b"abc"), ("GET", b"")]


CHUNKED = b"POST / HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: Chunked\r\n\r\n"


@pytest.mark.parametrize("step", [None, 1, 3])
def test_chunks_are_one_body(step: int | None) -> None:
    """Lengths in hex, extensions and trailers are read away."""
    body = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\n"
    found = read_all(CHUNKED + body + SIMPLE, step)
    assert [request.body for request in found] == [b"abc0123456789", b"abc"]


BROKEN = {
    b"GARBAGE\r\n\r\n": 400,
    b"GET /\r\n\r\n": 400,
    b"GET  / HTTP/1.1\r\nHost: l\r\n\r\n": 400,
    b"GET / HTTP/1.1\nHost: l\n\n": 400,
    b"GET / HTTP/1.1\r\nHost: l\nX: y\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost : l\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: l\r\n folded\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: l\r\nX: \x00\r\n\r\n": 400,
    b"GET handler HTTP/1.1\r\nHost: l\r\n\r\n": 400,
    b"GET ftp://l/ HTTP/1.1\r\nHost: l\r\n\r\n": 400,
    b"GET / HTTP/2.0\r\nHost: l\r\n\r\n": 505,
    b"POST / HTTP/1.1\r\nHost: l\r\nContent-Length: -1\r\n\r\n": 400,
    b"POST / HTTP/1.1\r\nHost: l\r\nContent-Length: 1_0\r\n\r\n": 400,
    "POST / HTTP/1.1\r\nHost: l\r\nContent-Length: ²\r\n\r\n".encode("latin-1"): 400,
    b"POST / HTTP/1.1\r\nHost: l\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n": 400,
    b"POST / HTTP/1.1\r\nHost: l\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    b"POST / HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: gzip\r\n\r\n": 501,
    b"POST / HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: gzip, chunked\r\n\r\n": 501,
    b"POST / HTTP/1.1\r\nHost: l\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    CHUNKED + b"x\r\n": 400,
    CHUNKED + b"-1\r\n": 400,
    CHUNKED + b"3\r\nabcd\r\n": 400,
    CHUNKED + b"3" * 200: 400,
    CHUNKED + b"FFFFFFFF\r\n": 413,
    CHUNKED + b"0\r\nno trailer\r\n": 400,
    CHUNKED + b"0\r\n" + b"X: y\r\n" * (MAX_HEADERS + 1): 431,
    b"POST / HTTP/1.1\r\nHost: l\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1): 413,
    b"GET /%s HTTP/1.1\r\nHost: l\r\n\r\n" % (b"x" * MAX_LINE_BYTES): 414,
    b"GET /" + b"x" * (MAX_LINE_BYTES + 10): 414,
    b"GET / HTTP/1.1\r\nHost: l\r\nX: %s\r\n\r\n" % (b"x" * MAX_HEAD_BYTES): 431,
    b"GET / HTTP/1.1\r\nHost: l\r\nX: " + b"x" * MAX_HEAD_BYTES: 431,
    b"GET / HTTP/1.1\r\nHost: l\r\n" + b"X: y\r\n" * MAX_HEADERS + b"\r\n": 431,
}


@pytest.mark.parametrize("data", BROKEN, ids=range(len(BROKEN)))
@pytest.mark.parametrize("step", [None, 1])
def test_what_is_no_request_is_refused(data: bytes, step: int | None) -> None:
    """Each broken, ambiguous or oversized request has its status, in whatever pieces it comes."""
    assert refused(data, step) == BROKEN[data]


def test_a_long_run_of_blanks_takes_no_time() -> None:
    """A header of blanks as long as is allowed is read in a moment, not in the square of its length."""
    value = b"a" + b" " * 7000 + b"b"
    assert read_all(b"GET / HTTP/1.1\r\nHost: l\r\nX: " + value + b"\r\n\r\n")[0].headers["x"] == value.decode()


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/a%20b?x=%41", "/a b", "x=%41"),
        (b"/\xc3\xa9", "/é", ""),
        (b"/%C3%A9%FF", "/é\ufffd", ""),
        (b"http://host:80/a?b", "/a", "b"),
        (b"http://host", "/", ""),
        (b"HTTP://host?q", "/", "q"),
        (b"*", "*", ""),
    ],
)
def test_a_target_is_a_path_and_a_query(target: bytes, path: str, query: str) -> None:
    """Escapes and UTF-8 are resolved in the path; a proxy's full form means the same."""
    request = read_all(b"GET " + target + b" HTTP/1.1\r\nHost: l\r\n\r\n")[0]
    assert (request.decoded_path, request.query) == (path, query)


def test_a_sender_that_waits_is_told_to_go_on() -> None:
    """``Expect: 100-continue`` is seen while the body is not there, and not once it is."""
    reader = RequestReader()
    reader.feed(b"POST / HTTP/1.1\r\nHost: l\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\n")
    assert reader.next() is None
    assert reader.wants_continue
    reader.feed(b"x")
    assert reader.next() is not None
    assert not reader.wants_continue


@pytest.mark.parametrize(
    ("version", "connection", "stays"),
    [("1.1", "", True), ("1.1", "Close", False), ("1.0", "", False), ("1.0", "Keep-Alive", True)],
)
def test_who_keeps_a_connection(version: str, connection: str, *, stays: bool) -> None:
    """HTTP/1.1 unless it says close, HTTP/1.0 if it asks."""
    header = f"Connection: {connection}\r\n" if connection else ""
    request = read_all(f"GET / HTTP/{version}\r\nHost: l\r\n{header}\r\n".encode())[0]
    assert request.keep_alive is stays


def test_parameters_come_from_query_and_form_and_the_first_counts() -> None:
    """The query before the form, ``+`` and escapes resolved, a word without ``=`` is empty; other bodies have none."""
    form = HttpRequest(
        "POST", "/", "a=1&a=2&b=%20x+y&c&=v", {"content-type": f"{FORM}; charset=utf-8"}, b"a=3&d=%C3%A9"
    )
    assert form.params() == {"a": "1", "b": " x y", "c": "", "": "v", "d": "é"}
    assert HttpRequest("POST", "/", "", {"content-type": "text/plain"}, b"a=3").params() == {}
    assert pairs_of("a=1&&b==2&\xc3\xa9=3") == [("a", "1"), ("b", "=2"), ("é", "3")]


# -- h11 as an independent peer --------------------------------------------------------------------------------------

NAMES = st.sampled_from(["X-A", "accept", "User-Agent", "x.y~z", "Content-Type", "Cookie"])
VALUES = st.text(string.ascii_letters + string.digits + " \t,;=\"'()/", max_size=20)
WORDS = st.text(string.ascii_letters + string.digits + "-._~%!$&'()*+,;:@/?=", max_size=20)
FRAMINGS = st.sampled_from(["none", "length", "chunked"])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A well-formed request."""
    method = draw(st.sampled_from(["GET", "POST", "HEAD", "PUT", "M-SEARCH"]))
    lines = [
        f"{method} /{draw(WORDS)} HTTP/1.{draw(st.sampled_from('11110'))}",
        f"Host:{draw(st.sampled_from(['l', ' l:80 ', ' ']))}",
    ]
    lines += [
        f"{name}:{value}"
        for name, value in draw(st.lists(st.tuples(NAMES, VALUES), max_size=4, unique_by=lambda p: p[0]))
    ]
    body = draw(st.binary(max_size=40))
    framing = draw(FRAMINGS) if lines[0].endswith("1.1") else "length"
    if framing == "length":
        lines.append(f"Content-Length: {len(body)}")
    if framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
        body = b"".join(chunks(draw, body)) + b"0\r\n\r\n"
    return "\r\n".join([*lines, "", ""]).encode() + (b"" if framing == "none" else body)


def chunks(draw: st.DrawFn, body: bytes) -> Iterator[bytes]:
    """The body in chunks of some sizes."""
    while body:
        size = draw(st.integers(1, len(body)))
        yield b"%x\r\n%s\r\n" % (size, body[:size])
        body = body[size:]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A request with something put in the place of something: most are none any more."""
    data = draw(requests())
    at = draw(st.integers(0, len(data)))
    to = draw(st.integers(at, min(len(data), at + 3)))
    bit = draw(
        st.sampled_from([b"", b" ", b"\r\n", b"\n", b"\0", b":", b"\t", b"Content-Length: 3\r\n", b"1", b"\xff", b"\r"])
    )
    return data[:at] + bit + data[to:]


def by_h11(data: bytes) -> tuple[str, bytes, list[tuple[bytes, bytes]], bytes] | str:
    """Method, target, headers and body of the first request as h11 reads it; else ``refused`` or ``incomplete``."""
    peer, body = h11.Connection(h11.SERVER), b""
    head: h11.Request | None = None
    peer.receive_data(data)
    while True:
        try:
            event = peer.next_event()
        except h11.RemoteProtocolError:
            return "refused"
        if isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            return head.method.decode(), head.target, list(head.headers), body
        else:
            return "incomplete"


def by_us(data: bytes) -> tuple[str, bytes, list[tuple[bytes, bytes]], bytes] | str:
    """The same as we read it."""
    reader = RequestReader()
    try:
        reader.feed(data)
        request = reader.next()
    except HttpError:
        return "refused"
    if request is None:
        return "incomplete"
    target = f"{request.path}?{request.query}"
    headers = [(name.encode(), value.encode("latin-1")) for name, value in request.headers.items()]
    return request.method, target.encode("latin-1"), headers, request.body


def same(ours: object, theirs: object) -> bool:
    """Whether two readings mean the same: an empty query may be written or not, chunked in any case."""
    if isinstance(ours, str) or isinstance(theirs, str):
        return ours == theirs
    assert isinstance(ours, tuple)
    assert isinstance(theirs, tuple)
    lower = [(name, value.lower() if name == b"transfer-encoding" else value) for name, value in ours[2]]
    target = theirs[1] if b"?" in theirs[1] else theirs[1] + b"?"
    return (*ours[:2], sorted(lower), ours[3]) == (theirs[0], target, sorted(theirs[2]), theirs[3])


AGREES = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
AT_LENGTH = settings(max_examples=10_000, suppress_health_check=[HealthCheck.too_slow])


@AGREES
@given(requests())
def test_h11_reads_the_same(data: bytes) -> None:
    """A well-formed request means the same to us and to h11."""
    assert same(by_us(data), by_h11(data)), (by_us(data), by_h11(data))


@pytest.mark.slow
@pytest.mark.timeout(900)
@AT_LENGTH
@given(requests())
def test_h11_reads_the_same_ten_thousand_times(data: bytes) -> None:
    """As above, on 10,000 requests."""
    assert same(by_us(data), by_h11(data)), (by_us(data), by_h11(data))


def check_damaged(data: bytes) -> None:
    """We take nothing that h11 refuses, and what both take means the same; we may refuse more."""
    ours = by_us(data)
    lenient = data.lstrip(b"\r\n")  # empty lines before a request: RFC 9112 (2.2) wants them ignored, h11 does not
    if isinstance(ours, tuple) and not any(byte > 126 for byte in ours[1]):
        assert same(ours, by_h11(lenient)), (ours, by_h11(lenient))


@AGREES
@given(damaged())
@example(b"GET / HTTP/1.1\r\nHost: l\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc")
def test_we_take_nothing_that_h11_refuses(data: bytes) -> None:
    """A damaged request that we take is one to h11 too, and the same one."""
    check_damaged(data)


@pytest.mark.slow
@pytest.mark.timeout(900)
@AT_LENGTH
@given(damaged())
def test_we_take_nothing_that_h11_refuses_ten_thousand_times(data: bytes) -> None:
    """As above, on 10,000 requests."""
    check_damaged(data)


@AGREES
@given(st.binary(max_size=200), st.integers(1, 50))
def test_no_bytes_raise_anything_else(data: bytes, step: int) -> None:
    """Whatever arrives: requests, or ``HttpError``."""
    try:
        read_all(b"POST / HTTP/1.1\r\n" + data, step)
    except HttpError:
        pass


# -- replying --------------------------------------------------------------------------------------------------------


def as_a_client(data: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body of a reply as h11 reads it."""
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="POST", target="/", headers=[("Host", "l")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(data)
    head, body = peer.next_event(), b""
    assert isinstance(head, h11.Response)
    while isinstance(event := peer.next_event(), h11.Data):
        body += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    return head.status_code, dict(head.headers), body


@AGREES
@given(
    code=st.integers(-5, 1000), body=st.binary(max_size=50), media_type=st.text(max_size=30), keep_alive=st.booleans()
)
@example(code=200, body=b"x", media_type="text/html\r\nX-Evil: 1", keep_alive=True)
@example(code=204, body=b"x", media_type="text/plain", keep_alive=True)
def test_h11_reads_every_reply(code: int, body: bytes, media_type: str, *, keep_alive: bool) -> None:
    """Whatever a handler set, the reply is one: no header is smuggled in, no body stands where none may be."""
    reply = sendable(Reply(code, body, media_type))
    status, headers, read = as_a_client(reply_head(reply, size=len(reply.body), keep_alive=keep_alive) + reply.body)
    assert status == (code if 200 <= code < 600 else 500)
    assert read == reply.body
    assert b"x-evil" not in headers
    assert headers.get(b"connection") == (None if keep_alive else b"close")


def test_an_http_1_0_client_is_told_that_the_connection_stays() -> None:
    """It would wait for its end otherwise."""
    assert b"Connection: keep-alive" in reply_head(Reply(), size=0, keep_alive=True, minor=0)
