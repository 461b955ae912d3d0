"""A text judged and cut into pieces by colour, for the terminal and for the page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from watermark.detect.candidates import Candidates
from watermark.detect.detector import Coin, Detection, Detector
from watermark.detect.encoder import Encoders, Form
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


@dataclass(frozen=True, slots=True)
class CharacterSpan:
    """A marked stretch of a text, by characters (end not included), with its family-wise p."""

    start: int
    end: int
    log10_p: float


@dataclass(frozen=True, slots=True)
class Judged:
    """A document with its verdict and coloured pieces.

    `form` tells which form of the text the verdict is of: "as given" or "normalised"; pieces and
    spans are of the text as given in any case.
    """

    name: str
    detection: Detection
    pieces: list[Segment]
    form: Form = "as given"
    spans: tuple[CharacterSpan, ...] = ()


def judge(
    name: str, text: str, encoders: Encoders, detector: Detector, candidates: Candidates
) -> Judged:
    """Test a text, search `candidates` for its writer, and cut it by colour.

    A text that normalisation changes is tested in both forms; the stronger result counts, with p
    times two.
    """
    forms = encoders.forms(text)
    tried = [
        (form, encoded, _judge(detector, encoded, candidates, len(forms)))
        for form, encoded in forms.items()
    ]
    form, encoded, detection = min(tried, key=lambda one: one[2].log10_p)
    offsets = encoded[detector.epochs.index(detection.epoch)].offsets
    spans = tuple(
        CharacterSpan(offsets[span.first][0], offsets[span.last][1], span.log10_p)
        for span in detection.spans
    )
    return Judged(name, detection, segments(text, offsets, detection.coins), form, spans)


def _judge(
    detector: Detector, encoded: Sequence[Encoded], candidates: Candidates, forms: int
) -> Detection:
    return detector.judge_each([one.ids for one in encoded], candidates, forms=forms)


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
