"""Options that the detector's commands share, so that one name means one thing everywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from watermark.detect.filter import FILTER_DEFAULT
from watermark.detect.sources import READERS

# What a click decorator takes and gives back.
_Command = Callable[..., Any]
_Option = Callable[[_Command], _Command]
FILE = click.Path(path_type=Path, dir_okay=False)
PATH = click.Path(path_type=Path)
RATE = click.FloatRange(0, 0.5, min_open=True)


def key_options(command: _Command) -> _Command:
    """Add --keys and --manifest (parameters keys_path and manifest_path)."""
    manifest: _Option = click.option(
        "--manifest",
        "manifest_path",
        type=FILE,
        default="manifest.json",
        show_default=True,
        help="The signed manifest that belongs to the keys.",
    )
    keys: _Option = click.option(
        "--keys",
        "keys_path",
        type=FILE,
        default="keyring.json",
        show_default=True,
        help="Keyring or detector export.",
    )
    return keys(manifest(command))


def tokenizer_option(*, required: bool = False) -> _Option:
    """Return --tokenizer."""
    return click.option(
        "--tokenizer",
        type=PATH,
        required=required,
        envvar="AZEOTROPE_TOKENIZER",
        show_envvar=True,
        help="Directory of the marked model, its tokenizer.json, or its GGUF file.",
    )


def words_option(command: _Command) -> _Command:
    """Add --words."""
    option: _Option = click.option(
        "--words", is_flag=True, help="Words instead of tokens (az1-words): no tokenizer."
    )
    return option(command)


def filter_option(command: _Command) -> _Command:
    """Add --filter (parameter common)."""
    option: _Option = click.option(
        "--filter",
        "common",
        default=FILTER_DEFAULT,
        show_default=True,
        help="Common n-grams to leave out: default, none, or a file of build-filter.",
    )
    return option(command)


def candidate_options(command: _Command) -> _Command:
    """Add --registry and --accounts."""
    accounts: _Option = click.option(
        "--accounts", help="Account numbers to search as well, e.g. 1-24000."
    )
    registry: _Option = click.option(
        "--registry",
        type=PATH,
        multiple=True,
        help="Call registry of the gateway: its file (with the closed segments beside it), a "
        "folder or a glob (repeatable).",
    )
    return registry(accounts(command))


def level_option(text: str) -> _Option:
    """Return --level with its explanation."""
    return click.option("--level", type=RATE, default=1e-5, show_default=True, help=text)


def format_options(*, ids: bool) -> _Option:
    """Return --format (parameter form) and --text-field; with `ids` also --ids-field."""
    forms = ["auto", *(name for name, reader in READERS.items() if ids or not reader.ids)]
    form: _Option = click.option(
        "--format",
        "form",
        type=click.Choice(forms),
        default="auto",
        show_default=True,
        help="What the files hold (auto: by suffix; .gz and .zst are unpacked).",
    )
    text: _Option = click.option(
        "--text-field", default="text", show_default=True, help="Field or column of a record."
    )
    tokens: _Option = click.option("--ids-field", help="Field of token ids, instead of a text.")
    return lambda command: form(text(tokens(command) if ids else command))


def recursive_option(command: _Command) -> _Command:
    """Add --recursive."""
    option: _Option = click.option(
        "-r", "--recursive", is_flag=True, help="Read the files of folders, all the way down."
    )
    return option(command)


def device_option(command: _Command) -> _Command:
    """Add --device."""
    option: _Option = click.option(
        "--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 …"
    )
    return option(command)


def output_options(text: str) -> _Option:
    """Return --json (parameter as_json) with its explanation, and --color."""
    json: _Option = click.option("--json", "as_json", is_flag=True, help=text)
    color: _Option = click.option(
        "--color/--no-color", default=None, help="Default: colour on a terminal."
    )
    return lambda command: json(color(command))
