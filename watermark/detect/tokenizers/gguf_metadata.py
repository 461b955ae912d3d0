"""The key-value pairs at the head of a GGUF file (format versions 2 and 3, little-endian).

The `gguf` package reads them too, in 20 s for a vocabulary of 128,000 tokens where this takes a
fraction of a second: it makes an array object of every string.
"""

import mmap
import struct
from pathlib import Path
from typing import Any

from watermark.errors import InputError

MAGIC = b"GGUF"
_STRING, _ARRAY = 8, 9
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}  # type number -> struct code
_MOST_PAIRS = 1 << 16  # a damaged count must not keep the loop busy


def read_metadata(path: Path) -> dict[str, Any]:
    """Read every pair: numbers, booleans, strings, and (nested) lists of these.

    Raises InputError for a file that is missing or no GGUF file.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data).pairs()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, struct.error) as error:
        raise InputError(
            f"{path}: not a GGUF file that can be read ({error}); fetch it again"
        ) from error


class _Reader:
    """A cursor over the bytes of a file; raises ValueError or struct.error for damage."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def pairs(self) -> dict[str, Any]:
        if self._take(4) != MAGIC:
            raise ValueError("the first bytes are not GGUF")
        (version,) = self._unpack("I")
        if version not in {2, 3}:
            raise ValueError(f"format version {version}, expected 2 or 3, little-endian")
        _tensors, count = self._unpack("QQ")
        if count > _MOST_PAIRS:
            raise ValueError(f"{count} metadata pairs")
        return {self._string(): self._value(self._unpack("I")[0]) for _ in range(count)}

    def _value(self, kind: int, depth: int = 0) -> Any:
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            return self._unpack(_scalar(kind))[0]
        inner, length = self._unpack("IQ")
        if depth > 4 or length > len(self._data):
            raise ValueError(f"an array of {length} items, {depth} deep")
        if inner in {_STRING, _ARRAY}:
            return [self._value(inner, depth + 1) for _ in range(length)]
        return list(self._unpack(f"{length}{_scalar(inner)}"))

    def _string(self) -> str:
        (length,) = self._unpack("Q")
        # Older converters cut tokens inside a character.
        return self._take(length).decode("utf-8", "replace")

    def _unpack(self, form: str) -> tuple[Any, ...]:
        return struct.unpack("<" + form, self._take(struct.calcsize("<" + form)))

    def _take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise ValueError("the file ends early")
        self._at += size
        return piece


def _scalar(kind: int) -> str:
    if kind not in _SCALARS:
        raise ValueError(f"value type {kind}")
    return _SCALARS[kind]
