"""What the call registry keeps of a call."""

from __future__ import annotations

import msgspec


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One finished call.

    `time` is RFC 3339 in UTC, the end of the call; tokens are None where nobody counted, and
    `usage_source` says who did; `embedder` is "none" where the answer got no mark. `digest` has
    the keyed digest (watermark/copies.py, hexadecimal) of each choice that has text.
    """

    call: int
    account: int
    name: str
    time: str
    model: str
    dialect: str
    prompt_tokens: int | None
    completion_tokens: int | None
    status: int
    end: str
    epoch: int
    embedder: str
    usage_source: str | None = None
    upstream: str | None = None
    digest: list[str] | None = None
