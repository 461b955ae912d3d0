"""docs/reference-metrics.md: every metric, as the code declares it.

`python -m proxy.metrics_reference > docs/reference-metrics.md`
"""

from __future__ import annotations

from collections.abc import Iterable

import click

from proxy.families import Described
from proxy.metrics import Metrics
from proxy.workers.counted import Counted

_HEAD = """# Metrics

Made by `python -m proxy.metrics_reference`; a test keeps it true. `/metrics` on the admin port has
them for all workers together: counters and histograms added up, those of workers that have ended
included; gauges added up, or the worst of them. A worker that is killed takes with it what it
counted in its last quarter of a second.

Label values come from the configuration or from fixed sets, never from a request; what is not
configured is `none`. Beside these there are prometheus-client's `process_*` of each process (label
`process`: `supervisor`, `worker-0`, …).
"""


def metrics_reference() -> str:
    """Return the page."""
    workers, supervisor = Metrics([], []), Counted(dict)
    return (
        _HEAD
        + _section("Calls and parts", workers.families.described)
        + _section("The supervisor", supervisor.families.described)
    )


def _section(title: str, described: Iterable[Described]) -> str:
    rows = [
        f"| `{each.name}` | {each.kind} | {', '.join(each.labels)} | {each.text} |\n"
        for each in described
    ]
    return (
        f"\n## {title}\n\n| metric | type | labels | content |\n|---|---|---|---|\n{''.join(rows)}"
    )


if __name__ == "__main__":
    click.echo(metrics_reference(), nl=False)
