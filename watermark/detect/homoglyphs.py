"""Letters of other scripts that look like Latin ones, and where they stand in for these.

The table holds well-known facts of Unicode Technical Standard 39 (confusables.txt): letters whose
usual glyph is that of an ASCII letter. What is folded follows from the text alone.
"""

import re
from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.uint32]
Edit = tuple[int, int, str]

_SURE = (
    # Cyrillic, small letters
    (
        "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u051d",
        "aeopcyxijshdqw",
    ),
    ("\u04cf\u0475\u04af", "lvy"),
    # Cyrillic, capitals
    (
        "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0408",
        "ABEKMHOPCTYXIJ",
    ),
    ("\u0405\u051a\u051c\u04c0\u0474\u04ae\u050c", "SQWIVYG"),
    # Greek
    (
        "\u03bf\u03f2\u03f3\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1",
        "ocjABEZHIKMNOP",
    ),
    ("\u03a4\u03a5\u03a7\u03f9\u037f", "TYXCJ"),
    # Armenian
    ("\u0585\u0578\u057d\u0570\u0566\u0581\u0575\u0555\u054d\u054f\u053c", "onuhqgjOUSL"),
    # Cherokee
    (
        "\u13a0\u13a1\u13a2\u13a5\u13aa\u13ab\u13ac\u13b3\u13b7\u13bb\u13bd\u13c0\u13c2\u13c3",
        "DRTiAJEWMHYGhZ",
    ),
    ("\u13cf\u13d2\u13d4\u13d5\u13d9\u13da\u13de\u13df\u13e2\u13e6\u13e7\u13f4", "bRWSVSLCPKdB"),
    # Lisu
    (
        "\ua4d0\ua4d1\ua4d2\ua4d3\ua4d4\ua4d6\ua4d7\ua4d9\ua4da\ua4dc\ua4dd\ua4df\ua4e0\ua4e1",
        "BPdDTGKJCZFMNL",
    ),
    ("\ua4e2\ua4e3\ua4e6\ua4e7\ua4ea\ua4eb\ua4ec\ua4ee\ua4f0\ua4f2\ua4f3\ua4f4", "SRVHWXYAEIOU"),
    # Coptic
    (
        "\u2c9f\u2ca3\u2ca5\u2c9e\u2ca2\u2ca4\u2c94\u2c92\u2c8e\u2c98\u2c9a\u2ca6\u2ca8\u2cac",
        "opcOPCKIHMNTYX",
    ),
    # Roman numerals
    (
        "\u2170\u2174\u2179\u217c\u217d\u217e\u217f\u2160\u2164\u2169\u216c\u216d\u216e\u216f",
        "ivxlcdmIVXLCDM",
    ),
)
SURE = {
    lookalike: letter
    for lookalikes, letters in _SURE
    for lookalike, letter in zip(lookalikes, letters, strict=True)
}
# Also symbols of mathematics and of phonetics: folded only where they cannot be meant.
GREEK_SYMBOLS = dict(
    zip("\u03b1\u03b3\u03b9\u03ba\u03bd\u03c1\u03c3\u03c5", "ayikvpou", strict=True)
)
PHONETIC = {"\u0251": "a", "\u0261": "g"}
LOOKALIKES = SURE | GREEK_SYMBOLS | PHONETIC

# What a character is to a word.
LATIN, LOOKALIKE, FOREIGN, NEUTRAL = 1, 2, 4, 8
_LATIN_RANGES = (
    *((0x41, 0x5A), (0x61, 0x7A), (0xC0, 0x2AF), (0x1D00, 0x1D7F), (0x1E00, 0x1EFF)),
    *((0x2C60, 0x2C7F), (0xA720, 0xA7FF), (0xAB30, 0xAB6F)),
)
# Digits, marks and modifiers go with any script; so do the signs for micro and ordinals.
_NEUTRAL_RANGES = ((0x2B0, 0x36F), (0xAA, 0xAA), (0xB5, 0xB5), (0xBA, 0xBA))
# Below this many Latin words for a foreign one, a word of look-alikes may well be foreign too.
_DOMINANT = 10
# Letters that are words by themselves in languages written in Latin script.
_ONE_LETTER_WORDS = frozenset("aAIeEoOyY")
_SYMBOLS = "".join(GREEK_SYMBOLS)
_BETWEEN_LATIN = re.compile(f"(?<=[A-Za-z])[{_SYMBOLS}]+(?=[A-Za-z])")
_BEFORE_LATIN = re.compile(f"^[{_SYMBOLS}]+(?=[A-Za-z])")
# An abbreviation with an inflection of the language around it.
_INFLECTED = re.compile(r"[A-Z0-9]+[^\W\d_A-Z]+")


