"""What the plugin imports, and the file of its counters. No engine is needed."""

import ast
import logging
import multiprocessing
import sys
import time
from pathlib import Path

import pytest
from places import ROOT
from server_process import samples

from watermark.embed.stats import Metric, StatsFile
from watermark.errors import AzeotropeError

EMBED = ROOT / "watermark" / "embed"
ENGINE_ONLY = {"numpy", "torch", "vllm", "watermark"}


def test_embedding_modules_import_only_numpy_torch_and_the_standard_library() -> None:
    allowed = ENGINE_ONLY | set(sys.stdlib_module_names)
    for file in EMBED.glob("*.py"):
        assert imported(file) <= allowed, file.name


def imported(file: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def metrics(count: int) -> list[Metric]:
    return [Metric("azeotrope_engine_steps_total", "counter", "Steps.", (('kind="a"', count),))]


def keep(directory: Path) -> None:
    """What a child of multiprocessing does: it counts, and ends before the file's thread wakes."""
    state = [1]
    StatsFile(directory, 'rank="0"', lambda: metrics(state[0]), logging.getLogger("t")).start()
    state[0] = 7


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_last_counts_are_written_when_a_child_process_ends(
    tmp_path: Path, start_method: str
) -> None:
    context = multiprocessing.get_context(start_method)
    child = context.Process(target=keep, args=(tmp_path,))
    child.start()
    child.join()
    (file,) = tmp_path.iterdir()
    assert file.name == f"azeotrope_engine_{child.pid}.prom"
    labels = {"kind": "a", "rank": "0", "pid": str(child.pid)}
    assert samples(file.read_text(), "azeotrope_engine_steps_total") == [(labels, 7.0)]


def test_counts_of_an_idle_engine_are_written_too(tmp_path: Path) -> None:
    state = [1]
    StatsFile(tmp_path, 'rank="0"', lambda: metrics(state[0]), logging.getLogger("t")).start()
    (file,) = tmp_path.iterdir()
    state[0] = 2
    deadline = time.monotonic() + 30
    while "} 2\n" not in file.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "} 2\n" in file.read_text()


def test_a_directory_that_is_not_there_is_an_error_at_start(tmp_path: Path) -> None:
    file = StatsFile(tmp_path / "none", "", lambda: metrics(1), logging.getLogger("t"))
    with pytest.raises(AzeotropeError, match="AZEOTROPE_STATS_DIR"):
        file.start()
