"""An upstream's answer whose head has come: its body is read here, or let go of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from proxy.errors import CallError
from proxy.upstream.connection import Connection
from proxy.upstream.faults import broken


class Answer:
    """An answer, its body not yet read. `close` it, whatever happens."""

    def __init__(
        self, upstream_name: str, connection: Connection, on_close: Callable[[Connection], None]
    ) -> None:
        self.upstream_name = upstream_name
        self.status = connection.status
        self._connection = connection
        self._head = connection.head
        self._on_close: Callable[[Connection], None] | None = on_close

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the headers that the client gets."""
        return self._head.returned

    @property
    def streams(self) -> bool:
        """Whether the body is a stream of events."""
        kind = self._head.returned.get("content-type", "")
        return kind.partition(";")[0].strip().lower() == "text/event-stream"

    async def read(self, limit: int) -> bytes:
        """Return the whole body; raises CallError, also if it has more than `limit` bytes."""
        if (self._head.length or 0) > limit:
            raise broken(f"the answer has more than {limit} bytes")
        chunks, size = [], 0
        while chunk := await self._connection.next_chunk():
            size += len(chunk)
            if size > limit:
                raise broken(f"the answer has more than {limit} bytes")
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def next_chunk(self) -> bytes:
        """Return what has come of the body, at least one byte; b"" at its end.

        Raises CallError if the engine dies or falls silent.
        """
        return await self._connection.next_chunk()

    def broken_off(self) -> CallError:
        """Return the error for a body whose end was not the end of the answer."""
        return broken("the answer broke off")

    def close(self) -> None:
        """Let go of the connection; an answer that is not wholly read is cancelled."""
        if self._on_close is not None:
            on_close, self._on_close = self._on_close, None
            on_close(self._connection)
