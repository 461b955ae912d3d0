"""The operators' port: /metrics, /healthz and /readyz. Not for clients."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from proxy.downstream.acceptor import bind_failure, url_of
from proxy.errors import StartError

Readiness = Callable[[], Awaitable[Mapping[str, object]]]
Render = Callable[[], bytes]


class AdminPort:
    """Serves operators while clients are served elsewhere."""

    def __init__(self, render: Render, readiness: Readiness) -> None:
        self._render = render
        self._readiness = readiness
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._render_metrics),
                web.get("/healthz", self._alive),
                web.get("/readyz", self._ready),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def listen(self, host: str, port: int) -> str:
        """Begin to accept; return the URL. Raises StartError."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise StartError(bind_failure("admin", host, port, error)) from None
        return url_of(self._runner.addresses[0])

    async def close(self) -> None:
        """Stop serving."""
        await self._runner.cleanup()

    async def _render_metrics(self, request: web.Request) -> web.Response:
        # In a thread: rendering thousands of series takes long enough to hold up streams.
        body = await asyncio.to_thread(self._render)
        return web.Response(body=body, headers={"content-type": CONTENT_TYPE_LATEST})

    async def _alive(self, request: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def _ready(self, request: web.Request) -> web.Response:
        state = await self._readiness()
        status = 200 if state["ready"] else 503
        body = msgspec.json.encode(state)
        return web.Response(status=status, body=body, content_type="application/json")
