"""Units over a real Ray: the same results, the same errors, and nothing left behind."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from scan_corpus import Corpus

from watermark.detect.scan.cli import scan
from watermark.detect.scan.job import Equipment
from watermark.detect.scan.local import scan_locally
from watermark.detect.scan.on_ray import scan_on_ray
from watermark.detect.scan.plan import Unit
from watermark.detect.sources import Shard
from watermark.errors import InputError

# Ray is given a second GPU-less core only by name: the actors share this machine's.
CPUS, STORE = 2, 80 << 20


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A Ray of its own for this module, with one GPU in name."""
    import ray

    ray.init(
        address="local", num_cpus=CPUS, num_gpus=1, include_dashboard=False,
        object_store_memory=STORE, log_to_driver=False,
    )  # fmt: skip
    yield ray
    ray.shutdown()


def nothing(size: int, documents: int, tokens: int) -> None:
    """Hear of progress."""


def files(units: list[Unit]) -> dict[str, bytes]:
    return {
        f"{unit.part.path.name}/{file.name}": file.read_bytes()
        for unit in units
        for file in unit.part.path.iterdir()
    }


@pytest.mark.usefixtures("ray")
def test_parts_are_those_of_a_local_scan_byte_for_byte(corpus: Corpus, tmp_path: Path) -> None:
    equipment = Equipment(corpus.job)
    here, there = corpus.units(tmp_path / "here"), corpus.units(tmp_path / "there")
    list(scan_locally(corpus.job, equipment, here, 1, nothing))
    told: list[tuple[int, int, int]] = []
    finished = list(
        scan_on_ray(corpus.job, equipment, there, "auto", lambda *step: told.append(step))
    )
    assert len(there) == 6
    assert sorted(finished, key=there.index) == there
    assert files(there) == files(here)
    facts = [unit.part.facts() for unit in finished]
    assert told == [
        (unit.size, fact["documents"], fact["tokens"])
        for unit, fact in zip(finished, facts, strict=True)
    ]
    assert sum(fact["bad"] for fact in facts) == 1
    assert sum(len(fact["errors"]) for fact in facts) == 1
    assert sum(fact["normalised"] for fact in facts) == 3
