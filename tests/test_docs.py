"""Documentation is part of the product: what it says must be so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.run import BENCHMARKS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_command_reference_is_what_the_commands_print() -> None:
    page = (ROOT / "docs" / "reference-cli.md").read_text("utf-8")
    # Not here: click keeps the help options of a command as the first caller knew them.
    command = [sys.executable, "-m", "proxy.cli_reference"]
    printed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert page == printed, "python -m proxy.cli_reference > docs/reference-cli.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    missing = [
        target
        for target in targets
        if not target.startswith("http") and not (page.parent / target).exists()
    ]
    assert not missing


def test_every_result_section_has_its_figures() -> None:
    page = (ROOT / "docs" / "results.md").read_text("utf-8")
    sections = re.findall(r"<!-- begin (\w+) -->(.*?)<!-- end \1 -->", page, re.DOTALL)
    assert {name for name, _ in sections} == set(BENCHMARKS)
    assert all("|" in text for _, text in sections)
