"""Counters of an engine plugin, as a file for the textfile collector of Prometheus' node exporter.

An engine has its own metrics port and offers plugins no place in it; a file needs neither
a port nor a dependency.
"""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Literal

from watermark.errors import AzeotropeError

_PAUSE = 1.0  # seconds between two looks at the counters

Kind = Literal["counter", "gauge"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: samples are pairs of labels, rendered `name="value"`, and a number."""

    name: str
    kind: Kind
    description: str
    samples: tuple[tuple[str, int], ...]

    def render(self, labels: str) -> str:
        """Return the metric in Prometheus' text format, `labels` added to every sample."""
        lines = [
            f"# HELP {self.name} {self.description}",
            f"# TYPE {self.name} {self.kind}",
            *(
                f"{self.name}{{{own + ',' if own else ''}{labels}}} {number}"
                for own, number in self.samples
            ),
        ]
        return "\n".join(lines) + "\n"


class StatsFile:
    """Keeps `azeotrope_engine_<pid>.prom` up to date.

    A thread writes it, because an idle engine takes no steps; a reader never sees half a
    file. Every sample gets `labels` and a `pid`: the collector refuses a sample that two
    files contain.
    """

    def __init__(
        self,
        directory: Path,
        labels: str,
        metrics: Callable[[], list[Metric]],
        logger: logging.Logger,
    ) -> None:
        self._path = directory / f"azeotrope_engine_{os.getpid()}.prom"
        self._labels = f'{labels},pid="{os.getpid()}"'
        self._metrics = metrics
        self._logger = logger
        self._written = ""
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Write the file once, then whenever a counter moved, and at exit.

        Raises AzeotropeError if the directory cannot be written.
        """
        try:
            self._write()
        except OSError as error:
            raise AzeotropeError(
                f"AZEOTROPE_STATS_DIR: {self._path.parent}: cannot be written ({error.strerror}); "
                "make the directory, or unset the variable"
            ) from error
        # Engines run as children of multiprocessing, which leave without atexit's handlers.
        Finalize(None, self._stop, exitpriority=0)
        threading.Thread(target=self._run, name="azeotrope-stats", daemon=True).start()

    def _write(self) -> None:
        with self._lock:
            text = "".join(metric.render(self._labels) for metric in self._metrics())
            if text == self._written:
                return
            temporary = self._path.with_suffix(".tmp")
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self._path)
            self._written = text

    def _run(self) -> None:
        while not self._stopped.wait(_PAUSE):
            self._write_or_warn()

    def _stop(self) -> None:
        self._stopped.set()
        self._write_or_warn()

    def _write_or_warn(self) -> None:
        # A full disk must not end the engine, nor the thread that will try again.
        try:
            self._write()
        except OSError as error:
            self._logger.warning("azeotrope: %s: not written (%s)", self._path, error.strerror)
