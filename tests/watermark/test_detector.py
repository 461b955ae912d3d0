"""The detector: verdicts, and the accounts and calls behind planted texts."""

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory
from typing import Any

import pytest

from watermark import reference
from watermark.detect.candidates import CallRecord, Candidates
from watermark.detect.detector import ChannelTest, Detection, Detector, expected_green_share
from watermark.detect.pvalues import log10_tail, power
from watermark.errors import InputError
from watermark.keys import EpochKeys, KeySet
from watermark.manifest import Manifest, ManifestEpoch, Parameters

IDS = range(49_152)
FOLDER = TemporaryDirectory()
EVEN = Parameters(site_share=30_000, account_share=25_000, call_share=10_536)
OTHER = EpochKeys.derive(2, "2026-02-01T00:00:00Z", bytes(range(32, 64)))


def detector(
    epochs: Sequence[EpochKeys], parameters: Sequence[Parameters] = (EVEN,), **options: Any
) -> Detector:
    entries = tuple(
        ManifestEpoch(keys.epoch, keys.created, keys.check, chosen)
        for keys, chosen in zip(epochs, parameters, strict=True)
    )
    return Detector(KeySet(Path(), tuple(epochs), b""), Manifest("", entries), **options)


def candidates(accounts: Sequence[int], calls: Sequence[tuple[int, int]] = ()) -> Candidates:
    found = Candidates({number: f"account {number}" for number in accounts})
    if calls:
        lines = [
            {"call": call, "account": account, "time": "2026-03-01T10:00:00Z", "model": "model"}
            | {"name": f"account {account}"}
            for account, call in calls
        ]
        with NamedTemporaryFile("w", dir=FOLDER.name, delete=False) as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))
        found.add_registry(Path(file.name), pytest.fail)
    return found


def random_text(rng: random.Random, length: int) -> list[int]:
    return [rng.choice(IDS) for _ in range(length)]


# ---- verdicts


@pytest.mark.parametrize("length", [0, 1, 2, 5, 30])
def test_a_short_text_is_inconclusive(keys: EpochKeys, length: int) -> None:
    found = detector([keys]).judge(random_text(random.Random(1), length))
    assert (found.verdict, found.tokens) == ("inconclusive", length)
    assert found.log10_p <= 0


def test_a_planted_text_is_marked_and_counted_as_the_reference_counts(
    keys: EpochKeys, plant: Callable[..., list[int]]
) -> None:
    text = plant(random.Random(2), keys, EVEN, IDS, 300, share=0.6)
    found = detector([keys]).judge(text)
    expected = reference.count(text, keys, EVEN)["site"]
    assert (found.site.windows, found.site.hits) == (expected.windows, expected.hits)
    assert found.site.log10_p == log10_tail(expected.hits, expected.windows, 0.25) < -20
    # The whole text is tested at nine tenths of the error.
    assert found.log10_p == pytest.approx(found.site.log10_p - math.log10(0.9))
    assert found.verdict == "marked"
    assert (found.epoch, found.epochs_tested, found.account, found.call) == (1, 1, None, None)


def test_a_long_text_of_chance_is_not_marked(keys: EpochKeys) -> None:
    rng = random.Random(3)
    found = [detector([keys]).judge(random_text(rng, 1500)).verdict for _ in range(40)]
    assert set(found) <= {"not marked", "inconclusive"}
    assert found.count("not marked") > 35


def test_a_faint_mark_is_neither_confirmed_nor_denied(
    keys: EpochKeys, plant: Callable[..., list[int]]
) -> None:
    text = plant(random.Random(4), keys, EVEN, IDS, 1500, share=0.08)
    found = detector([keys]).judge(text)
    assert -5 < found.log10_p <= -2
    assert found.verdict == "inconclusive"


@pytest.mark.parametrize("epochs", [1, 10])
def test_the_verdict_follows_from_p_level_and_power(epochs: int) -> None:
    several = [EpochKeys.derive(n, "", bytes([n]) * 32) for n in range(1, epochs + 1)]
    judge = detector(several, [EVEN] * epochs, level=1e-4)
    single, seen = -4 - math.log10(epochs), set()
    for windows in range(10, 200, 10):
        able = power(windows, 0.25, expected_green_share(EVEN), single) >= 0.99
        seen.add(able)
        for hits in range(windows + 1):
            test = ChannelTest.of(windows, hits, 0.25)
            log10_p = min(test.log10_p + math.log10(epochs), 0.0)
            expected = "not marked" if able and log10_p > -2 else "inconclusive"
            expected = "marked" if log10_p <= -4 else expected
            assert judge._verdict(test, log10_p, EVEN) == expected
    assert seen == {False, True}


