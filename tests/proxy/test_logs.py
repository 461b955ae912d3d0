"""The log: the same lines whichever way they take, none mixed, lost ones counted."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from proxy import logs

CALL = logging.getLogger("proxy.settle")
FIELDS = {"request_id": "req_1", "status": 200, "detail": None, "dropped_fields": ["x"]}


class Pipe:
    """Standard error with a reader that reads when it is told to."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()

    def fileno(self) -> int:
        return self.writer

    def write(self, text: str) -> None:
        raise AssertionError(f"a line took a way of its own: {text}")

    def read_all(self) -> list[str]:
        os.close(self.writer)
        with os.fdopen(self.reader, encoding="utf-8") as stream:
            return stream.read().splitlines()


@contextmanager
def logging_to(
    pipe: Pipe, level: str = "info", style: str = "json", lost: Callable[[], None] = lambda: None
) -> Iterator[None]:
    before, sys.stderr = sys.stderr, pipe  # type: ignore[assignment]
    try:
        stop = logs.start(level, style, lost)
    finally:
        sys.stderr = before
    try:
        yield
    finally:
        stop()
        logging.getLogger("proxy").setLevel(logging.NOTSET)


@pytest.mark.parametrize("style", ["json", "text"])
def test_an_event_and_a_record_give_the_same_line(style: str) -> None:
    pipe = Pipe()
    with logging_to(pipe, style=style):
        logs.event(CALL, "call", FIELDS)
        CALL.info("call", extra={"fields": FIELDS})

    first, second = pipe.read_all()
    if style == "json":
        event, record = json.loads(first), json.loads(second)
        assert list(event) == ["time", "level", "logger", "event", *FIELDS]
        assert event | {"time": ""} == record | {"time": ""}
        assert event["logger"] == "proxy.settle"
    else:
        assert (
            first[8:]
            == second[8:]
            == " info    call request_id=req_1 status=200 " + ("dropped_fields=['x']")
        )


def _fails() -> None:
    try:
        raise KeyError("the-secret-key")
    except KeyError as error:
        error.add_note("the-secret-note")
        raise ValueError("the-secret-prompt") from error


@pytest.mark.parametrize("style", ["json", "text"])
def test_of_an_exception_kinds_and_places_are_told_and_no_message(style: str) -> None:
    pipe = Pipe()
    with logging_to(pipe, style=style):
        try:
            _fails()
        except ValueError:
            CALL.exception("internal_error", extra={"fields": {"request_id": "r"}})

    lines = pipe.read_all()
    told = json.loads(lines[0])["exception"] if style == "json" else "\n".join(lines)
    kinds = [line for line in told.splitlines() if line.endswith("Error")]
    assert kinds == ["ValueError", "KeyError"]
    assert re.search(r"test_logs.py:\d+ _fails$", told)
    assert "the-secret" not in "".join(lines)
    assert len(lines) == 1 or style == "text"


def test_the_level_is_kept() -> None:
    pipe = Pipe()
    with logging_to(pipe, level="warning"):
        logs.event(CALL, "call", FIELDS)
        CALL.info("call")
        CALL.warning("store_away")

    assert [json.loads(line)["event"] for line in pipe.read_all()] == ["store_away"]


def test_without_a_log_started_an_event_is_a_record(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "proxy")
    logs.event(CALL, "call", FIELDS)
    (record,) = caplog.records
    assert (record.message, record.fields) == ("call", FIELDS)  # type: ignore[attr-defined]


def test_lines_that_nobody_reads_are_dropped_and_counted() -> None:
    pipe, lost = Pipe(), []
    with logging_to(pipe, lost=lambda: lost.append(1)):
        for _ in range(30_000):
            logs.event(CALL, "call", FIELDS)
        reading = threading.Thread(target=lambda: lines.extend(_read(pipe.reader)))
        lines: list[bytes] = []
        reading.start()
    os.close(pipe.writer)
    reading.join()

    assert len(lost) > 1_000
    assert len(lines) + len(lost) == 30_000
    assert all(json.loads(line)["event"] == "call" for line in lines)


def test_a_closed_standard_error_is_no_end_of_the_world() -> None:
    pipe, lost = Pipe(), []
    os.close(pipe.reader)
    with logging_to(pipe, lost=lambda: lost.append(1)):
        for _ in range(10):
            logs.event(CALL, "call", FIELDS)
    assert len(lost) == 10


def test_processes_that_share_standard_error_do_not_mix_their_lines() -> None:
    code = (
        "import logging; from proxy import logs; stop = logs.start('info', 'json', int);"
        "log = logging.getLogger('proxy.x');"
        "[logs.event(log, 'call', {'a': 'b' * 700}) for _ in range(3000)]; stop()"
    )
    pipe = Pipe()
    children = [
        subprocess.Popen([sys.executable, "-c", code], stderr=pipe.writer) for _ in range(2)
    ]
    lines = pipe.read_all()
    assert [child.wait() for child in children] == [0, 0]

    assert len(lines) == 6_000
    assert all(json.loads(line)["a"] == "b" * 700 for line in lines)


def _read(descriptor: int) -> list[bytes]:
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read().splitlines()
