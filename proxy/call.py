"""What travels through the pipeline: the call, and what is decided about it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from proxy.accounts import Account
from proxy.dialects.contract import Dialect, Question
from proxy.guard.contract import Verdict
from proxy.upstream import Route


# Structs: a frozen dataclass takes six times as long to make, and calls make several.
class Call(msgspec.Struct, frozen=True):
    """One admitted call: whose, which model, which number, and the question itself."""

    number: int
    request_id: str
    account: Account
    dialect: Dialect
    question: Question
    route: Route

    @property
    def embedder(self) -> str:
        """What puts the mark into the answer; "none" where there is none."""
        return self.route.settings.embedder if self.dialect.marked else "none"


@dataclass(frozen=True, slots=True)
class Treatment:
    """How an answer is marked; `delta_millinats` is the bias in thousandths of a nat."""

    delta_millinats: int
    level: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Decides each call's treatment: in this release by its model alone."""

    treatments: Mapping[str, Treatment]

    def decide(self, call: Call, verdict: Verdict) -> Treatment:
        """Return the treatment of a call."""
        return self.treatments[call.route.served]


def new_request_id() -> str:
    """Return a random id that a client can quote; it tells nothing of account or call number."""
    return f"req_{os.urandom(16).hex()}"
