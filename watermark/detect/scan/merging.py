"""Parts put together: one table of documents with q-values, and the corpus's figures.

Memory stays flat: p-values are sorted in a mapped file, rows are copied part by part.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from watermark.detect.counts import search
from watermark.detect.distinct import Totals, WindowSample, count_distinct, read_runs
from watermark.detect.pvalues import log10_tails
from watermark.detect.report.summary import BadItem
from watermark.detect.scan.job import Equipment
from watermark.detect.scan.parts import ROWS, TokenSample
from watermark.detect.scan.plan import SAMPLE_TOKENS, Unit
from watermark.detect.scan.unit import ACCOUNT_SAMPLE, STRONGEST

Floats = npt.NDArray[np.float64]
_PIECE = 1 << 20
DOCUMENTS = pa.schema(
    [
        ("document", pa.string()),
        ("file", pa.string()),
        *(column for column in ROWS if column.name != "shard"),
        ("log10_q", pa.float64()),
        ("account_name", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class QValues:
    """Benjamini-Hochberg q-values by p-value: `p` and `q` [m], decimal logarithms, ascending."""

    p: Floats
    q: Floats

    @classmethod
    def of(cls, log10_p: Floats, log10_q: Floats) -> "QValues":
        """Sort `log10_p` [m] in place and fill `log10_q` [m]: q = min over p' >= p of p' m / rank.

        Both may be mapped files: no more than a piece of them is in memory at once.
        """
        log10_p.sort()
        count, least = len(log10_p), 0.0
        for end in range(count, 0, -_PIECE):
            part = slice(max(end - _PIECE, 0), end)
            ranks = np.arange(part.start + 1, end + 1)
            raw = log10_p[part] + np.log10(count) - np.log10(ranks)
            log10_q[part] = np.minimum(np.minimum.accumulate(raw[::-1])[::-1], least)
            least = float(log10_q[part.start])
        return cls(log10_p, log10_q)

    def look_up(self, log10_p: Floats) -> Floats:
        """Return the q-values of p-values that are among `p`."""
        found: Floats = self.q[np.searchsorted(self.p, log10_p, side="left")]
        return found

    def significant(self, level: float) -> tuple[int, float | None]:
        """How many have q <= level, and the largest p among them."""
        count = int(np.searchsorted(self.q, np.log10(level), side="right"))
        return count, float(self.p[count - 1]) if count else None


@dataclass(frozen=True, slots=True)
class NamedAccount:
    """An account behind the corpus.

    `documents` name it on their own. `windows` and `hits` are those of the stronger of two tests:
    over the pooled account windows of all documents that look marked, or over its best document.
    `log10_family_p` is twice that test's p, times all accounts, epochs and documents searched.
    """

    number: int
    epoch: int
    documents: int
    windows: int
    hits: int
    log10_family_p: float


@dataclass(slots=True)
class _Tally:
    """What the rows add up to while they are copied."""

    searched: int = 0
    span_windows: int = 0
    span_hits: int = 0
    named: dict[tuple[int, int], "_Naming"] = field(default_factory=dict)


@dataclass(slots=True)
class _Naming:
    """The documents that name an account, and the best of them."""

    documents: int = 0
    windows: int = 0
    hits: int = 0
    log10_family_p: float = 0.0


@dataclass(frozen=True, slots=True)
class Merged:
    """The corpus's figures, from all parts.

    `spans` are the windows of the marked spans of the documents that are marked by their own test.
    """

    facts: list[dict[str, Any]]
    pooled: list[Totals]
    histograms: npt.NDArray[np.int64]
    q_values: QValues
    sample: TokenSample
    spans: Totals
    accounts: list[NamedAccount]
    strongest: list[tuple[str, dict[str, Any]]]
    bad: list[BadItem]


class Merger:
    """Merges the parts of `units`, in the order of the plan."""

    def __init__(self, equipment: Equipment, units: Sequence[Unit], directory: Path) -> None:
        self._equipment = equipment
        self._units = units
        self._parts = [unit.part for unit in units]
        self._directory = directory
        self._strongest: list[tuple[float, int, dict[str, Any]]] = []
        self._facts = [self._read(index) for index in range(len(units))]
        self._names = _Names(units, self._facts)

    def _read(self, unit: int) -> dict[str, Any]:
        """Read a unit's facts; of all its texts and complaints only what may be shown stays."""
        facts = self._parts[unit].facts()
        for item in facts.pop("strongest"):
            self._strongest.append((item["log10_corrected_p"], unit, item))
        self._strongest.sort(key=lambda entry: entry[:2])
        del self._strongest[STRONGEST:]
        return facts

    def merge(self, threads: int) -> Merged:
        """Write documents.parquet and return the figures."""
        q_values = self._q_values()
        tally = self._write_documents(q_values)
        epochs = self._equipment.keys.epochs
        return Merged(
            facts=self._facts,
            pooled=[self._count(keys.epoch, threads) for keys in epochs],
            histograms=np.sum([facts["histograms"] for facts in self._facts], axis=0),
            q_values=q_values,
            sample=self._sample(),
            spans=Totals(tally.span_windows, tally.span_hits),
            accounts=self._accounts(tally, threads),
            strongest=[
                (self._names.place(unit, item["shard"], item["position"]).name, item)
                for _, unit, item in self._strongest
            ],
            bad=self._bad(),
        )

    def _q_values(self) -> QValues:
        count = sum(facts["documents"] for facts in self._facts)
        column, q_values = (self._mapped(name, count) for name in ("p.f64", "q.f64"))
        place = 0
        for part in self._parts:
            for batch in pq.ParquetFile(part.rows).iter_batches(columns=["log10_corrected_p"]):
                column[place : place + len(batch)] = batch.column(0).to_numpy()
                place += len(batch)
        return QValues.of(column, q_values)

    def _mapped(self, name: str, count: int) -> Floats:
        if not count:
            return np.empty(0)
        path = self._directory / name
        mapped = np.memmap(path, np.float64, "w+", shape=(count,))
        path.unlink()  # the mapping keeps it until the scan ends
        return mapped

    def _write_documents(self, q_values: QValues) -> _Tally:
        """Write the table, and add up what the summary needs of it."""
        tally = _Tally()
        target = self._directory / "documents.parquet"
        with pq.ParquetWriter(target, DOCUMENTS, compression="zstd") as writer:
            for unit, part in enumerate(self._parts):
                for batch in pq.ParquetFile(part.rows).iter_batches():
                    rows = self._document_rows(batch, unit, q_values)
                    writer.write_batch(rows)
                    _add(tally, rows, np.log10(self._equipment.job.fdr_level))
        return tally

    def _document_rows(self, batch: pa.RecordBatch, unit: int, q_values: QValues) -> pa.RecordBatch:
        places = [
            self._names.place(unit, shard, position)
            for shard, position in zip(
                batch.column("shard").to_pylist(),
                batch.column("position").to_pylist(),
                strict=True,
            )
        ]
        candidates = self._equipment.candidates
        columns = {name: batch.column(name) for name in ROWS.names}
        columns["document"] = pa.array([place.name for place in places], pa.string())
        columns["file"] = pa.array([place.file for place in places], pa.string())
        columns["position"] = pa.array([place.position for place in places], pa.int64())
        columns["log10_q"] = pa.array(
            q_values.look_up(batch.column("log10_corrected_p").to_numpy())
        )
        columns["account_name"] = pa.array(
            [
                candidates.name(number) or None if known else None
                for number, known in zip(
                    batch.column("account").to_pylist(),
                    batch.column("account_named").to_pylist(),
                    strict=True,
                )
            ],
            pa.string(),
        )
        return pa.record_batch([columns[name] for name in DOCUMENTS.names], schema=DOCUMENTS)

    def _count(self, epoch: int, threads: int) -> Totals:
        runs = [run for part in self._parts for run in read_runs(part.runs(epoch))]
        return count_distinct(runs, threads)

    def _sample(self) -> TokenSample:
        sample = TokenSample.empty()
        for part in self._parts:
            sample = sample.joined(part.sample()).reduced(SAMPLE_TOKENS)
        return sample

    def _accounts(self, tally: _Tally, threads: int) -> list[NamedAccount]:
        """Every candidate that the pooled windows or a document of its own give away."""
        equipment = self._equipment
        level = np.log10(equipment.job.family_level)
        found: dict[tuple[int, int], NamedAccount] = {}
        for account in [*self._pooled_accounts(tally, threads), *self._own_documents(tally)]:
            key = account.epoch, account.number
            known = found.get(key)
            if account.log10_family_p > level:
                continue
            if known is None or account.log10_family_p < known.log10_family_p:
                found[key] = account
        return sorted(found.values(), key=lambda account: account.log10_family_p)

    def _own_documents(self, tally: _Tally) -> Iterator[NamedAccount]:
        factor = np.log10(2 * max(tally.searched, 1))
        for (epoch, number), best in tally.named.items():
            family = float(best.log10_family_p + factor)
            yield NamedAccount(
                number, epoch, best.documents, best.windows, best.hits, min(family, 0.0)
            )

    def _pooled_accounts(self, tally: _Tally, threads: int) -> Iterator[NamedAccount]:
        equipment = self._equipment
        numbers, epochs = equipment.candidates.accounts, equipment.keys.epochs
        if not len(numbers):
            return
        factor = np.log10(2 * len(numbers) * len(epochs))
        for index, (sample, keys) in enumerate(zip(self._windows(), epochs, strict=True)):
            secrets = equipment.account_keys[index]
            if not len(sample) or not len(secrets):
                continue
            parameters = equipment.manifest.parameters(keys.epoch)
            hits = search(
                secrets, sample.seeds, sample.tokens, parameters.gamma_bits, threads=threads
            )
            family = np.minimum(log10_tails(hits, len(sample), parameters.gamma) + factor, 0.0)
            for row in np.flatnonzero(family <= np.log10(equipment.job.family_level)).tolist():
                number = int(numbers[row])
                own = tally.named.get((keys.epoch, number), _Naming())
                yield NamedAccount(
                    number,
                    keys.epoch,
                    own.documents,
                    len(sample),
                    int(hits[row]),
                    float(family[row]),
                )

    def _windows(self) -> list[WindowSample]:
        """Account windows of all parts, a sample an epoch."""
        samples = [WindowSample.empty()] * len(self._equipment.keys.epochs)
        for part in self._parts:
            samples = [
                sample.merged([other], ACCOUNT_SAMPLE)
                for sample, other in zip(samples, part.accounts(len(samples)), strict=True)
            ]
        return samples

    def _bad(self) -> list[BadItem]:
        """Return the first bad records and files of every unit."""
        bad = []
        for unit, facts in enumerate(self._facts):
            shards = self._units[unit].shards
            bad += [BadItem("file", shards[shard].url, text) for shard, text in facts["errors"]]
            bad += [
                BadItem("record", self._names.place(unit, shard, position).name, reason)
                for shard, position, reason in facts["bad_records"]
            ]
        return bad


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    file: str
    position: int


