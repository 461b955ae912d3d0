"""A command's time and the memory of all its processes (Linux)."""

import os
import resource
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL_SECONDS = 0.05
_PAGE = os.sysconf("SC_PAGESIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of wall and CPU time, and the peaks, in bytes, over all processes together.

    `resident` is the sum of their resident sets (shared pages counted once for each), `anonymous`
    leaves out pages of files, which the kernel drops when it needs the memory.
    """

    wall: float
    cpu: float
    resident: int
    anonymous: int
    output: str


def watched(command: Sequence[str], accepted: Sequence[int] = (0,)) -> Usage:
    """Run a command to its end; raises CalledProcessError for a status that is not accepted."""
    before, start = _children_cpu(), time.perf_counter()
    resident = anonymous = 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None:
            sizes = [_memory(pid) for pid in _family(process.pid)]
            resident = max(resident, sum(all_ for all_, _ in sizes))
            anonymous = max(anonymous, sum(all_ - shared for all_, shared in sizes))
            time.sleep(_POLL_SECONDS)
        wall = time.perf_counter() - start
        output, errors = process.communicate()
    if process.returncode not in accepted:
        raise subprocess.CalledProcessError(process.returncode, command, output, errors)
    return Usage(wall, _children_cpu() - before, resident, anonymous, output)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # ended in between
            continue
        for child in children:
            yield from _family(int(child))


def _memory(pid: int) -> tuple[int, int]:
    """Resident bytes of a process, and those of them that are pages of files."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0, 0
    return int(pages[1]) * _PAGE, int(pages[2]) * _PAGE
