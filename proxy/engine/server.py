"""OpenAI's protocol over the batch loop: parse, tokenise, submit, stream or collect.

A client that hangs up cancels its handler (aiohttp's handler_cancellation), and that cancels its
tasks: their rows are free before the next step.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
from aiohttp import web

from proxy.engine import events
from proxy.engine.batching import Batcher, Delta, Failure, GenerationTask, QueueFullError
from proxy.engine.metrics import EngineMetrics
from proxy.engine.model import LanguageModel
from proxy.engine.requests import ChatRequest, CompletionRequest, RequestError, parse
from watermark.embed.marker import Marker

MAX_BODY = 4 * 2**20  # bytes; a context of 8,192 tokens is some 40 kB
_BEGUN = web.RequestKey("stream begun", bool)

_log = logging.getLogger("azeotrope.engine")


@dataclass(frozen=True)
class Work:
    """A request ready to run: one prompt per entry, `n` choices each."""

    request: ChatRequest | CompletionRequest
    prompts: list[list[int]]
    shape: events.Shape
    logprobs: int | None


class EngineServer:
    """The HTTP side of one engine: `app` serves `model` under `name`."""

    def __init__(
        self,
        model: LanguageModel,
        name: str,
        marker: Marker | None = None,
        max_batch: int = 32,
        max_waiting: int = 256,
    ) -> None:
        self.model, self.name = model, name
        self.metrics = EngineMetrics()
        if marker is not None:
            self.metrics.watch_tickets(marker.ticket_states)
        self.batcher = Batcher(model, marker, self.metrics, max_batch, max_waiting)
        self._created = int(time.time())
        self._vocabulary = events.Vocabulary(model.token_bytes)
        self._draining = False
        self.app = self._routes()

    def _routes(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._answer_errors])
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/models/{name:.+}", self._model)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        return app

    def drain(self) -> None:
        """Report unhealthy from now on, so that a balancer sends no more requests."""
        self._draining = True

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = parse(await request.read(), ChatRequest)
        self._require_model(body.model)
        prompt = await asyncio.to_thread(self.model.encode_chat, body.conversation())
        shape = events.ChatShape(self.name, self._vocabulary, body.include_usage)
        return await self._answer(request, Work(body, [prompt], shape, body.logprobs_wanted))

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = parse(await request.read(), CompletionRequest)
        self._require_model(body.model)
        prompts = [await asyncio.to_thread(self._prompt, given) for given in body.prompts()]
        shape = events.CompletionShape(self.name, self._vocabulary, body.include_usage)
        return await self._answer(request, Work(body, prompts, shape, body.logprobs))

    def _prompt(self, given: str | list[int]) -> list[int]:
        if isinstance(given, str):
            return self.model.encode(given)
        if not all(0 <= token < self.model.vocabulary for token in given):
            raise RequestError(
                f"prompt has a token id that is not within 0..{self.model.vocabulary - 1}.",
                "prompt",
            )
        return given

    async def _answer(self, request: web.Request, work: Work) -> web.StreamResponse:
        async with self._generate(work) as outputs:
            if work.request.stream:
                return await self._stream(request, work, outputs)
            return await self._collect(work, outputs)

    @asynccontextmanager
    async def _generate(self, work: Work) -> AsyncIterator[_Outputs]:
        """Submit one task per choice; whatever ends the block takes them out of the batch."""
        outputs = _Outputs(asyncio.get_running_loop())
        tasks = self._tasks(work, outputs)
        try:
            self.batcher.submit(tasks)
        except QueueFullError:
            raise RequestError(
                "The engine's queue is full; try again later.",
                code="engine_overloaded",
                status=503,
                kind="server_error",
            ) from None
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
            sampling = work.request.sampling(self._token_limit(prompt, work), work.logprobs)
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

    def _token_limit(self, prompt: Sequence[int], work: Work) -> int:
        """Most tokens of this answer; RequestError if prompt and answer exceed the context."""
        field = "messages" if isinstance(work.request, ChatRequest) else "prompt"
        wanted = work.request.token_limit
        if len(prompt) + (wanted or 1) <= self.model.context:
            return wanted or self.model.context - len(prompt)
        raise RequestError(
            f"This model's maximum context length is {self.model.context} tokens; you asked for "
            f"{len(prompt)} in the prompt and {wanted or 'at least 1'} in the answer.",
            field,
            code="context_length_exceeded",
        )

    async def _collect(self, work: Work, outputs: _Outputs) -> web.Response:
        deltas: dict[int, list[Delta]] = defaultdict(list)
        async for index, delta in outputs:
            deltas[index].append(delta)
        answers = [events.Answer.of(deltas[index]) for index in sorted(deltas)]
        return _json(work.shape.answer(answers, sum(map(len, work.prompts))))

    async def _stream(
        self, request: web.Request, work: Work, outputs: _Outputs
    ) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-cache",
            }
        )
        await response.prepare(request)
        request[_BEGUN] = True
        shape, made = work.shape, 0
        for index in range(outputs.open):
            await _send(response, shape.opening(index))
        try:
            async for index, delta in outputs:
                made += delta.tokens if delta.finish else 0
                await _send(response, shape.chunks(index, delta))
        except RequestError as problem:  # too late for a status: OpenAI sends the error as an event
            await _send(response, [events.error(problem)])
            return response
        if work.request.include_usage:
            await _send(response, [shape.usage_chunk(sum(map(len, work.prompts)), made)])
        await response.write(events.DONE)
        return response

    def _require_model(self, name: str) -> None:
        if name != self.name:
            raise RequestError(
                f"The model {name!r} does not exist; this engine serves {self.name!r}.",
                "model",
                code="model_not_found",
                status=404,
            )

    async def _models(self, request: web.Request) -> web.Response:
        entry = events.model(self.name, self._created, self.model.context)
        return _json({"object": "list", "data": [entry]})

    async def _model(self, request: web.Request) -> web.Response:
        self._require_model(request.match_info["name"])
        return _json(events.model(self.name, self._created, self.model.context))

    async def _health(self, request: web.Request) -> web.Response:
        if self._draining:
            return _json({"status": "draining"}, status=503)
        return _json({"status": "ok"})

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self.metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"}
        )

    @web.middleware
    async def _answer_errors(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Give every refusal OpenAI's shape, and count the answer."""
        try:
            response = await handler(request)
        except (RequestError, web.HTTPException) as refusal:
            problem = refusal if isinstance(refusal, RequestError) else _from_http(refusal)
            response = _json(events.error(problem), status=problem.status)
            if problem.status == 503:
                response.headers["Retry-After"] = "1"
        except ConnectionError:
            raise  # the client is gone: nothing to answer
        except Exception as fault:
            if request.get(_BEGUN):
                raise  # aiohttp cuts the connection: no second answer into a stream
            # Only the kind of the fault: its message could hold a piece of the request.
            _log.error("request failed: %s", type(fault).__name__)
            response = _json(events.error(_internal("internal error")), status=500)
        endpoint = request.match_info.route.resource
        label = endpoint.canonical if endpoint is not None else "other"
        self.metrics.requests.labels(label, str(response.status)).inc()
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
            raise _internal(event.message)
        self.open -= event.finish is not None
        return index, event


def _internal(message: str) -> RequestError:
    return RequestError(f"The engine failed: {message}.", status=500, kind="server_error")


def _from_http(refusal: web.HTTPException) -> RequestError:
    messages = {
        404: "There is no such address.",
        405: "This address does not take that method.",
        413: f"The body is larger than {MAX_BODY} bytes.",
    }
    message = messages.get(refusal.status, refusal.reason)
    return RequestError(message, status=refusal.status)


async def _send(response: web.StreamResponse, chunks: list[events.JsonObject]) -> None:
    if chunks:
        await response.write(b"".join(map(events.sse, chunks)))


def _json(value: events.JsonObject, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )
