"""`azeotrope scan` as its user runs it: what comes out, and what an error says."""

import gzip
import json
import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from click.testing import CliRunner, Result
from detect_texts import ACCOUNT, Texts

from watermark.detect.detector import Detector
from watermark.detect.scan.cli import scan
from watermark.detect.scan.parts import Part
from watermark.detect.scan.unit import UnitScan
from watermark.detect.tokenizer import TextTokenizer
from watermark.errors import AzeotropeError, InputError
from watermark.keys import KeySet

Scan = Callable[..., Result]


def chance(seed: int, length: int = 400) -> str:
    """Text that nobody marked."""
    return "".join(random.Random(seed).choices(string.ascii_letters, k=length))


@pytest.fixture
def run(texts: Texts, tmp_path: Path) -> Scan:
    """Scan files into tmp_path/out in this process."""

    def scanned(*arguments: object, out: str = "out") -> Result:
        options = ["--out", tmp_path / out, "--workers", 1, "--filter", "none", "--decoys", 20]
        command = [*texts.options, *options, *arguments]
        return CliRunner().invoke(scan, list(map(str, command)))

    return scanned


@pytest.fixture
def corpus(texts: Texts) -> Path:
    """A file of 60 records: every sixth is ours, one is torn."""
    lines = [
        json.dumps({"text": texts.text(seed=i) if i % 6 == 0 else chance(i)}) for i in range(60)
    ]
    lines.insert(7, '{"text": "tor')
    return texts.file("set.jsonl", "\n".join(lines) + "\n")


def rows(tmp_path: Path, out: str = "out") -> list[dict[str, Any]]:
    return pq.read_table(tmp_path / out / "documents.parquet").to_pylist()


def summary(tmp_path: Path, out: str = "out") -> dict[str, Any]:
    return json.loads((tmp_path / out / "summary.json").read_bytes())


def test_a_corpus_with_marked_records_is_marked(run: Scan, corpus: Path, tmp_path: Path) -> None:
    result = run(corpus)
    assert result.exit_code == 0, result.output
    found = summary(tmp_path)
    assert found["verdict"] == "marked"
    assert found["corpus"]["records"] == 60
    assert found["corpus"]["bad_records"] == 1
    assert found["documents"]["significant"] == 10
    assert found["decoys"]["ok"] is True
    assert found["decoys"]["rank"] == 1
    assert 0.1 < found["share"]["windows"]["point"] < 0.25
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "documents.parquet",
        "report.html",
        "scan.json",
        "summary.json",
    }


def test_settings_are_reported_by_the_names_of_their_options(
    run: Scan, corpus: Path, tmp_path: Path
) -> None:
    run(corpus, "--format", "jsonl", "--accounts", "1-9")
    assert summary(tmp_path)["options"] == {
        "text-field": "text",
        "sample": "1.0",
        "format": "jsonl",
        "filter": "none",
        "level": "1e-05",
        "fdr": "0.01",
        "family-level": "0.001",
        "decoys": "20",
        "accounts": "1-9",
    }


def test_rows_say_what_detect_says(run: Scan, corpus: Path, texts: Texts, tmp_path: Path) -> None:
    run(corpus)
    keys = KeySet.load(texts.options[1])
    detector = Detector(keys, keys.manifest(texts.options[3]))
    tokenizer = TextTokenizer(texts.options[5])
    lines = [line for line in corpus.read_text().split("\n")[:-1] if line.endswith("}")]
    for row, line in zip(rows(tmp_path), lines, strict=True):
        text = json.loads(line)["text"]
        single = detector.judge(tokenizer.encode(text).ids)
        assert (row["windows"], row["hits"]) == (single.site.windows, single.site.hits)
        assert row["log10_p"] == single.site.log10_p
        assert row["log10_corrected_p"] == pytest.approx(single.log10_p, abs=1e-12)
        assert row["tokens"] == len(text)
        for span in row["spans"]:
            assert 0 <= span["start"] < span["end"] <= len(text)


