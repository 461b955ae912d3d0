"""The connections to one upstream: taken, given back, and given up when idle."""

from __future__ import annotations

import asyncio
import ssl
from urllib.parse import urlsplit

from proxy import config
from proxy.errors import ConfigError
from proxy.upstream.connection import READ_BYTES, Connection
from proxy.upstream.faults import unreachable

# Uvicorn, under most engines, closes an idle connection after 5 s. Ours must be given
# up before that, or a call is sent into a connection that is being closed.
_KEEPALIVE_S = 4.0


class Pool:
    """Idle connections, the last used first: those that a quiet hour does not need grow old."""

    def __init__(self, settings: config.Upstream, context: ssl.SSLContext | None) -> None:
        parts = urlsplit(settings.url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._context = context
        self._server_name = (settings.tls.server_name or self._host) if context else None
        self._timeouts = settings.timeouts
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._idle: list[Connection] = []  # by the time since which they are idle
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    async def take(self) -> Connection:
        """Return an idle connection, else a new one; raises CallError (UPSTREAM_UNREACHABLE)."""
        oldest = asyncio.get_running_loop().time() - _KEEPALIVE_S
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and connection.idle_since > oldest:
                return connection
            connection.abort()
        return await self.connect()

    async def connect(self) -> Connection:
        """Return a new connection; raises CallError (UPSTREAM_UNREACHABLE)."""
        limit = min(self._timeouts.connect, self._timeouts.total)
        try:
            async with asyncio.timeout(limit):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(self._timeouts, self._buffer, self._lost),
                    self._host,
                    self._port,
                    ssl=self._context,
                    server_hostname=self._server_name,
                )
        except (OSError, TimeoutError, UnicodeError) as error:
            raise unreachable(type(error).__name__) from error
        return connection

    def give_back(self, connection: Connection) -> None:
        """Take a connection back: to be used again if its answer ended well, else closed."""
        if self._closed or not connection.reusable:
            connection.abort()
            return
        connection.rest()
        self._idle.append(connection)
        if self._sweep is None:
            self._sweep_later()

    def close(self) -> None:
        """Close every idle connection; those with a call end with it."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def _lost(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def _sweep_later(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(_KEEPALIVE_S, self._give_up_old)

    def _give_up_old(self) -> None:
        self._sweep = None
        oldest = asyncio.get_running_loop().time() - _KEEPALIVE_S
        kept = [connection for connection in self._idle if connection.idle_since > oldest]
        for connection in self._idle[: len(self._idle) - len(kept)]:
            connection.abort()
        self._idle = kept
        if kept:
            self._sweep_later()


def tls_context(path: str, settings: config.Upstream) -> ssl.SSLContext | None:
    """Return the context for an https:// upstream, None for http://; raises ConfigError.

    `path` is the upstream's place in the configuration, for the error.
    """
    if urlsplit(settings.url).scheme != "https":
        return None
    tls = settings.tls
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.client_cert_file is not None:
            # An empty password: a key that needs one must not make the gateway ask a terminal.
            context.load_cert_chain(tls.client_cert_file, tls.client_key_file, password="")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}.tls: expected PEM files of certificates and an unencrypted key ({error})"
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
