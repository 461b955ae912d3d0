"""Watching an upstream: a look every few seconds, beside the calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from proxy import config
from proxy.errors import CallError
from proxy.upstream.endpoint import Endpoint

_log = logging.getLogger(__name__)
_UNHEALTHY = 500


class Watcher:
    """Keeps `endpoint.healthy` as it was at the last look; `start` it, and `close` it."""

    def __init__(self, endpoint: Endpoint, settings: config.Health) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._looked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        endpoint.series.up.set(1)

    def start(self) -> None:
        """Begin to look, unless the configuration wants no looks."""
        if self._settings.path is None:
            self._looked.set()
        else:
            self._task = asyncio.create_task(self._watch(self._settings.path))

    async def state(self) -> bool:
        """Tell whether nothing is known against the upstream; waits for the first look."""
        await self._looked.wait()
        return self._endpoint.up

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self, path: str) -> None:
        while True:
            self._note(*await self._look(path))
            self._looked.set()
            await asyncio.sleep(self._settings.interval_s)

    async def _look(self, path: str) -> tuple[bool, str | None]:
        """Return whether the upstream is healthy, and what speaks against it."""
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                status = await self._endpoint.look(path)
        except CallError as error:
            return False, error.detail
        except TimeoutError:
            return False, "no answer in time"
        return status < _UNHEALTHY, f"status {status}"

    def _note(self, healthy: bool, reason: str | None) -> None:
        endpoint = self._endpoint
        if healthy == endpoint.healthy:
            return
        endpoint.healthy = healthy
        endpoint.series.up.set(healthy)
        if healthy:
            _log.info("upstream_up", extra={"fields": {"upstream": endpoint.name}})
        else:
            fields = {"upstream": endpoint.name, "reason": reason}
            _log.warning("upstream_down", extra={"fields": fields})
