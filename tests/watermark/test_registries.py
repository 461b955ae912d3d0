"""Reading call registries: folders, globs and segments, JSON lines and Parquet, exact copies."""

import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from detect_texts import CALL, Texts, records

from watermark.copies import LONGEST, answer_digest, digest_key, plain_form
from watermark.detect import registries
from watermark.detect.candidates import Candidates
from watermark.detect.registries import registry_files
from watermark.detect.trace_cli import trace
from watermark.errors import InputError
from watermark.keys import EpochKeys, Keyring

CLOSED = "calls-20260301T100000Z-0"


def line(call: int, account: int = 1, **fields: Any) -> dict[str, Any]:
    entry = {"call": call, "account": account, "time": f"time {call}", "model": "m"}
    return entry | {"name": f"name {account}", **fields}


def lines_file(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def parquet_file(path: Path, *entries: dict[str, Any]) -> Path:
    schema = pa.schema(
        [(n, pa.uint64()) for n in ("call", "account")]
        + [(n, pa.string()) for n in ("name", "time", "model")]
        + [("digest", pa.list_(pa.string()))]
    )
    pq.write_table(pa.Table.from_pylist(list(entries), schema), path, row_group_size=3)
    return path


def read(*paths: Path, digests: bool = False) -> Candidates:
    candidates = Candidates(digests=digests)
    for path in paths:
        candidates.add_registry(path, pytest.fail)
    return candidates


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An open file, closed segments of both kinds, a worker's, and files that are none."""
    parquet_file(tmp_path / f"{CLOSED}.parquet", *(line(n) for n in range(10)))
    lines_file(tmp_path / "calls-20260302T100000Z-1.jsonl", line(10), line(3, time="late"))
    lines_file(tmp_path / "calls.w2.jsonl", line(11, 2))
    lines_file(tmp_path / "calls.jsonl", line(12, 2))
    (tmp_path / f".{CLOSED}.parquet.part").write_bytes(b"half")
    (tmp_path / "calls.md").write_text("notes")
    lines_file(tmp_path / "calls-of-others.jsonl", line(99))
    return tmp_path


def test_a_file_brings_the_segments_beside_it(folder: Path) -> None:
    candidates = read(folder / "calls.jsonl")
    assert candidates.calls.numbers.tolist() == list(range(13))
    assert candidates.names == {1: "name 1", 2: "name 2"}
    assert candidates.calls.of(2).tolist() == [11, 12]
    for call in range(13):
        record = candidates.record(call)
        assert record is not None
        assert (record.number, record.time) == (call, "late" if call == 3 else f"time {call}")


def test_a_file_that_was_just_closed_may_be_missing(folder: Path) -> None:
    (folder / "calls.jsonl").unlink()
    assert len(read(folder / "calls.jsonl").calls) == 12


def test_a_closed_segment_brings_nothing_else(folder: Path) -> None:
    assert read(folder / f"{CLOSED}.parquet").calls.numbers.tolist() == list(range(10))


def test_a_folder_and_a_glob_are_read(folder: Path) -> None:
    assert len(read(folder).calls) == 14
    assert read(folder / "calls-*.jsonl").calls.numbers.tolist() == [3, 10, 99]


def test_segments_that_are_closed_and_converted_meanwhile_are_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_file = lines_file(tmp_path / "calls.jsonl", line(2))
    closed = lines_file(tmp_path / f"{CLOSED}.jsonl", line(1))

    def rotate(path: Path, report: Any) -> Any:
        if path == closed and closed.exists():
            parquet_file(closed.with_suffix(".parquet"), line(1))
            closed.unlink()
            open_file.rename(tmp_path / "calls-20260302T100000Z-0.jsonl")
            lines_file(open_file, line(3))
        return real(path, report)

    real = registries.read_blocks
    monkeypatch.setattr("watermark.detect.candidates.read_blocks", rotate)
    candidates = read(open_file)
    assert candidates.calls.numbers.tolist() == [1, 2, 3]
    assert [candidates.record(call).time for call in (1, 2, 3)] == [  # type: ignore[union-attr]
        "time 1",
        "time 2",
        "time 3",
    ]


@pytest.mark.parametrize("name", ["nothing.jsonl", "nothing*.jsonl", "no/such/calls.jsonl"])
def test_a_registry_that_is_not_there_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        registry_files(tmp_path / name)


def test_parquet_of_something_else_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(InputError, match="no column 'account'"):
        read(path)
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(InputError, match="cannot be read"):
        read(path)


def test_parquet_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "_ROWS", 7)
    digest = {n: f"{n:032x}" for n in range(100)}
    entries = [line(n, n % 3, digest=[digest[n]] if n % 2 else None) for n in range(100)]
    candidates = read(parquet_file(tmp_path / "calls.parquet", *entries), digests=True)
    assert candidates.calls.numbers.tolist() == list(range(100))
    found = candidates.copies([bytes.fromhex(digest[n]) for n in (51, 52, 53)])
    assert [copy.number for copy in found] == [51, 53]
    assert [copy.time for copy in found] == ["time 51", "time 53"]


