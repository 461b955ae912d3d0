"""Metrics: what is counted arrives, whoever counts it, and no client can make a series."""

from __future__ import annotations

import re
import threading
from pathlib import Path

from fake_upstream import FakeUpstream
from prometheus_client import CollectorRegistry, Histogram
from running import Start, question

from proxy.families import Families
from proxy.metrics import Metrics
from proxy.metrics_reference import metrics_reference
from proxy.workers.counted import Counted

DOCS = Path(__file__).parents[2] / "docs"
GOOD = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'


def series_of(text: str) -> set[str]:
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}


def test_the_reference_is_what_the_code_declares() -> None:
    assert (DOCS / "reference-metrics.md").read_text("utf-8") == metrics_reference()


def test_every_metric_that_is_exported_is_described() -> None:
    described = {each.name for each in Metrics([], []).families.described}
    exported = {
        family.name + ("_total" if family.type == "counter" else "")
        for family in Metrics([], []).registry.collect()
        if family.name.startswith("azeotrope_")
    }
    assert described == exported


def test_pages_name_only_metrics_that_exist() -> None:
    families = (Metrics([], []).families, Counted(dict).families)
    known = {each.name for family in families for each in family.described}
    for page in ("how-to-serve.md", "how-to-upstreams.md"):
        named = set(re.findall(r"`(azeotrope_\w+)`", (DOCS / page).read_text("utf-8")))
        assert named <= known, page


async def test_hostile_requests_make_no_series(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)

    async def some(mark: str) -> None:
        headers = {"user-agent": f"agent-{mark}", "x-request-id": mark}
        async with gateway.chat(question(model=f"model-{mark}")) as response:
            await response.read()
        async with gateway.chat(question(user=mark), key=f"az-{mark}") as response:
            await response.read()
        async with gateway.chat(question(vllm_xargs={mark: mark})) as response:
            await response.read()
        for method in ("GET", "PUT"):
            url = f"{gateway.url}/path-{mark}"
            async with gateway.http.request(method, url, headers=headers) as response:
                await response.read()

    await some("first")
    before = series_of(await gateway.metrics())
    for number in range(20):
        await some(f"hostile-{number}")
    text = await gateway.metrics()

    assert series_of(text) == before
    assert "hostile" not in text


def test_a_timing_publishes_what_a_histogram_would_have_observed() -> None:
    bounds = (0.1, 1.0, 10.0)
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    families = Families(ours)
    timing = families.timing("x_seconds", "x", bounds)
    histogram = Histogram("azeotrope_x_seconds", "x", buckets=bounds, registry=theirs)
    for seconds in (0.0, 0.1, 0.25, 1.0, 5.0, 10.0, 11.0):
        timing.observe(seconds)
        histogram.observe(seconds)
        families.counted.publish()
    families.counted.publish()

    def samples(registry: CollectorRegistry) -> dict[str, float]:
        (family,) = registry.collect()
        return {
            f"{sample.name}{sample.labels}": sample.value
            for sample in family.samples
            if not sample.name.endswith("_created")
        }

    assert samples(ours) == samples(theirs)


def test_publishing_from_another_thread_loses_and_doubles_nothing() -> None:
    registry = CollectorRegistry()
    families = Families(registry)
    tallies = families.tallies("x", "x", "label")
    level = families.level(families.gauge("y", "y", across="livesum"))
    done = threading.Event()

    def publish() -> None:
        while not done.is_set():
            families.counted.publish()

    threads = [threading.Thread(target=publish) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(100_000):
        tallies["a",].inc()
        with level.track_inprogress():
            pass
    done.set()
    for thread in threads:
        thread.join()
    families.counted.publish()

    assert registry.get_sample_value("azeotrope_x_total", {"label": "a"}) == 100_000
    assert registry.get_sample_value("azeotrope_y") == 0


async def test_a_client_that_does_not_read_is_seen(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    upstream.answers_until_hung_up(*[b"data: " + b"x" * 60_000 + b"\n\n"] * 200)
    response = await gateway.chat(question(stream=True))
    while await gateway.metric("azeotrope_stalled_connections") != 1:
        pass
    response.close()
    while await gateway.metric("azeotrope_stalled_connections") != 0:
        pass
