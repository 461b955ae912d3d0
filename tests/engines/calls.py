"""Calls to an engine, made at once and read as streams of token ids."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp


@dataclass(frozen=True)
class Call:
    """A streamed chat completion; `cancel_after` tokens the client hangs up."""

    prompt: str
    max_tokens: int
    ticket_state: str = "absent"
    account: int = 0
    ticket: str | None = None
    cancel_after: int | None = None
    temperature: float = 1.0

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": "smol",
            "messages": [{"role": "user", "content": self.prompt}],
            "max_tokens": self.max_tokens,
            # Keeps the answer going, so that its number of windows is known.
            "min_tokens": self.max_tokens,
            "temperature": self.temperature,
            "stream": True,
            "return_token_ids": True,
        }
        return body if self.ticket is None else body | {"vllm_xargs": {"azeotrope": self.ticket}}


@dataclass(frozen=True)
class Answer:
    """Token ids that came back for a call."""

    call: Call
    tokens: list[int]


def answers(url: str, calls: Sequence[Call]) -> list[Answer]:
    """Make all calls at once; raises for any answer but 200."""

    async def together() -> list[Answer]:
        timeout = aiohttp.ClientTimeout(total=280)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(url, timeout=timeout, connector=connector) as session:
            return await asyncio.gather(*(_answer(session, call) for call in calls))

    return asyncio.run(together())


async def _answer(session: aiohttp.ClientSession, call: Call) -> Answer:
    tokens: list[int] = []
    async with session.post("/v1/chat/completions", json=call.body()) as response:
        response.raise_for_status()
        async for line in response.content:
            if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
                continue
            for choice in json.loads(line[6:])["choices"]:
                tokens += choice.get("token_ids") or []
            if call.cancel_after is not None and len(tokens) >= call.cancel_after:
                response.close()
                break
    return Answer(call, tokens)
