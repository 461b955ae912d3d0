"""The attackers' edits: as strong as they say, the same every time, and nothing else touched."""

import numpy as np
import pytest

from benchmarks.attacks import edits
from benchmarks.attacks.scoring import Row

TEXT = "\n\n".join(
    " ".join(f"w{paragraph * 50 + word}" for word in range(49)) + " end." for paragraph in range(4)
)
SHARES = (0.05, 0.1, 0.3, 0.5)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def unchanged(after: str) -> int:
    return edits.kept_in_order(edits.words(TEXT), edits.words(after))


@pytest.mark.parametrize("share", SHARES)
def test_deletion_removes_exactly_that_share_of_the_words(share: float) -> None:
    after = edits.delete_words(TEXT, rng(), share)
    assert len(edits.words(after)) == 200 - round(200 * share)
    assert unchanged(after) == len(edits.words(after))


@pytest.mark.parametrize("share", SHARES)
def test_insertion_adds_exactly_that_share_and_loses_nothing(share: float) -> None:
    after = edits.insert_words(TEXT, rng(), share)
    assert len(edits.words(after)) == 200 + round(200 * share)
    assert unchanged(after) == 200


@pytest.mark.parametrize("share", SHARES)
def test_swap_moves_exactly_that_share_of_the_words(share: float) -> None:
    after = edits.words(edits.swap_words(TEXT, rng(), share))
    moved = sum(old != new for old, new in zip(edits.words(TEXT), after, strict=True))
    # No two neighbours are alike, so that every exchange shows.
    assert moved == 2 * round(200 * share / 2)
    assert sorted(after) == sorted(edits.words(TEXT))


def test_random_edits_of_a_tenth_touch_a_tenth_of_the_words() -> None:
    after = edits.edit_words(TEXT, rng(), 0.1)
    deleted_or_replaced = 200 - unchanged(after)
    inserted = len(edits.words(after)) - 200
    # Twenty words in all: each insertion adds one, each deletion takes one, a third replaces.
    assert 0 < deleted_or_replaced < 20
    assert deleted_or_replaced + max(inserted, 0) <= 20
    assert abs(inserted) < 20


def test_replacement_takes_only_words_with_alternatives() -> None:
    def alternatives(word: str) -> tuple[str, ...]:
        return ("other",) if word.endswith("0") else ()

    few = edits.replace_words(TEXT, rng(), 0.05, alternatives)
    every = edits.replace_words(TEXT, rng(), 0.9, alternatives)
    able = sum(word.endswith("0") for word in edits.words(TEXT))
    assert few.split().count("other") == 10
    assert every.split().count("other") == able


@pytest.mark.parametrize(
    "edit", [edits.delete_words, edits.insert_words, edits.swap_words, edits.edit_words]
)
def test_an_edit_is_the_same_for_the_same_seed_and_another_for_another(edit) -> None:  # type: ignore[no-untyped-def]
    assert edit(TEXT, rng(), 0.2) == edit(TEXT, rng(), 0.2)
    assert edit(TEXT, rng(), 0.2) != edit(TEXT, np.random.default_rng(8), 0.2)


@pytest.mark.parametrize(
    "edit", [edits.delete_words, edits.insert_words, edits.swap_words, edits.edit_words]
)
def test_an_edit_of_nothing_leaves_the_text_as_it_was(edit) -> None:  # type: ignore[no-untyped-def]
    assert edit(TEXT, rng(), 0.0) == TEXT


def test_shuffled_sentences_are_the_same_sentences() -> None:
    after = edits.shuffle_sentences(TEXT, rng())
    assert sorted(edits.sentences(after)) == sorted(edits.sentences(TEXT))
    assert edits.sentences(after) != edits.sentences(TEXT)


def test_character_tricks_look_the_same_and_are_not() -> None:
    text = "The copy, once more."
    assert edits.zero_width(text, rng()).replace("\u200b", "") == text
    assert edits.zero_width(text, rng()).count("\u200b") == 4
    assert edits.no_break_spaces(text).split("\u00a0") == text.split(" ")
    fake = edits.homoglyphs(text, rng(), 1.0)
    assert len(fake) == len(text)
    assert fake != text


def test_dilution_keeps_both_texts_whole() -> None:
    human = "one two three four five six"
    mixed = edits.dilute("MARKED TEXT", human)
    before, after = mixed.split("\n\nMARKED TEXT\n\n")
    assert f"{before} {after}" == human


def test_a_splice_takes_half_of_each() -> None:
    assert edits.splice("a b c d", "1 2 3 4") == "a b 3 4"


@pytest.mark.parametrize(
    ("after", "length"), [("a b c d", 4), ("a c", 2), ("d c b a", 1), ("x a y b z d", 3), ("", 0)]
)
def test_the_longest_common_subsequence_is_found(after: str, length: int) -> None:
    assert edits.kept_in_order(["a", "b", "c", "d"], after.split()) == length


def test_a_row_counts_texts_at_or_below_the_level() -> None:
    row = Row("attack", "10%", np.array([-9.0, -5.0, -4.0, -3.0, -1.0]), 0.1, 0.5)
    assert (row.found(-3.0), row.found(-5.0)) == (4, 2)
    assert "| 80.0 % " in row.render()
