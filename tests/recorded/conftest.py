"""The harness of tests/proxy, for real answers replayed by a scripted engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from harness import clean_valkey, key_files, site, start, upstream, valkey

__all__ = ["clean_valkey", "key_files", "site", "start", "upstream", "valkey"]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the gateway in the event loop that `azeotrope serve` gives it."""
    return {"uvloop": uvloop.new_event_loop}
