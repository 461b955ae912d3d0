"""docs/reference-dialects.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from proxy.dialects import DIALECTS
from proxy.dialects.anthropic import SHAPES as ANTHROPIC_SHAPES
from proxy.dialects.dropped import DROPPED
from proxy.dialects.openai import SHAPES

PAGE = (Path(__file__).parents[2] / "docs" / "reference-dialects.md").read_text("utf-8")


def test_it_lists_every_endpoint_and_whether_it_is_marked() -> None:
    told = re.findall(r"^\| `POST (\S+)` \| `(\w+)` \| (yes|no)", PAGE, re.MULTILINE)

    assert set(told) == {
        (path, dialect.name, "yes" if dialect.marked else "no")
        for path, dialect in DIALECTS.items()
    }


def test_it_lists_every_dropped_field_once_and_no_other() -> None:
    table = PAGE.partition("| dropped field | why |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    told = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]

    assert sorted(told) == sorted(DROPPED)


def test_it_lists_every_error_of_both_families_and_no_other() -> None:
    row = r"^\| (\d{3}) \| `?(\w+)`? \| (\d{3}) `(\w+)` \|"
    told = set(re.findall(row, PAGE, re.MULTILINE))

    assert told == {
        (str(status), code or "none", str(ANTHROPIC_SHAPES[kind][0]), ANTHROPIC_SHAPES[kind][1])
        for kind, (status, _, code) in SHAPES.items()
    }
