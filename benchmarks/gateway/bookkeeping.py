"""What metrics and the log cost for one call, beside the libraries' usual way.

Metrics are measured as a worker has them, with prometheus-client's mapped files. The
log's figures include its thread. CPU time of this process, standard error to /dev/null.

`python -m benchmarks.gateway.bookkeeping`
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from logging.handlers import QueueHandler, QueueListener
from queue import Queue

import click

CALLS = 20_000
# A thread that writes gets its turn, as it does while a gateway waits for engines.
PAUSE_EVERY, PAUSE_S = 50, 0.001
FIELDS: dict[str, object] = {
    "request_id": "req_" + "a" * 32,
    "call": 123 << 40,
    "account": 3,
    "dialect": "openai_chat",
    "model": "smollm2",
    "upstream": "local",
    "status": 200,
    "end": "complete",
    "prompt_tokens": 20,
    "completion_tokens": 100,
    "usage_source": "engine",
    "total_ms": 123.456,
    "upstream_ms": 12.34,
    "first_byte_ms": 3.4,
    "dropped_fields": [],
    "detail": None,
}


def cost_us(call: Callable[[], object], finish: Callable[[], object]) -> float:
    """Microseconds of CPU a call, in all threads."""
    begun = time.process_time()
    for number in range(CALLS):
        call()
        if number % PAUSE_EVERY == 0:
            time.sleep(PAUSE_S)
    finish()
    return (time.process_time() - begun) / CALLS * 1e6


def metrics_us() -> tuple[float, float]:
    """All metrics of a call: as tallies, and as increments of prometheus-client."""
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    from proxy.metrics import Metrics

    metrics = Metrics(["openai_chat"], ["m"])
    upstream = metrics.upstream("u")

    def tallies() -> None:
        metrics.decided("admitted", "store")
        metrics.tickets.inc()
        metrics.open_calls.inc()
        upstream.outstanding.inc(1)
        for timing in (metrics.added_seconds, metrics.store_seconds):
            timing.observe(0.0004)
        with metrics.open_streams.track_inprogress():
            pass
        for timing in (metrics.upstream_seconds, metrics.first_byte_seconds):
            timing.observe(0.3)
        upstream.outstanding.inc(-1)
        metrics.open_calls.dec()
        metrics.settled("m", "engine", "complete", 20, 100)
        metrics.answered("openai_chat", "m", 200)

    registry = CollectorRegistry()
    counters = [Counter(f"c{n}", "c", registry=registry) for n in range(7)]
    gauges = [Gauge(f"g{n}", "g", registry=registry, multiprocess_mode="livesum") for n in range(3)]
    histograms = [Histogram(f"h{n}", "h", registry=registry) for n in range(4)]

    def direct() -> None:
        for counter in counters:
            counter.inc()
        for gauge in gauges:
            gauge.inc()
            gauge.dec()
        for histogram in histograms:
            histogram.observe(0.3)

    return cost_us(tallies, metrics.publish), cost_us(direct, bool)


def log_us() -> tuple[float, float]:
    """The line of a call: through proxy.logs, and through logging with a queue."""
    from proxy import logs

    logger = logging.getLogger("proxy.bench")
    stop = logs.start("info", "json", lambda: None)
    ours = cost_us(lambda: logs.event(logger, "call", dict(FIELDS)), stop)

    output = logging.StreamHandler(sys.stderr)
    output.setFormatter(logs.JsonFormatter())
    handler: QueueHandler = QueueHandler(Queue())
    listener = QueueListener(handler.queue, output)
    logger.addHandler(handler)
    listener.start()
    usual = cost_us(lambda: logger.info("call", extra={"fields": dict(FIELDS)}), listener.stop)
    return ours, usual


@click.command()
def main() -> None:
    """Print microseconds of CPU a call."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    with tempfile.TemporaryDirectory() as directory:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory  # before its first import
        for name, (ours, usual) in {"metrics": metrics_us(), "log": log_us()}.items():
            click.echo(f"{name:8} {ours:5.1f} us; the usual way {usual:5.1f} us")


if __name__ == "__main__":
    main()
