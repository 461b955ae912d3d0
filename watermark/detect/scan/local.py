"""Units of work over the processes of this machine."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing.queues import Queue
from queue import Empty

from watermark.detect.scan.job import Equipment, ScanJob
from watermark.detect.scan.plan import Unit
from watermark.detect.scan.unit import Tell, UnitScan
from watermark.detect.tokenizers.fast import limit_threads

_Steps = Queue  # of (characters, documents, tokens)
_POLL_SECONDS = 0.1

# One of each worker process, made when it starts.
_equipment: Equipment | None = None
_steps: "_Steps[tuple[int, int, int]] | None" = None


def scan_locally(
    job: ScanJob, equipment: Equipment, units: Sequence[Unit], workers: int, tell: Tell
) -> Iterator[Unit]:
    """Scan units in `workers` processes (1: in this one); yield each as it is finished."""
    if workers == 1 or len(units) <= 1:
        for unit in units:
            UnitScan(equipment, unit, tell).run()
            yield unit
        return
    context = multiprocessing.get_context("spawn")
    steps = context.Queue()
    pool = ProcessPoolExecutor(
        min(workers, len(units)), mp_context=context, initializer=_start, initargs=(job, steps)
    )
    try:
        waiting = {pool.submit(_run, unit) for unit in units}
        yield from _finished(waiting, lambda: _pass_on(steps, tell))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _finished(waiting: set[Future[Unit]], poll: Callable[[], None]) -> Iterator[Unit]:
    while waiting:
        done, waiting = wait(waiting, _POLL_SECONDS, FIRST_COMPLETED)
        poll()
        for future in done:
            yield future.result()


def _pass_on(steps: "_Steps[tuple[int, int, int]]", tell: Tell) -> None:
    while True:
        try:
            tell(*steps.get_nowait())
        except Empty:
            return


def _start(job: ScanJob, steps: "_Steps[tuple[int, int, int]]") -> None:
    global _equipment, _steps
    # The processes are the parallelism: threads of a tokenizer would fight them for the cores.
    limit_threads(1)
    _equipment, _steps = Equipment(job), steps


def _run(unit: Unit) -> Unit:
    assert _equipment is not None
    assert _steps is not None
    steps = _steps
    UnitScan(_equipment, unit, lambda *step: steps.put(step)).run()
    return unit
