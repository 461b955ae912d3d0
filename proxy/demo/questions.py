"""The official client asks: answers side by side as they stream, and a burst over the limit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import openai
from rich.columns import Columns
from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.text import Text

from proxy.demo.stage import MODEL, Stage

QUESTION = "Write a long and lively essay about the history of tea."
_MAX_TOKENS = 400
_BURST = 8
# Short calls of each account before, so that the detector has calls to choose from.
EARLIER_CALLS = 4
# A small model sometimes ends after a few words, too few to tell anything from; then ask again.
_LEAST_WORDS = 150
_TRIES = 4


@dataclass(slots=True)
class Answer:
    """An answer on its way: who asked, the text so far, and how many calls it took."""

    title: str
    client: openai.AsyncOpenAI
    pieces: list[str] = field(default_factory=list)
    calls: int = 0

    @property
    def text(self) -> str:
        """Everything that has come."""
        return "".join(self.pieces)

    async def ask(self) -> None:
        """Ask until the answer is long enough to be judged."""
        while self.calls < _TRIES and len(self.text.split()) < _LEAST_WORDS:
            self.pieces.clear()
            self.calls += 1
            await self._stream()

    async def _stream(self) -> None:
        stream = await self.client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=_MAX_TOKENS,
            temperature=1.0,
            top_p=0.95,
            stream=True,
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                self.pieces.append(chunk.choices[0].delta.content)


def client(base: str, key: str) -> openai.AsyncOpenAI:
    """The official client; nothing about it is special."""
    return openai.AsyncOpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0, timeout=300)


async def short(asker: openai.AsyncOpenAI) -> None:
    """Send a call that costs next to nothing."""
    await asker.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "Hi"}], max_tokens=1
    )


async def ask(stage: Stage, console: Console) -> list[Answer]:
    """Three answers at once: alice's, bob's, and the same model's without a mark."""
    answers = [
        Answer("alice", client(stage.gateway, stage.keys["alice"])),
        Answer("bob", client(stage.gateway, stage.keys["bob"])),
        Answer("the same model, unmarked", client(stage.unmarked, "none")),
    ]
    await asyncio.gather(
        *(short(answer.client) for answer in answers[:-1] for _ in range(EARLIER_CALLS))
    )
    tasks = [asyncio.create_task(answer.ask()) for answer in answers]
    try:
        with Live(console=console, refresh_per_second=8, transient=True) as live:
            while not all(task.done() for task in tasks):
                live.update(_columns(answers, console))
                await asyncio.wait(tasks, timeout=0.12)
        for task in tasks:
            await task
    finally:
        for task in tasks:
            task.cancel()
    console.print(_columns(answers, console))
    return answers


def _columns(answers: list[Answer], console: Console) -> Columns:
    width = max((console.width - 2) // len(answers), 24)
    height = 14
    panels = []
    for answer in answers:
        lines = Text(answer.text).wrap(console, width - 4)
        panels.append(
            Panel(
                Text("\n").join(lines[-height:]),
                title=answer.title,
                width=width,
                height=height + 2,
            )
        )
    return Columns(panels, padding=0)


async def burst(stage: Stage) -> tuple[list[int], openai.RateLimitError | None]:
    """Send more requests at once than carol's tier allows; statuses, and the first refusal."""
    carol = client(stage.gateway, stage.keys["carol"])

    async def one() -> int | openai.RateLimitError:
        try:
            await short(carol)
        except openai.RateLimitError as error:
            return error
        return 200

    results = await asyncio.gather(*(one() for _ in range(_BURST)))
    refusals = [result for result in results if isinstance(result, openai.RateLimitError)]
    statuses = [result if isinstance(result, int) else result.status_code for result in results]
    return statuses, refusals[0] if refusals else None
