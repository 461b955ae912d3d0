"""Wherever a gateway runs in a test, it must tell nobody what was said through it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from fake_upstream import PASSED
from running import Site

from proxy.logs import JsonFormatter, TextFormatter
from proxy.server import Gateway
from watermark.ticket import sign

KEY_OF_AN_ACCOUNT = re.compile(r"az-[A-Za-z0-9_-]{20}")
# A prompt and pieces of answers that are nowhere else: no log, metric or registry may have them.
PROMPT = "\u03a8"
MARKERS = (PROMPT, json.dumps(PROMPT)[1:-1], "the-answer", "the-secret", "forged")
# They run in the same process, and log what they send and get.
CLIENTS = ("anthropic", "openai", "httpx", "httpcore", "urllib3")
# What people and engines say in any dialect, where it is long enough to be told from other words.
SAID = re.compile(
    rb'"(?:content|text|delta|prompt|input|instructions|reasoning_content|arguments)"'
    rb': ?"((?:[^"\\]|\\.){12,200})'
)


def secrets_in(passed: list[bytes]) -> set[str]:
    """Prompts and answers, as they were written and as they read."""
    secrets = set()
    for found in {found for data in passed for found in SAID.findall(data)}:
        written = found.decode("utf-8", "replace")
        secrets.add(written)
        with suppress(ValueError):  # an attack, or cut
            secrets.add(json.loads(f'"{written}"'))
    return secrets


def leaks(told: str, secrets: set[str]) -> list[str]:
    return [*KEY_OF_AN_ACCOUNT.findall(told), *(secret for secret in secrets if secret in told)]


@pytest.fixture(autouse=True)
def nothing_secret_is_told(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """After each test: no key, prompt, answer or ticket in logs, metrics or the registry."""
    if "site" not in request.fixturenames:
        yield
        return
    caplog: pytest.LogCaptureFixture = request.getfixturevalue("caplog")
    site: Site = request.getfixturevalue("site")
    caplog.set_level(logging.DEBUG)
    gateways: list[Gateway] = []
    tickets: set[str] = set()
    enter = Gateway.__aenter__

    async def noted(gateway: Gateway) -> Gateway:
        gateways.append(gateway)
        return await enter(gateway)

    def signed(*arguments: Any) -> str:
        ticket = sign(*arguments)
        tickets.add(ticket)
        return ticket

    monkeypatch.setattr(Gateway, "__aenter__", noted)
    monkeypatch.setattr("proxy.embedders.engine.sign", signed)
    PASSED.clear()
    yield
    told = [gateway.metrics.render().decode() for gateway in gateways] + site.said
    told += [file.read_text("utf-8", "replace") for file in site.directory.rglob("calls*")]
    for record in caplog.get_records("call"):
        if record.name.startswith(CLIENTS):
            continue
        told += [one.format(record) for one in (JsonFormatter(), TextFormatter())]
    found = leaks("\n".join(told), {*MARKERS, *tickets, *secrets_in(PASSED)})
    assert not found, found
