"""Tracing: whose text, and which request, by trying every account and every call. Pure.

Every epoch at hand is searched, and the correction says so: a text spliced from answers of two
epochs shows both, which the epoch of the best site test alone would not.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from watermark.detect.candidates import CallRecord, Candidates
from watermark.detect.counts import Batch, Coins
from watermark.detect.detector import ChannelTest, Scheme, epoch_scheme, expected_green_share
from watermark.detect.exhaustive import Numbers, best_two, root_key
from watermark.detect.splice import Piece, Track, find_pieces
from watermark.errors import InputError
from watermark.keys import KeySet
from watermark.manifest import Manifest

if TYPE_CHECKING:
    from watermark.detect.filter import CommonFilter

# Accounts are asked for twice: in the whole text, and stretch by stretch.
_ACCOUNT_QUESTIONS = 2


@dataclass(frozen=True, slots=True)
class Suspect:
    """A number that was tried, and its exact test in the epoch where it does best."""

    number: int
    name: str
    epoch: int
    test: ChannelTest


@dataclass(frozen=True, slots=True)
class Search:
    """The exhaustive search of one channel over the whole text.

    `log10_family_p` is the winner's p times `factor`, the number of tests (numbers times epochs
    times forms of the text times questions). The winner is `named` if that is at most the
    family-wise level and the runner-up's p is greater. `margin_hits` and `margin_log10_p` are how
    far the runner-up is behind (None if nobody else was searched). `possible` says whether a text
    that is green throughout would have been enough to name anybody.
    """

    winner: Suspect
    runner_up: Suspect | None
    searched: int
    factor: int
    log10_family_p: float
    named: bool
    possible: bool
    record: CallRecord | None = None

    @property
    def margin_hits(self) -> int | None:
        """Green windows of the winner less those of the runner-up."""
        return None if self.runner_up is None else self.winner.test.hits - self.runner_up.test.hits

    @property
    def margin_log10_p(self) -> float | None:
        """Decades between the two p-values."""
        if self.runner_up is None:
            return None
        return self.runner_up.test.log10_p - self.winner.test.log10_p


@dataclass(frozen=True, slots=True)
class Trace:
    """What tracing one text found; `pieces` in text order.

    `forms_searched` is how many forms of the text (as given, normalised) p is corrected for.
    """

    tokens: int
    epochs_searched: int
    forms_searched: int
    account: Search | None
    call: Search | None
    pieces: tuple[Piece, ...] = field(default=())

    @property
    def named(self) -> bool:
        """Whether anyone is named, for the whole text or a piece of it."""
        whole = any(found is not None and found.named for found in (self.account, self.call))
        return whole or bool(self.pieces)

    @property
    def log10_family_p(self) -> float:
        """The smallest family-wise p of all answers, as a decimal logarithm."""
        whole = [found.log10_family_p for found in (self.account, self.call) if found is not None]
        return min([*whole, *(piece.log10_family_p for piece in self.pieces)], default=0.0)

    @property
    def possible(self) -> bool:
        """Whether the text has windows enough for anyone to be named."""
        return any(found is not None and found.possible for found in (self.account, self.call))


class Tracer:
    """Searches accounts and calls in every epoch whose keys are at hand.

    `family_level` is the probability of naming any account (or any call) for a text that none of
    them wrote; `epochs` are how many are searched. Raises InputError if the level is no
    probability, or the keys can name nobody.
    """

    def __init__(
        self,
        keys: KeySet,
        manifest: Manifest,
        *,
        family_level: float = 1e-3,
        device: str = "cpu",
        threads: int = 1,
        common: "CommonFilter | None" = None,
    ) -> None:
        if not 0 < family_level < 1:
            raise InputError(f"family level {family_level}: give a number in (0, 1)")
        self._schemes = [
            epoch_scheme(entry, manifest.parameters(entry.epoch), device, common)
            for entry in keys.epochs
        ]
        if not all(entry.account_root and entry.call_root for entry in keys.epochs):
            raise InputError(
                f"{keys.path}: no account keys in this export; name accounts with the keyring or "
                "a full detector export (azeotrope keys export-detector)"
            )
        self.epochs = len(self._schemes)
        self._log10_level = math.log10(family_level)
        self._device = device
        self._threads = threads

    def trace(
        self,
        tokens: Sequence[int],
        candidates: Candidates,
        calls: Numbers,
        progress: Callable[[int], None] | None = None,
    ) -> Trace:
        """Search the candidates' accounts, and `calls`, for who wrote a text of token ids.

        `progress` is told how many calls were tried since it was last called.
        """
        return self.trace_each([tokens] * self.epochs, candidates, calls, progress)

    def trace_each(
        self,
        texts: Sequence[Sequence[int]],
        candidates: Candidates,
        calls: Numbers,
        progress: Callable[[int], None] | None = None,
        *,
        forms: int = 1,
    ) -> Trace:
        """As `trace`, with the text's ids in each epoch: words have others in each.

        `forms` is the number of forms of the text that are traced, for which p is corrected.
        """
        coins = [
            scheme.coins(Batch.of([tokens]))[1]
            for scheme, tokens in zip(self._schemes, texts, strict=True)
        ]
        account = self._search("account", coins, candidates.accounts, candidates, forms=forms)
        call = self._search("call", coins, calls, candidates, forms=forms, progress=progress)
        return Trace(
            tokens=len(texts[0]),
            epochs_searched=self.epochs,
            forms_searched=forms,
            account=account,
            call=call,
            pieces=self._pieces(coins, account.factor, candidates) if account else (),
        )

    def _search(
        self,
        channel: Literal["account", "call"],
        coins: Sequence[Coins],
        numbers: Numbers,
        candidates: Candidates,
        *,
        forms: int,
        progress: Callable[[int], None] | None = None,
    ) -> Search | None:
        if not len(numbers):
            return None
        names = candidates.name if channel == "account" else lambda _: ""
        found = [
            suspect
            for scheme, some in zip(self._schemes, coins, strict=True)
            for suspect in self._suspects(
                channel, scheme, some, numbers, names=names, progress=progress
            )
        ]
        winner, *others = sorted(found, key=lambda suspect: suspect.test.log10_p)
        runner_up = others[0] if others else None
        questions = _ACCOUNT_QUESTIONS if channel == "account" else 1
        factor = len(numbers) * self.epochs * forms * questions
        family = min(winner.test.log10_p + math.log10(factor), 0.0)
        ahead = runner_up is None or winner.test.log10_p < runner_up.test.log10_p
        tests = [suspect.test for suspect in found]
        least = min(test.windows * math.log10(test.gamma) for test in tests) + math.log10(factor)
        return Search(
            winner=winner,
            runner_up=runner_up,
            searched=len(numbers),
            factor=factor,
            log10_family_p=family,
            named=ahead and family <= self._log10_level,
            possible=least <= self._log10_level,
            record=candidates.record(winner.number) if channel == "call" else None,
        )

    def _suspects(
        self,
        channel: Literal["account", "call"],
        scheme: Scheme,
        coins: Coins,
        numbers: Numbers,
        *,
        names: Callable[[int], str],
        progress: Callable[[int], None] | None,
    ) -> Iterator[Suspect]:
        windows, parameters = coins.of(channel), scheme.parameters
        best = best_two(
            root_key(scheme.keys, channel),
            numbers,
            windows,
            parameters.gamma_bits,
            device=self._device,
            threads=self._threads,
            progress=progress,
        )
        for scored in best:
            test = ChannelTest.of(len(windows), scored.hits, parameters.gamma)
            yield Suspect(scored.number, names(scored.number), scheme.keys.epoch, test)

    def _pieces(
        self, coins: Sequence[Coins], factor: int, candidates: Candidates
    ) -> tuple[Piece, ...]:
        tracks = []
        for scheme, some in zip(self._schemes, coins, strict=True):
            bits, share = scheme.parameters.gamma_bits, expected_green_share(scheme.parameters)
            keys, windows = scheme.keys, some.of("account")
            tracks.append(Track(keys.epoch, keys.account_root, windows, bits, share))
        found = find_pieces(
            tracks, candidates.accounts, self._log10_level, math.log10(factor), self._threads
        )
        return tuple(found)
