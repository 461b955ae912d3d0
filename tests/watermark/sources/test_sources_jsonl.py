"""JSON lines: fields, bad records, ranges of bytes, samples."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_files import read_cut, read_file

from watermark.detect.sources.shard import MAX_RECORD


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    path = tmp_path / "set.jsonl"

    def to_file(content: bytes) -> Path:
        path.write_bytes(content)
        return path

    return to_file


Write = Callable[[bytes], Path]
GOOD = b'{"text": "good"}'


def test_records_are_named_by_their_line_and_empty_lines_count(write: Write) -> None:
    path = write(b'\n{"text": "a"}\r\n  \n{"id": 1, "text": "b", "x": {"text": 7}}\n\r\n')
    found = read_file(path)
    assert found.records == {f"{path}:2": "a", f"{path}:4": "b"}
    assert found.lines == 5
    assert not found.complaints


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "not valid JSON"),
        (b'{"text": "cut o', "not valid JSON"),
        (b'{"text": "a"} {"text": "b"}', "not valid JSON"),
        (b'{"text": "raw \x00"}', "not valid JSON"),
        (b'{"x": ' + b"[" * 200_000, "not valid JSON"),
        (b'\xef\xbb\xbf{"text": "a mark not at the beginning of the file"}', "not valid JSON"),
        (b'{"text": "\xff"}', "not UTF-8 text"),
        (b'{"text": "\xed\xa0\x80"}', "not UTF-8 text"),
        (b'{"text": "\\ud800"}', "the text contains half a surrogate pair"),
        (b'{"text": "\\udc00\\ud800"}', "the text contains half a surrogate pair"),
        (b'{"text": null}', "no text in field 'text' (choose another with --text-field)"),
        (b'{"text": ["a"]}', "no text in field 'text' (choose another with --text-field)"),
        (b"{}", "no text in field 'text' (choose another with --text-field)"),
        (b'"a"', "no text in field 'text' (choose another with --text-field)"),
        (b"[]", "no text in field 'text' (choose another with --text-field)"),
    ],
)
def test_a_bad_record_is_told_and_left_out(write: Write, line: bytes, reason: str) -> None:
    path = write(b"\n".join([GOOD, line, GOOD]))
    found = read_file(path)
    assert found.complaints == {f"{path}:2": reason}
    assert found.places == [1, 3]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b'{"text": "nul \\u0000"}', "nul \0"),
        (b'{"text": "\\ud83d\\ude00"}', "\U0001f600"),
        (b'{"score": NaN, "text": "a"}', "a"),
        (b'{"x": "\\ud800", "text": "half a pair elsewhere"}', "half a pair elsewhere"),
        (b'{"x": ' + b"9" * 5000 + b', "text": "a"}', "a"),
        (b'{"text": "first", "text": "last"}', "last"),
        (b'{"te\\u0078t": "escaped"}', "escaped"),
        (b'{"text": ""}', ""),
        ('{"text": "\u2028\u2029\x85"}'.encode(), "\u2028\u2029\x85"),
    ],
)
def test_an_unusual_record_is_read(write: Write, line: bytes, text: str) -> None:
    assert read_file(write(line + b"\n" + GOOD)).values == [text, "good"]
    assert read_file(write(line + b"\n" + GOOD + b"\n{")).values == [text, "good"]


def test_two_records_on_a_line_are_bad_whatever_the_next_line_is(write: Write) -> None:
    path = write(GOOD + b" " + GOOD + b"\n\n" + GOOD)
    found = read_file(path)
    assert found.complaints == {f"{path}:1": "not valid JSON"}
    assert found.records == {f"{path}:3": "good"}


@pytest.mark.parametrize("share", [1.0, 0.9999999])
def test_a_byte_order_mark_is_no_part_of_the_first_line(write: Write, share: float) -> None:
    path = write(b"\xef\xbb\xbf" + GOOD + b"\n" + GOOD)
    assert read_file(path, sample=share).values == ["good", "good"]


@pytest.mark.parametrize(
    ("field", "record"),
    [
        ("response.content", {"response": {"content": "found", "x": 1}}),
        ("a.b.c", {"a": {"b": {"c": "found"}}}),
        ("response.content", {"response.content": "found"}),
        ("response.content", {"response": None, "response.content": "found"}),
        ("choices.0.message.content", {"choices": [{"message": {"content": "found"}}]}),
        ("messages.-1.content", {"messages": [{"content": "asked"}, {"content": "found"}]}),
        ("0", {"0": "found"}),
        ("é t", {"é t": "found"}),
        ('q"\\', {'q"\\': "found"}),
    ],
)
def test_a_field_is_a_path_or_a_name(write: Write, field: str, record: object) -> None:
    path = write(json.dumps(record).encode() + b'\n{"choices": [], "a": {"b": 1}}')
    found = read_file(path, text_field=field)
    assert found.values == ["found"]
    assert repr(field) in found.complaints[f"{path}:2"]


def test_token_ids_are_read_and_what_is_none_is_told(write: Write) -> None:
    lines = [b"[0, 7, 4294967294]", b"[]", b"[4294967295]", b"[-1]", b"[1.5]", b"[true]", b"null"]
    path = write(b"\n".join(b'{"ids": ' + line + b"}" for line in lines))
    found = read_file(path, ids_field="ids")
    assert found.values == [[0, 7, 2**32 - 2], []]
    wrong = "a token id is not a number from 0 to 2^32 - 2"
    assert list(found.complaints.values()) == [
        *[wrong] * 4,
        "no token ids in field 'ids' (choose another with --ids-field)",
    ]


# ---- ranges of bytes

LINES = st.sampled_from(
    [
        GOOD,
        b"",
        b" \r",
        b'{"text": "' + b"long " * 30 + b'"}\r',
        '{"text": "\u2028é"}'.encode(),
        b'{"text": "bad \\ud800"}',
        b'{"text":',
        b'{"text": "a"} {"text": "b"}',
        b"{}",
    ]
)


def expected(content: bytes) -> tuple[dict[int, str], set[int]]:
    """Good and bad lines by Python's own decoder."""
    good, bad = {}, set()
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            text = json.loads(line)["text"]
            text.encode()
            good[number] = text
        except (ValueError, KeyError):
            bad.add(number)
    return good, bad


