"""The detector: verdict, account and call of one text's tokens. Pure; no files, no printing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from watermark.detect.candidates import CallRecord, Candidates
from watermark.detect.counts import CHANNEL_INDEX, Batch, Coins, Counts, EpochScheme, Words, toss
from watermark.detect.decoys import decoys
from watermark.detect.exhaustive import best_two, root_key
from watermark.detect.pvalues import log10_tail, power
from watermark.detect.report.summary import DecoyCheck
from watermark.detect.spans import WHOLE_PART, find_spans, scan_documents, whole_or_spans
from watermark.errors import InputError
from watermark.keys import EpochKeys, KeySet
from watermark.manifest import CHANNELS, Channel, Manifest, Parameters

if TYPE_CHECKING:
    from watermark.detect.filter import CommonFilter

Verdict = Literal["marked", "inconclusive", "not marked", "invalid"]
# A text is called "not marked" only if a wholly marked one would have been found with this
# probability, and if nothing at all points to a mark.
_POWER = 0.99
_UNREMARKABLE = math.log10(0.01)
# A stretch is reported as marked at this family-wise p or below.
_SPAN_LOG10_P = -3.0


@dataclass(frozen=True, slots=True)
class ChannelTest:
    """Exact one-sided binomial test of one channel under one key.

    `log10_p` is log10 P(X >= hits), X ~ Binomial(windows, gamma); `z` only a picture.
    """

    windows: int
    hits: int
    gamma: float
    log10_p: float

    @classmethod
    def of(cls, windows: int, hits: int, gamma: float) -> "ChannelTest":
        """Test `hits` among `windows` distinct windows."""
        return cls(windows, hits, gamma, log10_tail(hits, windows, gamma))

    @property
    def green_share(self) -> float:
        """Hits per distinct window (0 without windows)."""
        return self.hits / self.windows if self.windows else 0.0

    @property
    def z(self) -> float:
        """Standardised hits: how far above chance, in standard deviations."""
        spread = math.sqrt(self.windows * self.gamma * (1 - self.gamma))
        return (self.hits - self.windows * self.gamma) / spread if spread else 0.0


@dataclass(frozen=True, slots=True)
class Identification:
    """The best candidate of an exhaustive search, named or not.

    `test` is the winner's own, `log10_family_p` its p times the number of candidates; the
    winner is `named` if the latter is at most the family-wise level and no other
    candidate has as many hits. `runner_up_hits` is the second best count (-1 if alone).
    """

    number: int
    name: str
    test: ChannelTest
    candidates: int
    log10_family_p: float
    runner_up_hits: int
    named: bool
    record: CallRecord | None = None


@dataclass(frozen=True, slots=True)
class Coin:
    """One distinct window as it fell: token position, channel, green or not."""

    position: int
    channel: Channel
    green: bool


@dataclass(frozen=True, slots=True)
class MarkedSpan:
    """A marked stretch of a text: its first and last token (inclusive).

    `windows` and `hits` are the stretch's own, `log10_p` is family-wise over the whole text.
    """

    first: int
    last: int
    windows: int
    hits: int
    log10_p: float


@dataclass(frozen=True, slots=True)
class Detection:
    """What is known of one text.

    `site` is the test of the whole text, `log10_span_p` the family-wise p of its best span.
    `log10_p` puts the two together (`watermark.detect.spans.whole_or_spans`), corrected for the
    number of epochs tested, and of forms of the text (as given, normalised). The verdict is
    "invalid" if decoy keys were tried and their statistic is not that of chance.
    """

    tokens: int
    verdict: Verdict
    epoch: int
    epochs_tested: int
    site: ChannelTest
    log10_p: float
    account: Identification | None = None
    call: Identification | None = None
    decoys: DecoyCheck | None = None
    forms_tested: int = 1
    log10_span_p: float = 0.0
    spans: tuple[MarkedSpan, ...] = ()
    coins: tuple[Coin, ...] = field(default=(), repr=False)


class Scheme(Protocol):
    """The arithmetic of one epoch, wherever it runs."""

    keys: EpochKeys
    parameters: Parameters

    def count(self, batch: Batch) -> Counts:
        """Count the windows and hits of each document."""
        ...

    def coins(self, batch: Batch, *, only: Channel | None = None) -> tuple[Counts, Coins]:
        """Count each document, and list its distinct windows: all, or `only` one channel's."""
        ...


