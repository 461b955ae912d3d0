"""Bytes of a local path, of an fsspec URL or of standard input."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from watermark.detect.sources.compression import Unpacked
from watermark.detect.sources.shard import Shard
from watermark.errors import InputError

STDIN = "-"
_BUFFER = 1 << 20


def is_remote(url: str) -> bool:
    """Tell a URL ("s3://…", also chained: "zip://…::…") from a local path."""
    return "://" in url or "::" in url


@contextmanager
def opened(shard: Shard) -> Iterator[BinaryIO]:
    """Open the shard's file, unpacked, at its beginning; every failure is an InputError."""
    with naming(shard.url), _raw(shard.url) as raw:
        if shard.compression is None:
            yield raw
        else:
            yield cast(BinaryIO, Unpacked(raw, shard.compression))


@contextmanager
def naming(url: str) -> Iterator[None]:
    """Turn OSError into InputError with the URL."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{url}: cannot be read ({_reason(error)})") from error


def _reason(error: OSError) -> str:
    if error.strerror is None and isinstance(error, FileNotFoundError):
        return "No such file or directory"
    return str(error.strerror or error or type(error).__name__).split("\n")[0]


@contextmanager
def _raw(url: str) -> Iterator[BinaryIO]:
    if url == STDIN:
        yield sys.stdin.buffer
    elif is_remote(url):
        with io.BufferedReader(_Remote(url), _BUFFER) as stream:
            yield stream
    else:
        with Path(url).open("rb") as stream:
            yield stream


@contextmanager
def foreign_errors() -> Iterator[None]:
    """Turn whatever a file system's driver raises into OSError: each has errors of its own."""
    try:
        yield
    except (OSError, InputError):
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def file_system(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL and the path in it; raises OSError."""
    with foreign_errors():
        from fsspec.core import url_to_fs

        system, path = url_to_fs(url)
        return system, str(path)


class _Remote(io.RawIOBase):
    """A file behind fsspec; every failure is an OSError."""

    def __init__(self, url: str) -> None:
        system, path = file_system(url)
        with foreign_errors():
            self._file = system.open(path, "rb")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def readinto(self, buffer: Any, /) -> int:
        with foreign_errors():
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        with foreign_errors():
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
