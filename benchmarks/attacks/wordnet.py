"""Synonyms from the files of WordNet 3.0 (wndb(5WN) describes their format)."""

from functools import lru_cache
from pathlib import Path

_PARTS = ("noun", "verb", "adj", "adv")
_PUNCTUATION = ".,;:!?\"'()*\u201c\u201d\u2019"
_SHORTEST = 4  # "in", "as", "a" are nouns to WordNet: inch, arsenic, angstrom


class WordNet:
    """Single-word synonyms of base forms: those of each part of speech's most frequent sense."""

    def __init__(self, directory: Path) -> None:
        """Read the index files; raises FileNotFoundError if WordNet is not there."""
        self._data = {part: (directory / f"data.{part}").read_bytes() for part in _PARTS}
        self._senses: dict[str, list[tuple[str, int]]] = {}
        for part in _PARTS:
            for line in (directory / f"index.{part}").read_text("ascii").splitlines():
                if not line.startswith(" "):
                    fields = line.split()
                    offset = int(fields[6 + int(fields[3])])
                    self._senses.setdefault(fields[0], []).append((part, offset))

    @lru_cache(maxsize=65536)  # noqa: B019 - one object, alive as long as the run
    def synonyms(self, word: str) -> tuple[str, ...]:
        """Synonyms of a word, its punctuation and capital letter kept; () if there are none."""
        core = word.strip(_PUNCTUATION)
        if len(core) < _SHORTEST or not core.isalpha() or not core.isascii():
            return ()
        lemma = core.lower()
        found = {
            name
            for part, offset in self._senses.get(lemma, ())
            for name in self._names(part, offset)
            if name.isalpha() and name.lower() != lemma
        }
        start = word.index(core)
        shaped = [name.capitalize() if core[0].isupper() else name for name in sorted(found)]
        return tuple(word[:start] + name + word[start + len(core) :] for name in shaped)

    def _names(self, part: str, offset: int) -> list[str]:
        data = self._data[part]
        fields = data[offset : data.index(b"\n", offset)].decode("ascii").split()
        count = int(fields[3], 16)
        return [fields[4 + 2 * index].split("(")[0] for index in range(count)]
