"""The detector: verdict, account and call of one text's tokens. Pure; no files, no printing."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from watermark.detect.candidates import CallRecord, Candidates
from watermark.detect.pvalues import log10_tail, power
from watermark.detect.windows import Windows, distinct_windows
from watermark.errors import InputError
from watermark.greenlist import signed64
from watermark.keys import EpochKeys, KeySet
from watermark.manifest import Channel, Manifest, Parameters

Verdict = Literal["marked", "inconclusive", "not marked"]
# A text is called "not marked" only if a wholly marked one would have been found with this
# probability, and if nothing at all points to a mark.
_POWER = 0.99
_UNREMARKABLE = math.log10(0.01)


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
class Detection:
    """What is known of one text.

    `log10_p` is the site channel's, corrected for the number of epochs tested.
    """

    tokens: int
    verdict: Verdict
    epoch: int
    epochs_tested: int
    site: ChannelTest
    log10_p: float
    account: Identification | None = None
    call: Identification | None = None
    coins: tuple[Coin, ...] = field(default=(), repr=False)


class Detector:
    """Tests texts against every epoch at hand.

    `level` is the false-positive rate of the verdict "marked", `family_level` the
    probability of naming any account (or call) for a text that none of them wrote. Raises
    InputError if one is no probability between 0 and 1.
    """

    def __init__(
        self,
        keys: KeySet,
        manifest: Manifest,
        *,
        level: float = 1e-5,
        family_level: float = 1e-3,
        device: str = "cpu",
    ) -> None:
        if not (0 < level < 1 and 0 < family_level < 1):
            raise InputError(f"level {level}, family level {family_level}: give numbers in (0, 1)")
        self.level = level
        self.family_level = family_level
        self._device = device
        self._derived: dict[tuple[int, str], dict[int, int]] = defaultdict(dict)
        self._epochs = [(entry, manifest.parameters(entry.epoch)) for entry in keys.epochs]

    def judge(self, tokens: Sequence[int], candidates: Candidates | None = None) -> Detection:
        """Test one text, given as token ids, and search `candidates` for its writer."""
        ids = torch.as_tensor(tokens, dtype=torch.int64)
        best: tuple[ChannelTest, EpochKeys, Parameters, dict[Channel, Windows]] | None = None
        for keys, parameters in self._epochs:
            windows = distinct_windows(ids, keys, parameters, self._device)
            site = windows["site"]
            test = ChannelTest.of(len(site), site.hits(), parameters.gamma)
            if best is None or test.log10_p < best[0].log10_p:
                best = (test, keys, parameters, windows)
        assert best is not None
        test, keys, parameters, windows = best
        log10_p = min(test.log10_p + math.log10(len(self._epochs)), 0.0)
        account, call = self._identify(keys, windows, candidates or Candidates())
        return Detection(
            tokens=len(ids),
            verdict=self._verdict(test, log10_p, parameters),
            epoch=keys.epoch,
            epochs_tested=len(self._epochs),
            site=test,
            log10_p=log10_p,
            account=account,
            call=call,
            coins=_coins(keys, windows, account, call),
        )

    def _verdict(self, test: ChannelTest, log10_p: float, parameters: Parameters) -> Verdict:
        log10_level = math.log10(self.level)
        if log10_p <= log10_level:
            return "marked"
        share = expected_green_share(parameters)
        single = log10_level - math.log10(len(self._epochs))
        able = power(test.windows, parameters.gamma, share, single) >= _POWER
        return "not marked" if able and log10_p > _UNREMARKABLE else "inconclusive"

    def _identify(
        self, keys: EpochKeys, windows: dict[Channel, Windows], candidates: Candidates
    ) -> tuple[Identification | None, Identification | None]:
        if "account" not in windows or not candidates.accounts:
            return None, None
        account = self._search("account", keys, windows, candidates.accounts)
        calls = candidates.calls.get(account.number, {})
        if not account.named or not calls:
            return account, None
        call = self._search("call", keys, windows, dict.fromkeys(calls, ""), calls)
        return account, call

    def _search(
        self,
        channel: Literal["account", "call"],
        keys: EpochKeys,
        windows: dict[Channel, Windows],
        names: dict[int, str],
        records: dict[int, CallRecord] | None = None,
    ) -> Identification:
        numbers = list(names)
        found = windows[channel]
        hits = found.hits_of(self._key_words(channel, keys, numbers).to(self._device))
        top = hits.topk(min(2, len(numbers)))
        winner = numbers[int(top.indices[0])]
        runner_up = int(top.values[1]) if len(numbers) > 1 else -1
        gamma = 2.0**-found.gamma_bits
        test = ChannelTest.of(len(found), int(top.values[0]), gamma)
        family = min(test.log10_p + math.log10(len(numbers)), 0.0)
        named = family <= math.log10(self.family_level) and test.hits > runner_up
        record = records[winner] if records else None
        return Identification(
            winner, names[winner], test, len(numbers), family, runner_up, named, record
        )

    def _key_words(
        self, channel: Literal["account", "call"], keys: EpochKeys, numbers: list[int]
    ) -> torch.Tensor:
        """Signed keys [k] of accounts or calls, each derived once for all texts."""
        known = self._derived[keys.epoch, channel]
        derive = keys.account_key if channel == "account" else keys.call_key
        for number in numbers:
            if number not in known:
                known[number] = signed64(derive(number))
        return torch.tensor([known[number] for number in numbers], dtype=torch.int64)


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
    keys: EpochKeys,
    windows: dict[Channel, Windows],
    account: Identification | None,
    call: Identification | None,
) -> tuple[Coin, ...]:
    known: dict[Channel, int] = {"site": 0}
    if account is not None and account.named:
        known["account"] = signed64(keys.account_key(account.number))
    if call is not None and call.named:
        known["call"] = signed64(keys.call_key(call.number))
    coins = [
        Coin(position, channel, bool(green))
        for channel, key in known.items()
        for position, green in zip(
            windows[channel].positions.tolist(), windows[channel].green(key).tolist(), strict=True
        )
    ]
    return tuple(sorted(coins, key=lambda coin: coin.position))
