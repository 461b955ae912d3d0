"""The engine's addresses: each parses, tokenises and hands on; refusals in the caller's dialect."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from aiohttp import web

from proxy.engine import events
from proxy.engine.answering import BEGUN, Answering, Work, internal, json_response
from proxy.engine.batching import Batcher
from proxy.engine.dialects import messages
from proxy.engine.dialects.choice_objects import ChatShape, CompletionShape, Vocabulary
from proxy.engine.dialects.choices import ChatRequest, CompletionRequest
from proxy.engine.dialects.embeddings import MAX_TOKENS, EmbeddingsRequest
from proxy.engine.dialects.messages import CountRequest, MessagesRequest, MessagesShape
from proxy.engine.dialects.responses import ResponsesRequest, ResponsesShape
from proxy.engine.metrics import EngineMetrics
from proxy.engine.model import LanguageModel
from proxy.engine.requests import ConversationRequest, Request, RequestError, parse
from watermark.embed.marker import Marker

MAX_BODY = 4 * 2**20  # bytes; a context of 8,192 tokens is some 40 kB
_MESSAGES = "/v1/messages"

_log = logging.getLogger("azeotrope.engine")
_Request = TypeVar("_Request", bound=Request)
_Conversation = TypeVar("_Conversation", bound=ConversationRequest)


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
        self._answering = Answering(self.batcher, model.context)
        self._created = int(time.time())
        self._vocabulary = Vocabulary(model.token_bytes)
        self._draining = False
        self.app = self._routes()

    def _routes(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY, middlewares=[self._answer_errors])
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/v1/responses", self._respond)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_post(_MESSAGES, self._message)
        app.router.add_post(f"{_MESSAGES}/count_tokens", self._count_tokens)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/models/{name:.+}", self._model)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        return app

    def drain(self) -> None:
        """Report unhealthy from now on, so that a balancer sends no more requests."""
        self._draining = True

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body, prompt = await self._conversation(request, ChatRequest)
        shape = ChatShape(self.name, len(prompt), self._vocabulary, body.include_usage)
        return await self._answering.answer(request, Work(body, [prompt], shape))

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await self._read(request, CompletionRequest)
        prompts = await self._prompts(body.prompts(), "prompt")
        read = sum(map(len, prompts))
        shape = CompletionShape(self.name, read, self._vocabulary, body.include_usage)
        return await self._answering.answer(request, Work(body, prompts, shape))

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        body, prompt = await self._conversation(request, ResponsesRequest)
        shape = ResponsesShape(self.name, len(prompt), body)
        return await self._answering.answer(request, Work(body, [prompt], shape))

    async def _message(self, request: web.Request) -> web.StreamResponse:
        body, prompt = await self._conversation(request, MessagesRequest)
        shape = MessagesShape(self.name, len(prompt))
        return await self._answering.answer(request, Work(body, [prompt], shape))

    async def _count_tokens(self, request: web.Request) -> web.Response:
        _, prompt = await self._conversation(request, CountRequest)
        return json_response({"input_tokens": len(prompt)})

    async def _embed(self, request: web.Request) -> web.Response:
        body = await self._read(request, EmbeddingsRequest)
        prompts = await self._prompts(body.inputs(), "input")
        read = sum(map(len, prompts))
        if read > MAX_TOKENS:
            raise RequestError(f"input has {read} tokens; at most {MAX_TOKENS}.", "input")
        vectors = await self._answering.embed(prompts)
        # In a thread: two thousand vectors take a while to write down.
        return await asyncio.to_thread(lambda: json_response(body.answer(self.name, vectors, read)))

    async def _read(self, request: web.Request, kind: type[_Request]) -> _Request:
        body = parse(await request.read(), kind)
        self._require_model(body.model)
        return body

    async def _conversation(
        self, request: web.Request, kind: type[_Conversation]
    ) -> tuple[_Conversation, list[int]]:
        """Read a body and the tokens of its conversation."""
        body = await self._read(request, kind)
        encode = self.model.encode_chat
        return body, await asyncio.to_thread(encode, body.turns(), body.prompt_field)

    async def _prompts(self, given: Sequence[str | list[int]], field: str) -> list[list[int]]:
        return [await asyncio.to_thread(self._prompt, one, field) for one in given]

    def _prompt(self, given: str | list[int], field: str) -> list[int]:
        if isinstance(given, str):
            return self.model.encode(given)
        if not all(0 <= token < self.model.vocabulary for token in given):
            raise RequestError(
                f"{field} has a token id that is not within 0..{self.model.vocabulary - 1}.", field
            )
        return given

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
        return json_response({"object": "list", "data": [entry]})

    async def _model(self, request: web.Request) -> web.Response:
        self._require_model(request.match_info["name"])
        return json_response(events.model(self.name, self._created, self.model.context))

    async def _health(self, request: web.Request) -> web.Response:
        if self._draining:
            return json_response({"status": "draining"}, status=503)
        return json_response({"status": "ok"})

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
        """Give every refusal the shape of its dialect, and count the answer."""
        shape = messages.error if request.path.startswith(_MESSAGES) else events.error
        try:
            response = await handler(request)
        except (RequestError, web.HTTPException) as refusal:
            problem = refusal if isinstance(refusal, RequestError) else _from_http(refusal)
            response = json_response(shape(problem), status=problem.status)
            if problem.status == 503:
                response.headers["Retry-After"] = "1"
        except ConnectionError:
            raise  # the client is gone: nothing to answer
        except Exception as fault:
            if request.get(BEGUN):
                raise  # aiohttp cuts the connection: no second answer into a stream
            # Only the kind of the fault: its message could hold a piece of the request.
            _log.error("request failed: %s", type(fault).__name__)
            response = json_response(shape(internal("internal error")), status=500)
        endpoint = request.match_info.route.resource
        label = endpoint.canonical if endpoint is not None else "other"
        self.metrics.requests.labels(label, str(response.status)).inc()
        return response


def _from_http(refusal: web.HTTPException) -> RequestError:
    messages = {
        404: "There is no such address.",
        405: "This address does not take that method.",
        413: f"The body is larger than {MAX_BODY} bytes.",
    }
    message = messages.get(refusal.status, refusal.reason)
    return RequestError(message, status=refusal.status)
