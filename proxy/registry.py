"""The call registry: one JSON line per finished call, from which a detector names calls.

Append-only, mode 0600. A thread of its own writes, so that a slow disk never holds up
a stream; the queue before it is bounded, so that a dead disk never fills the memory.
What cannot be kept is counted and logged.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from pathlib import Path

import msgspec

from proxy.errors import StartError
from proxy.metrics import Metrics

_log = logging.getLogger(__name__)
QUEUE_SIZE = 65_536
RETRY_SECONDS = 1.0
_BATCH = 1024


class Entry(msgspec.Struct, frozen=True):
    """One finished call; `time` is RFC 3339 in UTC, None tokens were not reported."""

    call: int
    account: int
    name: str
    time: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
    status: int
    end: str
    epoch: int


class CallRegistry:
    """Appends entries to a file, off the event loop."""

    def __init__(self, path: Path, metrics: Metrics) -> None:
        """Open the file; raises StartError."""
        self._metrics = metrics
        self._path = path
        self._queue: queue.Queue[Entry | None] = queue.Queue(QUEUE_SIZE)
        self._pending = b""
        self._closing = threading.Event()
        self._descriptor = _open(path)
        self._thread = threading.Thread(target=self._run, name="call-registry", daemon=True)
        self._thread.start()

    @property
    def healthy(self) -> bool:
        """False while lines wait for a file that takes none."""
        return not self._pending

    def append(self, entry: Entry) -> None:
        """Queue an entry; never waits. A full queue loses it, with a metric and a log line."""
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self._metrics.registry_lost.inc()
            _log.error("registry_line_lost", extra={"fields": {"call": entry.call}})

    def close(self) -> None:
        """Write everything queued, then close the file; blocks, so call it off the loop."""
        self._closing.set()
        self._queue.put(None)
        self._thread.join()
        os.close(self._descriptor)

    def _run(self) -> None:
        ended = False
        while not ended:
            entries, ended = self._next_batch()
            self._pending += b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
            while not self._write() and not self._closing.wait(RETRY_SECONDS):
                pass  # until the file takes lines again, or the gateway closes
        lost = self._pending.count(b"\n")
        if lost:
            self._metrics.registry_lost.inc(lost)
            _log.error("registry_lines_lost", extra={"fields": {"lines": lost}})

    def _next_batch(self) -> tuple[list[Entry], bool]:
        """Wait for an entry, then take what else is there; true if the end was among it."""
        item = self._queue.get()
        entries: list[Entry] = []
        while item is not None:
            entries.append(item)
            if len(entries) == _BATCH or self._queue.empty():
                return entries, False
            item = self._queue.get()
        return entries, True

    def _write(self) -> bool:
        """Write what is pending; keep the rest of it after a failure, so that no line tears."""
        try:
            while self._pending:
                written = os.write(self._descriptor, self._pending)
                self._metrics.registry_lines.inc(self._pending.count(b"\n", 0, written))
                self._pending = self._pending[written:]
        except OSError as error:
            self._metrics.registry_failures.inc()
            _log.error(
                "registry_write_failed",
                extra={"fields": {"file": str(self._path), "reason": error.strerror}},
            )
            return False
        return True


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        os.fchmod(descriptor, 0o600)
        size = os.fstat(descriptor).st_size
        # A crash may have torn the last line: the next one must not be glued to it.
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            os.write(descriptor, b"\n")
    except OSError as error:
        raise StartError(f"registry: {path}: cannot be written ({error.strerror})") from None
    return descriptor
