"""Structured logs on standard error, written by a thread of their own.

A line is an event and its fields. Call numbers, account numbers, models, statuses
and durations go in; keys, prompts and answers never do, because no code puts them there.
"""

from __future__ import annotations

import logging
import queue
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener
from typing import Any

import msgspec

_QUEUE_SIZE = 10_000


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, event, then the event's own fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    """The same as text, for a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        fields: dict[str, Any] = getattr(record, "fields", {})
        told = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        line = f"{time} {record.levelname.lower():7} {record.getMessage()} {told}".rstrip()
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _Bounded(QueueHandler):
    """Drops lines when the reader of standard error stands still, and counts them."""

    def __init__(self, lines: queue.Queue[Any], lost: Callable[[], None]) -> None:
        super().__init__(lines)
        self._lost = lost

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Leave the record as it is: the formatter of this process reads it, no other."""
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        """Queue a record without waiting."""
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self._lost()


def start(level: str, style: str, lost: Callable[[], None]) -> Callable[[], None]:
    """Send the process's log to standard error; return what writes the rest and stops.

    `lost` is called for every line that had to be dropped.
    """
    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    lines: queue.Queue[Any] = queue.Queue(_QUEUE_SIZE)
    handler = _Bounded(lines, lost)
    root, ours = logging.getLogger(), logging.getLogger("proxy")
    root.addHandler(handler)
    ours.setLevel(level.upper())
    listener = QueueListener(lines, output)
    listener.start()

    def stop() -> None:
        root.removeHandler(handler)
        listener.stop()

    return stop