@pytest.mark.parametrize("level", [1e-2, 1e-5, 1e-9])
def test_the_level_is_the_border_of_marked(
    keys: EpochKeys, plant: Callable[..., list[int]], level: float
) -> None:
    verdicts = set()
    for length in (20, 60, 200):
        found = detector([keys], level=level).judge(
            plant(random.Random(5), keys, EVEN, IDS, length, share=0.7)
        )
        assert (found.verdict == "marked") == (found.log10_p <= math.log10(level))
        verdicts.add(found.verdict)
    assert verdicts == {"marked", "inconclusive"}


def test_doubling_a_document_does_not_change_its_verdict_s_figures(
    keys: EpochKeys, plant: Callable[..., list[int]]
) -> None:
    judge = detector([keys])
    for text in (
        random_text(random.Random(6), 400),
        plant(random.Random(6), keys, EVEN, IDS, 400, account=3, share=0.5),
    ):
        once, twice, often = (judge.judge(text * n, candidates([3])) for n in (1, 2, 20))
        assert replace(often, tokens=0) == replace(twice, tokens=0)
        assert 0 <= twice.site.windows - once.site.windows <= 4
        assert abs(twice.log10_p - once.log10_p) < 1.5


def test_p_values_of_texts_of_chance_are_no_smaller_than_they_say(keys: EpochKeys) -> None:
    rng, judge = random.Random(7), detector([keys])
    found = sorted(judge.judge(random_text(rng, 120)).log10_p for _ in range(400))
    for level in (0.5, 0.2, 0.05, 0.01):
        smaller = sum(log10_p <= math.log10(level) for log10_p in found)
        # At most the level, and not far less either: the test is not blunt.
        assert smaller <= 400 * level + 4 * math.sqrt(400 * level)
        assert smaller >= 400 * level * 0.4 - 4 * math.sqrt(400 * level)


# ---- epochs


def test_a_text_is_found_in_its_epoch_and_p_is_corrected(
    keys: EpochKeys, plant: Callable[..., list[int]]
) -> None:
    half = Parameters(gamma_bits=1, selector_width=1, site_width=1)
    judge = detector([keys, OTHER], [EVEN, half])
    for epoch, epoch_keys, chosen in ((1, keys, EVEN), (2, OTHER, half)):
        text = plant(random.Random(8), epoch_keys, chosen, IDS, 300, account=5)
        found = judge.judge(text, candidates(range(50)))
        assert (found.epoch, found.epochs_tested, found.verdict) == (epoch, 2, "marked")
        assert found.site.gamma == chosen.gamma
        assert found.log10_p == pytest.approx(found.site.log10_p + math.log10(2 / 0.9))
        assert found.account is not None
        assert (found.account.number, found.account.named) == (5, True)


def test_the_smallest_p_of_all_epochs_counts_and_never_exceeds_one(keys: EpochKeys) -> None:
    rng = random.Random(9)
    alone = [detector([epoch]) for epoch in (keys, OTHER)]
    both = detector([keys, OTHER], [EVEN, EVEN])
    for _ in range(50):
        text = random_text(rng, 60)
        least = min(judge.judge(text).log10_p for judge in alone)
        assert both.judge(text).log10_p == pytest.approx(min(least + math.log10(2), 0.0))


def test_testing_more_epochs_names_no_more_texts(keys: EpochKeys) -> None:
    epochs = [EpochKeys.derive(n, "", bytes([n]) * 32) for n in range(1, 6)]
    judge, rng = detector(epochs, [EVEN] * 5, level=0.1), random.Random(10)
    marked = sum(judge.judge(random_text(rng, 80)).verdict == "marked" for _ in range(100))
    # Without the correction it would be about 40 % of the texts.
    assert marked <= 100 * 0.1 + 4 * math.sqrt(100 * 0.1)


# ---- accounts and calls


