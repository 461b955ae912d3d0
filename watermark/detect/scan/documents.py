"""A document that looks marked, more closely: its spans, its account, its coloured text."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from watermark.detect.counts import Batch, Coins, search
from watermark.detect.detector import Coin, marked_spans
from watermark.detect.distinct import WindowSample
from watermark.detect.encoder import encode_normalised
from watermark.detect.normalise import Normalised
from watermark.detect.pvalues import log10_tail
from watermark.detect.scan.job import Equipment
from watermark.detect.segments import Segment, segments

# The report shows that much of a document.
_SHOWN_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Reading:
    """A document's text as it came and normalised; None where token ids came instead."""

    text: str | None
    normalised: Normalised | None

    @property
    def changed(self) -> bool:
        """Whether normalisation changed the text."""
        return self.normalised is not None and self.normalised.text != self.text


@dataclass(frozen=True, slots=True)
class AccountSearch:
    """The best of the candidates in one document.

    `log10_family_p` is its p times the number of candidates; it is `named` if that is at most the
    family-wise level and nobody else has as many hits.
    """

    number: int
    windows: int
    hits: int
    log10_family_p: float
    named: bool


@dataclass(frozen=True, slots=True)
class Examination:
    """What a closer look found.

    `spans` are rows of the Parquet column: characters of the text as it came (None for ids),
    tokens, counts and the family-wise p. `reading` is the document, `as_given` the form of it
    that was looked at, under the epoch of that index.
    """

    reading: Reading
    epoch: int
    as_given: bool
    spans: list[dict[str, Any]]
    account: AccountSearch | None
    account_windows: WindowSample
    site: Coins = field(repr=False)


class Examiner:
    """Looks at documents one by one."""

    def __init__(self, equipment: Equipment) -> None:
        self._equipment = equipment
        self._parameters = [
            equipment.manifest.parameters(keys.epoch) for keys in equipment.keys.epochs
        ]

    def examine(
        self, ids: npt.NDArray[np.uint32], epoch: int, reading: Reading, *, as_given: bool
    ) -> Examination:
        """Look at the token `ids` [n] of a document under the epoch of that index."""
        batch = Batch(ids, np.array([0, len(ids)], np.int64))
        _, coins = self._equipment.schemes[epoch].coins(batch)
        site, own = coins.of("site"), coins.of("account")
        return Examination(
            reading,
            epoch,
            as_given,
            self._spans(site, epoch, reading, as_given=as_given),
            self._account(own, epoch),
            WindowSample.of(own.digest, own.seed, own.token),
            site,
        )

    def pieces(self, found: Examination) -> list[Segment]:
        """Cut the beginning of a document's text at its counted tokens."""
        text = (found.reading.text or "")[:_SHOWN_CHARACTERS]
        offsets = self._offsets(found.reading, found.epoch, as_given=found.as_given)
        coins = [
            Coin(position, "site", bool(green))
            for position, green in zip(
                found.site.position.tolist(), found.site.green.tolist(), strict=True
            )
            if offsets and offsets[position][1] <= len(text)
        ]
        return segments(text, offsets, coins) if text else []

    def _offsets(self, reading: Reading, epoch: int, *, as_given: bool) -> list[tuple[int, int]]:
        if reading.text is None or reading.normalised is None:
            return []
        encoder = self._equipment.encoders[epoch]
        if as_given:
            return encoder.encode(reading.text).offsets
        return encode_normalised(encoder, reading.normalised).offsets

    def _spans(
        self, site: Coins, epoch: int, reading: Reading, *, as_given: bool
    ) -> list[dict[str, Any]]:
        found = marked_spans(self._parameters[epoch], site)
        # Character offsets take the slow tokenizer: only where there is a span to place.
        offsets = self._offsets(reading, epoch, as_given=as_given) if found else []
        return [
            {
                "start": offsets[span.first][0] if offsets else None,
                "end": offsets[span.last][1] if offsets else None,
                "first_token": span.first,
                "last_token": span.last,
                "windows": span.windows,
                "hits": span.hits,
                "log10_p": span.log10_p,
            }
            for span in found
        ]

    def _account(self, own: Coins, epoch: int) -> AccountSearch | None:
        keys = self._equipment.account_keys[epoch]
        if not len(keys) or not len(own):
            return None
        parameters = self._parameters[epoch]
        hits = search(keys, own.seed, own.token, parameters.gamma_bits)
        winner = int(np.argmax(hits))
        most = int(hits[winner])
        alone = int((hits == most).sum()) == 1
        tail = log10_tail(most, len(own), parameters.gamma)
        family = min(tail + float(np.log10(len(keys))), 0.0)
        named = alone and family <= np.log10(self._equipment.job.family_level)
        number = int(self._equipment.candidates.accounts[winner])
        return AccountSearch(number, len(own), most, family, bool(named))