def epoch_scheme(
    keys: EpochKeys, parameters: Parameters, device: str, common: "CommonFilter | None" = None
) -> Scheme:
    """Return the compiled kernels for "cpu", torch for any other device.

    Raises InputError if the device cannot be used here.
    """
    if device == "cpu":
        return EpochScheme(keys, parameters, common)
    from watermark.detect.counts_torch import TorchScheme, usable_device

    return TorchScheme(keys, parameters, usable_device(device), common)


class Detector:
    """Tests texts against every epoch at hand.

    `level` is the false-positive rate of the verdict "marked", `family_level` the
    probability of naming any account (or call) for a text that none of them wrote. `common`
    leaves common windows out, `decoy_count` decoy keys check every verdict (0: none). Raises
    InputError if a level is no probability between 0 and 1.
    """

    def __init__(
        self,
        keys: KeySet,
        manifest: Manifest,
        *,
        level: float = 1e-5,
        family_level: float = 1e-3,
        device: str = "cpu",
        common: "CommonFilter | None" = None,
        decoy_count: int = 0,
    ) -> None:
        if not (0 < level < 1 and 0 < family_level < 1):
            raise InputError(f"level {level}, family level {family_level}: give numbers in (0, 1)")
        self.level = level
        self.family_level = family_level
        self._device = device
        self._common = common
        self._decoy_count = decoy_count
        self._epochs = [
            epoch_scheme(entry, manifest.parameters(entry.epoch), device, common)
            for entry in keys.epochs
        ]

    @property
    def epochs(self) -> tuple[int, ...]:
        """Numbers of the epochs tested, oldest first."""
        return tuple(scheme.keys.epoch for scheme in self._epochs)

    def judge(self, tokens: Sequence[int], candidates: Candidates | None = None) -> Detection:
        """Test one text, given as token ids, and search `candidates` for its writer."""
        return self.judge_each([tokens] * len(self._epochs), candidates)

    def judge_each(
        self,
        texts: Sequence[Sequence[int]],
        candidates: Candidates | None = None,
        *,
        forms: int = 1,
    ) -> Detection:
        """As `judge`, with the text's ids in each epoch: words have others in each.

        `forms` is the number of forms of the text that are tried, for which p is corrected.
        """
        looks = [
            _look(scheme, Batch.of([tokens]))
            for scheme, tokens in zip(self._epochs, texts, strict=True)
        ]
        look = min(looks, key=lambda one: one.log10_p)
        scheme, coins = look.scheme, look.coins
        log10_p = min(look.log10_p + math.log10(len(looks) * forms), 0.0)
        account, call = self._identify(scheme, coins, candidates or Candidates())
        check = self._check(scheme, look.batch, look.site)
        valid = check is None or check.ok
        return Detection(
            tokens=len(look.batch.ids),
            verdict=self._verdict(look.site, log10_p, scheme.parameters) if valid else "invalid",
            epoch=scheme.keys.epoch,
            epochs_tested=len(looks),
            forms_tested=forms,
            site=look.site,
            log10_p=log10_p,
            account=account,
            call=call,
            decoys=check,
            log10_span_p=look.log10_span_p,
            spans=marked_spans(scheme.parameters, coins.of("site")),
            coins=_coins(scheme, coins, account, call),
        )

    def _check(self, scheme: Scheme, batch: Batch, test: ChannelTest) -> DecoyCheck | None:
        if not self._decoy_count:
            return None
        found = decoys(batch, scheme.parameters, self._decoy_count, self._common)
        return found.check(scheme.keys.epoch, test.z)

    def _verdict(self, test: ChannelTest, log10_p: float, parameters: Parameters) -> Verdict:
        log10_level = math.log10(self.level)
        if log10_p <= log10_level:
            return "marked"
        share = expected_green_share(parameters)
        single = log10_level + WHOLE_PART - math.log10(len(self._epochs))
        able = power(test.windows, parameters.gamma, share, single) >= _POWER
        return "not marked" if able and log10_p > _UNREMARKABLE else "inconclusive"

    def _identify(
        self, scheme: Scheme, coins: Coins, candidates: Candidates
    ) -> tuple[Identification | None, Identification | None]:
        if not scheme.keys.account or not len(candidates.accounts):
            return None, None
        account = self._search("account", scheme, coins, candidates.accounts, candidates)
        calls = candidates.calls.of(account.number)
        if not account.named or not len(calls):
            return account, None
        return account, self._search("call", scheme, coins, calls, candidates)

    def _search(
        self,
        channel: Literal["account", "call"],
        scheme: Scheme,
        coins: Coins,
        numbers: Words,
        candidates: Candidates,
    ) -> Identification:
        windows, bits = coins.of(channel), scheme.parameters.gamma_bits
        root = root_key(scheme.keys, channel)
        winner, *others = best_two(root, numbers, windows, bits, device=self._device)
        runner_up = others[0].hits if others else -1
        test = ChannelTest.of(len(windows), winner.hits, scheme.parameters.gamma)
        family = min(test.log10_p + math.log10(len(numbers)), 0.0)
        return Identification(
            number=winner.number,
            name=candidates.name(winner.number) if channel == "account" else "",
            test=test,
            candidates=len(numbers),
            log10_family_p=family,
            runner_up_hits=runner_up,
            named=family <= math.log10(self.family_level) and test.hits > runner_up,
            record=candidates.record(winner.number) if channel == "call" else None,
        )


