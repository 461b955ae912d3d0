"""A unit of work, one shard or some small ones: read, tokenise, judge, keep what is needed."""

import hashlib
import heapq
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from watermark.detect.distinct import DistinctWindows, WindowSample
from watermark.detect.scan.documents import Examination, Examiner
from watermark.detect.scan.forms import Forms
from watermark.detect.scan.job import Equipment
from watermark.detect.scan.judging import HISTOGRAM_BINS, Judgement
from watermark.detect.scan.parts import ROWS, TokenSample
from watermark.detect.scan.plan import Unit
from watermark.detect.scan.reading import UnitBatch, UnitInput
from watermark.detect.scan.tokens import UnitTokens
from watermark.detect.sources import Shard
from watermark.detect.sources.sampling import random_words

# Told (about how many bytes were read, documents, tokens) after every batch.
Tell = Callable[[int, int, int], None]

# Documents with a corrected p above 10^-2 are not looked at more closely.
CANDIDATE_LOG10_P = -2.0
# The report colours the text of those below 10^-3: a unit of unmarked text has 20 above it, and
# colouring them took a third of the scan.
_COLOURED_LOG10_P = -3.0
ACCOUNT_SAMPLE = 1 << 18
STRONGEST = 20
_NORMALISED, _GIVEN = "normalised", "given"


