"""Waiting for what nobody tells of."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

# For a loaded machine; a test that fails says which wait it was by its line.
PATIENCE_S = 60.0


async def until(condition: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Wait for a condition; raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 (there is no event to wait for)
            await asyncio.sleep(0.005)


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float = PATIENCE_S) -> None:
    """Wait for a condition that itself has to be asked for; raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
