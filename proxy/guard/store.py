"""The connection to Redis or Valkey: one script call per request, with a deadline.

After a failure the store is not asked again until a probe of its own (the same script,
on nobody's account) has gone through: a request never pays for finding out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from importlib import resources

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from proxy.guard.gcra import Decision, Rate
from proxy.guard.keyspace import CALLS_TTL_S, EPOCH_2026, PROBE_ACCOUNT, account_keys
from proxy.metrics import Metrics

_log = logging.getLogger(__name__)
_PROBE_RATE = Rate(interval_us=1, burst=1)


class StoreAwayError(Exception):
    """The store gave no decision: it is away, too slow, or answers nonsense."""


class Store:
    """Asks Redis for decisions while it answers, and watches for its return when not."""

    def __init__(
        self,
        url: str,
        metrics: Metrics,
        *,
        deadline_s: float,
        probe_interval_s: float,
        max_connections: int,
    ) -> None:
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._probe_interval_s = probe_interval_s
        # Bounded: redis-py opens a connection per concurrent command otherwise. Without
        # retries: the deadline leaves no room, and a script that ran must not run twice.
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=deadline_s,
            socket_connect_timeout=None,  # one deadline around everything, in _call
            socket_timeout=None,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)
        # register_script sends the digest, and the text again where it was flushed.
        self._admit = self._redis.register_script(_script())
        self._probing: asyncio.Task[None] | None = None
        self._up = False

    @property
    def up(self) -> bool:
        """Whether requests are put to the store."""
        return self._up

    async def start(self) -> None:
        """Ask the store for the first time; if it is away, go on looking for it."""
        try:
            await self._probe()
        except StoreAwayError as error:
            self._fall_back(str(error))

    async def close(self) -> None:
        """Stop looking for the store and close the connections."""
        if self._probing is not None:
            self._probing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probing
        await self._redis.aclose()

    async def decide(self, account: int, rate: Rate, above: int) -> Decision:
        """Ask for a decision and a sequence greater than `above`; raises StoreAwayError."""
        try:
            return await self._call(account, rate, above)
        except StoreAwayError as error:
            self._metrics.store_failures.inc()
            self._fall_back(str(error))
            raise

    async def _call(self, account: int, rate: Rate, above: int) -> Decision:
        arguments = (rate.interval_us, rate.burst, EPOCH_2026, CALLS_TTL_S, above)
        try:
            async with asyncio.timeout(self._deadline_s):
                reply = await self._admit(keys=account_keys(account), args=arguments)
            admitted, remaining, reset_us, retry_us, sequence = map(int, reply)
        except TimeoutError:
            raise StoreAwayError("no answer within the deadline") from None
        except (RedisError, OSError, ValueError) as error:
            # The class only: the text of a connection error may quote the URL.
            raise StoreAwayError(type(error).__name__) from error
        return Decision(bool(admitted), remaining, reset_us, retry_us, sequence)

    def _fall_back(self, reason: str) -> None:
        self._metrics.store_up.set(0)
        self._up = False
        if self._probing is None or self._probing.done():
            _log.warning("store_away", extra={"fields": {"reason": reason, "limits": "local"}})
            self._probing = asyncio.create_task(self._look_for_it())

    async def _look_for_it(self) -> None:
        while not self._up:
            await asyncio.sleep(self._probe_interval_s)
            with contextlib.suppress(StoreAwayError):
                await self._probe()
        _log.info("store_back", extra={"fields": {"limits": "store"}})

    async def _probe(self) -> None:
        await self._call(PROBE_ACCOUNT, _PROBE_RATE, 0)
        self._up = True
        self._metrics.store_up.set(1)


def _script() -> str:
    return resources.files("proxy.guard").joinpath("admit.lua").read_text("utf-8")
