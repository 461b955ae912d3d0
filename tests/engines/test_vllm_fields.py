"""Every member of vLLM's requests is either dropped by the gateway or has been reviewed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from passed_fields import PASSED
from places import HERE

from proxy.dialects import DIALECTS
from proxy.dialects.dropped import DROPPED

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def accepted(vllm_bin: Path) -> dict[str, list[str]]:
    """Members that vLLM's requests have, by path."""
    done = subprocess.run(
        [vllm_bin / "python", HERE / "vllm_fields.py"],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "ERROR"},
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_every_field_is_dropped_or_reviewed(accepted: dict[str, list[str]]) -> None:
    assert set(accepted) == set(DIALECTS)
    unknown = {
        path: [name for name in names if name not in DROPPED | PASSED]
        for path, names in accepted.items()
    }

    assert not any(unknown.values()), unknown


def test_no_field_is_reviewed_that_does_not_exist(accepted: dict[str, list[str]]) -> None:
    assert {name for names in accepted.values() for name in names} >= PASSED


def test_nothing_is_both_dropped_and_passed() -> None:
    assert not DROPPED & PASSED


def test_all_four_dialects_of_text_take_the_ticket(accepted: dict[str, list[str]]) -> None:
    marked = {path for path, dialect in DIALECTS.items() if dialect.marked}

    assert {path for path, names in accepted.items() if "vllm_xargs" in names} == marked
