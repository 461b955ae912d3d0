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
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from watermark.detect.counts import Coins, Integers, Words, number_keys, toss, word_places
from watermark.detect.exhaustive import Numbers, chunk_size, chunks, each
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
        self._coins = coins
        self._gamma_bits = gamma_bits
        self.gamma = 2.0**-gamma_bits
        steps, places = word_places(coins.token, gamma_bits)
        self._windows = Windows(coins.seed, steps, places, gamma_bits == 2)
        self._gain = math.floor(_PER_NAT * math.log(green_share / self.gamma))
        self._loss = math.ceil(-_PER_NAT * math.log((1 - green_share) / (1 - self.gamma)))

    def best(self, numbers: Words, first: int, last: int) -> "Claims":
        """Best stretch of each account [k] among the windows first to last - 1."""
        seeds, steps, places, two_bits = self._windows
        part = slice(first, last)
        some = Windows(seeds[part], steps[part], places[part], two_bits)
        keys = number_keys(self.root, numbers)
        best, ends = best_stretches(keys, some, self._gain, self._loss)
        scores, begins = best >> PLACE_BITS, best & LONGEST
        begins = np.where(scores > 0, begins, ends)
        lengths = ends - begins + 1
        hits = (scores + self._loss * lengths) // max(self._gain + self._loss, 1)
        p = np.where(scores > 0, self.log10_p(hits, lengths), 0.0)
        return Claims(first + begins, first + ends, p)

    def log10_p(self, hits: Integers, lengths: Integers) -> npt.NDArray[np.float64]:
        """log10 of the p [k] of stretches with so many hits among so many windows, each [k]."""
        count = len(self.positions)
        scores = self._gain * hits - self._loss * (lengths - hits)
        ville = math.log10(max(count, 1)) - scores / (_PER_NAT * LN10)
        stretches = math.log10(max(count * (count + 1) // 2, 1))
        union = stretches + log10_tails(hits, lengths, self.gamma)
        return np.minimum(np.minimum(ville, union) + math.log10(2), 0.0)

    def greens(self, account: int) -> Integers:
        """Coins [n] of all windows under an account's key: 1 or 0."""
        key = number_keys(self.root, np.array([account], np.uint64))
        return toss(self._coins.seed ^ key, self._coins.token, self._gamma_bits).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Claims:
    """Stretches, windows `first` to `last` (inclusive), and their log10 p, all [k]."""

    first: Integers
    last: Integers
    log10_p: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Claim:
    """A stretch of windows, first to last (inclusive), that an account claims."""

    track: Track
    account: int
    first: int
    last: int
    log10_p: float

    @property
    def tokens(self) -> tuple[int, int]:
        """First and last token."""
        return int(self.track.positions[self.first]), int(self.track.positions[self.last])

    def greens(self) -> Integers:
        """Coins of the claim's windows."""
        return self.track.greens(self.account)[self.first : self.last + 1]

    def over(self, first: int, last: int) -> "_Claim":
        """Return the account's claim to other windows."""
        hits = self.track.greens(self.account)[first : last + 1].sum(keepdims=True)
        log10_p = self.track.log10_p(hits, np.array([last - first + 1]))
        return _Claim(self.track, self.account, first, last, float(log10_p[0]))

    def log_ratios(self, first: int, last: int) -> npt.NDArray[np.float64]:
        """Log likelihood ratios of windows, at the green share of the claim itself."""
        own, gamma = self.greens(), self.track.gamma
        share = (own.sum() + 0.5) / (len(own) + 1)
        coins = self.track.greens(self.account)[first : last + 1]
        ratios: npt.NDArray[np.float64] = np.where(
            coins == 1, np.log(share / gamma), np.log((1 - share) / (1 - gamma))
        )
        return ratios

    def sharpened(self, first: int, last: int) -> "_Claim":
        """Cut the claim anew, within windows first to last, by its own green share.

        At the share of average text a claim of greener text would run on into its surroundings.
        """
        sums = np.concatenate([[0.0], np.cumsum(self.log_ratios(first, last))])
        end = int(np.argmax(sums - np.minimum.accumulate(sums)))
        start = int(np.argmin(sums[: max(end, 1)]))
        cut = self.over(first + start, first + max(end, 1) - 1)
        return cut if cut.log10_p < self.log10_p else self

    def piece(self, log10_family: float) -> Piece:
        """Return the claim in terms of the text."""
        first, last = self.tokens
        return Piece(
            account=self.account,
            epoch=self.track.epoch,
            first=first,
            last=last,
            windows=self.last - self.first + 1,
            hits=int(self.greens().sum()),
            log10_p=self.log10_p,
            log10_family_p=min(self.log10_p + log10_family, 0.0),
        )


def find_pieces(
    tracks: Sequence[Track],
    accounts: Numbers,
    log10_level: float,
    log10_family: float,
    threads: int = 1,
) -> list[Piece]:
    """Return the pieces of a text that accounts are named for, in text order, none overlapping.

    A piece's p times 10^log10_family is at most 10^log10_level. The strongest is taken
    first; what is left of the text is then searched for further pieces. At last the border
    between neighbours goes where the two accounts' likelihoods are greatest together.
    """
    least = log10_level - log10_family
    suspects = [(track, _suspects(track, accounts, least, threads)) for track in tracks]
    claims: list[_Claim] = []
    while True:
        found = [
            claim
            for track, numbers in suspects
            for gap in _gaps(track.positions, claims)
            for claim in _strongest(track, numbers, gap)
        ]
        best = min(found, key=lambda claim: claim.log10_p, default=None)
        if best is None or best.log10_p > least:
            return [claim.piece(log10_family) for claim in _bordered(claims, least)]
        claims.append(best)


def _suspects(track: Track, accounts: Numbers, least: float, threads: int) -> Words:
    """Accounts whose best stretch anywhere is significant: all others need no second look."""

    def run(part: Words) -> Words:
        found: Words = part[track.best(part, 0, len(track.positions)).log10_p <= least]
        return found

    size = chunk_size(accounts, len(track.positions), threads)
    found = [some for _, some in each(run, chunks(accounts, size), threads)]
    return np.concatenate(found) if found else np.empty(0, np.uint64)


def _gaps(positions: Integers, claims: Sequence[_Claim]) -> Iterator[tuple[int, int]]:
    """Runs of windows, half-open, between the tokens of claims."""
    start = 0
    for first, last in sorted(claim.tokens for claim in claims):
        yield start, int(np.searchsorted(positions, first))
        start = int(np.searchsorted(positions, last, side="right"))
    yield start, len(positions)


def _strongest(track: Track, numbers: Words, gap: tuple[int, int]) -> Iterator[_Claim]:
    """Yield the strongest claim to a part of a gap, if the gap has windows."""
    start, end = gap
    if len(numbers) and start < end:
        found = track.best(numbers, start, end)
        i = int(np.argmin(found.log10_p))
        first, last, log10_p = int(found.first[i]), int(found.last[i]), float(found.log10_p[i])
        yield _Claim(track, int(numbers[i]), first, last, log10_p).sharpened(start, end - 1)


def _bordered(claims: list[_Claim], least: float) -> list[_Claim]:
    """Claims in text order, with the borders between neighbours of one epoch improved."""
    ordered = sorted(claims, key=lambda claim: claim.tokens)
    for i, (left, right) in enumerate(pairwise(list(ordered))):
        if left.track is right.track and left.account != right.account:
            moved = _moved(ordered[i], right)
            if max(claim.log10_p for claim in moved) <= least:
                ordered[i : i + 2] = moved
    return ordered


def _moved(left: _Claim, right: _Claim) -> tuple[_Claim, _Claim]:
    """Move the end of the left and the start of the right claim to the greatest sum of both."""
    up_to = np.cumsum(left.log_ratios(left.first, right.last))
    onwards = np.cumsum(right.log_ratios(left.first, right.last)[::-1])[::-1]
    best_end = np.maximum.accumulate(up_to)
    best_start = np.maximum.accumulate(onwards[::-1])[::-1]
    border = int(np.argmax(best_end[:-1] + best_start[1:])) + 1
    last = left.first + int(np.argmax(up_to[:border]))
    # Of equal sums the shorter stretch: both begin and end with a green window.
    first = left.first + len(onwards) - 1 - int(np.argmax(onwards[border:][::-1]))
    return left.over(left.first, last), right.over(first, right.last)
