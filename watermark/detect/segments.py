"""A judged text cut into pieces by colour, for the terminal and for the page."""

from dataclasses import dataclass
from typing import Literal

from watermark.detect.detector import Detection
from watermark.detect.tokenizer import Encoded

Colour = Literal["green", "red", "plain"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the text: a green or red window's token, or text that was not counted.

    `note` names the channel of a coloured piece.
    """

    text: str
    colour: Colour
    note: str = ""


def segments(text: str, encoded: Encoded, detection: Detection) -> list[Segment]:
    """Cut `text` at the tokens whose coins were counted; the pieces join to `text` again."""
    pieces: list[Segment] = []
    cursor = 0
    for coin in detection.coins:
        start, end = encoded.offsets[coin.position]
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