def test_records_are_named_by_their_line(run: Scan, corpus: Path, tmp_path: Path) -> None:
    run(corpus)
    found = rows(tmp_path)
    assert [row["position"] for row in found] == [*range(1, 8), *range(9, 62)]
    assert found[7]["document"] == f"{corpus}:9"
    (bad,) = summary(tmp_path)["bad"]
    assert bad["where"] == f"{corpus}:8"


def test_q_values_are_those_of_benjamini_and_hochberg(
    run: Scan, corpus: Path, tmp_path: Path
) -> None:
    run(corpus)
    found = rows(tmp_path)
    p = np.array([row["log10_corrected_p"] for row in found])
    order, count = np.argsort(p), len(p)
    for i, index in enumerate(order):
        expected = min(p[order[j]] + np.log10(count / (j + 1)) for j in range(i, count))
        assert found[index]["log10_q"] == pytest.approx(min(expected, 0), abs=1e-12)


def test_a_corpus_of_chance_is_not_marked(run: Scan, texts: Texts, tmp_path: Path) -> None:
    lines = [json.dumps({"text": chance(1000 + i)}) for i in range(40)]
    result = run(texts.file("clean.jsonl", "\n".join(lines)))
    assert result.exit_code == 1
    found = summary(tmp_path)
    assert found["verdict"] == "not marked"
    assert found["documents"]["significant"] == 0
    assert found["power"] > 0.99


def test_every_window_counts_once_in_the_whole_corpus(
    run: Scan, texts: Texts, tmp_path: Path
) -> None:
    text = json.dumps({"text": texts.text()}) + "\n"
    run(texts.file("once.jsonl", text), out="once")
    run(texts.file("often.jsonl", text * 50), out="often")
    once, often = summary(tmp_path, "once"), summary(tmp_path, "often")
    assert once["pooled"] == often["pooled"]
    assert once["pooled"][0]["windows"] > 100


def test_the_number_of_workers_changes_nothing(texts: Texts, tmp_path: Path) -> None:
    paths = []
    for index in range(5):
        lines = [
            json.dumps({"text": texts.text(seed=i) if i % 5 == 0 else chance(i * 31 + index)})
            for i in range(20)
        ]
        # Padded, so that each file is a unit of work of its own.
        lines.append(json.dumps({"other": "x" * (9 << 20), "text": chance(index)}))
        paths.append(texts.file(f"part{index}.jsonl", "\n".join(lines)))
    for workers in (1, 2):
        options = ["--out", tmp_path / str(workers), "--workers", workers, "--filter", "none"]
        command = [*texts.options, *options, "--accounts", "1-20", *paths]
        result = CliRunner().invoke(scan, list(map(str, command)))
        assert result.exit_code == 0, result.output
    assert rows(tmp_path, "1") == rows(tmp_path, "2")
    one, two = (summary(tmp_path, name) for name in "12")
    for changing in ("created", "command"):
        del one[changing], two[changing]
    assert one == two


def test_accounts_behind_the_corpus_are_named(
    run: Scan, corpus: Path, texts: Texts, tmp_path: Path
) -> None:
    registry = texts.registry("ACME Research")
    run(corpus, "--registry", registry, "--accounts", "1-500")
    (account,) = summary(tmp_path)["accounts"]
    assert (account["number"], account["name"], account["documents"]) == (
        ACCOUNT,
        "ACME Research",
        10,
    )
    assert account["log10_family_p"] < -20
    named = {row["account"] for row in rows(tmp_path) if row["account_named"]}
    assert named == {ACCOUNT}
    assert (
        "ACME Research" in (tmp_path / "out" / "report.html").read_text("utf-8") or account["name"]
    )


