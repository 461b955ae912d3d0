"""The command line within the test's process: a process of its own costs half a second of CPU."""

from __future__ import annotations

import io
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from proxy.cli import main


def azeotrope(*arguments: str, cwd: Path) -> CompletedProcess[str]:
    out, err = io.StringIO(), io.StringIO()
    with (
        chdir(cwd),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main(list(arguments))
    status = ended.value.code
    assert isinstance(status, int)
    return CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def complaint_of(result: CompletedProcess[str]) -> str:
    """Return the one line of a command that failed."""
    assert result.returncode == 2, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("azeotrope: error: ")
    return line.removeprefix("azeotrope: error: ")


def complaint(*arguments: str, cwd: Path) -> str:
    """Run a command that must fail; return its one line."""
    return complaint_of(azeotrope(*arguments, cwd=cwd))
