"""Units over a real Ray: the same results, the same errors, and nothing left behind."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scan_corpus import Corpus

from watermark.detect.scan.job import Equipment
from watermark.detect.scan.local import scan_locally
from watermark.detect.scan.on_ray import scan_on_ray
from watermark.detect.scan.plan import Unit
from watermark.errors import InputError


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A Ray of this module's own, without a GPU."""
    import ray

    # The path of a Unix socket may not be long: pytest's folders are too deep.
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        ray.init(
            address="local",
            num_cpus=2,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=80 << 20,
            log_to_driver=False,
            _temp_dir=folder,
        )
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


def refused(corpus: Corpus, units: list[Unit]) -> str:
    """The message of the InputError that ends a scan."""
    equipment = Equipment(corpus.job)
    with pytest.raises(InputError) as raised:
        list(scan_on_ray(corpus.job, equipment, units, "auto", nothing))
    return str(raised.value)


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


@pytest.mark.usefixtures("ray")
def test_an_error_of_a_worker_comes_out_as_it_is(corpus: Corpus, tmp_path: Path) -> None:
    blind = replace(corpus, job=replace(corpus.job, tokenizer=None))
    units = corpus.units(tmp_path / "parts")
    with pytest.raises(InputError) as here:
        list(scan_locally(blind.job, Equipment(blind.job), units, 1, nothing))
    assert refused(blind, units) == str(here.value)
    assert "texts need the tokenizer" in str(here.value)


@pytest.mark.usefixtures("ray")
def test_a_gpu_is_not_waited_for_where_there_is_none(corpus: Corpus, tmp_path: Path) -> None:
    on_gpu = replace(corpus, job=replace(corpus.job, device="cuda"))
    message = refused(on_gpu, corpus.units(tmp_path / "parts"))
    assert message == "--device cuda: the Ray cluster has no GPU"
