"""`azeotrope engine` as a process: its errors, its start and its end."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from engine_bench import Keys

ENGINE = [sys.executable, "-m", "proxy", "engine"]


def _refused(*options: str | Path) -> str:
    """Run the command, which must fail with one line and exit code 2; gives the line."""
    command = [*ENGINE, "--port", "0", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in done.stderr.splitlines() if "NO mark" not in line and line.strip()]
    assert (done.returncode, len(lines)) == (2, 1), done.stderr
    return lines[0]


def test_a_missing_model_directory_is_one_line(tmp_path: Path) -> None:
    line = _refused("--model", tmp_path / "none")
    assert line.startswith("azeotrope: error: no such model directory")


def test_a_directory_that_holds_no_model_is_one_line(tmp_path: Path) -> None:
    line = _refused("--model", tmp_path)
    assert line.startswith(f"azeotrope: error: {tmp_path} is not a model")


def test_a_missing_key_file_is_one_line_before_the_model_is_loaded(
    tmp_path: Path, keys: Keys
) -> None:
    line = _refused("--keys", tmp_path / "none", "--manifest", keys.manifest_path)
    assert line.startswith("azeotrope: error:")
    assert str(tmp_path / "none") in line


def test_keys_without_a_manifest_are_refused(keys: Keys) -> None:
    assert "go together" in _refused("--keys", keys.engine)


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} on 127.0.0.1 is in use" in _refused("--port", str(port))


def test_help_says_what_it_is_for() -> None:
    done = subprocess.run([*ENGINE, "--help"], capture_output=True, text=True, check=True)
    assert "For trial and tests. Production is vLLM" in done.stdout


@contextmanager
def _started(*options: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start an engine on a free port; gives the process and its ready line."""
    command = [*ENGINE, "--port", "0", *map(str, options)]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, text=True, env=environment, **pipes)
    try:
        assert process.stdout is not None
        yield process, process.stdout.readline()
    finally:
        process.kill()
        process.communicate()


def test_sigterm_lets_the_answer_in_progress_end_and_takes_no_new_one(
    model_directory: Path, keys: Keys
) -> None:
    with _started(
        *("--model", model_directory, "--served-name", "smol"),
        *("--keys", keys.engine, "--manifest", keys.manifest_path),
    ) as (process, ready):
        assert ready.startswith("ready: smol at http://127.0.0.1:")
        url = ready.split()[3]
        body = {"model": "smol", "prompt": "The sea", "max_tokens": 30, "stream": True}
        request = urllib.request.Request(
            f"{url}/completions", json.dumps({**body, "ignore_eos": True}).encode()
        )
        with urllib.request.urlopen(request) as response:
            assert response.readline().startswith(b"data: {")
            process.send_signal(signal.SIGTERM)
            rest = response.read().decode()
        assert rest.endswith("data: [DONE]\n\n")
        assert '"finish_reason":"length"' in rest
        assert process.wait(30) == 0
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"{url}/models")


def test_an_engine_without_keys_says_that_its_answers_carry_no_mark(model_directory: Path) -> None:
    with _started("--model", model_directory, "--max-model-len", "64") as (process, ready):
        assert model_directory.name in ready
        assert "unmarked" in ready
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "NO mark" in process.stderr.read()
