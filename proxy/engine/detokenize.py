"""Text of an answer, token by token, and the stop strings in it. Pure: no model, no I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_REPLACEMENT = "\ufffd"


class Detokenizer:
    """Turns tokens into text as they come; a character that is not complete yet is held back.

    The concatenation of all pieces, `flush` included, is `decode` of all tokens: each piece is the
    difference of two decodings from the same start, and a start is only moved to where the text
    ended in a complete character (a byte-level token may end within one).
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._start = 0  # tokens before are neither shown nor needed to decode what follows
        self._shown = 0  # tokens before have been shown

    def feed(self, token: int) -> str:
        """Return the text that has become certain with this token, possibly none."""
        self._tokens.append(token)
        text = self._unseen()
        if not text or text.endswith(_REPLACEMENT):
            return ""
        self._start, self._shown = self._shown, len(self._tokens)
        return text

    def flush(self) -> str:
        """Return what is held back: the answer is over, so nothing will complete it."""
        text = self._unseen()
        self._start = self._shown = len(self._tokens)
        return text

    def _unseen(self) -> str:
        # The shown tokens before are decoded along: word-piece tokenizers treat a first token
        # otherwise than a later one (leading spaces).
        before = self._decode(self._tokens[self._start : self._shown])
        return self._decode(self._tokens[self._start :])[len(before) :]


class StopScanner:
    """Finds the first stop string in a growing text, also across pieces, and cuts there."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped_by: str | None = None

    def feed(self, piece: str) -> str:
        """Return text that no stop string can reach any more; sets `stopped_by` on a match."""
        if not self._stops or self.stopped_by:
            return "" if self.stopped_by else piece
        text = self._held + piece
        first = min((stop for stop in self._stops if stop in text), key=text.find, default=None)
        if first is not None:
            self.stopped_by, self._held = first, ""
            return text[: text.find(first)]
        keep = max(_open_end(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """Return what is held back, when the answer has ended otherwise."""
        text, self._held = self._held, ""
        return text


def _open_end(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[len(text) - length :]):
            return length
    return 0
