"""Progress of a scan on the terminal: bytes, rate, time left."""

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from watermark.detect.scan.plan import Unit


class ScanProgress:
    """A progress bar over the bytes of all files, with counts of documents and tokens.

    What is read of a compressed file is more than its size: the bar is put right when a unit is
    finished.
    """

    def __init__(self, console: Console, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[documents]:,} documents, {task.fields[tokens]:,} tokens"),
            console=console,
        )
        self._task = self._progress.add_task("scanning", total=total, documents=0, tokens=0)
        self._finished = 0
        self._underway = 0
        self._documents = 0
        self._tokens = 0

    def __enter__(self) -> "ScanProgress":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def tell(self, size: int, documents: int, tokens: int) -> None:
        """Add a batch."""
        self._underway += size
        self._documents += documents
        self._tokens += tokens
        self._show()

    def finish(self, unit: Unit) -> None:
        """Add a finished unit."""
        for warning in unit.part.facts()["warnings"]:
            self._progress.console.print(warning, style="yellow")
        self._finished += unit.size
        self._underway = max(self._underway - unit.size, 0)
        self._show()

    def _show(self) -> None:
        self._progress.update(
            self._task,
            completed=self._finished + self._underway,
            documents=self._documents,
            tokens=self._tokens,
        )
