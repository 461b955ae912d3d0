"""docs/how-to-serve.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from proxy.config import load
from proxy.metrics import ENDS
from proxy.upstream.head import RETURNED

PAGE = (Path(__file__).parents[2] / "docs" / "how-to-serve.md").read_text("utf-8")


def test_its_configurations_are_valid(tmp_path: Path) -> None:
    whole, *parts = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    for part in ({}, *parts):
        (tmp_path / "azeotrope.yaml").write_text(yaml.safe_dump({**whole, **part}))

        assert load(tmp_path / "azeotrope.yaml").tiers["default"].burst == 20


@pytest.mark.parametrize("word", [*ENDS, *RETURNED])
def test_it_names_every_end_and_every_header_that_passes(word: str) -> None:
    assert f"`{word}`" in PAGE
