"""The open file of a call registry, and the closed ones beside it.

calls.jsonl                          open: lines are appended (calls.w3.jsonl: by worker 3)
calls-20260301T100000Z-0.jsonl       closed at that time; the last number tells apart what
                                     was closed within one second
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from proxy.disk import sync_folder

_CLOSED = re.compile(r"-\d{8}T\d{6}Z-\d+")
_LONGEST_LINE = 1 << 16


class _Begun(msgspec.Struct):
    time: datetime


class OpenSegment:
    """The file that lines are appended to; `size` in bytes, mode 0600.

    Raises OSError wherever the disk fails; the segment can be used further.
    """

    def __init__(self, path: Path, worker: int | None = None) -> None:
        """Open the file of `path`, or a worker's own beside it."""
        own = f"{path.stem}.w{worker}{path.suffix}"
        self.path = path if worker is None else path.parent / own
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.descriptor, self.size = _open(self.path)
        self.begun = _first_time(self.descriptor) if self.size else time.time()

    def write(self, data: bytes) -> int:
        """Append, return how many bytes went in."""
        written = os.write(self.descriptor, data)
        if not self.size:
            self.begun = time.time()
        self.size += written
        return written

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        os.fdatasync(self.descriptor)

    def rotate(self) -> Path:
        """Close the segment under a name of its own and open the next; return the closed one."""
        os.fsync(self.descriptor)
        closed = self._closed_name()
        self.path.rename(closed)
        try:
            descriptor, size = _open(self.path)
        except OSError:
            closed.rename(self.path)  # go on with the old one
            raise
        os.close(self.descriptor)
        self.descriptor, self.size, self.begun = descriptor, size, time.time()
        sync_folder(self.path.parent)
        return closed

    def leftovers(self) -> list[Path]:
        """Closed segments of JSON lines, oldest first."""
        length = len(self.path.stem)
        return sorted(
            path
            for path in self.path.parent.glob(f"*{self.path.suffix}")
            if path.name.startswith(self.path.stem) and _CLOSED.fullmatch(path.stem[length:])
        )

    def close(self) -> None:
        """Close the file; it stays the open segment."""
        with suppress(OSError):
            self.sync()
        os.close(self.descriptor)

    def _closed_name(self) -> Path:
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        number = 0
        while True:
            name = self.path.with_name(f"{self.path.stem}-{moment}-{number}{self.path.suffix}")
            if not name.exists() and not name.with_suffix(".parquet").exists():
                return name
            number += 1


def _open(path: Path) -> tuple[int, int]:
    """Open for appending; return descriptor and size."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    size = os.fstat(descriptor).st_size
    # A crash may have torn the last line: the next one must not be glued to it.
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        size += os.write(descriptor, b"\n")
    return descriptor, size


def _first_time(descriptor: int) -> float:
    """When the first line was written, so that a restart does not make a segment young again."""
    line = os.pread(descriptor, _LONGEST_LINE, 0).partition(b"\n")[0]
    try:
        return msgspec.json.decode(line, type=_Begun).time.timestamp()
    except (msgspec.MsgspecError, ValueError):
        return os.fstat(descriptor).st_mtime
