"""The command `azeotrope keys`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from key_files import mode, secrets_of, shows

from watermark.cli import keys as keys_command
from watermark.errors import KeyringError
from watermark.keys import Keyring


def run(*arguments: Any) -> str:
    result = CliRunner().invoke(keys_command, [str(argument) for argument in arguments])
    if result.exception:
        raise result.exception
    return str(result.output)


def test_the_command_makes_lists_rotates_and_exports_without_showing_a_key(tmp_path: Path) -> None:
    paths = ["--keys", tmp_path / "k.json"]
    both = [*paths, "--manifest", tmp_path / "m.json"]
    printed = run("new", *both, "--delta", "1.5", "--gamma", "0.5")
    printed += run("rotate", *both, "--delta", "2.5")
    printed += (listed := run("list", *both))
    for name, extra in (("engine", []), ("detector", []), ("site", ["--site-only"])):
        command = "export-engine" if name == "engine" else "export-detector"
        printed += run(command, tmp_path / f"{name}.json", *paths, *extra)
    lines = listed.splitlines()
    assert [bool(re.search(f"^epoch {n} ", line)) for n, line in enumerate(lines, 1)] == [True] * 2
    assert ["delta 1.5" in lines[0], "delta 2.5" in lines[1]] == [True, True]
    assert "gamma 0.5" in lines[0]
    assert "gamma 0.5" in lines[1]
    assert "kept for detection" in lines[0]
    assert "current" in lines[1]
    keyring = Keyring.load(tmp_path / "k.json")
    assert not [n for n, key in secrets_of(keyring).items() if shows(printed.encode(), key)]
    assert "account" not in json.loads((tmp_path / "site.json").read_text())["epochs"][0]["keys"]
    assert [mode(p) for p in sorted(tmp_path.glob("*.json"))] == [0o600] * 3 + [0o644, 0o600]


def test_the_command_refuses_to_replace_a_keyring(tmp_path: Path) -> None:
    both = ["--keys", tmp_path / "k.json", "--manifest", tmp_path / "m.json"]
    run("new", *both)
    with pytest.raises(KeyringError, match="exists already"):
        run("new", *both)


@pytest.mark.parametrize("value", ["-1", "66", "nan", "inf", "much"])
def test_the_command_refuses_a_delta_that_is_no_strength(tmp_path: Path, value: str) -> None:
    both = ["--keys", str(tmp_path / "k.json"), "--manifest", str(tmp_path / "m.json")]
    result = CliRunner().invoke(keys_command, ["new", *both, "--delta", value])
    assert result.exit_code == 2
    assert "--delta" in result.output
    assert not (tmp_path / "k.json").exists()
