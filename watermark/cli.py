"""The command `azeotrope keys`."""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from watermark.keys import EXPORTED, Keyring, KeySet, Purpose, create_keyring, rotate_keyring
from watermark.manifest import Parameters, TokenizerPin

# What a click decorator takes and gives back.
_Command = TypeVar("_Command", bound=Callable[..., Any])
_PATH = click.Path(path_type=Path, dir_okay=False)
_KEYRING = Path("keyring.json")
_MANIFEST = Path("manifest.json")


def _keyring_option(text: str) -> Callable[[_Command], _Command]:
    return click.option(
        "--keys", "keys_path", type=_PATH, default=_KEYRING, show_default=True, help=text
    )


_manifest_option: Callable[[_Command], _Command] = click.option(
    "--manifest",
    "manifest_path",
    type=_PATH,
    default=_MANIFEST,
    show_default=True,
    help="The signed manifest that belongs to the keys.",
)


@click.group()
def keys() -> None:
    """Make, list, rotate and export the keys of the mark.

    \b
    Examples:
      azeotrope keys new
      azeotrope keys export-engine engine.json
      azeotrope keys rotate
    """


def _parameter_options(command: _Command) -> _Command:
    for option in (
        click.option(
            "--delta",
            type=click.FloatRange(0, 65),
            help="Bias of green logits, in nats.",
        ),
        click.option(
            "--gamma",
            type=click.Choice(["0.5", "0.25"]),
            help="Share of green tokens.",
        ),
    ):
        command = option(command)
    return command


def _parameters(base: Parameters, delta: float | None, gamma: str | None) -> Parameters:
    values = asdict(base)
    if delta is not None:
        if math.isnan(delta):  # FloatRange lets it through: every comparison with it is false
            raise click.BadParameter("not a number", param_hint="--delta")
        values["delta_millinats"] = round(delta * 1000)
    if gamma is not None:
        values["gamma_bits"] = {"0.5": 1, "0.25": 2}[gamma]
    return Parameters(**values)


@keys.command("new")
@_keyring_option("Keyring to make (mode 0600).")
@_manifest_option
@_parameter_options
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path),
    help="Model directory or tokenizer.json to pin in the manifest.",
)
def new(
    keys_path: Path,
    manifest_path: Path,
    delta: float | None,
    gamma: str | None,
    tokenizer: Path | None,
) -> None:
    """Make a keyring with its first epoch, and its signed manifest."""
    create_keyring(
        keys_path,
        manifest_path,
        parameters=_parameters(Parameters(), delta, gamma),
        tokenizer=_pin(tokenizer),
    )
    click.echo(f"{keys_path}: made, epoch 1 (secret: keep a copy in a safe place)")
    click.echo(f"{manifest_path}: made (public)")


def _pin(tokenizer: Path | None) -> TokenizerPin | None:
    if tokenizer is None:
        return None
    from watermark.detect.tokenizer import TextTokenizer

    return TextTokenizer(tokenizer).pin()


@keys.command("list")
@_keyring_option("Keyring or export to list.")
@_manifest_option
def list_(keys_path: Path, manifest_path: Path) -> None:
    """Show the epochs and their parameters; never a key."""
    manifest = KeySet.load(keys_path).manifest(manifest_path)
    for entry in manifest.epochs:
        state = "current" if entry is manifest.current else "kept for detection"
        parameters = entry.parameters
        click.echo(
            f"epoch {entry.epoch}  {entry.created}  check {entry.check}  "
            f"delta {parameters.delta_millinats / 1000:g}  gamma {parameters.gamma:g}  {state}"
        )


@keys.command("public")
@_keyring_option("Keyring or export.")
def public(keys_path: Path) -> None:
    """Print the public key: it verifies manifests and the headers of answers."""
    click.echo(KeySet.load(keys_path).public_key.hex())


@keys.command("rotate")
@_keyring_option("Keyring to extend.")
@_manifest_option
@_parameter_options
def rotate(keys_path: Path, manifest_path: Path, delta: float | None, gamma: str | None) -> None:
    """Start a new epoch. Old epochs stay detectable; export the keys again afterwards."""
    keyring = Keyring.load(keys_path)
    base = keyring.manifest(manifest_path).current.parameters
    rotated = rotate_keyring(keyring, manifest_path, _parameters(base, delta, gamma))
    click.echo(f"{keys_path}: epoch {rotated.current.epoch} is current")


@keys.command("export-detector")
@click.argument("out", type=_PATH)
@_keyring_option("Keyring to export from.")
@click.option("--site-only", is_flag=True, help="Only 'ours at all?': no account, no call.")
def export_detector(out: Path, keys_path: Path, *, site_only: bool) -> None:
    """Write the keys that an analyst needs to detect marks, and nothing more."""
    _export(keys_path, "site-detector" if site_only else "detector", out)


@keys.command("export-engine")
@click.argument("out", type=_PATH)
@_keyring_option("Keyring to export from.")
def export_engine(out: Path, keys_path: Path) -> None:
    """Write the keys that an inference engine needs to embed marks, and nothing more."""
    _export(keys_path, "engine", out)


def _export(keys_path: Path, purpose: Purpose, out: Path) -> None:
    Keyring.load(keys_path).export(purpose, out)
    click.echo(f"{out}: written (mode 0600): {', '.join(EXPORTED[purpose])}")
