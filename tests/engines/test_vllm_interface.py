"""The plugin against vLLM's own classes, and vLLM's start without what the plugin needs."""

import os
import subprocess
from pathlib import Path

import pytest
from marks import Keys
from places import HERE, ROOT
from server_process import NotReadyError, StartVllm

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]


def test_the_checks_inside_the_vllm_environment_pass(
    vllm_bin: Path, model: Path, keys: Keys
) -> None:
    options = ["-q", "-c", os.devnull, "--rootdir", HERE / "in_vllm", "-p", "no:cacheprovider"]
    names = ["-o", "python_files=check_*.py", "-o", "python_functions=check_*"]
    environment = {
        "AZEOTROPE_TEST_MODEL": str(model),
        "AZEOTROPE_TEST_KEYS": str(keys.engine.parent),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [vllm_bin / "python", "-m", "pytest", *options, *names, HERE / "in_vllm"],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_vllm_does_not_start_unmarked_when_there_are_no_keys(
    start_vllm: StartVllm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZEOTROPE_KEYS", raising=False)
    with pytest.raises(NotReadyError, match="ended with code 1") as refused, start_vllm({}):
        pytest.fail("vLLM started")
    assert "AZEOTROPE_KEYS is not set, so answers would be unmarked" in refused.value.log
