"""A text judged and cut into pieces by colour, for the terminal and for the page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from watermark.detect.candidates import Candidates
from watermark.detect.detector import Coin, Detection, Detector
from watermark.detect.tokenizer import TextTokenizer

Colour = Literal["green", "red", "plain"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the text: a green or red window's token, or text that was not counted.

    `note` names the channel of a coloured piece.
    """

    text: str
    colour: Colour
    note: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    """A document with its verdict and coloured pieces."""

    name: str
    detection: Detection
    pieces: list[Segment]


def judge(
    name: str, text: str, tokenizer: TextTokenizer, detector: Detector, candidates: Candidates
) -> Judged:
    """Tokenise a text, test it, search `candidates` for its writer, and cut it by colour."""
    encoded = tokenizer.encode(text)
    detection = detector.judge(encoded.ids, candidates)
    return Judged(name, detection, segments(text, encoded.offsets, detection.coins))


def segments(text: str, offsets: Sequence[tuple[int, int]], coins: Iterable[Coin]) -> list[Segment]:
    """Cut `text` at the tokens whose coins were counted; the pieces join to `text` again."""
    pieces: list[Segment] = []
    cursor = 0
    for coin in coins:
        start, end = offsets[coin.position]
        # The tokens of one character share its span: the first of them colours it.
        if end <= cursor:
            continue
        start = max(start, cursor)
        if start > cursor:
            pieces.append(Segment(text[cursor:start], "plain"))
        colour: Colour = "green" if coin.green else "red"
        pieces.append(Segment(text[start:end], colour, coin.channel))
        cursor = end
    if cursor < len(text):
        pieces.append(Segment(text[cursor:], "plain"))
    return pieces
