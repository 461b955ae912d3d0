"""One upstream: its address, its key, its connections, and how it has been doing.

Retries. A completion is no idempotent request (RFC 9110, 9.2.2), but all that a second one
costs is money: nothing is stored, and one answer alone reaches the client. So a call is sent
again only where the upstream has most likely not begun with it:
- No connection stood: the call goes to another upstream of the model (routes.py).
- A connection that had served a call before ended within a second of the request, and
  before a byte of an answer: the upstream had closed it while the request was on its way.
  The call is sent once more, on a new connection to the same upstream. A new connection that
  ends so, or one that ends later, is the mark of an engine that died of the call itself,
  which must not go round and kill the others.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable, Mapping

from proxy import config
from proxy.errors import CallError
from proxy.metrics import UpstreamSeries
from proxy.upstream.answer import Answer
from proxy.upstream.breaker import Breaker
from proxy.upstream.connection import Connection
from proxy.upstream.faults import broken
from proxy.upstream.pool import Pool
from proxy.upstream.request import RequestHeads

# A connection that is being closed ends within a round trip of what is written to it.
_CLOSING_S = 1.0
_DOWN = (502, 503, 504)


class Endpoint:
    """Sends calls to one upstream; make it in the event loop.

    `healthy` is what the watcher saw last, `outstanding` the number of calls under way.
    """

    def __init__(
        self,
        settings: config.Upstream,
        key: str | None,
        context: ssl.SSLContext | None,
        series: UpstreamSeries,
    ) -> None:
        self.name = settings.name
        self.healthy = True
        self.outstanding = 0
        self.series = series
        self._loop = asyncio.get_running_loop()
        self.breaker = Breaker(settings.breaker, self._loop.time)
        self._total_s = settings.timeouts.total
        self._most = settings.max_outstanding
        self._dialects = None if settings.dialects is None else frozenset(settings.dialects)
        self._heads = RequestHeads(settings, key)
        self._pool = Pool(settings, context)

    @property
    def full(self) -> bool:
        """Whether as many calls are under way as may be."""
        return self._most is not None and self.outstanding >= self._most

    @property
    def up(self) -> bool:
        """Whether nothing is known against it, neither by looks nor by calls."""
        return self.healthy and not self.breaker.is_open

    def speaks(self, dialect: str) -> bool:
        """Tell whether calls of a dialect may be sent here."""
        return self._dialects is None or dialect in self._dialects

    async def post(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        forwarded: Iterable[str],
        traceparent: str | None = None,
    ) -> Answer:
        """Send a call and wait for the head of its answer; raises CallError."""
        head = self._heads.post(path, len(body), headers, forwarded, traceparent)
        return await self._call(head, body)

    async def pass_on(
        self,
        method: str,
        target: str,
        body: bytes,
        headers: Mapping[str, str],
        forwarded: Iterable[str],
    ) -> Answer:
        """Send a request of any kind as it came; raises CallError."""
        head = self._heads.untouched(method, target, len(body), headers, forwarded)
        return await self._call(head, body)

    async def look(self, path: str) -> int:
        """Return the status of a GET, read to its end; raises CallError. No call counts it."""
        connection = await self._answered(self._heads.head("GET", path) + b"\r\n", b"")
        try:
            while await connection.next_chunk():
                pass
        finally:
            self._pool.give_back(connection)
        return connection.status

    def close(self) -> None:
        """Close all idle connections."""
        self._pool.close()

    async def _call(self, head: bytes, body: bytes) -> Answer:
        trial = self.breaker.began()
        self._count(1)
        try:
            connection = await self._answered(head, body)
        except CallError as error:
            self._count(-1)
            self._failed()
            error.detail = f"{self.name}: {error.detail}"
            raise
        except BaseException:
            self._count(-1)
            if trial:
                self.breaker.given_up()
            raise
        if connection.status in _DOWN:
            self._failed()
        else:
            was_open = self.breaker.is_open
            self.breaker.succeeded()
            if was_open:  # setting the series at every call would cost 5 µs of it
                self.series.breaker_open.set(0)
        return self._checked(Answer(self.name, connection, self._let_go))

    async def _answered(self, head: bytes, body: bytes) -> Connection:
        """Return a connection on which the head of the answer has come; raises CallError."""
        ends_at = self._loop.time() + self._total_s
        connection = await self._pool.take()
        try:
            return await _ask(connection, head, body, ends_at)
        except CallError:
            if not self._was_closing(connection):
                raise
        self.series.retries.inc()
        return await _ask(await self._pool.connect(), head, body, ends_at)

    def _was_closing(self, connection: Connection) -> bool:
        return (
            connection.lost
            and not connection.fresh
            and not connection.heard
            and self._loop.time() - connection.sent_at < _CLOSING_S
        )

    def _checked(self, answer: Answer) -> Answer:
        """Refuse answers that would lead the client astray."""
        # A redirect would carry the client's key elsewhere; a 401 is about our key, of
        # which such answers quote a part, and the client can do nothing about it.
        if 300 <= answer.status < 400 or answer.status in (401, 407):
            answer.close()
            raise broken(f"{self.name}: status {answer.status}")
        return answer

    def _let_go(self, connection: Connection) -> None:
        self._count(-1)
        self._pool.give_back(connection)

    def _failed(self) -> None:
        self.breaker.failed()
        self.series.breaker_open.set(self.breaker.is_open)

    def _count(self, by: int) -> None:
        self.outstanding += by
        self.series.outstanding.inc(by)


async def _ask(connection: Connection, head: bytes, body: bytes, ends_at: float) -> Connection:
    try:
        await connection.request(head, body, ends_at)
    except BaseException:
        connection.abort()
        raise
    return connection
