"""What a scan is to do, and what each worker makes of it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from watermark.detect.candidates import Candidates
from watermark.detect.counts import number_keys
from watermark.detect.detector import Scheme, epoch_scheme
from watermark.detect.encoder import Encoders
from watermark.detect.filter import FILTER_DEFAULT, load_filter
from watermark.detect.sources import Fields
from watermark.detect.tokenizer import TextTokenizer
from watermark.keys import KeySet

Encoding = Literal["tokens", "words"]


@dataclass(frozen=True, slots=True)
class ScanJob:
    """The options of a scan; picklable.

    `tokenizer` may be None where words or nothing but token ids are tested; `common` is
    "default", "none" or a filter file; `account_range` as in `Candidates.add_range`. Levels:
    `level` of the verdict, `fdr_level` of Benjamini-Hochberg, `family_level` of naming any account
    wrongly.
    """

    keys: Path
    manifest: Path
    encoding: Encoding
    tokenizer: Path | None
    fields: Fields
    common: str = FILTER_DEFAULT
    registries: tuple[Path, ...] = ()
    account_range: str | None = None
    level: float = 1e-5
    fdr_level: float = 0.01
    family_level: float = 1e-3
    token_cache: Path | None = None
    device: str = "cpu"


class Equipment:
    """Everything that a worker loads once: keys, encoder, filter, candidates.

    `warnings` collects what went wrong without harm. Raises AzeotropeError if something is missing
    or does not fit.
    """

    def __init__(self, job: ScanJob) -> None:
        self.job = job
        self.warnings: list[str] = []
        self.keys = KeySet.load(job.keys)
        self.manifest = self.keys.manifest(job.manifest)
        self.tokenizer = self._load_tokenizer(job.tokenizer)
        self.encoders = Encoders(self.keys, self.tokenizer, words=job.encoding == "words")
        self.common = load_filter(job.common, self.tokenizer)
        self.candidates = Candidates()
        for path in job.registries:
            self.candidates.add_registry(path, lambda message: None)
        if job.account_range:
            self.candidates.add_range(job.account_range)

    def _load_tokenizer(self, path: Path | None) -> TextTokenizer | None:
        if path is None:
            return None
        tokenizer = TextTokenizer(path)
        tokenizer.require(self.manifest.tokenizer)
        return tokenizer

    def take_warnings(self) -> list[str]:
        """Return the warnings since the last call."""
        taken = self.warnings[:]
        self.warnings.clear()
        return taken

    @cached_property
    def schemes(self) -> list[Scheme]:
        """The arithmetic of every epoch at hand, oldest first."""
        return [
            epoch_scheme(keys, self.manifest.parameters(keys.epoch), self.job.device, self.common)
            for keys in self.keys.epochs
        ]

    @cached_property
    def account_keys(self) -> list[npt.NDArray[np.uint64]]:
        """Keys [epochs][a] of the candidates, in the order of `candidates.accounts`."""
        return [
            number_keys(keys.account_root, self.candidates.accounts)
            if keys.account_root
            else np.empty(0, np.uint64)
            for keys in self.keys.epochs
        ]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all that the parts depend on besides what is read: what may be resumed."""
        job = self.job
        facts = {
            "checks": [keys.check for keys in self.keys.epochs],
            "manifest": self.manifest.digest,
            "encoding": job.encoding,
            "tokenizer": self.tokenizer.pin().sha256 if self.tokenizer else None,
            "common": self.common.sha256 if self.common else None,
            "fields": asdict(job.fields),
            "family_level": job.family_level,
            "accounts": hashlib.sha256(self.candidates.accounts.tobytes()).hexdigest(),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