class _Names:
    """Where a record stands in its file, which several shards may make up."""

    def __init__(self, units: Sequence[Unit], facts: Sequence[dict[str, Any]]) -> None:
        self._units = units
        self._before: list[list[int]] = []
        lines: Counter[str] = Counter()
        for unit, item in zip(units, facts, strict=True):
            self._before.append([])
            for shard, end in zip(unit.shards, item["ends"], strict=True):
                self._before[-1].append(lines[shard.url])
                lines[shard.url] += end

    def place(self, unit: int, shard: int, position: int) -> _Place:
        source, before = self._units[unit].shards[shard], self._before[unit][shard]
        whole = position + before if position else 0
        return _Place(source.record_name(position, before), source.url, whole)


def _add(tally: _Tally, rows: pa.RecordBatch, log10_fdr: float) -> None:
    """Add the rows with an account search, and the spans of documents marked on their own."""
    looked_at = pc.or_(
        pc.is_valid(rows.column("account")),
        pc.greater(pc.list_value_length(rows.column("spans")), 0),
    )
    for row in rows.filter(looked_at).to_pylist():
        if row["log10_q"] <= log10_fdr:
            tally.span_windows += sum(span["windows"] for span in row["spans"])
            tally.span_hits += sum(span["hits"] for span in row["spans"])
        if row["account"] is None:
            continue
        tally.searched += 1
        if row["account_named"]:
            best = tally.named.setdefault((row["epoch"], row["account"]), _Naming())
            best.documents += 1
            if row["account_log10_family_p"] < best.log10_family_p:
                best.windows, best.hits = row["account_windows"], row["account_hits"]
                best.log10_family_p = row["account_log10_family_p"]
