"""Real streams, damaged: whatever an engine or a network does to them, bytes pass as they came."""

from __future__ import annotations

import itertools
import random
import re
import time
from collections.abc import Callable

import msgspec
from recordings import STREAMS, Recording

from proxy.dialects import DIALECTS
from proxy.dialects.contract import Question, Reading
from proxy.errors import CallError, Kind
from proxy.sse import MAX_EVENT, Splitter

SECONDS = 1.5  # for each of the three tests
SEED = 20260103
BLANK_LINE = re.compile(rb"(\r\n|\n|\r(?!\n))(\r\n|\r|\n)$")

Mutation = Callable[[bytes, random.Random], bytes]


def _flipped(stream: bytes, source: random.Random) -> bytes:
    changed = bytearray(stream)
    for place in source.choices(range(len(stream)), k=source.randint(1, 8)):
        changed[place] ^= 1 << source.randrange(8)
    return bytes(changed)


def _truncated(stream: bytes, source: random.Random) -> bytes:
    return stream[: source.randrange(len(stream))]


def _line_ends(stream: bytes, source: random.Random) -> bytes:
    ends = [b"\n", b"\r", b"\r\n", b"\n\r"]
    lines = stream.split(b"\n")
    return b"".join(part for line in lines for part in (line, source.choice(ends)))


def _inserted(stream: bytes, source: random.Random) -> bytes:
    lines = stream.split(b"\n")
    strange = [
        b": ping",
        b"id: 7",
        b"retry: 1000",
        b"event: usage",
        b"data",
        b"data: ",
        b"data: [DONE]",
        b'data: {"usage":{"prompt_tokens":1,"completion_tokens":-1},"choices":[]}',
        b"",
        b"\xef\xbb\xbf",
        b"\x00",
        "data: a\u2028data: b\u2029".encode(),
        b"data: " + b"[" * 5000,
        b"data: " + b"x" * source.choice([10, MAX_EVENT + 9]),
    ]
    for _ in range(source.randint(1, 4)):
        lines.insert(source.randint(0, len(lines)), source.choice(strange))
    return b"\n".join(lines)


def _shuffled(stream: bytes, source: random.Random) -> bytes:
    events = stream.split(b"\n\n")
    source.shuffle(events)
    return b"\n\n".join(events)


def _spliced(stream: bytes, source: random.Random) -> bytes:
    other = source.choice(STREAMS).answer
    return stream[: source.randrange(len(stream))] + other[source.randrange(len(other)) :]


MUTATIONS: list[Mutation] = [_flipped, _truncated, _line_ends, _inserted, _shuffled, _spliced]


def cases(seed: int) -> itertools.chain[tuple[Recording, bytes, list[bytes]]]:
    """Damaged streams in pieces, as many as the time allows."""
    source, ends_at = random.Random(seed), time.monotonic() + SECONDS

    def some() -> list[tuple[Recording, bytes, list[bytes]]]:
        recording = source.choice(STREAMS)
        stream = recording.answer
        for mutation in source.choices(MUTATIONS, k=source.randint(1, 3)):
            stream = mutation(stream, source) or b"\n"
        count = source.choice([0, 1, 9, 200])
        places = sorted(source.choices(range(len(stream) + 1), k=count))
        bounds = [0, *places, len(stream)]
        return [(recording, stream, [stream[a:b] for a, b in itertools.pairwise(bounds)])]

    forever = itertools.takewhile(lambda _: time.monotonic() < ends_at, itertools.count())
    return itertools.chain.from_iterable(some() for _ in forever)


def run(question: Question, reading: Reading, pieces: list[bytes]) -> bytes:
    splitter = Splitter(reading, drops=question.added_usage)
    out = b"".join(splitter.feed(piece) for piece in pieces)
    assert len(splitter._tail) <= MAX_EVENT
    assert not splitter.at_boundary or not out or BLANK_LINE.search(out[-4:])
    return out + splitter.flush()


def state(reading: Reading) -> tuple[object, ...]:
    return reading.usage, reading.done, reading.text()


def test_a_client_that_asked_for_usage_gets_every_byte() -> None:
    for recording, stream, pieces in cases(SEED):
        dialect = DIALECTS[recording.path]
        question = dialect.parse(recording.request)
        if not question.added_usage:
            assert run(question, dialect.reading(question, texts=True), pieces) == stream


def test_another_client_misses_nothing_but_whole_usage_records() -> None:
    for recording, stream, pieces in cases(SEED + 1):
        dialect = DIALECTS[recording.path]
        question = dialect.parse(recording.request)
        if question.added_usage:
            passed = run(question, dialect.reading(question, texts=False), pieces)
            blocks, kept = blocks_of(stream), blocks_of(passed)
            missing = missing_of(blocks, kept)
            assert all(b'"usage"' in block and b'"choices"' in block for block in missing)
            assert passed == stream or missing
            if len(stream) < MAX_EVENT:  # the last one may be unfinished, and then it passes
                assert not any(is_record(block) for block in kept[:-1])


def missing_of(blocks: list[bytes], kept: list[bytes]) -> list[bytes]:
    """What of `blocks` is not kept; `kept` must hold nothing else, in the same order."""
    missing, place = [], 0
    for block in blocks:
        if place < len(kept) and block == kept[place]:
            place += 1
        else:
            missing.append(block)
    assert place == len(kept)
    return missing


def blocks_of(stream: bytes) -> list[bytes]:
    """The stream as clients divide it, with plain line ends and without idle empty lines."""
    blocks = re.sub(rb"\r\n|\r", b"\n", stream).split(b"\n\n")
    return [block.strip(b"\n") for block in blocks if block.strip(b"\n")]


def is_record(block: bytes) -> bool:
    """Whether a block holds nothing but usage; its data may come in several lines."""
    lines = (line for line in block.split(b"\n") if line == b"data" or line.startswith(b"data:"))
    try:
        content = msgspec.json.decode(b"\n".join(line[5:].removeprefix(b" ") for line in lines))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if not isinstance(content, dict) or content.get("choices") != []:
        return False
    usage = content.get("usage")
    return isinstance(usage, dict) and all(
        tokens is None or (type(tokens) is int and 0 <= tokens <= 2**53)
        for tokens in (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    )


def test_pieces_change_nothing_and_nothing_raises() -> None:
    cut = CallError(Kind.UPSTREAM_BROKEN, "cut")
    for recording, stream, pieces in cases(SEED + 2):
        dialect = DIALECTS[recording.path]
        question = dialect.parse(recording.request)
        one, other = (dialect.reading(question, texts=True) for _ in range(2))

        if len(max(pieces, key=len)) < MAX_EVENT and b"x" * MAX_EVENT not in stream:
            assert run(question, one, [stream]) == run(question, other, pieces)
            assert state(one) == state(other)
        else:
            run(question, other, pieces)
        assert other.error_event(cut).endswith(b"}\n\n")
        other.whole(stream)
