"""An engine that keeps connections open, and counts what comes over each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

GOOD = b'{"choices":[]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(GOOD),
    GOOD,
)

# Called with the number of the connection and of the request on it, both from 0: what to
# answer, or None to reset the connection.
Script = Callable[[int, int], bytes | None]


class PersistentUpstream:
    """Answers by a script; `requests` has one number a connection."""

    def __init__(self, script: Script) -> None:
        self.requests: list[int] = []
        self.url = ""
        self._script = script
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        self.closes_all()

    def closes_all(self) -> None:
        for writer in self._open:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        connection = len(self.requests)
        self.requests.append(0)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                _, _, length = head.lower().partition(b"content-length: ")
                await reader.readexactly(int(length.partition(b"\r\n")[0] or 0))
                answer = self._script(connection, self.requests[connection])
                self.requests[connection] += 1
                if answer is None:
                    writer.transport.abort()
                    return
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the gateway let go of the connection
        finally:
            self._open.discard(writer)
            writer.close()