@pytest.mark.parametrize("number", [1, 1234, 5000])
def test_the_planted_account_is_found_among_thousands(
    keys: EpochKeys, plant: Callable[..., list[int]], number: int
) -> None:
    text = plant(random.Random(number), keys, EVEN, IDS, 150, account=number, share=0.9)
    found = detector([keys]).judge(text, candidates(range(1, 5001))).account
    assert found is not None
    assert (found.number, found.name, found.named) == (number, f"account {number}", True)
    assert found.candidates == 5000
    expected = reference.count(text, keys, EVEN, account=number)["account"]
    assert (found.test.windows, found.test.hits) == (expected.windows, expected.hits)
    assert found.log10_family_p == found.test.log10_p + math.log10(5000)
    others = [
        reference.count(text, keys, EVEN, account=n)["account"].hits
        for n in range(max(1, number - 20), number + 20)
        if n != number
    ]
    assert max(others) <= found.runner_up_hits < found.test.hits


def test_an_account_that_is_no_candidate_is_not_replaced_by_another(
    keys: EpochKeys, plant: Callable[..., list[int]]
) -> None:
    text = plant(random.Random(11), keys, EVEN, IDS, 300, account=9999)
    found = detector([keys]).judge(text, candidates(range(1, 2001)))
    assert found.verdict == "marked"
    assert found.account is not None
    assert not found.account.named
    assert {coin.channel for coin in found.coins} == {"site"}


def test_the_call_is_named_within_the_account(
    keys: EpochKeys, plant: Callable[..., list[int]]
) -> None:
    calls = [(account, account << 40 | n) for account in (1, 2, 3) for n in range(300)]
    writer, call = calls[450]
    text = plant(random.Random(12), keys, EVEN, IDS, 400, account=writer, call=call)
    found = detector([keys]).judge(text, candidates([1, 2, 3], calls))
    assert found.account is not None
    assert found.call is not None
    assert (found.account.number, found.call.number) == (writer, call)
    assert (found.call.named, found.call.candidates) == (True, 300)
    assert found.call.record == CallRecord(call, writer, "2026-03-01T10:00:00Z", "model")
    assert {coin.channel for coin in found.coins} == {"site", "account", "call"}


def test_no_call_is_named_if_none_of_the_account_s_made_the_text(
    keys: EpochKeys, plant: Callable[..., list[int]]
) -> None:
    text = plant(random.Random(13), keys, EVEN, IDS, 400, account=2, call=999)
    found = detector([keys]).judge(text, candidates([1, 2], [(1, 999), (2, 5), (2, 6)]))
    assert found.account is not None
    assert (found.account.number, found.account.named) == (2, True)
    assert found.call is not None
    assert (found.call.named, found.call.candidates) == (False, 2)


def test_no_call_is_searched_without_a_named_account(keys: EpochKeys) -> None:
    text = random_text(random.Random(14), 400)
    found = detector([keys]).judge(text, candidates([1, 2], [(1, 5), (2, 6)]))
    assert found.account is not None
    assert not found.account.named
    assert found.call is None


def test_two_candidates_with_equally_many_hits_are_not_told_apart(keys: EpochKeys) -> None:
    # So lax a level that hits of chance would name, so short a text that they are often equal.
    judge, rng, tied = detector([keys], family_level=0.99), random.Random(15), 0
    for _ in range(100):
        found = judge.judge(random_text(rng, 12), candidates([4, 5])).account
        assert found is not None
        equal = found.test.hits == found.runner_up_hits
        assert not (equal and found.named)
        tied += equal and found.log10_family_p <= math.log10(0.99)
    assert tied > 5


def test_a_single_candidate_has_no_runner_up(
    keys: EpochKeys, plant: Callable[..., list[int]]
) -> None:
    text = plant(random.Random(16), keys, EVEN, IDS, 300, account=4)
    found = detector([keys]).judge(text, candidates([4])).account
    assert found is not None
    assert (found.number, found.named, found.runner_up_hits) == (4, True, -1)


def test_texts_of_chance_name_accounts_no_more_often_than_the_family_level(
    keys: EpochKeys,
) -> None:
    rng, among = random.Random(17), candidates(range(1, 201))
    judge = detector([keys], family_level=0.1)
    named = 0
    for _ in range(250):
        found = judge.judge(random_text(rng, 150), among).account
        assert found is not None
        named += found.named
    # At level 0.1 some are named, which shows that the bound above is tested at all.
    assert 0 < named <= 250 * 0.1 + 4 * math.sqrt(250 * 0.1)


