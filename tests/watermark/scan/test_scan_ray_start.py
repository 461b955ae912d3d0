"""Connecting to Ray as the command does: one that it starts, one that is not there."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner, Result
from scan_corpus import Corpus

from watermark.detect.scan.cli import scan
from watermark.errors import InputError

_OF_THE_RUN = ("created", "command", "options")


def test_the_command_starts_ray_writes_what_it_always_writes_and_leaves_no_process(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(corpus.folder)  # whose relative paths mean the same to the workers
    paths = sorted(path.name for path in corpus.folder.iterdir())
    common = [*paths, *corpus.options, "--accounts", "5-30", "--decoys", 20, "--json"]
    here = run(*common, "--out", tmp_path / "here", "--workers", 1)
    # A folder of its own hides whatever Ray runs here already, and marks the processes. Its path
    # is short because those of Unix sockets must be.
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        there = scan_in_a_process([*common, "--out", tmp_path / "there", "--ray"], folder)
        left = [p for p in psutil.process_iter() if _environment(p).get("RAY_TMPDIR") == folder]
        _, alive = psutil.wait_procs(left, timeout=30)
    assert not alive
    assert (here.exit_code, there.returncode) == (0, 0), there.stderr
    assert "Ray: no cluster is running; started one on this machine" in there.stderr
    assert "Traceback" not in there.stderr
    assert _comparable(json.loads(there.stdout)) == _comparable(json.loads(here.stdout))
    tables = [(tmp_path / name / "documents.parquet").read_bytes() for name in ("here", "there")]
    assert tables[0] == tables[1]


def run(*arguments: object, **options: Any) -> Result:
    return CliRunner().invoke(scan, list(map(str, arguments)), **options)


def scan_in_a_process(arguments: list[object], folder: str) -> "subprocess.CompletedProcess[str]":
    code = "from watermark.detect.scan.cli import scan; scan()"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment | {"RAY_TMPDIR": folder},
        capture_output=True,
        text=True,
        check=False,
    )


def _comparable(summary: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in summary.items() if name not in _OF_THE_RUN}


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:1", "nobody listens there"),
        ("ray://127.0.0.1:10001", "Ray's client protocol is not supported"),
        ("set.jsonl", "no Ray cluster can be reached there"),
    ],
)
def test_an_address_without_a_cluster_is_an_error(
    corpus: Corpus, tmp_path: Path, address: str, reason: str
) -> None:
    options = [corpus.folder / "one.txt", *corpus.options, "--out", tmp_path / "out"]
    result = run(*options, "--ray", address)
    assert isinstance(result.exception, InputError)
    assert f"--ray {address}: {reason}" in str(result.exception)


def test_standard_input_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    options = [*corpus.options, "--out", tmp_path / "out", "--ray", "auto"]
    result = run("-", *options, input="a text")
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith("-: Ray's workers cannot read standard input")
