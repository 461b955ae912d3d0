"""The texts of one answer, gathered piece by piece for the registry's digest."""

from __future__ import annotations

# Characters. An endless stream must not fill the memory; no model answers at such length.
MAX_TEXT = 16 << 20


class Texts:
    """Texts by their index: of the choice, or of the item of the output."""

    def __init__(self) -> None:
        self._pieces: dict[int, list[str]] = {}
        self._size = 0

    def add(self, index: int, piece: str | None) -> None:
        """Append a piece to the text at `index`."""
        if not piece or self._size > MAX_TEXT:
            return
        self._size += len(piece)
        self._pieces.setdefault(index, []).append(piece)

    def all(self) -> list[str]:
        """Return the texts in the order of their indexes; none if there was too much to keep."""
        if self._size > MAX_TEXT:
            return []
        return ["".join(pieces) for _, pieces in sorted(self._pieces.items())]
