"""The accounts file, read again when it changes; all requests see one whole version."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from proxy.accounts import Account, Accounts
from proxy.config import Tier
from proxy.errors import AccountsError
from proxy.metrics import Metrics

_log = logging.getLogger(__name__)
# A suspension takes effect within a second.
POLL_S = 0.5


class WatchedAccounts:
    """The newest good version of the accounts file."""

    def __init__(self, path: Path, tiers: Mapping[str, Tier], metrics: Metrics) -> None:
        """Load the file; raises AccountsError."""
        self._path = path
        self._tiers = tiers
        self._metrics = metrics
        self._seen = self._stamp()
        self._accounts = Accounts.load(path, tiers)
        metrics.accounts.set(len(self._accounts))

    def authenticate(self, key: str) -> Account:
        """Return the account of a key; raises CallError."""
        return self._accounts.authenticate(key)

    async def watch(self) -> None:
        """Look for changes until cancelled."""
        while True:
            await asyncio.sleep(POLL_S)
            await asyncio.to_thread(self.reload_if_changed)

    def reload_if_changed(self) -> None:
        """Read the file again if it changed; keep what is loaded if the new one is bad."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._accounts = Accounts.load(self._path, self._tiers)
        except AccountsError as error:
            self._metrics.reloaded(accounts=None)
            _log.error("accounts_kept", extra={"fields": {"reason": str(error)}})
            return
        self._metrics.reloaded(accounts=len(self._accounts))
        _log.info("accounts_reloaded", extra={"fields": {"accounts": len(self._accounts)}})

    def _stamp(self) -> tuple[int, int, int, int] | None:
        try:
            status = os.stat(self._path)
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino, status.st_mode
