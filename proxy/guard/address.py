"""Where Redis is: its URL, read once, and the connection made from it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from proxy.errors import ConfigError
from proxy.guard.commands import command
from proxy.guard.wire import ReplyError, StoreAwayError, Wire

_PORT = 6379
# Nobody waits for a connection but the probe, and TLS takes longer than a decision may.
_CONNECT_S = 1.0
_CLIENT_NAME = "azeotrope"


@dataclass(frozen=True, slots=True)
class Address:
    """A server: a socket's path, or host and port; and who we are to it."""

    path: str | None
    host: str
    port: int
    tls: ssl.SSLContext | None
    database: int
    user: str | None
    password: str | None = field(repr=False)

    @classmethod
    def of(cls, url: str) -> Address:
        """Read a redis://, rediss:// or unix:// URL; raises ConfigError."""
        try:
            parts = urlsplit(url)
            options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
            return cls._of(parts, options)
        except (ValueError, OSError):  # names nothing of the URL: it may hold a password
            raise ConfigError(
                "redis.url: expected redis://[user:password@]host[:port][/database], the same "
                "with rediss://, or unix://[user:password@]/path; options are db and ssl_ca_certs"
            ) from None

    @classmethod
    def _of(cls, parts: SplitResult, options: dict[str, str]) -> Address:
        local = parts.scheme == "unix"
        database = options.pop("db", None)
        if not local and parts.path not in ("", "/"):
            database = parts.path[1:]
        authority = options.pop("ssl_ca_certs", None)
        if options or parts.fragment or (local and not parts.path):
            raise ValueError
        return cls(
            path=unquote(parts.path) if local else None,
            host=parts.hostname or "127.0.0.1",
            port=parts.port or _PORT,
            tls=ssl.create_default_context(cafile=authority) if parts.scheme == "rediss" else None,
            database=int(database or 0),
            user=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )

    async def connect(self, make: Callable[[], Wire]) -> Wire:
        """Connect and introduce ourselves; raises StoreAwayError."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                wire = await self._open(make)
        except TimeoutError:
            raise StoreAwayError("deadline", "no connection in time") from None
        except (OSError, UnicodeError) as error:  # a refusal, TLS; a name that can be none
            raise StoreAwayError("lost", type(error).__name__) from None
        try:
            await self._introduce(wire)
        except BaseException:
            wire.break_off(StoreAwayError("lost", "given up"))
            raise
        return wire

    async def _open(self, make: Callable[[], Wire]) -> Wire:
        loop = asyncio.get_running_loop()
        if self.path is not None:
            _, wire = await loop.create_unix_connection(make, self.path)
        else:
            _, wire = await loop.create_connection(make, self.host, self.port, ssl=self.tls)
        return wire

    async def _introduce(self, wire: Wire) -> None:
        if self.password is not None:
            who = (self.password,) if self.user is None else (self.user, self.password)
            await _expect_ok(wire, command("AUTH", *who))
        if self.database:
            await _expect_ok(wire, command("SELECT", self.database))
        # For CLIENT LIST only; a user may lack the right to it.
        await wire.ask(command("CLIENT", "SETNAME", _CLIENT_NAME))


async def _expect_ok(wire: Wire, packed: bytes) -> None:
    reply = await wire.ask(packed)
    if isinstance(reply, ReplyError):
        raise StoreAwayError("error", reply.code)
