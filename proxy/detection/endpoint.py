"""The requests of POST /detect, from its limits to its answer.

The verdict is coarse on purpose: no p-value, no spans, nothing of accounts. An exact one
would tell whoever edits a text which edit removed how much of the mark.
"""

from __future__ import annotations

import math
import time

import msgspec

from proxy.config import Detection as Settings
from proxy.config import Limits
from proxy.detection.clients import AddressLimiter, client_network
from proxy.detection.process import LEVEL, DetectorDownError, DetectorProcess
from proxy.dialects.contract import Reply
from proxy.downstream.exchange import Exchange
from proxy.errors import CallError, Kind
from proxy.guard.gcra import per_minute
from proxy.metrics import Metrics
from watermark.manifest import FORMAT

DETECT = "/detect"
# The longest way to write a character in JSON: two escapes of six bytes.
_BYTES_A_CHARACTER = 12
_RETRY = {"retry-after": "5"}


class _Question(msgspec.Struct):
    text: str


class _Verdict(msgspec.Struct):
    verdict: str
    level: float = LEVEL
    format: str = FORMAT
    scope: str = "site"


_decode = msgspec.json.Decoder(_Question).decode


class Detection:
    """Answers for one process of the gateway, of `workers` that share the limit."""

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        process: DetectorProcess,
        metrics: Metrics,
        workers: int,
    ) -> None:
        self.process = process
        longest = settings.max_characters * _BYTES_A_CHARACTER + 1024
        self.limits = limits.model_copy(update={"max_body_bytes": longest})
        self._settings = settings
        self._metrics = metrics
        rate = per_minute(settings.requests_per_minute).share(workers)
        self._clients = AddressLimiter(rate, time.monotonic)

    async def run(self, exchange: Exchange, peer: str | None) -> None:
        """Answer one request; raises CallError. The body is read only if it may be judged."""
        wait = self._clients.wait_s(client_network(peer))
        if wait:
            self._metrics.detections_refused("rate")
            headers = {"retry-after": str(math.ceil(wait))}
            limit = self._settings.requests_per_minute
            raise CallError(
                Kind.RATE_LIMITED, f"Rate limit reached: {limit} texts per minute.", headers=headers
            )
        text = await exchange.parsed(self._text)
        begun = time.perf_counter()
        try:
            verdict = await self.process.judge(text)
        except DetectorDownError as error:
            self._metrics.detections_refused("down")
            raise CallError(
                Kind.OVERLOADED,
                "The detector cannot judge this text now. Please try again.",
                headers=_RETRY,
                detail=f"detector {error}",
            ) from None
        self._metrics.detected(verdict, time.perf_counter() - begun)
        headers = {"content-type": "application/json", "cache-control": "no-store"}
        await exchange.reply(Reply(200, headers, msgspec.json.encode(_Verdict(verdict))))

    def _text(self, body: bytes) -> str:
        try:
            text = _decode(body).text
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # The reason is left out: it could quote the text, and errors are logged.
            raise CallError(
                Kind.BAD_BODY, 'The body must be JSON such as {"text": "…"}.', param="text"
            ) from None
        most = self._settings.max_characters
        if len(text) > most:
            raise CallError(
                Kind.BODY_TOO_LARGE, f"The text has more than {most} characters.", param="text"
            )
        return text
