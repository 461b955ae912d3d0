"""The metrics of all workers as one: of those that live, and of those that are gone.

Every worker keeps its values in memory-mapped files (prometheus-client's multiprocess
mode), so that they outlive it. What a dead one has counted is added to one common
file: a counter must not fall when a worker ends, and reloads must not pile up files.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from proxy.families import Families

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (a private directory is made in it)
# Never a process id.
_GONE = "gone"
_KEPT = ("counter", "histogram")

Processes = Callable[[], Mapping[str, int]]


class Counted:
    """Where workers count, and the supervisor's own counters. Use it in a `with`."""

    def __init__(self, processes: Processes) -> None:
        """`processes` names the processes that live, with their ids."""
        self._lock = threading.Lock()
        self._registry = CollectorRegistry()
        self.families = Families(self._registry)
        make = self.families
        self.restarts = make.counter(
            "worker_restarts", "Workers started in the place of one that died."
        )
        self.log_lost = make.counter(
            "supervisor_log_lines_lost",
            "Lines of the supervisor's log dropped because the reader is too slow.",
        )
        reloads = make.counter(
            "config_reloads", "Reloads of the configuration (SIGHUP), by result.", "result"
        )
        self.reloads_done, self.reloads_failed = reloads.labels("done"), reloads.labels("failed")
        self._registry.register(_Processes(processes))

    def __enter__(self) -> Counted:
        shared = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(prefix="azeotrope-", dir=shared))  # mode 0700
        MultiProcessCollector(self._registry, str(self.directory))  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def render(self) -> bytes:
        """Return the text exposition; slow with many series, so call it off the event loop."""
        with self._lock:
            return generate_latest(self._registry)

    def bury(self, pid: int) -> None:
        """Take over what a dead worker has counted; call it off the event loop."""
        with self._lock:
            mark_process_dead(pid, str(self.directory))  # type: ignore[no-untyped-call]
            for kind in _KEPT:
                self._add_up(self.directory / f"{kind}_{pid}.db", f"{kind}_{_GONE}.db")

    def _add_up(self, file: Path, into: str) -> None:
        if not file.exists():
            return  # it died before it counted anything
        gone = MmapedDict(str(self.directory / into))  # type: ignore[no-untyped-call]
        # A worker that was killed in the midst of adding a series leaves its end unreadable.
        with suppress(RuntimeError):
            for key, value, *_ in MmapedDict.read_all_values_from_file(str(file)):  # type: ignore[no-untyped-call]
                gone.write_value(key, gone.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
        gone.close()  # type: ignore[no-untyped-call]
        file.unlink()


class _Processes(Collector):
    """Memory, processor time and descriptors of every process."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    def collect(self) -> Iterator[Metric]:
        """Read /proc."""
        families: dict[str, Metric] = {}
        for name, pid in self._processes().items():
            for read in _read(pid):
                family = families.setdefault(
                    read.name, Metric(read.name, read.documentation, read.type)
                )
                for sample in read.samples:
                    family.add_sample(sample.name, {"process": name}, sample.value)
        yield from families.values()


def _read(pid: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()
