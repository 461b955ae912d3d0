"""Structured logs on standard error, written by a thread of their own.

A line is an event and its fields. Call numbers, account numbers, models, statuses
and durations go in; keys, prompts and answers never do, because no code puts them there.

What happens at every call goes through `event`: a record of the logging module, a queue
and a thread switch for each line cost 19 µs, a line encoded at once and written with its
neighbours 5 (`python -m benchmarks.gateway.bookkeeping`).
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from time import time
from typing import Any

import msgspec

_MOST_LINES = 10_000
_GATHER_S = 0.05
_LAST_WORDS_S = 5.0
_MOST_CAUSES = 8

Line = Callable[[float, str, str, str, Mapping[str, Any]], bytes]

_encode = msgspec.json.Encoder(enc_hook=str).encode


def _exception(error: BaseException | None) -> str:
    """Kinds and places of an exception and of its causes; the newest first.

    Not their messages: these quote what was read, which may be a prompt or a key.
    """
    parts: list[str] = []
    for _ in range(_MOST_CAUSES):
        if error is None:
            break
        places = traceback.extract_tb(error.__traceback__)
        parts += [
            type(error).__name__,
            *(f"{at.filename}:{at.lineno} {at.name}" for at in reversed(places)),
        ]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(parts)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, then the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        fields = dict(getattr(record, "fields", {}))
        if record.exc_info:
            fields["exception"] = _exception(record.exc_info[1])
        level = record.levelname.lower()
        line = _json(record.created, level, record.name, record.getMessage(), fields)
        return line.decode()


class TextFormatter(logging.Formatter):
    """The same as text, for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        fields = getattr(record, "fields", {})
        level = record.levelname.lower()
        line = _text(record.created, level, record.name, record.getMessage(), fields).decode()
        if record.exc_info:
            line += "\n" + _exception(record.exc_info[1])
        return line


class _Writer:
    """Gathers lines for a moment and writes them to a file descriptor.

    When its reader stands still, lines are dropped and counted.
    """

    def __init__(self, descriptor: int, line: Line, lost: Callable[[], None]) -> None:
        self.line = line
        self._descriptor = descriptor
        self._lost = lost
        self._lines: deque[bytes] = deque()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._woken = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Take a line without waiting."""
        if len(self._lines) >= _MOST_LINES:
            self._lost()
            return
        self._lines.append(line)
        # The line first, then the flag: the thread clears the flag before it takes lines.
        if not self._woken:
            self._woken = True
            self._wake.set()

    def close(self) -> None:
        """Write the rest, unless nobody reads it."""
        self._closing.set()
        self._wake.set()
        self._thread.join(_LAST_WORDS_S)

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(_GATHER_S)
            self._wake.clear()
            self._woken = False
            self._write_all()
        self._write_all()

    def _write_all(self) -> None:
        while self._lines:
            block = self._next_block()
            try:
                _write(self._descriptor, block)
            except OSError:  # standard error is gone: the metric alone can tell
                for _ in range(block.count(b"\n")):
                    self._lost()

    def _next_block(self) -> bytes:
        """Return lines that a pipe takes whole: workers that share it must not mix theirs."""
        block = self._lines.popleft() + b"\n"
        while self._lines and len(block) + len(self._lines[0]) < select.PIPE_BUF:
            block += self._lines.popleft() + b"\n"
        return block


class _Handler(logging.Handler):
    """Brings the records of the logging module to the writer."""

    def __init__(self, writer: _Writer, formatter: logging.Formatter) -> None:
        super().__init__()
        self._writer = writer
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Encode a record and queue it."""
        try:
            self._writer.put(self.format(record).encode("utf-8", "replace"))
        except Exception:
            self.handleError(record)


_writer: _Writer | None = None  # a process has one standard error


def event(logger: logging.Logger, name: str, fields: Mapping[str, Any]) -> None:
    """Log at level info what happens at every call; there must be fields."""
    if not logger.isEnabledFor(logging.INFO):
        return
    if _writer is None:
        logger.info(name, extra={"fields": fields})
    else:
        _writer.put(_writer.line(time(), "info", logger.name, name, fields))


def start(level: str, style: str, lost: Callable[[], None]) -> Callable[[], None]:
    """Send the process's log to standard error; return what writes the rest and stops.

    `lost` is called for every line that had to be dropped.
    """
    global _writer  # noqa: PLW0603
    json = style == "json"
    _writer = writer = _Writer(sys.stderr.fileno(), _json if json else _text, lost)
    handler = _Handler(writer, JsonFormatter() if json else TextFormatter())
    root, ours = logging.getLogger(), logging.getLogger("proxy")
    root.addHandler(handler)
    ours.setLevel(level.upper())

    def stop() -> None:
        global _writer  # noqa: PLW0603
        root.removeHandler(handler)
        _writer = None
        writer.close()

    return stop


def _json(now: float, level: str, logger: str, event: str, fields: Mapping[str, Any]) -> bytes:
    moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    line = {"time": moment, "level": level, "logger": logger, "event": event}
    return _encode({**line, **fields})


def _text(now: float, level: str, logger: str, event: str, fields: Mapping[str, Any]) -> bytes:
    told = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
    moment = datetime.fromtimestamp(now).strftime("%H:%M:%S")
    return f"{moment} {level:7} {event} {told}".rstrip().encode("utf-8", "replace")


def _write(descriptor: int, block: bytes) -> None:
    while block:
        block = block[os.write(descriptor, block) :]
