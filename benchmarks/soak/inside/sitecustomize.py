"""Counts the asyncio tasks of a gateway's worker, as nothing outside can.

Python imports a module of this name at its start, if its directory is in PYTHONPATH. The
number goes to the file that SOAK_TASKS names.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

_INTERVAL_S = 0.5


async def _watched(main: Coroutine[Any, Any, Any], file: Path) -> object:
    async def count() -> None:
        while True:
            # Without this task and the one that runs the worker.
            number = len(asyncio.all_tasks()) - 2
            await asyncio.to_thread(file.write_text, str(number))
            await asyncio.sleep(_INTERVAL_S)

    counting = asyncio.create_task(count())
    try:
        return await main
    finally:
        counting.cancel()


def _install(file: Path) -> None:
    run = uvloop.run
    uvloop.run = lambda main, **options: run(_watched(main, file), **options)


if "SOAK_TASKS" in os.environ:
    _install(Path(os.environ["SOAK_TASKS"]))
