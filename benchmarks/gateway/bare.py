"""The least that a proxy on aiohttp can be: its server, its client, no policy.

`python -m benchmarks.gateway.bare PORT UPSTREAM`
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web


async def _serve(port: int, upstream: str) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            async with session.request(
                request.method,
                upstream + request.path,
                data=await request.read(),
                headers={"content-type": "application/json"},
            ) as received:
                headers = {"content-type": received.headers["content-type"]}
                if received.content_type != "text/event-stream":
                    body = await received.read()
                    return web.Response(status=received.status, headers=headers, body=body)
                response = web.StreamResponse(status=received.status, headers=headers)
                await response.prepare(request)
                async for chunk in received.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response

        server = web.Server(answer, access_log=None, handler_cancellation=True)
        await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, backlog=1024)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
