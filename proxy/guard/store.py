"""What the gateway asks of Redis or Valkey, while it answers.

After a failure the connection is given up, and the store is not asked again until a
probe of its own (a new connection, the same script on nobody's account) has gone
through: a request never pays for finding out. A new connection also finds the new
primary after a failover.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import lru_cache

from proxy.guard.address import Address
from proxy.guard.commands import Script, arguments, command
from proxy.guard.gcra import Decision, Known, Rate
from proxy.guard.keyspace import CALLS_TTL_S, EPOCH_2026, LEASE_MS, PROBE_ACCOUNT, account_keys
from proxy.guard.wire import Handler, ReplyError, StoreAwayError, Wire
from proxy.metrics import Metrics

_log = logging.getLogger(__name__)
_PROBE_RATE = Rate(interval_us=1, burst=1)
_NO_LEASE = b"-"


class Store:
    """One connection to Redis: asks while it answers, and watches for its return when not.

    `returned` is set each time that the store begins to answer.
    """

    def __init__(
        self, url: str, metrics: Metrics, *, deadline_s: float, probe_interval_s: float
    ) -> None:
        """Read the URL; raises ConfigError."""
        self.returned = asyncio.Event()
        self._address = Address.of(url)
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._probe_interval_s = probe_interval_s
        self._short, self._full = Script("admit", keys=3).heads(values=9)
        self._wire: Wire | None = None
        self._probing: asyncio.Task[None] | None = None
        self._closing = False

    @property
    def up(self) -> bool:
        """Whether requests are put to the store."""
        return self._wire is not None

    async def start(self) -> None:
        """Ask the store for the first time; if it is away, go on looking for it."""
        try:
            await self._probe()
        except StoreAwayError as error:
            self._fall_back(error)

    async def close(self) -> None:
        """Stop looking for the store; send what is under way, then hang up."""
        self._closing = True
        if self._probing is not None:
            self._probing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probing
        if self._wire is not None:
            with contextlib.suppress(StoreAwayError):
                await self._wire.ask(command("PING"))  # its answer comes after all others
        if self._wire is not None:
            self._wire.break_off(StoreAwayError("lost", "closed"))

    async def decide(
        self, account: int, rate: Rate, known: Known, token: bytes = _NO_LEASE
    ) -> Decision:
        """Ask for a decision that respects what is known here; raises StoreAwayError."""
        rest = _packed_keys(account) + _packed_rate(rate) + arguments(*known, token)
        try:
            return _decision(await self.ask(self._short + rest, self._full + rest))
        except StoreAwayError as error:
            self._metrics.store_failed(error.reason)
            raise

    async def ask(self, packed: bytes, full: bytes | None = None) -> object:
        """Send a command; again in full if its script is not known. Raises StoreAwayError."""
        wire = self._wire
        if wire is None:
            raise StoreAwayError("lost", "away")
        reply = await _run(wire, packed, full)
        if isinstance(reply, ReplyError):
            error = StoreAwayError("error", reply.code)
            # A key that somebody else wrote spoils the limits of one account only.
            if "WRONGTYPE" in str(reply):
                _log.warning("store_key_spoiled", extra={"fields": {"reason": "WRONGTYPE"}})
            else:
                wire.break_off(error)
            raise error
        return reply

    def post(self, packed: bytes, handler: Handler) -> None:
        """Send a command without waiting for it; raises StoreAwayError."""
        if self._wire is None:
            raise StoreAwayError("lost", "away")
        self._wire.send(packed, handler)

    def _fall_back(self, error: StoreAwayError) -> None:
        self._metrics.store_up.set(0)
        self._wire = None
        if self._closing:
            return
        if self._probing is None or self._probing.done():
            _log.warning(
                "store_away",
                extra={"fields": {"reason": error.reason, "detail": str(error), "limits": "local"}},
            )
            self._probing = asyncio.create_task(self._look_for_it())

    async def _look_for_it(self) -> None:
        while not self.up:
            await asyncio.sleep(self._probe_interval_s)
            with contextlib.suppress(StoreAwayError):
                await self._probe()
        _log.info("store_back", extra={"fields": {"limits": "store"}})

    async def _probe(self) -> None:
        wire = await self._address.connect(self._new_wire)
        values = (
            _packed_keys(PROBE_ACCOUNT) + _packed_rate(_PROBE_RATE) + arguments(0, 0, _NO_LEASE)
        )
        try:
            reply = await _run(wire, self._short + values, self._full + values)
            if isinstance(reply, ReplyError):
                raise StoreAwayError("error", reply.code)
            _decision(reply)
        except BaseException:
            wire.break_off(StoreAwayError("lost", "given up"))
            raise
        self._wire = wire
        self._metrics.store_up.set(1)
        self.returned.set()

    def _new_wire(self) -> Wire:
        def lost(error: StoreAwayError) -> None:
            if self._wire is wire:  # a probe's own connection is the probe's business
                self._fall_back(error)

        wire = Wire(
            deadline_s=self._deadline_s,
            on_lost=lost,
            observe=self._metrics.store_seconds.observe,
        )
        return wire


async def _run(wire: Wire, packed: bytes, full: bytes | None) -> object:
    reply = await wire.ask(packed)
    if full is not None and isinstance(reply, ReplyError) and reply.code == "NOSCRIPT":
        return await wire.ask(full)  # which makes it known again
    return reply


def _decision(reply: object) -> Decision:
    """Read what the script returned; raises StoreAwayError if it cannot have run."""
    if not isinstance(reply, list) or len(reply) != len(Decision._fields):
        raise StoreAwayError("error", "no answer of the script")
    return Decision._make(reply)


@lru_cache(maxsize=16_384)
def _packed_keys(account: int) -> bytes:
    return arguments(*account_keys(account))


@lru_cache(maxsize=1024)
def _packed_rate(rate: Rate) -> bytes:
    return arguments(*rate, EPOCH_2026, CALLS_TTL_S, LEASE_MS)
