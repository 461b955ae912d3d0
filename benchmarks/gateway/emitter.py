"""An upstream for streams that costs little: prebuilt chunks on a timer, on bare protocols.

`python -m benchmarks.gateway.emitter PORT`
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

from benchmarks.gateway.questions import DIES, LARGE, answer, events

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_PREBUILT = 200


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


_DIES_AFTER = 3
_LARGE = _chunk(b"data: " + b"x" * 65536 + b"\n\n")
_TOKENS = [_chunk(event) for event in events(_PREBUILT)[:_PREBUILT]]
_ANSWER = _whole(answer())
_OTHER = _whole(b'{"object":"list","data":[{"id":"bench","object":"model"}]}')


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line[15:])
        if len(rest) >= length:
            self._received = rest[length:]
            self._answer(head, rest[:length])

    def _answer(self, head: bytes, body: bytes) -> None:
        if not head.startswith(b"POST /v1/chat/completions "):
            self._transport.write(_OTHER)
            return
        request = json.loads(body)
        self._user = request.get("user")
        if not request.get("stream"):
            self._transport.write(_ANSWER[:-1] if self._user == DIES else _ANSWER)
            if self._user == DIES:
                self._transport.close()
            return
        self._count, self._sent = int(request["max_tokens"]), 1
        self._gap = int(request["seed"]) / 1000
        self._due = self._loop.time()
        self._transport.write(_HEAD + _TOKENS[0])
        self._schedule()

    def _schedule(self) -> None:
        self._due += self._gap
        self._timer = self._loop.call_at(self._due, self._next)

    def _next(self) -> None:
        if self._sent == self._count:
            self._transport.write(b"".join(map(_chunk, events(self._count)[-2:])) + b"0\r\n\r\n")
            return
        if self._user == DIES and self._sent == _DIES_AFTER:
            self._transport.abort()
            return
        if not self._paused:
            token = _LARGE if self._user == LARGE else _TOKENS[self._sent % _PREBUILT]
            self._transport.write(token)
            self._sent += 1
        self._schedule()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(
        _Connection, "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