def test_all_formats_give_the_same_verdicts(run: Scan, texts: Texts, tmp_path: Path) -> None:
    documents = [texts.text(seed=1), chance(1), chance(2)]
    lines = "\n".join(json.dumps({"text": text}) for text in documents)
    texts.file("a.jsonl", lines)
    texts.file("b.jsonl.gz", gzip.compress(lines.encode()))
    texts.file("c.jsonl.zst", zstandard.compress(lines.encode()))
    texts.file("d.json", json.dumps([{"text": text} for text in documents]))
    texts.file("e.csv", "text\n" + "\n".join(documents))
    pq.write_table(pa.table({"text": documents}), texts.folder / "f.parquet")
    tokenizer = TextTokenizer(texts.options[5])
    ids = [tokenizer.encode(text).ids for text in documents]
    pq.write_table(pa.table({"ids": ids}), texts.folder / "g.parquet")
    for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "d.json", "e.csv", "f.parquet"):
        run(texts.folder / name, out=name)
    run(texts.folder / "g.parquet", "--ids-field", "ids", out="g.parquet")
    columns = ("windows", "hits", "log10_p", "log10_span_p", "log10_q", "tokens")
    expected = [[row[name] for name in columns] for row in rows(tmp_path, "a.jsonl")]
    assert expected[0][2] < -10 < expected[1][2]
    for name in ("b.jsonl.gz", "c.jsonl.zst", "d.json", "e.csv", "f.parquet", "g.parquet"):
        assert [[row[column] for column in columns] for row in rows(tmp_path, name)] == expected


def test_small_files_of_a_folder_are_scanned_together(
    run: Scan, texts: Texts, tmp_path: Path
) -> None:
    for index in range(30):
        path = texts.folder / "papers" / f"{index:02d}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(texts.text(seed=1) if index == 3 else chance(index))
    (texts.folder / "papers" / "notes.docx").write_bytes(b"x")
    result = run("-r", texts.folder / "papers")
    assert result.exit_code == 0
    found = rows(tmp_path)
    assert len(found) == 30
    assert [Path(row["document"]).name for row in found if row["log10_q"] < -2] == ["03.txt"]
    assert "1 files of unknown kind are not read" in result.stderr


