"""From a request that is ready to run to its answer: submit, then stream or collect.

A client that hangs up cancels its handler (aiohttp's handler_cancellation), and that cancels its
tasks: their rows are free before the next step.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
from aiohttp import web

from proxy.engine.batching import Batcher
from proxy.engine.events import Answer, JsonObject, Shape
from proxy.engine.requests import GenerationRequest, RequestError
from proxy.engine.tasks import (
    Delta,
    EmbeddingTask,
    Failure,
    GenerationTask,
    QueueFullError,
    Vectors,
)

BEGUN = web.RequestKey("stream begun", bool)


@dataclass(frozen=True)
class Work:
    """A request ready to run: one prompt per entry, the request's choices of each."""

    request: GenerationRequest
    prompts: list[list[int]]
    shape: Shape


class Answering:
    """Answers requests with the batch loop; `context` is the most tokens of prompt and answer."""

    def __init__(self, batcher: Batcher, context: int) -> None:
        self._batcher, self._context = batcher, context

    async def answer(self, request: web.Request, work: Work) -> web.StreamResponse:
        """Generate, and answer whole or as a stream."""
        async with self._generate(work) as outputs:
            if work.request.stream:
                return await _stream(request, work.shape, outputs)
            return await _collect(work.shape, outputs)

    async def embed(self, prompts: Sequence[Sequence[int]]) -> Vectors:
        """Embed prompts; RequestError for one that exceeds the context or if the queue is full."""
        for prompt in prompts:
            self._require_room(len(prompt), 0, "input")
        loop = asyncio.get_running_loop()
        done: asyncio.Queue[Vectors | Failure] = asyncio.Queue()

        def emit(event: Vectors | Failure) -> None:
            loop.call_soon_threadsafe(done.put_nowait, event)

        task = EmbeddingTask(prompts, emit)
        try:
            self._batcher.embed(task)
            event = await done.get()
        except QueueFullError:
            raise _overloaded() from None
        finally:
            task.cancel()
        if isinstance(event, Failure):
            raise internal(event.message)
        return event

    @asynccontextmanager
    async def _generate(self, work: Work) -> AsyncIterator[_Outputs]:
        """Submit one task per choice; whatever ends the block takes them out of the batch."""
        outputs = _Outputs(asyncio.get_running_loop())
        tasks = self._tasks(work, outputs)
        try:
            self._batcher.submit(tasks)
        except QueueFullError:
            raise _overloaded() from None
        outputs.open = len(tasks)
        try:
            yield outputs
        finally:
            for task in tasks:
                task.cancel()

    def _tasks(self, work: Work, outputs: _Outputs) -> list[GenerationTask]:
        choices = work.request.choices
        tasks = []
        for number, prompt in enumerate(work.prompts):
            sampling = work.request.sampling(self._token_limit(prompt, work.request))
            tasks += [
                GenerationTask(
                    prompt,
                    sampling,
                    outputs.emitter(number * choices + choice),
                    choice=choice,
                    ticket=work.request.ticket,
                )
                for choice in range(choices)
            ]
        return tasks

    def _token_limit(self, prompt: Sequence[int], request: GenerationRequest) -> int:
        """Most tokens of this answer; RequestError if prompt and answer exceed the context."""
        wanted = request.token_limit
        self._require_room(len(prompt), wanted or 1, request.prompt_field)
        return wanted or self._context - len(prompt)

    def _require_room(self, prompt: int, answer: int, field: str) -> None:
        if prompt + answer > self._context:
            raise RequestError(
                f"This model's maximum context length is {self._context} tokens; you asked for "
                f"{prompt} in the prompt and {answer} in the answer.",
                field,
                code="context_length_exceeded",
            )


async def _collect(shape: Shape, outputs: _Outputs) -> web.Response:
    deltas: dict[int, list[Delta]] = defaultdict(list)
    async for index, delta in outputs:
        deltas[index].append(delta)
    return json_response(shape.answer([Answer.of(deltas[index]) for index in sorted(deltas)]))


async def _stream(request: web.Request, shape: Shape, outputs: _Outputs) -> web.StreamResponse:
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-cache",
        }
    )
    await response.prepare(request)
    request[BEGUN] = True
    await _send(response, shape, shape.opening(outputs.open))
    made = 0
    try:
        async for index, delta in outputs:
            made += delta.tokens if delta.finish else 0
            await _send(response, shape, shape.chunks(index, delta))
    except RequestError as problem:
        await _send(response, shape, [shape.failure(problem)])
        return response
    await _send(response, shape, shape.closing(made))
    if shape.last_bytes:
        await response.write(shape.last_bytes)
    return response


class _Outputs:
    """Carries events from the worker thread to one handler, until all its sequences have ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._queue: asyncio.Queue[tuple[int, Delta | Failure]] = asyncio.Queue()
        self.open = 0

    def emitter(self, index: int) -> Callable[[Delta | Failure], None]:
        """Return the callback of sequence number `index`; it runs in the worker thread."""

        def emit(event: Delta | Failure) -> None:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, (index, event))

        return emit

    def __aiter__(self) -> _Outputs:
        return self

    async def __anext__(self) -> tuple[int, Delta]:
        if not self.open:
            raise StopAsyncIteration
        index, event = await self._queue.get()
        if isinstance(event, Failure):
            raise internal(event.message)
        self.open -= event.finish is not None
        return index, event


def internal(message: str) -> RequestError:
    """A fault of the engine's own."""
    return RequestError(f"The engine failed: {message}.", status=500, kind="server_error")


def _overloaded() -> RequestError:
    return RequestError(
        "The engine's queue is full; try again later.",
        code="engine_overloaded",
        status=503,
        kind="server_error",
    )


async def _send(response: web.StreamResponse, shape: Shape, events: Iterable[JsonObject]) -> None:
    if chunk := b"".join(map(shape.sse, events)):
        await response.write(chunk)


def json_response(value: JsonObject, status: int = 200) -> web.Response:
    """An answer that is not streamed."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )
