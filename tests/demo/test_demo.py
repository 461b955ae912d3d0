"""The demo is the product's promise: run it as a user does, as a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.engine.weights import demo_model


@pytest.fixture(scope="module")
def model() -> Path:
    """Directory of the demo's model, converted if it was not yet."""
    return demo_model()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, model: Path) -> tuple[str, Path]:
    """Output of `azeotrope demo` and its directory, with a cache that has the model only."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / model.name).symlink_to(model)
    result = subprocess.run(
        [sys.executable, "-m", "proxy", "demo"],
        env={**os.environ, "AZEOTROPE_CACHE": str(cache), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout, cache / "demo"


def test_a_marked_answer_names_its_account_and_nothing_else_is_marked(
    demo: tuple[str, Path],
) -> None:
    output, _ = demo
    judged = output[output.index("Whose is it?") : output.index("A burst")]
    alice, bob, unmarked, human = re.split(r"╭─ ", judged)[1:]
    named = [re.findall(r"(alice|bob) \(number (\d+)\)", panel) for panel in (alice, bob)]
    # A small model may end an answer after a few words, so one of the two has to do.
    assert named[0] in ([("alice", "1")], [])
    assert named[1] in ([("bob", "2")], [])
    assert any(
        found and "│ MARKED" in panel for found, panel in zip(named, (alice, bob), strict=True)
    )
    for panel in (unmarked, human):
        assert "│ MARKED" not in panel


def test_the_burst_meets_a_429_in_openai_shape_with_its_headers(demo: tuple[str, Path]) -> None:
    output, _ = demo
    burst = output[output.index("A burst") : output.index("Metrics")]
    assert burst.count("429") == 5
    assert '"code": "rate_limit_exceeded"' in burst
    assert re.search(r"retry-after: \d+", burst)
    assert "x-ratelimit-remaining-requests: 0" in burst


def test_metrics_are_shown_and_a_page_is_left(demo: tuple[str, Path]) -> None:
    output, directory = demo
    assert re.search(r"http://127\.0\.0\.1:\d+/metrics", output)
    page = (directory / "report.html").read_text("utf-8")
    assert page.count("<article>") == 4
    assert "http://" not in page


def test_nothing_secret_is_in_the_logs(demo: tuple[str, Path]) -> None:
    _, directory = demo
    for log in directory.glob("*.log"):
        assert "az-" not in log.read_text("utf-8"), log
        assert "history of tea" not in log.read_text("utf-8"), log


def test_a_kept_demo_ends_its_processes_on_interrupt(tmp_path: Path, model: Path) -> None:
    (tmp_path / model.name).symlink_to(model)
    process = subprocess.Popen(
        [sys.executable, "-m", "proxy", "demo", "--keep"],
        env={**os.environ, "AZEOTROPE_CACHE": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "azeotrope detect" in line:
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    ports = set(re.findall(r"127\.0\.0\.1:(\d+)", "".join(lines)))
    assert ports
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(port)), timeout=5)