def test_a_damaged_file_loses_no_other_result(run: Scan, texts: Texts, tmp_path: Path) -> None:
    good = texts.file("a.jsonl", json.dumps({"text": texts.text()}))
    packed = gzip.compress(
        "".join(json.dumps({"text": chance(i)}) + "\n" for i in range(99)).encode()
    )
    bad = texts.file("b.jsonl.gz", packed[: len(packed) // 2])
    result = run(good, bad)
    assert result.exit_code == 0
    found = summary(tmp_path)
    assert found["corpus"]["bad_files"] == 1
    assert [item["where"] for item in found["bad"] if item["kind"] == "file"] == [str(bad)]
    assert rows(tmp_path)[0]["log10_p"] < -10


def test_unicode_tricks_are_undone_and_spans_are_those_of_the_file(
    run: Scan, texts: Texts, tmp_path: Path
) -> None:
    clean = texts.text(seed=5)
    trick = "".join(letter + ("\u200b" if i % 3 == 0 else "") for i, letter in enumerate(clean))
    lines = [json.dumps({"text": clean}), json.dumps({"text": trick})]
    run(texts.file("tricks.jsonl", "\n".join(lines)))
    plain, tricked = rows(tmp_path)
    assert (plain["windows"], plain["hits"]) == (tricked["windows"], tricked["hits"])
    assert tricked["log10_corrected_p"] == pytest.approx(
        plain["log10_corrected_p"] + np.log10(2), abs=1e-9
    )
    (span,), (moved,) = plain["spans"], tricked["spans"]
    assert (
        trick[moved["start"] : moved["end"]].replace("\u200b", "")
        == (clean[span["start"] : span["end"]])
    )
    assert summary(tmp_path)["corpus"]["normalised_documents"] == 1


def test_words_are_tested_without_a_tokenizer(
    home: Any, plant: Callable[..., list[int]], tmp_path: Path
) -> None:
    from watermark.words import WordIds

    vocabulary = [f"word{index}" for index in range(300)]
    ids = WordIds(home.keyring.current.words)
    by_id = {ids[word]: word for word in vocabulary}
    parameters = home.manifest.current.parameters
    marked = plant(random.Random(2), home.keyring.current, parameters, list(by_id), 400)
    path = tmp_path / "words.txt"
    path.write_text(" ".join(by_id[number] for number in marked))
    options = ["--keys", home.keys_path, "--manifest", home.manifest_path, "--words"]
    command = [*options, "--out", tmp_path / "out", path]
    result = CliRunner().invoke(scan, list(map(str, command)))
    assert result.exit_code == 0, result.output
    assert summary(tmp_path)["pooled"][0]["form"] == "words"


def test_a_scan_that_was_cut_off_goes_on(
    run: Scan, corpus: Path, texts: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = texts.file("more.jsonl", json.dumps({"x": "y" * (9 << 20), "text": texts.text()}))
    whole = run(corpus, other, out="whole")
    assert whole.exit_code == 0
    finish, finished = Part.finish, []

    def cut_off(part: Part, facts: dict[str, Any]) -> None:
        if finished:
            raise KeyboardInterrupt
        finished.append(part)
        finish(part, facts)

    with monkeypatch.context() as patch:
        patch.setattr(Part, "finish", cut_off)
        assert run(corpus, other).exit_code != 0
    scanned: list[UnitScan] = []
    original = UnitScan.run

    def counted(unit: UnitScan) -> None:
        scanned.append(unit)
        original(unit)

    monkeypatch.setattr(UnitScan, "run", counted)
    assert "--resume takes it up" in str(run(corpus, other).exception)
    assert run(corpus, other, "--resume").exit_code == 0
    assert len(scanned) == 1
    assert rows(tmp_path) == rows(tmp_path, "whole")


def test_a_scan_with_other_options_is_not_taken_up(run: Scan, corpus: Path) -> None:
    run(corpus)
    error = run(corpus, "--resume", "--text-field", "body").exception
    assert isinstance(error, InputError)
    assert "other keys, tokenizer or options" in str(error)


def test_a_second_scan_takes_ids_from_the_cache(
    run: Scan, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    run(corpus, "--token-cache", cache, out="first")
    calls = []
    monkeypatch.setattr(TextTokenizer, "encode_batch", lambda self, texts: calls.append(texts))
    run(corpus, "--token-cache", cache, out="second")
    assert calls == []
    assert rows(tmp_path, "first") == rows(tmp_path, "second")


def test_a_share_of_the_records_is_scanned(run: Scan, texts: Texts, tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": chance(i, 60)}) + "\n" for i in range(1000))
    run(texts.file("many.jsonl", lines), "--sample", 0.1)
    found = summary(tmp_path)["corpus"]
    assert found["sample"] == 0.1
    assert 60 < found["records"] < 140


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl"),
        (["--words", "--ids-field", "ids", "set.jsonl"], "exclude each other"),
        (["--filter", "no.azf", "set.jsonl"], "no.azf"),
    ],
)
def test_wrong_use_is_told_in_one_line(
    run: Scan, corpus: Path, texts: Texts, arguments: list[str], message: str
) -> None:
    given = [str(texts.folder / part) if part.endswith(".jsonl") else part for part in arguments]
    error = run(*given).exception
    assert isinstance(error, AzeotropeError)
    assert message in str(error)
    assert "\n" not in str(error)


def test_a_corpus_without_a_readable_record_is_an_error(
    run: Scan, texts: Texts, tmp_path: Path
) -> None:
    error = run(texts.file("none.jsonl", '{"body": "x"}\n' * 3)).exception
    assert isinstance(error, InputError)
    assert "no record could be read" in str(error)
    assert summary(tmp_path)["corpus"]["bad_records"] == 3


def test_texts_without_a_tokenizer_are_refused(texts: Texts, corpus: Path, tmp_path: Path) -> None:
    command = [*texts.options[:4], "--out", tmp_path / "out", "--workers", 1, corpus]
    result = CliRunner().invoke(scan, list(map(str, command)))
    assert isinstance(result.exception, InputError)
    assert "give --tokenizer (or --words)" in str(result.exception)
