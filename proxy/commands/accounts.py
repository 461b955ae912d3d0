"""azeotrope accounts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from proxy import accounts as file_of_accounts
from proxy.config import load

_HEADINGS = ("NUMBER", "NAME", "TIER", "MODELS", "STATE", "CREATED")


def _config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        default=Path("azeotrope.yaml"),
        show_default=True,
        help="Configuration file; it names the accounts file and the tiers.",
    )(command)


@click.group()
def accounts() -> None:
    """Add and list accounts.

    A running gateway takes over a changed accounts file within a second. To suspend an
    account, set its "state" to "suspended" in the file.
    """


@accounts.command()
@click.argument("name")
@click.option("--tier", default="default", show_default=True, help="Its limits, by tier name.")
@click.option(
    "--model", "models", multiple=True, help="A model it may use; repeatable. Default: all."
)
@_config_option
def add(name: str, tier: str, models: tuple[str, ...], file: Path) -> None:
    """Add the account NAME and print its API key.

    The key alone goes to standard output, once: it is stored nowhere.

    \b
    Examples:
      azeotrope accounts add alice
      azeotrope accounts add batch --tier slow --model smollm2
      KEY=$(azeotrope accounts add alice)
    """
    config = load(file)
    served = {model for upstream in config.upstreams for model in upstream.models}
    unknown = sorted(set(models) - served)
    if unknown:
        raise click.BadParameter(
            f"{unknown[0]} is not served; the configuration has {', '.join(sorted(served))}",
            param_hint="--model",
        )
    number, key = file_of_accounts.add(
        config.accounts, name, tier=tier, tiers=config.tiers, models=list(models) or None
    )
    click.echo(f"account {number} ({name}, tier {tier}); its key, shown only now:", err=True)
    click.echo(key)


@accounts.command(name="list")
@_config_option
def list_accounts(file: Path) -> None:
    """List all accounts: never their keys.

    \b
    Example:
      azeotrope accounts list
    """
    rows = [_HEADINGS, *file_of_accounts.table(load(file).accounts)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
