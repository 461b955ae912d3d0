"""Several accounts in one text, told apart by stretch.

Under an account's key the windows of the account channel, in text order, score the logarithm of
the likelihood of marked text against unmarked; the best stretch is that of the greatest sum. Its
p-value is the smaller of two bounds, times two:

    n · e^(-score)                                 Ville's inequality for each of n first windows
    n(n + 1)/2 · P(Binomial(length, gamma) >= hits)  the union over all stretches

Both hold for the best of all stretches of n independent coins, so for any that is picked from
them. The first serves text with some mark, the second text that is green throughout.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from watermark.detect.counts import Coins, Integers, Words, number_keys, word_places
from watermark.detect.exhaustive import CHUNK, Numbers, chunks, each
from watermark.detect.kernels_trace import LONGEST, PLACE_BITS, Windows, best_stretches
from watermark.detect.pvalues import LN10, log10_tails
from watermark.errors import InputError

# Scores are integers of 1/1024 nat, rounded down: the same everywhere, and never too large.
_PER_NAT = 1024


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch that an account is named for: tokens `first` to `last` (inclusive) of the text.

    `windows` and `hits` are the stretch's, of the account channel; `log10_p` is that of the
    account's best stretch, `log10_family_p` corrected for all accounts and epochs searched.
    """

    account: int
    epoch: int
    first: int
    last: int
    windows: int
    hits: int
    log10_p: float
    log10_family_p: float


@dataclass(frozen=True, slots=True)
class Stretches:
    """The best stretch of each of some keys: windows `first` to `last`, hits and p, all [k]."""

    first: Integers
    last: Integers
    hits: Integers
    log10_p: npt.NDArray[np.float64]


class Track:
    """The account channel of one epoch: what every account's stretches are looked for in.

    `positions` int64 [n] are the windows' tokens, ascending; `root` the key that account keys
    derive from; `green_share` that of text which is marked throughout. Raises InputError for a
    text of more than 2^24 - 1 such windows.
    """

    def __init__(
        self, epoch: int, root: bytes, coins: Coins, gamma_bits: int, green_share: float
    ) -> None:
        if len(coins) > LONGEST:
            raise InputError(
                f"a text with {len(coins)} windows of the account channel: at most {LONGEST} can "
                "be traced at once; cut it into parts"
            )
        self.epoch = epoch
        self.root = root
        self.positions = coins.position
        self._gamma = 2.0**-gamma_bits
        steps, places = word_places(coins.token, gamma_bits)
        self._windows = Windows(coins.seed, steps, places, gamma_bits == 2)
        self._gain = math.floor(_PER_NAT * math.log(green_share / self._gamma))
        self._loss = math.ceil(-_PER_NAT * math.log((1 - green_share) / (1 - self._gamma)))

    def best(self, keys: Words, first: int = 0, last: int | None = None) -> Stretches:
        """Best stretch of each key among the windows first to last - 1."""
        seeds, steps, places, two_bits = self._windows
        part = slice(first, last)
        some = Windows(seeds[part], steps[part], places[part], two_bits)
        best, ends = best_stretches(keys, some, self._gain, self._loss)
        scores, begins = best >> PLACE_BITS, best & LONGEST
        begins = np.where(scores > 0, begins, 0)
        lengths = np.where(scores > 0, ends - begins + 1, 0)
        both = max(self._gain + self._loss, 1)
        hits = np.where(scores > 0, (scores + self._loss * lengths) // both, 0)
        log10_p = self._log10_p(scores, lengths, hits)
        return Stretches(first + begins, first + ends, hits, log10_p)

    def _log10_p(
        self, scores: Integers, lengths: Integers, hits: Integers
    ) -> npt.NDArray[np.float64]:
        count = max(len(self.positions), 1)
        ville = math.log10(count) - scores / (_PER_NAT * LN10)
        union = math.log10(count * (count + 1) / 2) + log10_tails(hits, lengths, self._gamma)
        smaller = np.minimum(np.minimum(ville, union) + math.log10(2), 0.0)
        return np.where(scores > 0, smaller, 0.0)


def find_pieces(
    tracks: Sequence[Track],
    accounts: Numbers,
    log10_level: float,
    log10_family: float,
    threads: int = 1,
) -> list[Piece]:
    """Return the pieces of a text that accounts are named for, in text order, none overlapping.

    A piece's p times 10^log10_family is at most 10^log10_level. The strongest is taken
    first; what is left of the text is then searched for further pieces.
    """
    least = log10_level - log10_family
    suspects = [(track, _suspects(track, accounts, least, threads)) for track in tracks]
    pieces: list[Piece] = []
    while True:
        found = [
            piece
            for track, numbers in suspects
            for gap in _gaps(track.positions, pieces)
            for piece in _pieces(track, numbers, gap, log10_family)
        ]
        best = min(found, key=lambda piece: piece.log10_p, default=None)
        if best is None or best.log10_p > least:
            return sorted(pieces, key=lambda piece: piece.first)
        pieces.append(best)


def _suspects(track: Track, accounts: Numbers, least: float, threads: int) -> Words:
    """Accounts whose best stretch anywhere is significant: all others need no second look."""

    def run(part: Words) -> Words:
        found: Words = part[track.best(number_keys(track.root, part)).log10_p <= least]
        return found

    size = max(min(CHUNK, -(-len(accounts) // threads)), 1)
    found = [some for _, some in each(run, chunks(accounts, size), threads)]
    return np.concatenate(found) if found else np.empty(0, np.uint64)


def _gaps(positions: Integers, pieces: Sequence[Piece]) -> Iterator[tuple[int, int]]:
    """Runs of windows, half-open, between the tokens of pieces."""
    start = 0
    for piece in sorted(pieces, key=lambda piece: piece.first):
        yield start, int(np.searchsorted(positions, piece.first))
        start = int(np.searchsorted(positions, piece.last, side="right"))
    yield start, len(positions)


def _pieces(
    track: Track, numbers: Words, gap: tuple[int, int], log10_family: float
) -> Iterator[Piece]:
    """Yield the strongest piece in a gap."""
    if not len(numbers) or gap[0] >= gap[1]:
        return
    found = track.best(number_keys(track.root, numbers), *gap)
    index = int(np.argmin(found.log10_p))
    first, last = int(found.first[index]), int(found.last[index])
    log10_p = float(found.log10_p[index])
    yield Piece(
        account=int(numbers[index]),
        epoch=track.epoch,
        first=int(track.positions[first]),
        last=int(track.positions[last]),
        windows=last - first + 1,
        hits=int(found.hits[index]),
        log10_p=log10_p,
        log10_family_p=min(log10_p + log10_family, 0.0),
    )
