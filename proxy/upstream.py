"""The engines behind the gateway: which one serves a model, and one call to it.

Every failure becomes a CallError that names no address. There are no retries: a
completion that was begun is paid for, and must not be begun twice.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterable
from dataclasses import dataclass

import aiohttp
from multidict import CIMultiDictProxy
from yarl import URL

from proxy import config
from proxy.accounts import Account
from proxy.errors import CallError, Kind

# Uvicorn, under most engines, closes an idle connection after 5 s. Ours must be given
# up before that, or a call is sent into a connection that is being closed.
_KEEPALIVE_S = 4.0
_PROBE_S = 1.0
_SENT = ("accept", "user-agent")
# Everything else stays here: hop-by-hop headers (RFC 9110, 7.6.1), cookies, the engine's
# name, its own rate limits and request ids.
_RETURNED = (
    "content-type",
    "content-encoding",
    "content-language",
    "cache-control",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    "openai-processing-ms",
    "openai-version",
)


class Answer:
    """An engine's answer, its body not yet read."""

    def __init__(
        self, response: aiohttp.ClientResponse, timeouts: config.Timeouts, ends_at: float
    ) -> None:
        self._response = response
        self._idle_s = timeouts.idle
        self._ends_at = ends_at
        self._loop = asyncio.get_running_loop()

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._response.status

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that the client gets."""
        received = self._response.headers
        return {name: received[name] for name in _RETURNED if name in received}

    @property
    def streams(self) -> bool:
        """Whether the body is a stream of events."""
        return self._response.content_type == "text/event-stream"

    @property
    def framed(self) -> bool:
        """Whether the end of the body can be told from a broken connection (RFC 9112, 6.3)."""
        headers = self._response.headers
        return "content-length" in headers or "transfer-encoding" in headers

    async def read(self, limit: int) -> bytes:
        """Return the whole body; raises CallError, also if it has more than `limit` bytes."""
        chunks, size = [], 0
        while chunk := await self.next_chunk():
            size += len(chunk)
            if size > limit:
                raise _broken(f"the answer has more than {limit} bytes")
            chunks.append(chunk)
        return b"".join(chunks)

    async def next_chunk(self) -> bytes:
        """Return what has come of the body, at least one byte; b"" at its end.

        Raises CallError if the engine dies or falls silent.
        """
        deadline = min(self._loop.time() + self._idle_s, self._ends_at)
        try:
            async with asyncio.timeout_at(deadline):
                return await self._response.content.readany()
        except TimeoutError:
            raise _timeout("the answer stopped coming") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(type(error).__name__) from error

    def broken_off(self) -> CallError:
        """Return the error for a body whose end was not the end of the answer."""
        return _broken("the answer broke off")

    def close(self) -> None:
        """Let go of the connection; an answer that is not wholly read is cancelled."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class Upstream:
    """One engine: its address, its key, its timeouts."""

    def __init__(
        self, settings: config.Upstream, key: str | None, session: aiohttp.ClientSession
    ) -> None:
        self.name = settings.name
        self._url = URL(settings.url)
        self._timeouts = settings.timeouts
        self._session = session
        self._timeout = aiohttp.ClientTimeout(sock_connect=settings.timeouts.connect)
        self._headers = {
            "content-type": "application/json",
            # The splitter reads plain text, and an engine next door gains nothing.
            "accept-encoding": "identity",
        }
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"

    async def post(self, path: str, body: bytes, client_headers: CIMultiDictProxy[str]) -> Answer:
        """Send a call and wait for the head of its answer; raises CallError."""
        headers = {name: client_headers[name] for name in _SENT if name in client_headers}
        ends_at = asyncio.get_running_loop().time() + self._timeouts.total
        try:
            async with asyncio.timeout(min(self._timeouts.first_byte, self._timeouts.total)):
                response = await self._session.post(
                    self._url / path.removeprefix("/"),
                    data=io.BytesIO(body),  # bytes beyond 1 MiB would be sent in one go
                    headers={**headers, **self._headers},
                    timeout=self._timeout,
                    allow_redirects=False,
                )
        except TimeoutError:
            raise _timeout("no answer began in time") from None
        except aiohttp.ClientConnectorError as error:
            raise CallError(
                Kind.UPSTREAM_UNREACHABLE,
                "The model server cannot be reached.",
                detail=f"{self.name}: {type(error).__name__}",
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _broken(f"{self.name}: {type(error).__name__}") from error
        return self._checked(Answer(response, self._timeouts, ends_at))

    async def reachable(self) -> bool:
        """Tell whether the engine answers at all, whatever it says."""
        timeout = aiohttp.ClientTimeout(total=_PROBE_S)
        try:
            async with self._session.get(
                self._url / "v1/models",
                headers=self._headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                return response.status < 500
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    def _checked(self, answer: Answer) -> Answer:
        """Refuse answers that would lead the client astray."""
        # A redirect would carry the client's key elsewhere; a 401 is about our key, of
        # which such answers quote a part, and the client can do nothing about it.
        if answer.status < 200 or 300 <= answer.status < 400 or answer.status in (401, 407):
            answer.close()
            raise _broken(f"{self.name}: status {answer.status}")
        return answer


@dataclass(frozen=True, slots=True)
class Route:
    """Where a served model is found: the engine, and the model's name there."""

    served: str
    upstream: Upstream
    model: str


class Routes:
    """All served models."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = {route.served: route for route in routes}

    def find(self, model: str, account: Account) -> Route:
        """Return the route of a model; raises CallError (UNKNOWN_MODEL).

        A model that the account may not use looks like one that does not exist.
        """
        route = self._routes.get(model)
        if route is None or not account.may_use(model):
            raise CallError(
                Kind.UNKNOWN_MODEL,
                "The model does not exist or you do not have access to it.",
                param="model",
            )
        return route

    def models(self, account: Account) -> list[str]:
        """Return the served models that an account may use, in the configuration's order."""
        return [model for model in self._routes if account.may_use(model)]


def new_session() -> aiohttp.ClientSession:
    """Return the client session for all engines; call it in the event loop."""
    return aiohttp.ClientSession(
        # The number of calls is bounded by the limits, not by a queue in front of the engine.
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("user-agent", "accept"),
    )


def _broken(detail: str) -> CallError:
    return CallError(
        Kind.UPSTREAM_BROKEN, "The model server failed to answer this request.", detail=detail
    )


def _timeout(detail: str) -> CallError:
    return CallError(
        Kind.UPSTREAM_TIMEOUT, "The model server took too long to answer.", detail=detail
    )