class UnitScan:
    """Scans the shards of one unit into its part."""

    def __init__(self, equipment: Equipment, unit: Unit, tell: Tell) -> None:
        self._equipment = equipment
        self._part = part = unit.part
        self._sample_tokens = unit.sample_tokens
        self._tell = tell
        part.path.mkdir(parents=True, exist_ok=True)
        epochs = equipment.keys.epochs
        self._numbers = [keys.epoch for keys in epochs]
        self._gammas = [equipment.manifest.parameters(n).gamma for n in self._numbers]
        self._distinct = [DistinctWindows(part.runs(number)) for number in self._numbers]
        self._histograms = np.zeros((len(epochs), HISTOGRAM_BINS), np.int64)
        self._accounts = [WindowSample.empty() for _ in epochs]
        self._account_windows: list[list[WindowSample]] = [[] for _ in epochs]
        self._sample = TokenSample.empty()
        self._examiner = Examiner(equipment)
        self._strongest: list[tuple[float, int, int, dict[str, Any]]] = []
        self._totals = {"documents": 0, "tokens": 0, "normalised": 0}
        self._input = UnitInput(unit.shards, equipment.job.fields)
        self._tokens = UnitTokens(equipment, part.path.name)
        # By place, so that a document's draw does not depend on what else is scanned.
        self._salts = np.array([_salt(shard) for shard in unit.shards], np.uint64)

    def run(self) -> None:
        """Scan to the end; a damaged file keeps what was read of it, with the reason."""
        rows = pq.ParquetWriter(self._part.rows, ROWS, compression="zstd")
        with rows as writer, self._tokens:
            for batch in self._input:
                writer.write_table(self._batch(batch))
        for distinct in self._distinct:
            distinct.flush()
        self._part.save_sample(self._sample)
        self._part.save_accounts(self._accounts)
        strongest = sorted(self._strongest, key=lambda item: (-item[0], *item[1:3]))
        self._part.finish(
            {
                **self._totals,
                **self._input.facts(),
                "warnings": self._equipment.take_warnings(),
                "histograms": self._histograms.tolist(),
                "strongest": [item for *_, item in strongest],
            }
        )

    def _batch(self, batch: UnitBatch) -> pa.Table:
        # Of shard and position alone: what else is scanned changes no document's draw.
        priorities = random_words(self._salts[batch.shards], batch.positions - 1)
        draws = priorities / 2.0**64
        forms = self._forms(batch)
        judgement, results, better = forms.judge(self._equipment.schemes, self._gammas, draws)
        for index, result in enumerate(results):
            self._distinct[index].add(result.coins.digest, result.coins.green)
            self._histograms[index] += result.histogram
        self._keep_sample(TokenSample(priorities, forms.main[-1]))
        examined = dict(self._examine(batch, judgement, forms, better))
        for epoch, waiting in enumerate(self._account_windows):
            self._accounts[epoch] = self._accounts[epoch].merged(waiting, ACCOUNT_SAMPLE)
            waiting.clear()
        tokens = int(judgement.tokens.sum())
        self._totals["documents"] += len(batch)
        self._totals["normalised"] += len(forms.changed)
        self._totals["tokens"] += tokens
        self._tell(batch.size, len(batch), tokens)
        return self._table(batch, judgement, better, examined)

    def _forms(self, batch: UnitBatch) -> Forms:
        if batch.texts is None:
            assert batch.ids is not None
            return Forms.of_ids(batch.ids, len(self._numbers))
        return Forms.of_texts(
            batch.texts,
            self._equipment.encoders,
            lambda texts: self._tokens.encode(batch.positions, texts),
        )

    def _examine(
        self,
        batch: UnitBatch,
        judgement: Judgement,
        forms: Forms,
        better: npt.NDArray[np.int64],
    ) -> Iterator[tuple[int, Examination]]:
        as_given = set(better.tolist())
        for row in np.flatnonzero(judgement.log10_corrected_p <= CANDIDATE_LOG10_P).tolist():
            epoch = int(judgement.epoch[row])
            given = row in as_given
            ids = forms.ids(row, epoch, as_given=given)
            found = self._examiner.examine(ids, epoch, forms.readings[row], as_given=given)
            self._account_windows[epoch].append(found.account_windows)
            self._keep_strongest(batch, judgement, row, found)
            yield row, found

    def _keep_strongest(
        self, batch: UnitBatch, judgement: Judgement, row: int, found: Examination
    ) -> None:
        strength = -float(judgement.log10_corrected_p[row])
        shard, position = int(batch.shards[row]), int(batch.positions[row])
        if len(self._strongest) == STRONGEST and strength <= self._strongest[0][0]:
            return
        coloured = -strength <= _COLOURED_LOG10_P
        item = {
            "shard": shard,
            "position": position,
            "log10_corrected_p": -strength,
            "windows": int(judgement.windows[row]),
            "hits": int(judgement.hits[row]),
            "spans": [(span["start"], span["end"], span["log10_p"]) for span in found.spans],
            "account": found.account.number if found.account and found.account.named else None,
            "pieces": [
                (piece.text, piece.colour, piece.note)
                for piece in (self._examiner.pieces(found) if coloured else ())
            ],
        }
        heapq.heappush(self._strongest, (strength, shard, position, item))
        if len(self._strongest) > STRONGEST:
            heapq.heappop(self._strongest)

    def _keep_sample(self, sample: TokenSample) -> None:
        self._sample = self._sample.joined(sample.reduced(self._sample_tokens)).reduced(
            self._sample_tokens
        )

    def _table(
        self,
        batch: UnitBatch,
        judgement: Judgement,
        better: npt.NDArray[np.int64],
        examined: dict[int, Examination],
    ) -> pa.Table:
        form = np.full(len(batch), _NORMALISED, object)
        form[better] = _GIVEN
        accounts = [examined[row].account if row in examined else None for row in range(len(batch))]
        columns = {
            "shard": batch.shards,
            "position": batch.positions,
            "tokens": judgement.tokens,
            "form": form,
            "epoch": np.array(self._numbers)[judgement.epoch],
            "windows": judgement.windows,
            "hits": judgement.hits,
            "log10_p": judgement.log10_p,
            "log10_span_p": judgement.log10_span_p,
            "log10_corrected_p": judgement.log10_corrected_p,
            "spans": [examined[row].spans if row in examined else [] for row in range(len(batch))],
            "account": [found.number if found else None for found in accounts],
            "account_windows": [found.windows if found else None for found in accounts],
            "account_hits": [found.hits if found else None for found in accounts],
            "account_log10_family_p": [
                found.log10_family_p if found else None for found in accounts
            ],
            "account_named": [found.named if found else None for found in accounts],
        }
        return pa.table(columns, schema=ROWS)


def _salt(shard: Shard) -> int:
    return int.from_bytes(hashlib.sha256(shard.name.encode()).digest()[:8], "little")