@cache
def word_classes() -> npt.NDArray[np.uint8]:
    """Class [0x110000] of every character: LATIN, LOOKALIKE, FOREIGN, NEUTRAL, 0 outside words."""
    classes = np.zeros(0x110000, np.uint8)
    for code in range(0x20000):
        if chr(code).isalnum():
            classes[code] = FOREIGN if chr(code).isalpha() else NEUTRAL
    classes[0x20000:0x40000] = FOREIGN  # ideographs
    for ranges, kind in ((_LATIN_RANGES, LATIN), (_NEUTRAL_RANGES, NEUTRAL)):
        for first, last in ranges:
            classes[first : last + 1] = kind
    classes[[0xD7, 0xF7]] = 0  # the signs of multiplication and division
    classes[[ord(letter) for letter in LOOKALIKES]] = LOOKALIKE
    return classes


def homoglyphs(text: str, codes: Codes) -> Iterator[Edit]:
    """Words (start, end, replacement) of a text, given with its code points [n], to be folded.

    A word with a letter of another script that looks like no Latin one is left alone. In a text
    with more than ten Latin words for each word that is foreign altogether, words of look-alikes
    only are folded too, unless a foreign one is next to them.
    """
    starts, ends, kinds = _words(codes)
    foreign = kinds & (LATIN | FOREIGN) == FOREIGN
    latin = kinds & (LATIN | FOREIGN) == LATIN
    latin_text = int(latin.sum()) > _DOMINANT * int(foreign.sum())
    beside = np.zeros(len(kinds), np.bool_)
    beside[1:] |= foreign[:-1]
    beside[:-1] |= foreign[1:]
    for at in np.flatnonzero(kinds & (LOOKALIKE | FOREIGN) == LOOKALIKE):
        start, end = int(starts[at]), int(ends[at])
        word = text[start:end]
        if kinds[at] & LATIN:
            folded = _mixed(word, latin_text, text[max(start - 1, 0) : start])
        else:
            folded = _whole(word) if latin_text and not beside[at] else word
        if folded != word:
            yield start, end, folded


def _words(codes: Codes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Codes]:
    """Starts, ends and the classes seen (or-ed) of the words among code points [n]."""
    classes = word_classes()[codes].astype(np.uint32)
    edges = np.flatnonzero(np.diff(classes > 0, prepend=False, append=False))
    starts, ends = edges[::2], edges[1::2]
    if not len(starts):
        return starts, ends, np.empty(0, np.uint32)
    return starts, ends, np.bitwise_or.reduceat(classes, starts)


def _mixed(word: str, latin_text: bool, before: str) -> str:
    """Fold a word that has Latin letters and look-alikes, no others."""
    if not latin_text and _INFLECTED.fullmatch(word):
        return word
    folded = "".join(SURE.get(letter, letter) for letter in word)
    folded = _BETWEEN_LATIN.sub(_replace_symbols, folded)
    if len(folded) >= 5:
        folded = _BEFORE_LATIN.sub(_replace_symbols, folded)
    plain = "".join(PHONETIC.get(letter, letter) for letter in folded)
    # Phonetic transcription is short, stands between slashes or brackets, or has other symbols.
    spelt = sum(letter.isascii() for letter in folded) >= 3 and before not in ("/", "[")
    return plain if spelt and plain.isascii() else folded


def _whole(word: str) -> str:
    """Fold a word of look-alikes only."""
    letters = [letter for letter in word if letter in LOOKALIKES]
    folded = "".join(SURE.get(letter, letter) for letter in word)
    if not all(letter in SURE for letter in letters):
        return word
    return folded if len(letters) > 1 or SURE[letters[0]] in _ONE_LETTER_WORDS else word


def _replace_symbols(match: re.Match[str]) -> str:
    return "".join(GREEK_SYMBOLS[letter] for letter in match[0])
