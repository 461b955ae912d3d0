"""The OpenAPI document: committed as it is built, and complete."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from proxy.dialects import DIALECTS
from proxy.openapi import document, render


def test_the_committed_document_is_what_the_command_prints() -> None:
    page = Path(__file__).parents[2] / "docs" / "openapi.json"
    printed = subprocess.run(
        [sys.executable, "-m", "proxy", "openapi"], capture_output=True, text=True, check=True
    ).stdout

    assert printed == render()
    assert page.read_text() == printed, "run: azeotrope openapi > docs/openapi.json"


def test_every_dialect_has_its_path_and_every_reference_its_target() -> None:
    text, whole = render(), document()

    assert set(DIALECTS) < set(whole["paths"])
    responses = whole["components"]["responses"]
    references = {
        response["$ref"].rpartition("/")[2]
        for path in whole["paths"].values()
        for method in ("get", "post")
        if method in path
        for response in path[method]["responses"].values()
        if "$ref" in response
    }
    assert references == set(responses)
    assert json.loads(text) == whole