@dataclass(frozen=True, slots=True)
class _Look:
    """One text under one epoch: `log10_p` is not corrected for epochs."""

    scheme: Scheme
    batch: Batch
    coins: Coins
    site: ChannelTest
    log10_span_p: float
    log10_p: float


def _look(scheme: Scheme, batch: Batch) -> _Look:
    counts, coins = scheme.coins(batch)
    windows, hits = int(counts.windows[0, 0]), int(counts.hits[0, 0])
    gamma = scheme.parameters.gamma
    site = ChannelTest.of(windows, hits, gamma)
    ends = np.array([0, windows], np.int64)
    span = scan_documents(coins.of("site").green, ends, gamma)
    both = whole_or_spans(np.array([site.log10_p]), span)
    return _Look(scheme, batch, coins, site, float(span[0]), float(both[0]))


def marked_spans(parameters: Parameters, site: Coins) -> tuple[MarkedSpan, ...]:
    """Marked stretches of a text with these site coins, in text order."""
    found = find_spans(
        site.green, parameters.gamma, expected_green_share(parameters), _SPAN_LOG10_P
    )
    return tuple(
        MarkedSpan(
            int(site.position[span.first]),
            int(site.position[span.last]),
            span.windows,
            span.hits,
            span.log10_p,
        )
        for span in found
    )


def expected_green_share(parameters: Parameters) -> float:
    """Green share that a wholly marked text can be expected to show at least.

    A green token of probability gamma in all would reach gamma e^delta / (1 + gamma
    (e^delta - 1)); text with little choice falls short of it. Half of the excess is what
    fluent prose keeps (docs/results.md); texts with less choice are left inconclusive.
    """
    gamma = parameters.gamma
    strength = math.exp(parameters.delta_millinats / 1000)
    bound = gamma * strength / (1 + gamma * (strength - 1))
    return gamma + (bound - gamma) / 2


def _coins(
    scheme: Scheme,
    coins: Coins,
    account: Identification | None,
    call: Identification | None,
) -> tuple[Coin, ...]:
    """Coins of the channels whose number is known, in text order."""
    extra: dict[Channel, int] = {"site": 0}
    if account is not None and account.named:
        extra["account"] = scheme.keys.account_key(account.number)
    if call is not None and call.named:
        extra["call"] = scheme.keys.call_key(call.number)
    keys = np.array([extra.get(channel, 0) for channel in CHANNELS], np.uint64)
    known = coins.where(np.isin(coins.channel, [CHANNEL_INDEX[channel] for channel in extra]))
    seeds = known.seed ^ keys[known.channel]
    greens = toss(seeds, known.token, scheme.parameters.gamma_bits)
    return tuple(
        Coin(position, CHANNELS[channel], bool(green))
        for position, channel, green in zip(
            known.position.tolist(), known.channel.tolist(), greens.tolist(), strict=True
        )
    )
