"""The files that a finished unit of work leaves behind; a scan resumes from them.

DIRECTORY/parts/KEY/ holds, for the unit of that key,

rows.parquet     a row a document
EPOCH.runs       distinct site windows (`watermark.detect.distinct`)
sample.npz       token ids of some documents, for the decoy keys
accounts.npz     a sample of the account windows of documents that look marked
facts.json       figures, bad records and the strongest documents; written last
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from watermark.detect.counts import Batch
from watermark.detect.distinct import WindowSample
from watermark.errors import InputError

SPAN = pa.struct(
    [
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("first_token", pa.int64()),
        ("last_token", pa.int64()),
        ("windows", pa.int32()),
        ("hits", pa.int32()),
        ("log10_p", pa.float64()),
    ]
)
ROWS = pa.schema(
    [
        ("shard", pa.int64()),
        ("position", pa.int64()),
        ("tokens", pa.int64()),
        ("form", pa.string()),
        ("epoch", pa.int64()),
        ("windows", pa.int64()),
        ("hits", pa.int64()),
        ("log10_p", pa.float64()),
        ("log10_span_p", pa.float64()),
        ("log10_corrected_p", pa.float64()),
        ("spans", pa.list_(SPAN)),
        ("account", pa.int64()),
        ("account_windows", pa.int64()),
        ("account_hits", pa.int64()),
        ("account_log10_family_p", pa.float64()),
        ("account_named", pa.bool_()),
    ]
)


@dataclass(frozen=True, slots=True)
class TokenSample:
    """Documents drawn by the smallest of their random `priorities` [d], for the decoy keys."""

    priorities: npt.NDArray[np.uint64]
    batch: Batch

    def reduced(self, tokens: int) -> "TokenSample":
        """Keep the documents of smallest priority, up to so many tokens (at least one)."""
        order = np.argsort(self.priorities, kind="stable")
        sizes = np.diff(self.batch.offsets)[order]
        kept = order[: max(int(np.searchsorted(np.cumsum(sizes), tokens, "right")), 1)]
        return TokenSample(self.priorities[kept], self.batch.chosen(kept))

    def joined(self, other: "TokenSample") -> "TokenSample":
        """Put two samples together."""
        batch, end = self.batch, self.batch.offsets[-1]
        return TokenSample(
            np.concatenate([self.priorities, other.priorities]),
            Batch(
                np.concatenate([batch.ids, other.batch.ids]),
                np.concatenate([batch.offsets, other.batch.offsets[1:] + end]),
            ),
        )

    @classmethod
    def empty(cls) -> "TokenSample":
        """Return a sample of nothing."""
        return cls(np.empty(0, np.uint64), Batch.of([]))


@dataclass(frozen=True, slots=True)
class Part:
    """Where one unit's results are, or will be."""

    path: Path

    @property
    def rows(self) -> Path:
        """The documents' rows (Parquet, schema ROWS)."""
        return self.path / "rows.parquet"

    def runs(self, epoch: int) -> Path:
        """Distinct site windows of an epoch."""
        return self.path / f"{epoch}.runs"

    def done(self) -> bool:
        """Whether the unit was finished."""
        return (self.path / "facts.json").exists()

    def finish(self, facts: dict[str, Any]) -> None:
        """Write the facts, which marks the unit as finished."""
        temporary = self.path / "facts.json.new"
        temporary.write_text(json.dumps(facts), "utf-8")
        os.replace(temporary, self.path / "facts.json")

    def facts(self) -> dict[str, Any]:
        """Read the facts; raises InputError if they are damaged."""
        facts: dict[str, Any] = _readable(
            self.path, lambda: json.loads((self.path / "facts.json").read_bytes())
        )
        return facts

    def save_sample(self, sample: TokenSample) -> None:
        """Write the documents for the decoy keys."""
        np.savez(
            self.path / "sample.npz",
            priorities=sample.priorities,
            ids=sample.batch.ids,
            offsets=sample.batch.offsets,
        )

    def sample(self) -> TokenSample:
        """Read them; raises InputError."""

        def load() -> TokenSample:
            with np.load(self.path / "sample.npz") as data:
                return TokenSample(data["priorities"], Batch(data["ids"], data["offsets"]))

        return _readable(self.path, load)  # type: ignore[no-any-return]

    def save_accounts(self, samples: list[WindowSample]) -> None:
        """Write the account windows of every epoch, in order."""
        columns = {
            f"{name}{index}": getattr(sample, name)
            for index, sample in enumerate(samples)
            for name in WindowSample.__slots__
        }
        np.savez(self.path / "accounts.npz", **columns)

    def accounts(self, epochs: int) -> list[WindowSample]:
        """Read them; raises InputError."""

        def load() -> list[WindowSample]:
            with np.load(self.path / "accounts.npz") as data:
                return [
                    WindowSample(*(data[f"{name}{index}"] for name in WindowSample.__slots__))
                    for index in range(epochs)
                ]

        return _readable(self.path, load)  # type: ignore[no-any-return]


def _readable(path: Path, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: damaged ({error}); remove it and scan again") from error
