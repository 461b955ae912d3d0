"""aiohttp's server alone, which answers by itself: what no gateway on it can cost less than.

`python -m benchmarks.gateway.floor PORT`
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web

from benchmarks.gateway.questions import answer
from proxy.downstream.answering import Outgoing

_HEADERS = {"content-type": "application/json"}


async def _serve(port: int) -> None:
    body = answer()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return Outgoing(request, 200, _HEADERS, len(body), body).for_server()

    server = web.Server(handle, access_log=None, handler_cancellation=True)
    await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
