"""The main job with the real parts: official client, gateway, vLLM with our plugin, detector."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway import Gateway, gateway
from marks import Keys
from server_process import Server

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def served(
    vllm: Server, mild_keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    directory = tmp_path_factory.mktemp("gateway")
    # Strong, so that a small model's few tokens name one account among 24,000.
    with gateway(directory, mild_keys, vllm, ["alice", "bob"], delta=6.0) as running_gateway:
        yield running_gateway


def ask(served: Gateway, account: str, *, stream: bool, **more: Any) -> str:
    question = "Describe the life of a river from its spring to the sea."
    asked: dict[str, Any] = {
        "model": "assistant",
        "messages": [{"role": "user", "content": question}],
        "max_tokens": 300,
        # Long enough to name one account among 24,000, whatever the model would say.
        "extra_body": {"min_tokens": 250},
        **more,
    }
    completions = served.client(account).chat.completions
    if not stream:
        return completions.create(**asked).choices[0].message.content or ""
    chunks = completions.create(stream=True, **asked)
    return "".join(choice.delta.content or "" for c in chunks for choice in c.choices)


def judged(served: Gateway, keys: Keys, model: Path, text: str, calls: int) -> dict[str, Any]:
    """What `azeotrope detect --json` says of a text, once the registry has all the calls."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if served.registry.exists() and served.registry.read_text().count("\n") >= calls:
            break
        time.sleep(0.1)
    options = {
        "--keys": keys.keyring.path,
        "--manifest": keys.manifest_path,
        "--tokenizer": model,
        "--registry": served.registry,
        "--accounts": "1-24000",
    }
    words = [str(word) for option in options.items() for word in option]
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "detect", "-", "--json", *words],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def test_the_detector_names_whose_answer_it_is(
    served: Gateway, mild_keys: Keys, model: Path
) -> None:
    texts = {
        "alice": ask(served, "alice", stream=True),
        "bob": ask(served, "bob", stream=False),
    }
    calls = [json.loads(line) for line in _registry_lines(served, 2)]
    for name, text in texts.items():
        verdict = judged(served, mild_keys, model, text, calls=2)
        (call,) = [entry for entry in calls if entry["name"] == name]
        assert verdict["verdict"] == "marked"
        assert verdict["account"]["number"] == call["account"]


def test_a_client_cannot_escape_the_mark(served: Gateway, vllm: Server, mild_keys: Keys) -> None:
    """Fields that vLLM obeys, and that would put the answer out of the mark's reach."""
    before = vllm.counters("azeotrope_engine_requests_total", "ticket")
    escape = {
        "vllm_xargs": {"azeotrope": mild_keys.ticket(77, forged=True)},
        "watermarking": False,
        "use_beam_search": True,
    }
    assert ask(served, "alice", stream=False, max_tokens=8, extra_body=escape)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        after = vllm.counters("azeotrope_engine_requests_total", "ticket")
        if after != before:
            break
        time.sleep(0.1)
    assert after == before | {"valid": before["valid"] + 1}


def _registry_lines(served: Gateway, count: int) -> list[str]:
    deadline = time.monotonic() + 20
    lines: list[str] = []
    while len(lines) < count and time.monotonic() < deadline:
        time.sleep(0.1)
        lines = served.registry.read_text().splitlines()
    assert len(lines) >= count
    return lines
