"""Leases on concurrent calls: which are held, and that the store knows it.

A lease's token is made here, not by the store: so a call that is given up before the
store has answered can be released too, in the row behind its own question. What could
not be told to the store is told when it is back; what nobody tells it expires.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TypeVar

from proxy.guard.commands import Script, command
from proxy.guard.contract import Lease
from proxy.guard.keyspace import EPOCH_2026, LEASE_MS, RENEW_S, leases_key
from proxy.guard.store import Store
from proxy.guard.wire import ReplyError, StoreAwayError

T = TypeVar("T")
_log = logging.getLogger(__name__)
# Releases that wait for the store; the oldest expire by themselves.
_MAX_OWED = 100_000
_TOKENS_A_COMMAND = 256
_COMMANDS_AT_ONCE = 64


class Leases:
    """The leases of this process's running calls."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._renew = Script("renew", keys=1)
        self._process = secrets.token_hex(4)
        self._numbers = itertools.count()
        self._held: dict[int, set[bytes]] = {}  # account: tokens
        self._owed: deque[tuple[float, Lease]] = deque(maxlen=_MAX_OWED)

    def new(self, account: int) -> Lease:
        """Make a lease to ask for; it is not held yet."""
        return Lease(account, b"%s-%d" % (self._process.encode(), next(self._numbers)))

    def running(self, account: int) -> int:
        """Return how many leases an account holds in this process."""
        return len(self._held.get(account, ()))

    def hold(self, lease: Lease) -> None:
        """Note that a call runs under a lease: it is renewed from now on."""
        self._held.setdefault(lease.account, set()).add(lease.token)

    def release(self, lease: Lease) -> None:
        """Give back a lease that is held; a second time is nothing."""
        tokens = self._held.get(lease.account)
        if tokens is None or lease.token not in tokens:
            return
        tokens.discard(lease.token)
        if not tokens:
            del self._held[lease.account]
        self.forget(lease)

    def forget(self, lease: Lease) -> None:
        """Make the store drop a lease that it may have given; now, or when it is back."""
        owed = (time.monotonic(), lease)

        def answered(reply: object) -> None:
            if isinstance(reply, StoreAwayError | ReplyError):
                self._owed.append(owed)

        try:
            self._store.post(command("ZREM", leases_key(lease.account), lease.token), answered)
        except StoreAwayError:
            self._owed.append(owed)

    async def keep(self) -> None:
        """Renew what is held, every RENEW_S and when the store comes back, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RENEW_S):
                    await self._store.returned.wait()
            self._store.returned.clear()
            try:
                await self.catch_up()
            except StoreAwayError as error:  # it wakes us when it is back
                _log.info("leases_not_renewed", extra={"fields": {"reason": error.reason}})

    async def catch_up(self) -> None:
        """Tell the store of all releases that it missed and all leases held.

        Raises StoreAwayError if it did not take some, once all were tried.
        """
        oldest = time.monotonic() - LEASE_MS / 1000
        for _ in range(len(self._owed)):
            since, lease = self._owed.popleft()
            if since > oldest:
                self.forget(lease)
            if not self._store.up:
                return
        failed: list[BaseException] = []
        for accounts in _batches(list(self._held), _COMMANDS_AT_ONCE):
            asked = map(self._renew_account, accounts)
            done = await asyncio.gather(*asked, return_exceptions=True)
            failed += filter(None, done)
        if failed:
            raise failed[0]

    async def _renew_account(self, account: int) -> None:
        for tokens in _batches(list(self._held.get(account, ())), _TOKENS_A_COMMAND):
            # Looked up, packed and sent without a wait between: a call that ends from here
            # on is released behind this. So never by digest and then, later, in full.
            held = self._held.get(account, ())
            values: list[bytes | int] = [
                EPOCH_2026,
                LEASE_MS,
                *(token for token in tokens if token in held),
            ]
            await self._store.ask(self._renew.call([leases_key(account)], values))


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[place : place + size] for place in range(0, len(items), size))
