"""What answers on which path, and what a client hears when nothing does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from urllib.parse import unquote

from aiohttp import web

from proxy import logs
from proxy.config import Limits
from proxy.detection import DETECT, Detection
from proxy.dialects import DIALECTS, speaker_of
from proxy.dialects.contract import Dialect, Reply, Speaker
from proxy.downstream.exchange import Exchange
from proxy.downstream.head import check, path_of
from proxy.errors import CallError, Kind, StreamCutError
from proxy.metrics import Metrics
from proxy.passthrough import NAME, Passage
from proxy.pipeline import Pipeline

_log = logging.getLogger(__name__)
MODELS = "/v1/models"


class Endpoints:
    """Answers every request of the clients' port, with a dialect's answer or its error."""

    def __init__(
        self,
        pipeline: Pipeline,
        untouched: Mapping[str, Passage],
        public: Mapping[str, bytes],
        detection: Detection | None,
        *,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        """`untouched` and `public` are by path; the latter is JSON that anyone may read."""
        self.draining = self.retiring = False
        self._public = public
        self._detection = detection
        self._pipeline = pipeline
        self._untouched = untouched
        self._limits = limits
        self._metrics = metrics
        self._started = int(time.time())

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; raises only what ends a connection."""
        path = path_of(request.raw_path)
        exchange = Exchange(request, self._limits_of(path))
        dialect = DIALECTS.get(path)
        speaker = dialect.speaker if dialect else speaker_of(exchange.headers)
        exchange.tell({speaker.id_header: exchange.request_id})
        if self.retiring:
            exchange.close_after_answer()
        try:
            check(request)
            if self.draining:
                exchange.close_after_answer()
                raise CallError(Kind.DRAINING, "This server is shutting down. Please try again.")
            await self._run(request, path, exchange, dialect, speaker)
        except StreamCutError:
            pass  # told to the client, counted and logged where it happened
        except CallError as error:
            await self._refuse(exchange, speaker, error)
        except (asyncio.CancelledError, ConnectionError):
            raise  # the client is gone
        except Exception:
            _log.exception("internal_error", extra={"fields": {"request_id": exchange.request_id}})
            if exchange.status is not None:
                exchange.cut()
            else:
                fault = CallError(Kind.INTERNAL, "The gateway failed to handle this request.")
                await self._refuse(exchange, speaker, fault)
        finally:
            if exchange.status is not None:
                own = NAME if path in self._untouched else None
                name = dialect.name if dialect else own
                self._metrics.answered(name, exchange.served, exchange.status)
        return exchange.response

    def _limits_of(self, path: str) -> Limits:
        if path == DETECT and self._detection is not None:
            return self._detection.limits
        return self._limits

    async def _run(
        self,
        request: web.BaseRequest,
        path: str,
        exchange: Exchange,
        dialect: Dialect | None,
        speaker: Speaker,
    ) -> None:
        if dialect is not None:
            _allow(request, "POST")
            await self._pipeline.run(dialect, exchange)
        elif path == MODELS or path.startswith(f"{MODELS}/"):
            _allow(request, "GET")
            await self._models(unquote(path), exchange, speaker)
        elif path == DETECT and self._detection is not None:
            _allow(request, "POST")
            await self._detection.run(exchange, request.remote)
        elif path in self._public:
            _allow(request, "GET")
            headers = {"content-type": "application/json", "cache-control": "max-age=300"}
            await exchange.reply(Reply(200, headers, self._public[path]))
        elif path in self._untouched:
            passage = self._untouched[path]
            _allow(request, *passage.methods)
            await passage.run(request.method, exchange)
        else:
            raise CallError(Kind.UNKNOWN_PATH, "There is nothing at this URL.")

    async def _models(self, path: str, exchange: Exchange, speaker: Speaker) -> None:
        account = self._pipeline.accounts.authenticate(speaker.credential(exchange.headers))
        if path == MODELS:
            body = speaker.models(self._pipeline.routes.models(account), self._started)
        else:
            route = self._pipeline.routes.find(path.removeprefix(f"{MODELS}/"), account)
            body = speaker.model(route.served, self._started)
        await exchange.reply(Reply(200, {"content-type": "application/json"}, body))

    async def _refuse(self, exchange: Exchange, speaker: Speaker, error: CallError) -> None:
        reply = speaker.error(error, exchange.request_id)
        fields = {
            "request_id": exchange.request_id,
            "status": reply.status,
            "kind": error.kind.name.lower(),
            "detail": error.detail,
        }
        logs.event(_log, "refused", fields)
        await exchange.reply(reply)


def _allow(request: web.BaseRequest, *methods: str) -> None:
    if request.method not in methods:
        raise CallError(
            Kind.WRONG_METHOD,
            f"Only {' and '.join(methods)} {'is' if len(methods) == 1 else 'are'} "
            "allowed at this URL.",
            headers={"allow": ", ".join(methods)},
        )
