"""Words of a text and their ids: the format az1-words of docs/format.md.

Where az1 reads token ids, az1-words reads word ids; everything behind them is the same. Needs
no tokenizer and no torch, so that whoever has only text can embed and detect.
`watermark.reference` says the same letter by letter.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from itertools import chain
from typing import TypeVar
from unicodedata import category, is_normalized, normalize

from watermark.prf import siphash24

WORD_BIT = 0x80000000
_NO_ID = 0xFFFFFFFF
# Serial numbers and the like never come back: what is remembered has a bound.
_LONGEST, _MOST = 40, 1 << 20
_Value = TypeVar("_Value")

# Scripts that put no space between words (docs/format.md lists them): a letter is a word.
_ALONE = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_APOSTROPHES = {0x2019: "'", 0x02BC: "'"}
# Marks that only choose a form of the character before, and the one that shows nothing at all.
_SELECTORS = r"\u034f\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")
_CHUNK = re.compile(r"[A-Za-z0-9'\x80-\U0010ffff]+")
_CONJOINING_JAMO = range(0x1160, 0x1200)


def fold(text: str) -> str:
    """Return the text as the format reads it: what is never seen removed, NFKC, case folded."""
    if text.isascii():
        return text.lower()
    visible = _removed().sub("", text)
    return normalize("NFKC", normalize("NFKC", visible).casefold()).translate(_APOSTROPHES)


def words(text: str) -> list[str]:
    """Words of a text, folded, in their order."""
    found: list[str] = _word_of(text).findall(fold(text))
    return found


def word_spans(text: str) -> list[tuple[str, int, int]]:
    """Words with the half-open span of each in `text` as given, in characters.

    Spans never go back. Where one character folds into several words (the fraction one half
    does), these share it.
    """
    pattern, folded = _word_of(text), fold(text)
    if _in_place(text, folded):
        return [(match[0], *match.span()) for match in pattern.finditer(folded)]
    starts, ends, pieces = [], [], []
    for start, end in clusters(text):
        piece = fold(text[start:end])
        pieces.append(piece)
        starts += [start] * len(piece)
        ends += [end] * len(piece)
    matches = pattern.finditer("".join(pieces))
    return [(match[0], starts[match.start()], ends[match.end() - 1]) for match in matches]


def word_id(word: str, words_key: bytes) -> int:
    """Id of a folded word under the epoch's 16-byte words key: 2^31 to 2^32 - 2.

    Bit 31 keeps word ids apart from token ids, which lie below 2^31: the channels' keys serve
    both.
    """
    number = WORD_BIT | siphash24(words_key, word.encode("utf-8")) & (WORD_BIT - 1)
    return number if number != _NO_ID else _NO_ID - 1


class WordIds:
    """Ids of words under one words key (16 bytes), remembered. Not for several threads at once."""

    def __init__(self, words_key: bytes) -> None:
        self._ids = _Remembered(lambda word: word_id(word, words_key))
        self._chunks = _Remembered(lambda chunk: [self._ids[word] for word in words(chunk)])

    def __getitem__(self, word: str) -> int:
        """Id of a folded word."""
        return self._ids[word]

    def of_text(self, text: str) -> list[int]:
        """Ids of a text's words, in their order."""
        if text.isascii():
            return list(map(self._ids.__getitem__, words(text)))
        # No word reaches across ASCII punctuation, and no normal form does: so the pieces
        # between can be remembered as they stand, which spares most of the folding.
        return list(chain.from_iterable(map(self._chunks.__getitem__, _CHUNK.findall(text))))


class _Remembered(dict[str, _Value]):
    """Values of a function of strings, each computed when first asked for."""

    def __init__(self, compute: Callable[[str], _Value]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, text: str) -> _Value:
        value = self._compute(text)
        if len(text) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[text] = value
        return value


def clusters(text: str) -> Iterator[tuple[int, int]]:
    """Cut a text (half-open spans) where no normal form joins what follows to what precedes.

    So normal forms of the parts, put together, are the normal form of the whole.
    """
    start = 0
    for at, letter in enumerate(text):
        if at > start and not _joins(letter):
            yield start, at
            start = at
    if text:
        yield start, len(text)


@lru_cache(maxsize=1 << 14)
def _joins(letter: str) -> bool:
    """Whether a normal form may join the character to the one before it."""
    if letter.isascii():
        return False
    first = normalize("NFKD", letter)[0]
    mark = category(first)[0] == "M" or ord(first) in _CONJOINING_JAMO
    return mark or _removed().match(letter) is not None


def _in_place(text: str, folded: str) -> bool:
    """Whether folding replaced each character by one, so that its places are the text's."""
    if text.isascii():
        return True
    # Case folding never shortens and NFKC leaves a normal text alone: same length, same places.
    return (
        len(folded) == len(text)
        and is_normalized("NFKC", text)
        and is_normalized("NFKC", text.casefold())
        and not _removed().search(text)
    )


def _word_of(text: str) -> re.Pattern[str]:
    return _ASCII_WORD if text.isascii() else _any_word()


@cache
def _removed() -> re.Pattern[str]:
    return re.compile(f"[{_in_category('Cf')}{_SELECTORS}]+")


@cache
def _any_word() -> re.Pattern[str]:
    # \w is letters, digits (L, N) and the low line; marks come after one of these.
    letters, marks = rf"[^\W_{_ALONE}]", f"[{_in_category('M')}]"
    run = f"{letters}+(?:{marks}+{letters}*)*"
    return re.compile(f"{run}(?:'{run})*|(?=[{_ALONE}])[^\\W_]{marks}*")


@cache
def _in_category(prefix: str) -> str:
    """Inside of a character class: all characters whose category begins with `prefix`."""
    # Beyond planes 0, 1 and 14 there are ideographs only, and 14 is small: 20 ms, not 200.
    places = chain(range(0x80, 0x20000), range(0xE0000, 0xE1000))
    found = [i for i in places if category(chr(i)).startswith(prefix)]
    starts = [i for i, before in zip(found, [0, *found], strict=False) if i != before + 1]
    ends = [i for i, after in zip(found, [*found[1:], 0], strict=True) if after != i + 1]
    return "".join(f"\\U{a:08x}-\\U{b:08x}" for a, b in zip(starts, ends, strict=True))