def test_texts_of_chance_name_nobody_at_the_default_level(keys: EpochKeys) -> None:
    rng, among, judge = random.Random(18), candidates(range(1, 1001)), detector([keys])
    found = [judge.judge(random_text(rng, 300), among).account for _ in range(30)]
    assert not [account for account in found if account is None or account.named]


def test_a_marked_text_names_nobody_whose_account_it_does_not_carry(
    keys: EpochKeys, plant: Callable[..., list[int]]
) -> None:
    judge, among = detector([keys]), candidates(range(1, 1001))
    for seed in range(30):
        found = judge.judge(plant(random.Random(seed), keys, EVEN, IDS, 200), among)
        assert found.verdict == "marked"
        assert found.account is not None
        assert not found.account.named


def test_without_account_keys_nobody_is_searched(home: Any) -> None:
    path = home.keys_path.with_name("site.json")
    home.keyring.export("site-detector", path)
    found = Detector(KeySet.load(path), home.manifest).judge(
        random_text(random.Random(19), 300), candidates(range(100), [(1, 2)])
    )
    assert (found.account, found.call) == (None, None)


# ---- what is shown


def test_coins_are_the_distinct_windows_of_the_known_channels_in_order(
    keys: EpochKeys, plant: Callable[..., list[int]]
) -> None:
    text = plant(random.Random(20), keys, EVEN, range(300), 300, account=4, call=8, share=0.8)
    found = detector([keys]).judge(text, candidates([4], [(4, 8)]))
    counted = reference.count(text, keys, EVEN, account=4, call=8)
    positions = [coin.position for coin in found.coins]
    assert positions == sorted(set(positions))
    for channel, expected in counted.items():
        coins = [coin.green for coin in found.coins if coin.channel == channel]
        assert (len(coins), sum(coins)) == (expected.windows, expected.hits)
    for coin in found.coins:
        assert reference.channel_of(keys, EVEN, text[: coin.position]) == coin.channel


def test_shares_and_z_are_pictures_of_the_counts() -> None:
    test = ChannelTest.of(100, 40, 0.25)
    assert test.green_share == 0.4
    assert test.z == pytest.approx(15 / math.sqrt(100 * 0.25 * 0.75))
    nothing = ChannelTest.of(0, 0, 0.25)
    assert (nothing.green_share, nothing.z, nothing.log10_p) == (0.0, 0.0, 0.0)


# ---- options and candidates


@pytest.mark.parametrize("level", [0.0, 1.0, -1e-5, 2.0, math.nan])
def test_a_level_that_is_no_probability_is_refused(keys: EpochKeys, level: float) -> None:
    with pytest.raises(InputError, match="level"):
        detector([keys], level=level)


def test_account_ranges_are_inclusive_and_keep_known_names() -> None:
    found = candidates([3])
    found.add_range("2-5")
    assert found.accounts.tolist() == [2, 3, 4, 5]
    assert [found.name(number) for number in (2, 3)] == ["", "account 3"]


@pytest.mark.parametrize("text", ["", "5", "5-", "-5", "9-3", "a-b", "1-2-3", "1.5-3", "1 - 3"])
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected LOW-HIGH, for example 1-24000"):
        Candidates().add_range(text)


def test_a_range_beyond_all_account_numbers_is_refused() -> None:
    with pytest.raises(InputError, match="16777215"):
        Candidates().add_range("1-99999999999")


@pytest.mark.gpu
def test_the_gpu_gives_the_same_verdict(keys: EpochKeys, plant: Callable[..., list[int]]) -> None:
    among = candidates(range(1, 3001), [(7, n) for n in range(500)])
    texts = [
        plant(random.Random(n), keys, EVEN, IDS, 300, account=7, call=n, share=n / 10)
        for n in range(11)
    ]

    def judged(device: str) -> list[Detection]:
        judge = detector([keys, OTHER], [EVEN, EVEN], device=device)
        return [judge.judge(text, among) for text in [*texts, [], [1, 2]]]

    assert judged("cuda") == judged("cpu")
