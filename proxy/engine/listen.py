"""A running engine: socket, HTTP server and worker thread, started and ended in the right order."""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from watermark.errors import AzeotropeError

if TYPE_CHECKING:
    from proxy.engine.server import EngineServer

_DRAIN_SECONDS = 20.0  # answers in progress get this long after a stop signal


class AddressError(AzeotropeError):
    """The engine cannot listen where it was told to."""


def bind(host: str, port: int) -> socket.socket:
    """Take a TCP address without listening yet (port 0: a free one); AddressError if it is taken.

    Done before the model is loaded, so that a taken port is told at once; clients are refused
    until the engine is ready.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise AddressError(
                f"port {port} on {host} is in use; stop what listens there or choose another --port"
            ) from error
        raise AddressError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return sock


@asynccontextmanager
async def running(server: EngineServer, sock: socket.socket) -> AsyncIterator[str]:
    """Serve on a bound socket while the block runs; yields the URL.

    At its end: unhealthy at once, no new connections, answers in progress get 20 s, then their
    handlers are cancelled and the worker thread ends.
    """
    runner = web.AppRunner(
        server.app, handler_cancellation=True, access_log=None, shutdown_timeout=_DRAIN_SECONDS
    )
    await runner.setup()
    server.batcher.start()
    try:
        await web.SockSite(runner, sock).start()
        host, port = sock.getsockname()[:2]
        yield f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    finally:
        server.drain()
        await runner.cleanup()
        server.batcher.stop()
