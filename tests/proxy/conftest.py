"""The harness for the tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import harness
import pytest
from harness import *  # noqa: F403 (hooks and fixtures)


def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Use the gateway's event loop for the gateway's tests, not for the engine's."""
    if item.path.parent != Path(__file__).parent:
        return {"asyncio": asyncio.new_event_loop}
    return harness.pytest_asyncio_loop_factories()
