"""The recorded answers, and what a plain reading of their JSON says is in them.

This reading shares no code with the gateway's: it parses everything, and is slow.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
_EVENT = re.compile(rb".*?\n\n", re.DOTALL)


@dataclass(frozen=True)
class Recording:
    """One answer of a real engine to one request."""

    name: str
    path: str
    status: int
    content_type: str
    request: bytes
    answer: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The client's request."""
        return dict(json.loads(self.request))

    @property
    def streams(self) -> bool:
        return self.content_type.startswith("text/event-stream")

    @cached_property
    def events(self) -> list[bytes]:
        """The stream's events with their ends."""
        found = _EVENT.findall(self.answer)
        assert b"".join(found) == self.answer
        return found

    @cached_property
    def contents(self) -> list[dict[str, Any]]:
        """Every JSON object of the answer: one, or one for each event."""
        if not self.streams:
            return [json.loads(self.answer)]
        return [content for event in self.events if (content := content_of(event)) is not None]

    @property
    def seen(self) -> bytes:
        """What the client must see: all but a usage record that it did not ask for."""
        options = self.body.get("stream_options") or {}
        if not self.streams or options.get("include_usage"):
            return self.answer
        return b"".join(event for event in self.events if not is_usage_record(event))

    @property
    def usage(self) -> tuple[int | None, int | None]:
        """Tokens of prompt and answer."""
        prompt = completion = None
        records = 0
        for content in self.contents:
            usage = usage_in(content)
            prompt = usage.get("prompt_tokens", prompt)
            if "input_tokens" in usage:
                read, created = "cache_read_input_tokens", "cache_creation_input_tokens"
                prompt = usage["input_tokens"] + usage.get(read, 0) + usage.get(created, 0)
            spent = usage.get("output_tokens", usage.get("completion_tokens"))
            if spent is not None:
                # llama.cpp has one record for each choice.
                records += content.get("choices") == []
                completion = spent + (completion or 0) if records > 1 else spent
        return prompt, completion

    @property
    def texts(self) -> list[str]:
        """Texts of the answer: by choice, item of the output or block."""
        texts: dict[Any, str] = {}
        for content in self.contents:
            for place, piece in _pieces(content):
                texts[place] = texts.get(place, "") + piece
        return [text for _, text in sorted(texts.items()) if text]


def _pieces(content: dict[str, Any]) -> list[tuple[Any, str]]:
    """Pieces of text in an answer or event, with what tells one text from another."""
    found: list[tuple[Any, str]] = []
    for choice in content.get("choices") or ():
        said = choice.get("delta") or choice.get("message") or {"content": choice.get("text")}
        found.append((choice["index"], said.get("content") or ""))
    for index, item in enumerate(content.get("output") or ()):
        found += [(index, p["text"]) for p in item["content"] if p["type"] == "output_text"]
    if content.get("type") == "response.output_text.delta":
        found.append((0, content["delta"]))
    if content.get("type") == "message":
        blocks = enumerate(content["content"])
        found += [(i, block["text"]) for i, block in blocks if block["type"] == "text"]
    if content.get("type") == "content_block_delta" and "text" in content["delta"]:
        found.append((content["index"], content["delta"]["text"]))
    return found


def usage_in(content: dict[str, Any]) -> dict[str, int]:
    """Usage in an answer or event, wherever its dialect has it."""
    holders = (content, content.get("response") or {}, content.get("message") or {})
    return next((dict(holder["usage"]) for holder in holders if holder.get("usage")), {})


def content_of(event: bytes) -> dict[str, Any] | None:
    """JSON of an event; None for a comment and for [DONE]."""
    for line in event.splitlines():
        if line.startswith(b"data: {"):
            return dict(json.loads(line[6:]))
    return None


def is_usage_record(event: bytes) -> bool:
    content = content_of(event) or {}
    return content.get("choices") == [] and bool(content.get("usage"))


def _load(file: Path) -> Recording:
    name = file.name.removesuffix(".meta.json")
    meta = json.loads(file.read_text())
    return Recording(
        f"{file.parent.name}/{name}",
        meta["path"],
        meta["status"],
        meta["content_type"],
        (file.parent / f"{name}.request.json").read_bytes(),
        (file.parent / f"{name}.answer.bytes").read_bytes(),
    )


RECORDINGS = [_load(file) for file in sorted(HERE.glob("*/*.meta.json"))]
STREAMS = [recording for recording in RECORDINGS if recording.streams]