def test_digests_are_kept_only_when_asked_for(tmp_path: Path) -> None:
    digest = "0f" * 16
    path = lines_file(tmp_path / "calls.jsonl", line(1, digest=["00" * 16, digest]))
    for wanted in (True, False):
        candidates = read(path, digests=wanted)
        assert candidates.has_digests
        found = [copy.number for copy in candidates.copies([bytes.fromhex(digest)])]
        assert found == ([1] if wanted else [])
    assert not read(path, digests=True).copies([bytes.fromhex("0f" * 15 + "00")])


def test_a_line_with_a_malformed_digest_is_no_entry(tmp_path: Path) -> None:
    path = lines_file(tmp_path / "calls.jsonl", line(1, digest=["short"]), line(2))
    told: list[str] = []
    candidates = Candidates()
    candidates.add_registry(path, told.append)
    assert told == [f"{path}:1: not a registry entry; line left out"]
    assert candidates.calls.numbers.tolist() == [2]


# ---- the digest


def test_the_digest_forgives_white_space_and_composition_and_nothing_else(keys: EpochKeys) -> None:
    key = digest_key(keys)
    digest = answer_digest(key, "Caf\u00e9 noir")
    assert answer_digest(key, " Cafe\u0301 \r\n noir\n") == digest
    assert len(digest) == 16
    for other in ("caf\u00e9 noir", "Caf\u00e9noir", "Caf\u00e9 noir.", "Cafe noir"):
        assert answer_digest(key, other) != digest
    assert answer_digest(digest_key(EpochKeys.derive(2, "", bytes(32))), "Caf\u00e9 noir") != digest


def test_texts_without_letters_and_endless_ones_have_no_digest(keys: EpochKeys) -> None:
    key = digest_key(keys)
    assert answer_digest(key, " \n\t") == answer_digest(key, "a" * (LONGEST + 1)) == b""
    assert len(answer_digest(key, "\ud800")) == 16
    assert plain_form("\u00a0a\u2003\n b ") == "a b"


# ---- azeotrope trace


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(trace, list(map(str, arguments)), env={"COLUMNS": "200"})


@pytest.fixture
def copied(texts: Texts, letters: list[int]) -> tuple[Path, Path]:
    """An unmarked text that is the answer of a call word for word, and the registry."""
    rng = random.Random(5)
    text = " ".join("".join(rng.choices("abcdefgh", k=6)) for _ in range(40))
    digest = answer_digest(digest_key(texts.keys), text).hex()
    path = texts.folder / "exact.jsonl"
    lines_file(path, line(CALL, 7, digest=[digest]), line(CALL + 1, 8, digest=["00" * 16]))
    return texts.file("copy.txt", text.replace(" ", "\n") + "\n"), path


def test_an_exact_copy_is_found_without_any_mark(texts: Texts, copied: tuple[Path, Path]) -> None:
    text, registry = copied
    result = invoke(text, *texts.options, "--registry", registry)
    assert result.exit_code == 0, result.output
    assert f"EXACT COPY of call {CALL}   account 7 (name 7), time {CALL}, m" in result.stdout
    assert "NOBODY NAMED" in result.stdout or "TOO SHORT" in result.stdout

    (found,) = records(invoke(text, *texts.options, "--registry", registry, "--json"))
    assert found["named"]
    assert not found["account"]["named"]
    assert found["copies"] == [
        {"number": CALL, "account": 7, "time": f"time {CALL}", "model": "m", "name": "name 7"}
    ]


def test_keys_without_the_privacy_key_say_once_what_they_cannot_do(
    texts: Texts, copied: tuple[Path, Path], tmp_path: Path
) -> None:
    text, registry = copied
    export = tmp_path / "detector.json"
    Keyring.load(Path(texts.options[1])).export("detector", export)
    options = ["--keys", export, *texts.options[2:], "--registry", registry, "--json"]
    result = invoke(text, text, *options)
    assert result.stderr.count("exact copies are not looked up") == 1
    assert [found["copies"] for found in records(result)] == [[], []]
    assert result.exit_code != 0
