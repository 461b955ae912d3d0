"""Several upstreams behind one gateway."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fake_upstream import FakeUpstream
from running import Running, question
from waiting import eventually

NO_LOOKS = {"path": None}


@pytest.fixture
async def second() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as server:
        yield server


def entry(name: str, url: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "url": url, "models": {"m": f"m-at-{name}"}, **fields}


def pair(first: FakeUpstream, second: FakeUpstream, **fields: Any) -> list[dict[str, Any]]:
    return [entry("one", first.url, **fields), entry("two", second.url, **fields)]


async def status_of(gateway: Running, **fields: Any) -> int:
    async with gateway.chat(question(**fields)) as response:
        await response.read()
        return int(response.status)


async def until_metric(gateway: Running, line: str, value: float) -> None:
    async def reads_so() -> bool:
        return await gateway.metric(line) == value

    await eventually(reads_so)
