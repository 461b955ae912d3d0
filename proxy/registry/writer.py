"""The thread that writes the call registry, and the queue before it.

A slow disk never holds up a call, and a dead one never fills the memory: what cannot be
kept is counted and logged. Lines are gathered for `GATHER_S`, written, and synchronised to
the disk before the next are gathered: a crash of the process or the machine costs the calls
that ended in the last half second, and no line before them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path

import msgspec

from proxy.config import Registry
from proxy.errors import StartError
from proxy.metrics import Metrics
from proxy.registry.entry import Entry
from proxy.registry.parquet import convert, require_pyarrow
from proxy.registry.segments import OpenSegment
from watermark.copies import answer_digest

_log = logging.getLogger(__name__)
QUEUE_SIZE = 65_536
# Texts wait for their digests: beyond so many characters an entry goes without.
QUEUE_CHARACTERS = 1 << 26
GATHER_S = 0.5
RETRY_SECONDS = 1.0

_encode = msgspec.json.Encoder().encode


class CallRegistry:
    """Appends entries to a file, off the event loop.

    With `digest_key` (watermark/copies.py) entries get the digests of their texts.
    """

    def __init__(
        self,
        settings: Registry,
        metrics: Metrics,
        *,
        digest_key: bytes | None = None,
        worker: int | None = None,
    ) -> None:
        """Open the file; raises StartError."""
        self._settings = settings
        self._metrics = metrics
        self._key = digest_key
        self._queue: deque[tuple[Entry, Sequence[str]]] = deque()
        self._characters = 0
        self._pending = b""
        self._wake, self._closing = threading.Event(), threading.Event()
        self._woken = False
        if settings.format == "parquet":
            require_pyarrow()
        try:
            self._segment = OpenSegment(settings.path, worker)
            leftovers = self._segment.leftovers()
        except OSError as error:
            raise StartError(
                f"registry: {settings.path}: cannot be written ({error.strerror})"
            ) from None
        self._closed = deque(leftovers if settings.format == "parquet" else ())
        self._conversion: Generator[int, None, None] | None = None
        self._thread = threading.Thread(target=self._run, name="call-registry", daemon=True)
        self._thread.start()

    @property
    def healthy(self) -> bool:
        """False while lines wait for a file that takes none, or if the writer has ended."""
        return not self._pending and self._thread.is_alive()

    @property
    def digests(self) -> bool:
        """Whether entries want the texts of their answers."""
        return self._key is not None

    def append(self, entry: Entry, texts: Sequence[str] = ()) -> None:
        """Queue an entry; never waits. A full queue loses it, with a metric and a log line."""
        if len(self._queue) >= QUEUE_SIZE:
            self._metrics.registry_lost.inc()
            _log.error("registry_line_lost", extra={"fields": {"call": entry.call}})
            return
        if texts:
            texts = self._within_bounds(entry, texts)
        self._queue.append((entry, texts))
        # The entry first, then the flag: the writer clears the flag before it takes entries.
        if not self._woken:
            self._woken = True
            self._wake.set()

    def close(self) -> None:
        """Write everything queued, then close the file; blocks, so call it off the loop."""
        self._closing.set()
        self._wake.set()
        self._thread.join()
        self._segment.close()

    def _within_bounds(self, entry: Entry, texts: Sequence[str]) -> Sequence[str]:
        self._characters += sum(map(len, texts))
        if self._characters <= QUEUE_CHARACTERS:
            return texts
        self._metrics.registry_digests_lost.inc()
        _log.error("registry_digest_lost", extra={"fields": {"call": entry.call}})
        return ()

    def _run(self) -> None:
        while True:
            closing = self._closing.is_set()  # asked first: nothing is appended after close()
            self._take()
            if self._written():
                self._rotate_when_due()
            if closing:
                break
            self._wait()
        if self._conversion is not None:
            self._conversion.close()
        lost = self._pending.count(b"\n")
        if lost:
            self._metrics.registry_lost.inc(lost)
            _log.error("registry_lines_lost", extra={"fields": {"lines": lost}})

    def _take(self) -> None:
        """Turn what is queued into lines, unless earlier ones still wait for the disk."""
        self._wake.clear()
        self._woken = False
        if self._pending and not self._closing.is_set():
            return
        lines = []
        self._characters = 0
        while self._queue:
            entry, texts = self._queue.popleft()
            lines.append(_encode(self._digested(entry, texts) if texts else entry))
        if lines:
            self._pending += b"\n".join(lines) + b"\n"

    def _digested(self, entry: Entry, texts: Sequence[str]) -> Entry:
        if self._key is None:
            return entry
        digests = [answer_digest(self._key, text).hex() for text in texts]
        return msgspec.structs.replace(entry, digest=[each for each in digests if each] or None)

    def _written(self) -> bool:
        """Write what is pending; keep the rest of it after a failure, so that no line tears."""
        if not self._pending:
            return True
        try:
            while self._pending:
                written = self._segment.write(self._pending)
                self._metrics.registry_lines.inc(self._pending.count(b"\n", 0, written))
                self._pending = self._pending[written:]
            self._segment.sync()
        except OSError as error:
            self._failed("registry_write_failed", self._segment.path, error)
        return not self._pending

    def _rotate_when_due(self) -> None:
        large, left = self._settings.rotate_bytes, self._seconds_left()
        too_large = large is not None and self._segment.size >= large
        if not self._segment.size or not (too_large or (left is not None and left <= 0)):
            return
        try:
            closed = self._segment.rotate()
        except OSError as error:
            self._failed("registry_rotation_failed", self._segment.path, error)
            return
        if self._settings.format == "parquet":
            self._closed.append(closed)

    def _seconds_left(self) -> float | None:
        """Until the segment is too old; None if it never is."""
        if self._settings.rotate_s is None or not self._segment.size:
            return None
        return self._segment.begun + self._settings.rotate_s - time.time()

    def _wait(self) -> None:
        """Wait until there is something to do; convert closed segments meanwhile."""
        if self._pending:
            self._closing.wait(RETRY_SECONDS)
        elif self._closed or self._conversion is not None:
            until = time.monotonic() + GATHER_S
            while time.monotonic() < until and not self._closing.is_set() and self._converted():
                pass
        else:
            left = self._seconds_left()
            # A rotation that failed is due at once; and no wait is longer than a thread can.
            if self._wake.wait(None if left is None else min(max(left, RETRY_SECONDS), 3600.0)):
                self._closing.wait(GATHER_S)

    def _converted(self) -> bool:
        """Convert one piece of a closed segment; false if there was nothing to convert."""
        from pyarrow import ArrowException

        if self._conversion is None:
            if not self._closed:
                return False
            self._conversion = convert(self._closed[0])
        try:
            left_out = next(self._conversion, None)
        except (OSError, ArrowException) as error:
            self._failed("registry_conversion_failed", self._closed[0], error)
            left_out = None
        if left_out:
            _log.warning("registry_torn_lines", extra={"fields": {"lines": left_out}})
        if left_out is None:  # done; after a failure the next start tries again
            self._conversion = None
            self._closed.popleft()
        return True

    def _failed(self, event: str, path: Path, error: Exception) -> None:
        self._metrics.registry_failures.inc()
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        _log.error(event, extra={"fields": {"file": str(path), "reason": reason}})
