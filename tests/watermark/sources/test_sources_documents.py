"""`azeotrope detect` over every format: names of the documents, verdicts, refusals."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from detect_texts import Texts, invoke, records
from pyarrow import feather

Writer = Callable[[Path, list[str]], object]


def lines(texts: list[str]) -> bytes:
    return b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts)


WRITERS: dict[str, Writer] = {
    "a.csv": lambda path, texts: path.write_text("\n".join(["text", *texts]), "utf-8"),
    "a.tsv": lambda path, texts: path.write_text("n\ttext\n1\t" + "\n2\t".join(texts), "utf-8"),
    "a.json": lambda path, texts: path.write_text(json.dumps(texts), "utf-8"),
    "a.jsonl.gz": lambda path, texts: path.write_bytes(gzip.compress(lines(texts))),
    "a.jsonl.zst": lambda path, texts: path.write_bytes(
        zstandard.ZstdCompressor().compress(lines(texts))
    ),
    "a.parquet": lambda path, texts: pq.write_table(pa.table({"text": texts}), path),
    "a.feather": lambda path, texts: feather.write_feather(pa.table({"text": texts}), path),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_verdicts_of_its_records(texts: Texts, name: str) -> None:
    path = texts.folder / name
    WRITERS[name](path, [texts.text(), texts.text(900, share=0.0, seed=6)])
    found = records(invoke(path, *texts.options, "--json"))
    assert [(r["document"], r["verdict"]) for r in found] == [
        (f"{path}:1", "marked"),
        (f"{path}:2", "not marked"),
    ]


def test_a_url_is_judged_like_a_path(texts: Texts) -> None:
    fsspec.filesystem("memory").pipe("/texts/a.txt", texts.text().encode())
    result = invoke("memory://texts/a.txt", *texts.options, "--json")
    assert [r["document"] for r in records(result)] == ["memory://texts/a.txt"]
    assert result.exit_code == 0


def test_a_cut_file_keeps_the_verdicts_of_what_came_before(texts: Texts) -> None:
    packed = gzip.compress(lines([texts.text()])) + gzip.compress(lines([texts.text()]))[:-9]
    path = texts.file("a.jsonl.gz", packed)
    result = invoke(path, *texts.options, "--json")
    assert records(result)[0]["verdict"] == "marked"
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith(
        f"azeotrope: error: {path}: cannot be read (cut"
    )


def test_token_ids_without_a_text_are_refused(texts: Texts) -> None:
    path = texts.folder / "a.npy"
    np.save(path, np.zeros((2, 2), int))
    result = invoke(path, *texts.options)
    assert result.exit_code == 2
    assert f"{path}: holds token ids and no text" in result.stderr
