"""The harness for the tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from harness import clean_valkey, key_files, site, start, upstream, valkey

__all__ = ["clean_valkey", "key_files", "site", "start", "upstream", "valkey"]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the gateway in the event loop that `azeotrope serve` gives it."""
    if item.path.parent != Path(__file__).parent:
        return {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}