@given(lines=st.lists(LINES, max_size=12), end=st.booleans(), size=st.integers(1, 400))
def test_shards_cut_anywhere_read_every_line_once(
    write: Write, lines: list[bytes], end: bool, size: int
) -> None:
    content = b"\n".join(lines) + (b"\n" if end else b"")
    path = write(content)
    good, bad = expected(content)
    for found in (read_file(path), read_cut(path, size)):
        assert found.records == {f"{path}:{n}": text for n, text in good.items()}
        assert set(found.complaints) == {f"{path}:{n}" for n in bad}
        assert found.lines == content.count(b"\n") + (
            not content.endswith(b"\n") and content != b""
        )


def test_lines_longer_than_a_read_and_than_a_shard_are_whole(write: Write) -> None:
    texts = ["a" * 3_000_000, "b", "c" * 1_500_000, "d" * ((1 << 20) - 12), "e"]
    path = write(b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts))
    for size in (64 << 20, 1_000_000, 200_001):
        assert read_cut(path, size).values == texts


def test_a_record_over_the_limit_is_told_and_the_next_is_read(write: Write) -> None:
    path = write(b'{"text": "' + b"x" * MAX_RECORD + b'"}\n' + GOOD)
    for size in (1 << 40, 30 << 20):
        found = read_cut(path, size)
        assert found.complaints == {f"{path}:1": "over 64 MiB long"}
        assert found.records == {f"{path}:2": "good"}
        assert found.lines == 2


def test_batches_stay_small_however_large_the_file_is(write: Write) -> None:
    path = write(b"\n".join([json.dumps({"text": "x" * 300_000}).encode()] * 90))
    found = read_file(path)
    assert len(found.values) == 90
    assert all(sum(map(len, batch.texts or [])) <= 10 << 20 for batch in found.batches)
    short = read_file(write(b"\n".join([GOOD] * 200_000)))
    assert len(short.values) == 200_000
    assert max(map(len, short.batches)) < 100_000


# ---- samples


def many(count: int) -> bytes:
    return b"".join(json.dumps({"text": str(n)}).encode() + b"\n" for n in range(count))


def test_a_sample_does_not_depend_on_the_shards(write: Write) -> None:
    path = write(many(3000))
    found = read_file(path, sample=0.1)
    assert 240 < len(found.values) < 360
    assert found.lines == 3000
    assert found.values == [str(place - 1) for place in found.places]
    for size in (100, 7001):
        cut = read_cut(path, size, sample=0.1)
        assert (cut.records, cut.lines) == (found.records, 3000)


def test_a_larger_sample_contains_the_smaller_one(write: Write) -> None:
    path = write(many(1000))
    small, large = (set(read_file(path, sample=share).values) for share in (0.05, 0.5))
    assert small < large


def test_bad_records_outside_the_sample_are_not_told(write: Write) -> None:
    path = write(b"{\n" * 1000)
    assert 60 < len(read_file(path, sample=0.1).complaints) < 140


def test_the_sample_differs_between_files(tmp_path: Path) -> None:
    found: list[Any] = []
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_bytes(many(500))
        found.append(read_file(tmp_path / name, sample=0.2).values)
    assert found[0] != found[1]
