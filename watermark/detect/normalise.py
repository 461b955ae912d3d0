"""Undo Unicode tricks that break the mark of a text and that its readers do not see.

What is changed follows from the text alone, never from a key: for whoever lacks the key the coins
of the normalised text are as random as the original's, so that its p-value is exact too.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from unicodedata import is_normalized, normalize

import numpy as np
import numpy.typing as npt

from watermark.detect.homoglyphs import LOOKALIKE, Codes, Edit, homoglyphs, word_classes
from watermark.words import clusters

Places = npt.NDArray[np.int32]
_TRICK = 128
_CONTROLS = bytes([*range(9), *range(11, 32), 127])

# Scripts whose letters join, or break lines, by characters that are invisible elsewhere.
_JOINING = (
    r"\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1780-\u18af\u1b00-\u1b7f\ua840-\ua87f"
    r"\ua980-\ua9df\ufb50-\ufdff\ufe70-\ufefc\U00011000-\U000114df"
)
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf"
_EMOJI = r"\u2190-\u21ff\u2300-\u23ff\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\U0001f000-\U0001faff"
_EMOJI_BASE = _EMOJI + r"\u00a9\u00ae\u203c\u2049\u2122\u2139\u3030\u303d\u3297\u3299"
_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_JAMO = r"\u1100-\u115e\u1161-\u11ff"
_MARKS = r"\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f"
_OVERLAYS = r"\u0334-\u0338\u20d2\u20d3\u20d8-\u20da\u20e5\u20e6\u20ea\u20eb"
_SELECTORS = r"\ufe00-\ufe0d\U000e0100-\U000e01ef"
# Capitals and small letters of mathematics that Unicode keeps apart from their alphabets.
_LETTERLIKE = (
    r"\u2102\u210a-\u210e\u2110-\u2113\u2115\u2119-\u211d\u2124\u2128\u212c\u212d"
    r"\u212f-\u2131\u2133\u2134\u213c-\u213f\u2145-\u2149"
)
_NEVER_SEEN = (
    r"\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u034f\u061c\u200e\u200f\u202a-\u202e\u2060-\u206f"
    r"\u3164\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a"
    r"\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
)
# A flag of a region is spelt in tags; being longer, it is matched before its parts are.
_FLAG = "\U0001f3f4"
_INVISIBLE = (
    rf"{_FLAG}[\U000e0020-\U000e007e]+\U000e007f"
    rf"|[{_NEVER_SEEN}]"
    rf"|(?<![{_JOINING}])\u200c"
    rf"|(?<![{_JOINING}])(?:(?<![{_EMOJI}\ufe0f])\u200d|\u200d(?![{_EMOJI}]))"
    rf"|(?<![{_UNSPACED}])\u200b"
    rf"|(?<![{_EMOJI_BASE}])(?!(?<=[0-9#*])\ufe0f\u20e3)[\ufe0e\ufe0f]"
    rf"|(?<![{_HAN}\u1000-\u109f\u2200-\u22ff])[{_SELECTORS}]"
    r"|(?<![\u1800-\u18af])[\u180b-\u180f]"
    r"|(?<![\u1780-\u17b3])[\u17b4\u17b5]"
    rf"|(?<![{_JAMO}])[\u115f\u1160](?![{_JAMO}])"
)
_LETTERS = (
    r"[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff66-\uff9f\uffa1-\uffdc"
    r"\ufb00-\ufb06\ufb13-\ufb17\U0001d400-\U0001d7ff]"
)
_SPACES = r"[\xa0\u1680\u2000-\u200a\u202f\u205f\u3000]"
# Every character that a match of a step begins with.
_TRICKS = (
    rf"[{_FLAG}\r\x0b\x0c\x85\u2028\u2029{_NEVER_SEEN}{_SELECTORS}{_MARKS}{_LETTERLIKE}"
    r"\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200d\u2800\ufe0e\ufe0f]"
    rf"|{_LETTERS}|{_SPACES}"
)

Replace = Callable[[re.Match[str]], str]


@dataclass(frozen=True, slots=True)
class _Step:
    """Replace what matches; a match that stays the same is no change.

    A match begins with one of _TRICKS: those places alone are tried, which are few.
    """

    kind: str
    pattern: re.Pattern[str]
    replace: Replace

    def edits(self, text: str, places: list[int]) -> Iterator[Edit]:
        end = 0
        for place in places:
            match = self.pattern.match(text, place) if place >= end else None
            if match is None:
                continue
            end = match.end()
            new = self.replace(match)
            if new != match[0]:
                yield place, end, new


_STEPS = (
    _Step("line ends", re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]"), lambda _: "\n"),
    _Step(
        "invisible characters",
        re.compile(_INVISIBLE),
        lambda match: match[0] if match[0][0] == _FLAG else "",
    ),
    _Step(
        "odd spaces",
        re.compile(rf"{_SPACES}|(?<![\u2801-\u28ff])\u2800(?![\u2801-\u28ff])"),
        lambda _: " ",
    ),
    _Step(
        "compatibility letters",
        re.compile(rf"{_LETTERS}|(?<=[^\W\d_])[{_LETTERLIKE}]|[{_LETTERLIKE}](?=[^\W\d_])"),
        lambda match: normalize("NFKC", match[0]),
    ),
    _Step(
        "stacked marks",
        re.compile(rf"(?<=[\w\s{_MARKS}])[{_OVERLAYS}]+|(?<=\w)[{_MARKS}]{{3,}}"),
        lambda _: "",
    ),
)


@dataclass(frozen=True, slots=True)
class Normalised:
    """A text with its tricks undone.

    `changes` counts the places changed, by kind; it is empty if and only if the text is the
    original.
    """

    text: str
    changes: dict[str, int]
    moved: Places | None = field(default=None, repr=False)

    @property
    def origin(self) -> Places:
        """Index in the original, int32 [len(text) + 1], of each character of `text` and its end.

        Never falls; the last is the original's length. So the characters a to b - 1 came from
        those from origin[a] to origin[b] - 1.
        """
        if self.moved is None:
            return np.arange(len(self.text) + 1, dtype=np.int32)
        return self.moved


def normalise(text: str) -> Normalised:
    """Undo the tricks in a text; normalising the result again changes nothing.

    Kinds of changes: line ends, invisible characters, odd spaces, compatibility letters, decomposed
    accents, stacked marks, homoglyphs. docs/statistics.md says what is left alone, and why.
    """
    if text.isascii() and len(text.encode().translate(None, _CONTROLS)) == len(text):
        return Normalised(text, {})
    draft = _Draft(text)
    while draft.round():
        pass
    if not draft.changes:
        return Normalised(text, {})
    return Normalised(draft.text, dict(draft.changes), draft.origin)


class _Draft:
    """A text while it is worked on, with the place in the original of each character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.origin: Places = np.arange(len(text) + 1, dtype=np.int32)
        self.changes: Counter[str] = Counter()

    def round(self) -> bool:
        """Take every step once; False if none changed anything."""
        before = self.changes.total()
        seen = int(np.bitwise_or.reduce(self._classes(), initial=0))
        if seen & _TRICK:
            places = self._tricks()
            for step in _STEPS:
                if self._edit(step.kind, step.edits(self.text, places)):
                    places = self._tricks()
        if not is_normalized("NFC", self.text):
            self._edit("decomposed accents", _composed(self.text))
        if seen & (_TRICK | LOOKALIKE):
            self._edit("homoglyphs", homoglyphs(self.text, _codes(self.text)))
        return self.changes.total() > before

    def _classes(self) -> npt.NDArray[np.uint8]:
        found: npt.NDArray[np.uint8] = _classes()[_codes(self.text)]
        return found

    def _tricks(self) -> list[int]:
        places: list[int] = np.flatnonzero(self._classes() & _TRICK).tolist()
        return places

    def _edit(self, kind: str, edits: Iterable[Edit]) -> bool:
        """Apply edits; False if there are none."""
        pieces, places, at = [], [], 0
        for start, end, new in edits:
            pieces += [self.text[at:start], new]
            places.append(self.origin[at : min(start + len(new), end)])
            # One letter became several: they all came from the same place.
            places += [self.origin[end - 1 : end]] * (len(new) - (end - start))
            at = end
        if pieces:
            self.changes[kind] += len(pieces) // 2
            self.text = "".join([*pieces, self.text[at:]])
            self.origin = np.concatenate([*places, self.origin[at:]])
        return bool(pieces)


def _composed(text: str) -> Iterator[Edit]:
    """Letters with marks, put into one character where there is one for both."""
    for run in re.finditer(r"[\x00-\x7f]?[^\x00-\x7f]+", text):
        for start, end in clusters(run[0]):
            given = run[0][start:end]
            new = normalize("NFC", given)
            # Some letters are only ever written with their mark apart, or never: left as given.
            if new != given and len(new) <= len(given):
                yield run.start() + start, run.start() + end, new


def _codes(text: str) -> Codes:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


@cache
def _classes() -> npt.NDArray[np.uint8]:
    """Word class of every character [0x110000], with _TRICK where a step might act."""
    classes = word_classes().copy()
    places = [*range(0x20000), *range(0xE0000, 0xE1000)]
    for match in re.finditer(_TRICKS, "".join(map(chr, places))):
        classes[ord(match[0])] |= _TRICK
    return classes
