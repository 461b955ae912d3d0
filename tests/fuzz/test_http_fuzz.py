"""Random bytes for HTTP: every connection is answered or closed, and the gateway serves on."""

from __future__ import annotations

import asyncio
import logging
import re
import socket

import pytest
from asking import GOOD, assert_goes_on
from fake_upstream import FakeUpstream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import Start

BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
DEADLINE_S = 20.0
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
EXPECTED = {200, 400, 401, 404, 405, 408, 413, 415, 417, 431}

tokens = st.sampled_from(
    [
        *(
            b"\r\n",
            b"\n",
            b"\r",
            b"\r\n\r\n",
            b" ",
            b"\t",
            b"\0",
            b"\x0b",
            b"\xff",
            b":",
            b"/",
            b"?",
        ),
        *(
            b"GET",
            b"POST",
            b"HEAD",
            b"OPTIONS",
            b"CONNECT",
            b"PRI",
            b"*",
            b"%",
            b"%00",
            b"//",
            b"../",
        ),
        *(b"/v1/chat/completions", b"/v1/models", b"/v1/models/m", b"/v1/messages", b"http://x"),
        *(b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/", b"host: x\r\n", b"host:", b"expect: "),
        *(b"content-length: 5\r\n", b"content-length: ", b"57", b"0", b"-1", b"99999999999"),
        *(b"transfer-encoding: chunked\r\n", b"chunked", b"39\r\n", b"0\r\n\r\n", b"ffffffff"),
        *(
            b"connection: close\r\n",
            b"connection: upgrade\r\nupgrade: websocket\r\n",
            b"100-continue",
        ),
        *(b"authorization: Bearer {KEY}\r\n", b"x-api-key: {KEY}\r\n", b"x-api-key: \xff\r\n"),
        *(b"content-type: application/json\r\n", b"content-encoding: gzip\r\n", BODY, b"{}", b"["),
    ]
)
GOOD_ONES = [
    b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"authorization: Bearer {KEY}\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY),
    b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"x-api-key: {KEY}\r\ntransfer-encoding: chunked\r\n\r\n39\r\n%s\r\n0\r\n\r\n" % BODY,
]


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One or two requests, with pieces put in or taken out; or pieces alone."""
    if draw(st.integers(0, 4)) == 0:
        return b"".join(draw(st.lists(tokens, max_size=12)))
    data = bytearray(b"".join(draw(st.lists(st.sampled_from(GOOD_ONES), min_size=1, max_size=2))))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.integers(0, 4))
        data[start:end] = draw(tokens | st.binary(max_size=3))
    return bytes(data)


class Clients:
    """Many connections at once, each with one way of sending."""

    def __init__(self, port: int, key: str) -> None:
        self._address, self._key = ("127.0.0.1", port), key.encode()
        self.seen: set[int] = set()

    def ask(self, crowd: list[tuple[bytes, bool]]) -> None:
        """Send to each, in one piece or in two; then read each to its end."""
        clients = [socket.create_connection(self._address, timeout=DEADLINE_S) for _ in crowd]
        try:
            for client, (data, whole) in zip(clients, crowd, strict=True):
                self._send(client, data.replace(b"{KEY}", self._key), whole)
            for client in clients:
                self._check(self._read(client))
        finally:
            for client in clients:
                client.close()

    def _send(self, client: socket.socket, data: bytes, whole: bool) -> None:
        pieces = [data] if whole else [data[: len(data) // 2], data[len(data) // 2 :]]
        try:
            for piece in pieces:
                client.sendall(piece)
        except ConnectionError:
            pass  # refused after the first piece

    def _read(self, client: socket.socket) -> bytes:
        answer = b""
        try:
            while data := client.recv(65536):  # raises TimeoutError if it hangs
                answer += data
                if b"connection: close" in answer.lower() and answer.endswith(b"}"):
                    break  # the gateway waits for us to close
        except ConnectionError:
            pass
        return answer

    def _check(self, answer: bytes) -> None:
        statuses = {int(status) for status in STATUS.findall(answer)}
        assert answer.startswith(b"HTTP/1.") or not answer
        assert statuses <= EXPECTED | {100}
        self.seen |= statuses
        assert self._key not in answer


async def test_any_bytes_are_answered_or_the_connection_closed(
    start: Start, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "proxy")
    gateway = await start(limits={"header_timeout_s": 0.1, "body_timeout_s": 0.1})
    upstream.answers_whole(GOOD)
    clients = Clients(int(gateway.url.rpartition(":")[2]), gateway.site.key)

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.tuples(requests(), st.booleans()), min_size=10, max_size=20))
    def attack(crowd: list[tuple[bytes, bool]]) -> None:
        clients.ask(crowd)

    await asyncio.to_thread(attack)

    assert {200, 400} <= clients.seen
    assert "internal_error" not in [record.message for record in caplog.records]
    for received in upstream.received:
        assert received.line in (
            "POST /v1/chat/completions HTTP/1.1",
            "POST /v1/messages HTTP/1.1",
        )
        assert b"\xff" not in received.head
        assert "x-api-key" not in received.headers
        assert "authorization" not in received.headers
    await assert_goes_on(gateway, upstream)
