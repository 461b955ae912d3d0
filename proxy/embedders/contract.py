"""The contract of an embedder: how the mark gets into an answer.

`prepare` runs once per call, after the treatment is decided and before the call is
sent. It does no I/O and may not fail for a valid call. What it returns goes to the
engine and never to the client.

An embedder that changes text on its way back to the client will need more than this
(a stream transformer); the one of this release leaves all bytes alone.
"""

from __future__ import annotations

from typing import Protocol

from proxy.call import Call, Treatment


class Embedder(Protocol):
    """Puts the mark of a call into its answer."""

    def prepare(self, call: Call, treatment: Treatment) -> str:
        """Return the signed ticket that tells the engine whose mark the answer gets."""
