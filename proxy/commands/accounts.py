"""azeotrope accounts: one account at a time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from proxy.accounts import changes
from proxy.accounts.places import open_store
from proxy.accounts.records import Overrides, check_served
from proxy.commands.accounts_bulk import copy, import_accounts
from proxy.commands.accounts_list import list_accounts, show
from proxy.commands.options import of_accounts
from proxy.config import load
from proxy.errors import AccountsError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_POSITIVE = click.IntRange(min=1)


def _duration(context: click.Context, option: click.Parameter, value: str) -> timedelta:
    if value == "0":
        return timedelta()
    match = re.fullmatch(r"([0-9]{1,5})([smhd])", value)
    if match is None:
        raise click.BadParameter(
            f"{value!r}: expected a time such as 30m, 24h or 7d, or 0", context, option
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


@click.group()
def accounts() -> None:
    """Add, list and change accounts.

    They are in the file that the configuration names, or in Redis. Running gateways take
    over a change within a second; calls that run go on.
    """


for command in (list_accounts, show, import_accounts, copy):
    accounts.add_command(command)


def _limit(name: str, help: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # noqa: A002
    return click.option(name, type=_POSITIVE, help=f"{help} Default: its tier's.")


@accounts.command()
@click.argument("name")
@click.option("--tier", default="default", show_default=True, help="Its limits, by tier name.")
@click.option(
    "--model", "models", multiple=True, help="A model it may use; repeatable. Default: all."
)
@click.option("--owner", help="Whose it is: free text, shown in lists.")
@click.option("--licence", help="Id of a licence, shown in lists.")
@_limit("--requests-per-minute", "Its own rate.")
@_limit("--burst", "Requests that it may send at once.")
@_limit("--concurrent-calls", "Calls that it may have running at once.")
@of_accounts
def add(
    name: str,
    *,
    tier: str,
    models: tuple[str, ...],
    owner: str | None,
    licence: str | None,
    file: Path,
    **limits: int | None,
) -> None:
    """Add the account NAME and print its API key.

    The key alone goes to standard output, once: it is stored nowhere.

    \b
    Examples:
      azeotrope accounts add alice
      azeotrope accounts add batch --tier slow --model smollm2 --owner "Example Ltd."
      azeotrope accounts add big --requests-per-minute 6000 --concurrent-calls 200
      KEY=$(azeotrope accounts add alice)
    """
    config = load(file)
    try:
        check_served(models, config.served)
    except AccountsError as error:
        raise click.BadParameter(str(error), param_hint="--model") from None
    number, key = changes.add(
        open_store(config),
        name,
        tier=tier,
        tiers=config.tiers,
        models=list(models) or None,
        owner=owner,
        limits=Overrides(**limits) if any(limits.values()) else None,
        licence=licence,
    )
    click.echo(f"account {number} ({name}, tier {tier}); its key, shown only now:", err=True)
    click.echo(key)


@accounts.command()
@click.argument("name")
@click.option(
    "--grace",
    callback=_duration,
    default="24h",
    show_default=True,
    help="How long older keys stay good, such as 30m, 24h or 7d; 0 ends them at once.",
)
@of_accounts
def rotate(name: str, grace: timedelta, file: Path) -> None:
    """Give the account NAME a new API key and print it, once.

    Until the grace is over, old and new keys are good: clients can change over meanwhile. An
    account has 8 good keys at most.

    \b
    Examples:
      azeotrope accounts rotate alice
      azeotrope accounts rotate alice --grace 0      # the key has leaked
    """
    key = changes.rotate(open_store(load(file)), name, grace)
    click.echo(f"account {name}; its new key, shown only now:", err=True)
    click.echo(key)


@accounts.command()
@click.argument("name")
@click.option("--reason", help="Why: kept with the account, and not told to the client.")
@of_accounts
def suspend(name: str, reason: str | None, file: Path) -> None:
    """Refuse calls of the account NAME from now on (403).

    Calls that run go on to their end.

    \b
    Example:
      azeotrope accounts suspend mallory --reason "unpaid since May"
    """
    changes.suspend(open_store(load(file)), name, reason)
    click.echo(f"account {name} is suspended", err=True)


@accounts.command()
@click.argument("name")
@of_accounts
def resume(name: str, file: Path) -> None:
    """Let the suspended account NAME call again.

    \b
    Example:
      azeotrope accounts resume mallory
    """
    changes.resume(open_store(load(file)), name)
    click.echo(f"account {name} is active", err=True)
