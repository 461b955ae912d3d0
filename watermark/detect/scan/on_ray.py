"""Units of work over a Ray cluster, as a Ray Data job.

Keys and tokenizer go to the workers with the job, and their parts come back as bytes: the nodes
share no disk with this machine, but must reach the corpus by the same paths and URLs.
"""

import json
import logging
import os
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import click

from watermark.detect.scan.job import Equipment, ScanJob
from watermark.detect.scan.parts import Part
from watermark.detect.scan.plan import Unit
from watermark.detect.scan.shipping import Shipment
from watermark.detect.scan.unit import Tell, UnitScan
from watermark.detect.sources.files import STDIN
from watermark.detect.tokenizers.fast import limit_threads
from watermark.errors import AzeotropeError, InputError

AUTO = "auto"
_FACTS = "facts.json"
_PATIENCE_SECONDS = 10


def scan_on_ray(
    job: ScanJob, equipment: Equipment, units: Sequence[Unit], address: str, tell: Tell
) -> Iterator[Unit]:
    """Scan units on the Ray cluster at `address`; yield each when its part is here.

    "auto" is a running cluster if one can be found (RAY_ADDRESS, or one of this machine), else one
    that is started here and ends with the scan; a process that is connected to Ray already stays
    so. Every CPU of the cluster gets a worker, with a device "cuda…" every GPU. `tell` is told of
    finished units only. Raises InputError if Ray is missing, cannot be reached or has no GPU,
    AzeotropeError if a worker cannot do the job.
    """
    if not units:
        return
    if any(shard.url == STDIN for unit in units for shard in unit.shards):
        raise InputError("-: Ray's workers cannot read standard input; write it to a file first")
    with _connection(address):
        for reply in _replies(job, Shipment.of(equipment), units):
            if reply.error is not None:
                raise reply.error
            _keep(reply.files, reply.unit.part)
            facts = reply.unit.part.facts()
            tell(reply.unit.size, facts["documents"], facts["tokens"])
            yield reply.unit


@dataclass(frozen=True, slots=True)
class Reply:
    """The files of a unit's part by name, or why there are none."""

    unit: Unit
    files: dict[str, bytes]
    error: AzeotropeError | None = None


class UnitWorker:
    """A Ray actor: loads the equipment once, then scans one unit after the other."""

    def __init__(self, shipment: Shipment) -> None:
        # The actors are the parallelism: threads of a tokenizer would fight them for the cores.
        limit_threads(1)
        self._equipment: Equipment | None = None
        self._error: AzeotropeError | None = None
        # Raised here, Ray would wrap it and try again.
        try:
            self._equipment = shipment.equipment()
        except AzeotropeError as error:
            self._error = error

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Scan the unit of a row."""
        unit: Unit = row["unit"]
        if self._equipment is None:
            return {"reply": Reply(unit, {}, self._error)}
        try:
            return {"reply": Reply(unit, _scan(self._equipment, unit))}
        except AzeotropeError as error:
            return {"reply": Reply(unit, {}, error)}


def _scan(equipment: Equipment, unit: Unit) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory(prefix="azeotrope-") as name:
        # The part's own name is the key of its cached tokens.
        part = Part(Path(name) / unit.part.path.name)
        UnitScan(equipment, replace(unit, part=part), lambda *step: None).run()
        return {file.name: file.read_bytes() for file in part.path.iterdir()}


def _keep(files: dict[str, bytes], part: Part) -> None:
    part.path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if name != _FACTS:
            (part.path / name).write_bytes(content)
    part.finish(json.loads(files[_FACTS]))


def _replies(job: ScanJob, shipment: Shipment, units: Sequence[Unit]) -> Iterator[Reply]:
    import ray

    resource = "GPU" if job.device.startswith("cuda") else "CPU"
    cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    workers = min(int(cluster.get(resource, 0)), len(units))
    if not workers:
        raise InputError(f"--device {job.device}: the Ray cluster has no {resource}")
    if resource == "GPU":
        # Ray shows every actor its own GPU alone.
        shipment = replace(shipment, job=replace(job, device="cuda"))
    rows = ray.data.from_items([{"unit": unit} for unit in units], override_num_blocks=len(units))
    results = rows.map(
        cast(Any, UnitWorker),  # Ray's annotation knows functions only
        fn_constructor_args=(shipment,),
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=1),
        num_cpus=1,
        num_gpus=1 if resource == "GPU" else None,
    )
    for batch in results.iter_batches(batch_size=None, prefetch_batches=0):
        yield from batch["reply"]


@contextmanager
def _connection(address: str) -> Iterator[None]:
    """Be connected; what this process was connected to before is neither changed nor closed."""
    # Read by Ray when it is loaded. It would tell its makers of every cluster that it starts, and
    # print lines of its own into the progress bar.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError(
            "--ray needs Ray, which is not installed: pip install 'azeotrope[ray]'"
        ) from error
    connected = ray.is_initialized()
    if not connected:
        _connect(address)
    context = ray.data.DataContext.get_current()
    bars, context.enable_progress_bars = context.enable_progress_bars, False
    try:
        yield
    finally:
        context.enable_progress_bars = bars
        if not connected:
            ray.shutdown()


def _connect(address: str) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    chosen = os.environ.get("RAY_ADDRESS", AUTO) if address == AUTO else address
    _require_listener(chosen)
    try:
        context: Any = ray.init(address=chosen, **quiet)
        click.echo(f"Ray: connected to {context.address_info['address']}", err=True)
    except (ConnectionError, RuntimeError, ValueError) as error:
        if chosen != AUTO:
            raise InputError(
                f"--ray {chosen}: no Ray cluster can be reached there (if it has a token, set "
                "RAY_AUTH_MODE=token)"
            ) from error
        ray.init(address="local", include_dashboard=False, **quiet)
        click.echo("Ray: no cluster is running; started one on this machine", err=True)


def _require_listener(address: str) -> None:
    """Raise InputError if nobody listens at HOST:PORT: Ray would try for minutes."""
    if "://" in address:
        raise InputError(
            f"--ray {address}: Ray's client protocol is not supported; run the scan on a node of "
            "the cluster (--ray HOST:PORT), or with: ray job submit"
        )
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), _PATIENCE_SECONDS).close()
    except OSError as error:
        raise InputError(
            f"--ray {address}: nobody listens there ({error.strerror or error})"
        ) from error
