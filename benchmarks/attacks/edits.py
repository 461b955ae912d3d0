"""Edits of a text that need no knowledge of the language; all random ones take a generator.

A word is a run of characters without white space. `share` is the part of the words that an edit
touches; what it does not touch stays as it was, white space included.
"""

import re
from collections.abc import Callable, Sequence

from numpy.random import Generator

Edit = Callable[[str, Generator], str]

_GAP = re.compile(r"(\s+)")
_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|\n+")
# Cyrillic letters that look like Latin ones.
_HOMOGLYPHS = str.maketrans(
    "aceopxyABCEHKMOPTX",
    "\u0430\u0441\u0435\u043e\u0440\u0445\u0443"
    "\u0410\u0412\u0421\u0415\u041d\u041a\u041c\u041e\u0420\u0422\u0425",
)
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
_ZERO_WIDTH = "\u200b"
_NO_BREAK = "\u00a0"


def words(text: str) -> list[str]:
    """Return the words of a text."""
    return text.split()


def delete_words(text: str, rng: Generator, share: float) -> str:
    """Remove words, each with the white space before it."""
    pieces, chosen = _pieces(text), _chosen(text, rng, share)
    return "".join(gap + word for place, (gap, word) in enumerate(pieces) if place not in chosen)


def insert_words(text: str, rng: Generator, share: float) -> str:
    """Put a random word of the same text after each chosen word."""
    chosen, stock = _chosen(text, rng, share), words(text)
    return "".join(
        f"{gap}{word} {_any(stock, rng)}" if place in chosen else gap + word
        for place, (gap, word) in enumerate(_pieces(text))
    )


def swap_words(text: str, rng: Generator, share: float) -> str:
    """Exchange neighbours; each exchange touches two words, and no word is touched twice."""
    pieces = _pieces(text)
    pairs = len(pieces) // 2
    count = min(round(share * len(pieces) / 2), pairs)
    for pair in rng.choice(pairs, count, replace=False).tolist():
        (gap, word), (next_gap, next_word) = pieces[2 * pair : 2 * pair + 2]
        pieces[2 * pair : 2 * pair + 2] = [(gap, next_word), (next_gap, word)]
    return "".join(gap + word for gap, word in pieces)


def edit_words(text: str, rng: Generator, share: float) -> str:
    """Delete, replace, or follow by a random word: one of the three for each chosen word."""
    chosen, stock = _chosen(text, rng, share), words(text)

    def edited(gap: str, word: str) -> str:
        kind = rng.integers(3)
        other = _any(stock, rng)
        return ("", gap + other, f"{gap}{word} {other}")[kind]

    return "".join(
        edited(gap, word) if place in chosen else gap + word
        for place, (gap, word) in enumerate(_pieces(text))
    )


def replace_words(
    text: str, rng: Generator, share: float, alternatives: Callable[[str], Sequence[str]]
) -> str:
    """Replace `share` of all words, or all for which there are alternatives if these are fewer."""
    pieces = _pieces(text)
    able = [place for place, (_, word) in enumerate(pieces) if alternatives(word)]
    count = min(round(share * len(pieces)), len(able))
    for place in rng.choice(able, count, replace=False).tolist() if count else []:
        gap, word = pieces[place]
        pieces[place] = gap, _any(alternatives(word), rng)
    return "".join(gap + word for gap, word in pieces)


def sentences(text: str) -> list[str]:
    """Cut a text at the ends of sentences and lines; what is between them is left out."""
    return [part for part in _SENTENCE_END.split(text) if part]


def shuffle_sentences(text: str, rng: Generator) -> str:
    """Put the sentences in random order, in one paragraph."""
    parts = sentences(text)
    return " ".join(parts[place] for place in rng.permutation(len(parts)).tolist())


def zero_width(text: str, rng: Generator) -> str:
    """Hide a zero-width space inside every word of two characters or more."""

    def hidden(word: str) -> str:
        if len(word) < 2:
            return word
        place = int(rng.integers(1, len(word)))
        return word[:place] + _ZERO_WIDTH + word[place:]

    return "".join(gap + hidden(word) for gap, word in _pieces(text))


def homoglyphs(text: str, rng: Generator, share: float) -> str:
    """Write words with the Cyrillic letters that look like their Latin ones."""
    chosen = _chosen(text, rng, share)
    return "".join(
        gap + (word.translate(_HOMOGLYPHS) if place in chosen else word)
        for place, (gap, word) in enumerate(_pieces(text))
    )


def no_break_spaces(text: str) -> str:
    """Turn every space into a no-break space."""
    return text.replace(" ", _NO_BREAK)


def full_width(text: str) -> str:
    """Turn printable ASCII into its full-width forms, spaces left as they are."""
    return text.translate(_FULL_WIDTH)


def dilute(text: str, human: str) -> str:
    """Put a text into the middle of another, between two of its words."""
    middle = human.find(" ", len(human) // 2)
    if middle < 0:
        middle = len(human)
    return f"{human[:middle]}\n\n{text}\n\n{human[middle:].lstrip()}"


def splice(first: str, second: str) -> str:
    """Join the first half of one text and the second half of another, counted in words."""
    head, tail = _pieces(first), _pieces(second)
    halves = [*head[: len(head) // 2], *tail[len(tail) // 2 :]]
    return "".join(gap + word for gap, word in halves)


def _pieces(text: str) -> list[tuple[str, str]]:
    """Every word with the white space before it; white space at the end is dropped."""
    parts = ["", *_GAP.split(text)]
    pairs = list(zip(parts[::2], parts[1::2], strict=True))
    return [(gap, word) for gap, word in pairs if word]


def _chosen(text: str, rng: Generator, share: float) -> set[int]:
    count = len(_pieces(text))
    return set(rng.choice(count, round(share * count), replace=False).tolist())


def _any(stock: Sequence[str], rng: Generator) -> str:
    return stock[int(rng.integers(len(stock)))]


def kept_in_order(before: Sequence[str], after: Sequence[str]) -> int:
    """Length of the longest common subsequence of two lists of words.

    Bit-parallel (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004): the zeros of
    `row` are the places of `before` where the length grows.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(before):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(before)) - 1
    row = full
    for word in after:
        matches = row & places.get(word, 0)
        row = ((row + matches) | (row - matches)) & full
    return len(before) - row.bit_count()
