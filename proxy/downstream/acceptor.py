"""Listening sockets: bound once, accepted from by one process or by several.

Workers share the supervisor's sockets instead of binding their own with SO_REUSEPORT.
A socket of one's own takes its queue of connections with it when it closes, so that a
reload would reset clients, and the kernel spreads by a hash of addresses, blind to
load. Each worker takes one connection a turn of its loop: one that is busy turns
less often and gets fewer. (asyncio and libuv accept until the queue is empty, which
gives a burst of connections to whichever worker wakes first.)
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

from proxy.errors import StartError

_log = logging.getLogger(__name__)
_BACKLOG = 1024
# Without a file descriptor left, accepting fails at once for as long as that lasts.
_PAUSE_S = 0.1
_QUEUE_MOVED_ON = (BlockingIOError, InterruptedError, ConnectionAbortedError)


def bind(section: str, host: str, port: int) -> list[socket.socket]:
    """Listen on every address of `host`; raises StartError that names `section`."""
    sockets: list[socket.socket] = []
    try:
        for family, address in _addresses(host, port):
            sockets.append(socket.create_server(address, family=family, backlog=_BACKLOG))
            sockets[-1].setblocking(False)
    except OSError as error:
        close_all(sockets)
        raise StartError(bind_failure(section, host, port, error)) from None
    return sockets


def bind_failure(section: str, host: str, port: int, error: OSError) -> str:
    """Say why a port cannot be opened, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return (
            f"{section}.port: {host}:{port} is in use by another process: "
            "stop that one or choose another port"
        )
    return f"{section}: cannot listen on {host}:{port} ({error.strerror or error})"


def url_of(address: tuple[object, ...]) -> str:
    """Return the URL of a socket address."""
    host, port = address[0], address[1]
    return f"http://[{host}]:{port}" if ":" in str(host) else f"http://{host}:{port}"


def close_all(sockets: list[socket.socket]) -> None:
    """Close this process's hold on some sockets."""
    for each in sockets:
        each.close()


class Acceptor:
    """Takes connections from one listening socket and gives each a protocol."""

    def __init__(self, listening: socket.socket, make: Callable[[], asyncio.Protocol]) -> None:
        self._listening = listening
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(listening, self._accept)

    @property
    def opening(self) -> bool:
        """Whether a connection is accepted but has not got its protocol."""
        return bool(self._opening)

    def close(self) -> None:
        """Take no more; other processes that hold the socket go on."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening)
        self._listening.close()

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except _QUEUE_MOVED_ON:
            return  # another worker was faster, or the client has gone
        except OSError as error:
            _log.error("accept_failed", extra={"fields": {"reason": error.strerror}})
            self._loop.remove_reader(self._listening)
            self._pause = self._loop.call_later(_PAUSE_S, self._resume)
            return
        connection.setblocking(False)
        opening = self._loop.create_task(self._open(connection))
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._accept)

    async def _open(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, connection)
        except OSError:
            connection.close()  # the client has gone already


def _addresses(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = [(family, (str(address[0]), int(address[1]))) for family, *_, address in found]
    return list(dict.fromkeys(addresses))
