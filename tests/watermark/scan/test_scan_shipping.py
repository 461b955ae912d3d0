"""What leaves this machine with a job, and what a worker makes of it."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from key_files import mode, secrets_of, shows
from scan_corpus import Corpus

from watermark.detect.scan.job import Equipment
from watermark.detect.scan.shipping import Shipment
from watermark.errors import InputError
from watermark.keys import Keyring


def test_what_is_shipped_holds_no_more_than_a_detector_needs(corpus: Corpus) -> None:
    keyring = Keyring.load(corpus.job.keys)
    shipped = pickle.dumps(Shipment.of(Equipment(corpus.job)))
    held = {name for name, secret in secrets_of(keyring).items() if shows(shipped, secret)}
    detector = ("channel", "site", "account", "account_root", "call", "call_root", "words")
    assert held == {f"1 {name}" for name in detector}
    assert b"ACME" not in shipped
    assert b"2026-03-01T10:00:00Z" not in shipped


def test_keys_are_on_a_workers_disk_only_while_they_are_loaded(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipment = Shipment.of(Equipment(corpus.job))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.chdir(tmp_path)
    seen: list[int] = []
    load = Equipment.__init__

    def observed(self: Equipment, job: Any) -> None:
        seen.append(mode(job.keys))
        load(self, job)

    monkeypatch.setattr(Equipment, "__init__", observed)
    equipment = shipment.equipment()
    assert seen == [0o600]
    assert equipment.digest == shipment.digest
    assert not list(scratch.iterdir())


def test_another_release_on_a_node_is_an_error(corpus: Corpus) -> None:
    shipment = replace(Shipment.of(Equipment(corpus.job)), version="0.0.1")
    with pytest.raises(InputError, match="install the same release on every node"):
        shipment.equipment()


def test_other_keys_than_shipped_are_an_error(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipment = replace(Shipment.of(Equipment(corpus.job)), digest="0" * 64)
    with pytest.raises(InputError, match="something else of keys, tokenizer and filter"):
        shipment.equipment()
