"""What a worker on another machine needs of a job, and nothing more, as bytes."""

import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from watermark.detect.candidates import Candidates
from watermark.detect.filter import FILTER_DEFAULT, FILTER_NONE
from watermark.detect.scan.job import Equipment, ScanJob
from watermark.detect.scan.tokens import release
from watermark.errors import InputError
from watermark.keys import Keyring

_KEYS, _MANIFEST, _TOKENIZER = "keys.json", "manifest.json", "tokenizer.json"
_FILTER, _ACCOUNTS = "filter", "accounts.jsonl"


@dataclass(frozen=True, slots=True, repr=False)
class Shipment:
    """A job with the content of its files; picklable.

    A keyring goes as a detector export, without master keys and signing key; a registry as the
    numbers of its accounts, without names and calls; a GGUF as its tokenizer. `folder` is where
    relative paths of the input begin; `digest` and `version` are what the other end must find too.
    """

    job: ScanJob
    files: dict[str, bytes]
    folder: Path
    digest: str
    version: str

    @classmethod
    def of(cls, equipment: Equipment) -> "Shipment":
        """Pack what was loaded; raises InputError if a file cannot be read any more."""
        job = equipment.job
        files = {
            _KEYS: _keys(equipment),
            _MANIFEST: _content(job.manifest),
            _ACCOUNTS: _accounts(equipment),
        }
        if equipment.tokenizer is not None:
            files[_TOKENIZER] = equipment.tokenizer.document().encode()
        if job.common not in (FILTER_DEFAULT, FILTER_NONE):
            files[_FILTER] = _content(Path(job.common))
        return cls(job, files, Path.cwd(), equipment.digest, release())

    def __repr__(self) -> str:
        sizes = {name: len(content) for name, content in self.files.items()}
        return f"Shipment({sizes}, version={self.version!r})"

    def equipment(self) -> Equipment:
        """Load everything here; the files are on this machine's disk only meanwhile.

        Also enters `folder`. Raises AzeotropeError if this machine's release is another, or
        comes to another digest.
        """
        if release() != self.version:
            raise InputError(
                f"a worker has azeotrope {release()}, this machine {self.version}: install the "
                "same release on every node"
            )
        if self.folder.is_dir():
            os.chdir(self.folder)
        with tempfile.TemporaryDirectory(prefix="azeotrope-") as name:
            equipment = Equipment(self._unpacked(Path(name)))
        if equipment.digest != self.digest:
            raise InputError(
                "a worker makes something else of keys, tokenizer and filter than this machine: "
                "install the same release on every node"
            )
        return equipment

    def _unpacked(self, folder: Path) -> ScanJob:
        for name, content in self.files.items():
            (folder / name).touch(0o600)
            (folder / name).write_bytes(content)
        return replace(
            self.job,
            keys=folder / _KEYS,
            manifest=folder / _MANIFEST,
            tokenizer=folder / _TOKENIZER if _TOKENIZER in self.files else None,
            common=str(folder / _FILTER) if _FILTER in self.files else self.job.common,
            registries=(folder / _ACCOUNTS,),
        )


def _keys(equipment: Equipment) -> bytes:
    keys = equipment.keys
    if not isinstance(keys, Keyring):
        return _content(equipment.job.keys)
    with tempfile.TemporaryDirectory(prefix="azeotrope-") as name:
        keys.export("detector", Path(name) / _KEYS)
        return _content(Path(name) / _KEYS)


def _accounts(equipment: Equipment) -> bytes:
    """Write a registry with one call of each account, which is all that a worker asks of it."""
    ranged = Candidates()
    if equipment.job.account_range:
        ranged.add_range(equipment.job.account_range)
    others = np.setdiff1d(equipment.candidates.accounts, ranged.accounts)
    lines = (
        json.dumps({"call": number, "account": number, "time": "", "model": ""})
        for number in others.tolist()
    )
    return "".join(f"{line}\n" for line in lines).encode()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
