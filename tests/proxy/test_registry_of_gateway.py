"""What a running gateway writes into its call registry, and finds there again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fake_upstream import Conversation, FakeUpstream
from running import Site, Start, question

from watermark.copies import answer_digest, digest_key
from watermark.keys import Keyring

WHOLE = {
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "The sea is wide."}},
        {"index": 1, "message": {"role": "assistant", "content": "The sea is deep."}},
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 8},
}


def digest_of(key_files: tuple[Path, Path], text: str) -> str:
    return answer_digest(digest_key(Keyring.load(key_files[0]).current), text).hex()


async def test_a_line_says_who_marked_and_who_counted(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    upstream.answers_whole(json.dumps(WHOLE).encode())
    async with gateway.chat() as response:
        await response.read()
    (line,) = await gateway.stop()
    assert (line["dialect"], line["embedder"]) == ("openai_chat", "engine")
    assert (line["usage_source"], line["upstream"]) == ("engine", "fake")
    assert "digest" not in line


async def test_every_choice_of_a_whole_answer_has_a_digest(
    start: Start, site: Site, upstream: FakeUpstream, key_files: tuple[Path, Path]
) -> None:
    site.content["registry"] = {"path": "calls.jsonl", "digest": True}
    gateway = await start()
    upstream.answers_whole(json.dumps(WHOLE).encode())
    async with gateway.chat() as response:
        await response.read()
    (line,) = await gateway.stop()
    texts = ("The sea is wide.", "The sea is deep.")
    assert line["digest"] == [digest_of(key_files, text) for text in texts]


async def test_a_streamed_answer_has_the_digest_of_its_text(
    start: Start, site: Site, upstream: FakeUpstream, key_files: tuple[Path, Path]
) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.begin_stream()
        for part in ("The sea", " is wide."):
            event: dict[str, Any] = {"choices": [{"index": 0, "delta": {"content": part}}]}
            await conversation.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")
        await conversation.chunk(b"data: [DONE]\n\n")
        await conversation.end_stream()

    site.content["registry"] = {"path": "calls.jsonl", "digest": True}
    gateway = await start()
    upstream.script = script
    async with gateway.chat(question(stream=True)) as response:
        await response.read()
    (line,) = await gateway.stop()
    assert line["digest"] == [digest_of(key_files, "The sea is wide.")]
