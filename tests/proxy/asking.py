"""Asking a gateway for what it must refuse, and seeing that it goes on afterwards."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
from fake_upstream import FakeUpstream
from running import Running

GOOD = b'{"id":"the-answer","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}'


async def error_of(response: aiohttp.ClientResponse) -> tuple[int, dict[str, Any]]:
    content = json.loads(await response.read())
    assert list(content) == ["error"]
    assert list(content["error"]) == ["message", "type", "param", "code"]
    assert response.headers["content-type"] == "application/json"
    return response.status, content["error"]


async def assert_goes_on(gateway: Running, upstream: FakeUpstream) -> None:
    upstream.answers_whole(GOOD)
    async with gateway.chat() as response:
        assert (response.status, await response.read()) == (200, GOOD)


async def raw(gateway: Running, data: bytes) -> bytes:
    """Send bytes, return everything until the gateway closes the connection."""
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    answer = await reader.read()
    writer.close()
    return answer


async def chat_error(gateway: Running, body: bytes, **options: Any) -> tuple[int, dict[str, Any]]:
    async with gateway.chat(body, **options) as response:
        return await error_of(response)
