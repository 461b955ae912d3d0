"""The two ways in which an answer through the gateway is compared with the engine's own."""

import json
import time
from typing import Any

from engine_cases import CASES
from faithful import Answered, ask, without_usage_event
from gateway import Gateway
from server_process import Server


def through(served: Gateway, name: str, model: str = "plain", account: str = "alice") -> Answered:
    """Answer to a case through the gateway."""
    path, body = CASES[name]
    return ask(served.server.url, path, {"model": model, **body}, served.api_keys[account])


def straight(engine: Server, name: str, **more: Any) -> Answered:
    """Answer of the engine itself."""
    path, body = CASES[name]
    return ask(engine.url, path, {"model": "smol", **body, **more})


def assert_same(came: Answered, own: Answered, name: str) -> None:
    """Assert that a client would have got the same of the engine, byte for byte."""
    assert (came.status, came.content_type) == (own.status, own.content_type)
    if CASES[name][1].get("n", 1) > 1:
        # Which choice is the first to say its next token is the engine's chance.
        assert sorted(came.events()) == sorted(without_usage_event(own))
    elif _usage_was_added(name):
        # The gateway asked for the record and the client did not: it must not see it.
        assert came.events() == without_usage_event(own)
    else:
        assert came.masked() == own.masked()


def call_of(served: Gateway, account: str) -> dict[str, Any]:
    """Registry's entry of the only call of an account."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for line in _lines(served):
            entry: dict[str, Any] = json.loads(line)
            if entry["name"] == account:
                return entry
        time.sleep(0.05)
    raise AssertionError("the call was not recorded")


def _lines(served: Gateway) -> list[str]:
    return served.registry.read_text().splitlines() if served.registry.exists() else []


def _usage_was_added(name: str) -> bool:
    return name in ("chat-stream", "chat-two-choices", "chat-tools-stream", "completions-stream")
