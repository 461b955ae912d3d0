"""Mode `engine`: the engine's own logits processor embeds; the gateway signs the ticket."""

from __future__ import annotations

import time

from proxy.call import Call, Treatment
from proxy.metrics import Metrics
from watermark.keys import EpochKeys
from watermark.ticket import Ticket, sign


class EngineEmbedder:
    """Signs a ticket for every call, under the keys of one epoch."""

    def __init__(self, keys: EpochKeys, ttl_s: int, metrics: Metrics) -> None:
        self._keys = keys
        self._ttl_s = ttl_s
        self._metrics = metrics

    def prepare(self, call: Call, treatment: Treatment) -> str:
        """Return the signed ticket of a call."""
        ticket = Ticket(
            epoch=self._keys.epoch,
            account=call.account.number,
            call=call.number,
            delta_millinats=treatment.delta_millinats,
            level=treatment.level,
            expires=int(time.time()) + self._ttl_s,
        )
        self._metrics.tickets.inc()
        return sign(ticket, self._keys.ticket)
