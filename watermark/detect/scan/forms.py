"""Texts in the two forms that are tested: normalised, and as they came where that differs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from watermark.detect.counts import Batch
from watermark.detect.detector import Scheme
from watermark.detect.encoder import Encoders
from watermark.detect.normalise import normalise
from watermark.detect.scan.documents import Reading
from watermark.detect.scan.judging import EpochResult, Judgement, better_form, judge_batch

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Forms:
    """d documents in the form that is tested first, a batch an epoch, and what differs from it.

    `changed` [c] are the documents that normalisation changed, `given` those as they came.
    """

    readings: list[Reading]
    main: list[Batch]
    changed: Integers
    given: list[Batch]

    @classmethod
    def of_ids(cls, ids: Batch, epochs: int) -> "Forms":
        """Token ids have one form."""
        return cls([Reading(None, None)] * len(ids), [ids] * epochs, np.empty(0, np.int64), [])

    @classmethod
    def of_texts(
        cls, texts: list[str], encoders: Encoders, encode: Callable[[list[str]], list[Batch]]
    ) -> "Forms":
        """Normalise and encode; `encode` does so for the normalised form (it may have a cache)."""
        normalised = [normalise(text) for text in texts]
        readings = [Reading(text, item) for text, item in zip(texts, normalised, strict=True)]
        changed = np.array([i for i, reading in enumerate(readings) if reading.changed], np.int64)
        main = encode([item.text for item in normalised])
        given = encoders.encode_batch([texts[i] for i in changed]) if len(changed) else []
        return cls(readings, main, changed, given)

    def ids(self, row: int, epoch: int, *, as_given: bool) -> npt.NDArray[np.uint32]:
        """Token ids of a document under the epoch of that index; `as_given` only if changed."""
        if as_given:
            return self.given[epoch].document(int(np.searchsorted(self.changed, row)))
        return self.main[epoch].document(row)

    def judge(
        self, schemes: Sequence[Scheme], gammas: Sequence[float], draws: npt.NDArray[np.float64]
    ) -> tuple[Judgement, list[EpochResult], Integers]:
        """Test every document as `judge_batch` does, those that were changed in both forms.

        Also returns each epoch's results in the first form, and the documents [b] that did
        better as they came.
        """
        judgement, results = judge_batch(self.main, schemes, gammas, draws)
        if not len(self.changed):
            return judgement, results, self.changed
        other, _ = judge_batch(self.given, schemes, gammas, draws[self.changed])
        return judgement, results, self.changed[better_form(judgement, other, self.changed)]
