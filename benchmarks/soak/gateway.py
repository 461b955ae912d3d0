"""`azeotrope` with its number of asyncio tasks in a file.

`python -m benchmarks.soak.gateway FILE serve --config …`: the tasks are counted inside, as
nothing outside can.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import uvloop

_INTERVAL_S = 0.5


async def _watched(main: Coroutine[Any, Any, None], file: Path) -> None:
    async def count() -> None:
        while True:
            # Without this task and the one that runs the gateway.
            number = len(asyncio.all_tasks()) - 2
            await asyncio.to_thread(file.write_text, str(number))
            await asyncio.sleep(_INTERVAL_S)

    counting = asyncio.create_task(count())
    try:
        await main
    finally:
        counting.cancel()


def main() -> None:
    file = Path(sys.argv.pop(1))
    run = uvloop.run
    uvloop.run = lambda main, **options: run(_watched(main, file), **options)
    from proxy.cli import main as azeotrope

    azeotrope()


if __name__ == "__main__":
    main()
