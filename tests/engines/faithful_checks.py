"""The two ways in which an answer through the gateway is compared with the engine's own."""

import json
import time
from typing import Any

from engine_cases import CASES
from faithful import Answered, ask, without_usage_event
from gateway import Gateway
from server_process import Server


def through(served: Gateway, name: str, model: str = "plain") -> Answered:
    """Answer to a case through the gateway, as alice."""
    path, body = CASES[name]
    return ask(served.server.url, path, {"model": model, **body}, served.api_keys["alice"])


def straight(engine: Server, name: str, **more: Any) -> Answered:
    """Answer of the engine itself."""
    path, body = CASES[name]
    return ask(engine.url, path, {"model": "smol", **body, **more})


def assert_same(engine: Server, came: Answered, own: Answered, name: str) -> None:
    """Assert that a client would have got the same of the engine, byte for byte."""
    assert (came.status, came.content_type) == (own.status, own.content_type)
    if _usage_was_added(name):
        # The gateway asked for the record and the client did not: it must not see it.
        assert came.events() == without_usage_event(own)
    else:
        assert came.masked() == own.masked()


def last_call(served: Gateway, calls_before: int) -> dict[str, Any]:
    """Registry's entry of the call that was made since there were `calls_before` of them."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        lines = calls(served)
        if len(lines) > calls_before:
            return lines[-1]
        time.sleep(0.05)
    raise AssertionError("the call was not recorded")


def calls(served: Gateway) -> list[dict[str, Any]]:
    """All entries of the gateway's call registry."""
    if not served.registry.exists():
        return []
    return [json.loads(line) for line in served.registry.read_text().splitlines()]


def _usage_was_added(name: str) -> bool:
    return name in ("chat-stream", "chat-two-choices", "chat-tools-stream", "completions-stream")
