"""The blocks in real datatrove pipelines: what they write is what a scan finds."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from detect_texts import Texts
from key_files import secrets_of, shows

from watermark.detect.datatrove_blocks import AzeotropeAnnotator, AzeotropeFilter
from watermark.detect.scan.cli import scan
from watermark.errors import InputError
from watermark.keys import Keyring

MARKED = {"a.jsonl:1", "a.jsonl:3", "b.jsonl:2"}


@pytest.fixture
def corpus(texts: Texts) -> Path:
    """Two files of four and three records: plain ones, marked ones, one in disguise."""
    folder = texts.folder / "corpus"
    folder.mkdir()
    plain = [texts.text(300, share=0.0, seed=100 + seed) for seed in range(4)]
    disguised = "\u200b".join(texts.text(seed=2))
    records = {
        "a.jsonl": [texts.text(seed=1), plain[0], disguised, plain[1]],
        "b.jsonl": [plain[2], texts.text(seed=3, share=0.6), plain[3]],
    }
    for name, contents in records.items():
        lines = [
            json.dumps({"text": text, "id": f"{name}:{i}", "source": "crawl"})
            for i, text in enumerate(contents, 1)
        ]
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture
def options(texts: Texts) -> dict[str, Any]:
    """Options of the blocks for the keys of the corpus."""
    _, keys, _, manifest, _, tokenizer = texts.options
    return {"keys": keys, "manifest": str(manifest), "tokenizer": tokenizer, "common": "none"}


@pytest.fixture
def run(corpus: Path, tmp_path: Path) -> Callable[..., dict[str, dict[str, Any]]]:
    """Run a block between a reader and a writer in two tasks; the records written, by id."""

    def executed(block: PipelineStep, workers: int = 1) -> dict[str, dict[str, Any]]:
        LocalPipelineExecutor(
            pipeline=[JsonlReader(str(corpus)), block, writer(tmp_path / "out")],
            tasks=2,
            workers=workers,
            logging_dir=str(tmp_path / "logs"),
        ).run()
        return written(tmp_path / "out")

    return executed


def writer(folder: Path) -> JsonlWriter:
    return JsonlWriter(str(folder), compression=None)


def written(folder: Path) -> dict[str, dict[str, Any]]:
    lines = [
        line for file in folder.iterdir() for line in file.read_text("utf-8").split("\n") if line
    ]
    return {record["id"]: record for record in map(json.loads, lines)}


def test_annotations_are_what_a_scan_finds(
    run: Callable[..., dict[str, dict[str, Any]]],
    corpus: Path,
    options: dict[str, Any],
    texts: Texts,
    tmp_path: Path,
) -> None:
    found = run(AzeotropeAnnotator(**options, batch_size=3), workers=2)
    arguments = [*texts.options, "--filter", "none", "--workers", 1, "--decoys", 0, "-r", corpus]
    CliRunner().invoke(scan, [*map(str, arguments), "--out", str(tmp_path / "scan")])
    rows = pq.read_table(tmp_path / "scan" / "documents.parquet").to_pylist()
    assert len(rows) == len(found) == 7
    for row in rows:
        record = found[Path(row["document"]).name]
        metadata = record["metadata"]
        assert metadata["azeotrope_log10_p"] == row["log10_corrected_p"]
        assert metadata["azeotrope_windows"] == row["windows"]
        assert metadata["azeotrope_hits"] == row["hits"]
        assert metadata["azeotrope_marked"] == (row["log10_corrected_p"] <= -5)
        assert metadata["azeotrope_spans"] == [
            {name: span[name] for name in ("start", "end", "log10_p")} for span in row["spans"]
        ]
        assert metadata["source"] == "crawl"
    assert {i for i, record in found.items() if record["metadata"]["azeotrope_marked"]} == MARKED
    assert all(found[name]["metadata"]["azeotrope_spans"] for name in MARKED)


def test_the_filter_drops_marked_documents_and_hands_them_on(
    run: Callable[..., dict[str, dict[str, Any]]], options: dict[str, Any], tmp_path: Path
) -> None:
    dropped = tmp_path / "dropped"
    kept = run(AzeotropeFilter(**options, exclusion_writer=writer(dropped)))
    assert set(kept) == {"a.jsonl:2", "a.jsonl:4", "b.jsonl:1", "b.jsonl:3"}
    excluded = written(dropped)
    assert set(excluded) == MARKED
    assert {record["metadata"]["filter_reason"] for record in excluded.values()} == {"marked"}
    assert all(record["metadata"]["azeotrope_log10_p"] <= -5 for record in excluded.values())


def test_the_filter_may_keep_the_marked_documents_alone(
    run: Callable[..., dict[str, dict[str, Any]]], options: dict[str, Any]
) -> None:
    assert set(run(AzeotropeFilter(**options, keep="marked", batch_size=1))) == MARKED


def test_the_level_decides(
    run: Callable[..., dict[str, dict[str, Any]]], options: dict[str, Any]
) -> None:
    found = run(AzeotropeFilter(**options, level=1e-80, keep="marked"))
    assert set(found) == {"a.jsonl:1", "a.jsonl:3"}


def test_logs_hold_no_key(
    run: Callable[..., dict[str, dict[str, Any]]], options: dict[str, Any], tmp_path: Path
) -> None:
    run(AzeotropeFilter(**options))
    logs = [path.read_bytes() for path in (tmp_path / "logs").rglob("*") if path.is_file()]
    assert any(b"keyring.json" in log for log in logs)
    secrets = secrets_of(Keyring.load(options["keys"])).values()
    assert not any(shows(log, secret) for log in logs for secret in secrets)


def test_texts_without_a_tokenizer_are_an_error_at_once(options: dict[str, Any]) -> None:
    for block in (AzeotropeAnnotator, AzeotropeFilter):
        with pytest.raises(InputError, match="give tokenizer or words"):
            block(options["keys"], options["manifest"])


def test_without_datatrove_the_error_says_how_to_get_it() -> None:
    code = "import sys; sys.modules['datatrove'] = None; import watermark.detect.datatrove_blocks"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'azeotrope[datatrove]'" in done.stderr.splitlines()[-1]
