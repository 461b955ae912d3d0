"""Hostile clients, engines and stores: the harness of tests/proxy under attack."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from harness import clean_valkey, key_files, site, start, upstream, valkey
from wire import PROMPT

from proxy.logs import JsonFormatter, TextFormatter
from proxy.server import Gateway
from watermark.ticket import sign

__all__ = ["clean_valkey", "key_files", "site", "start", "upstream", "valkey"]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the gateway in the event loop that `azeotrope serve` gives it."""
    return {"uvloop": uvloop.new_event_loop}


KEY_OF_AN_ACCOUNT = re.compile(r"az-[A-Za-z0-9_-]{20}")
MARKERS = (PROMPT, json.dumps(PROMPT)[1:-1], "the-answer", "forged")


@pytest.fixture(autouse=True)
def nothing_secret_is_told(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> Iterator[None]:
    """After each attack: no key, prompt, answer or ticket in logs, metrics or the registry."""
    caplog.set_level(logging.DEBUG)
    gateways: list[Gateway] = []
    tickets: list[str] = []
    enter = Gateway.__aenter__

    async def noted(gateway: Gateway) -> Gateway:
        gateways.append(gateway)
        return await enter(gateway)

    def signed(*arguments: Any) -> str:
        tickets.append(sign(*arguments))
        return tickets[-1]

    monkeypatch.setattr(Gateway, "__aenter__", noted)
    monkeypatch.setattr("proxy.embedders.engine.sign", signed)
    yield
    told = [gateway.metrics.render().decode() for gateway in gateways]
    told += [file.read_text("utf-8", "replace") for file in tmp_path.rglob("calls*")]
    for record in caplog.get_records("call"):
        told += [one.format(record) for one in (JsonFormatter(), TextFormatter())]
    for text in told:
        assert not KEY_OF_AN_ACCOUNT.search(text)
        assert not [marker for marker in (*MARKERS, *tickets) if marker in text]
