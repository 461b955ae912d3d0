"""azeotrope accounts list and show: everything but keys and their hashes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.accounts.places import open_store
from proxy.accounts.records import Record
from proxy.commands.options import of_accounts
from proxy.config import load

_HEADINGS = ("NUMBER", "NAME", "TIER", "MODELS", "STATE", "KEYS", "CREATED", "OWNER")
_STYLES = {"suspended": "red"}


@click.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@of_accounts
def list_accounts(as_json: bool, file: Path) -> None:
    """List all accounts: never their keys.

    A tier with + has limits of the account's own beside it; KEYS counts those that are good.

    \b
    Examples:
      azeotrope accounts list
      azeotrope accounts list --json | jq '.[] | select(.state == "suspended").name'
    """
    records = sorted(open_store(load(file)).read(), key=lambda record: record.number)
    if as_json:
        click.echo(json.dumps([shown(record) for record in records], indent=2))
        return
    rows = [_cells(record) for record in records]
    if sys.stdout.isatty():
        _print_table(rows)
    else:
        _print_plain([_HEADINGS, *rows])


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@of_accounts
def show(name: str, as_json: bool, file: Path) -> None:
    """Show all that is kept of the account NAME: of its keys an id and their times.

    \b
    Example:
      azeotrope accounts show alice
    """
    account = shown(open_store(load(file)).read()[name])
    if as_json:
        click.echo(json.dumps(account, indent=2))
        return
    for label, value in _lines(account):
        click.echo(f"{label:12} {value}")


def shown(record: Record) -> dict[str, Any]:
    """Return what may be shown of an account."""
    now = time.time()
    return {
        **msgspec.structs.asdict(record),
        "limits": None if record.limits is None else msgspec.structs.asdict(record.limits),
        "keys": [
            {"id": key.id, "created": key.created, "expires": key.expires, "good": key.is_good(now)}
            for key in record.keys
        ],
    }


def _lines(account: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("number", "name", "owner", "tier"):
        yield name, _text(account[name])
    for name, value in (account["limits"] or {}).items():
        if value is not None:
            yield "", f"{name} {value}"
    yield "models", "all" if account["models"] is None else ", ".join(account["models"])
    for name in ("licence", "state", "reason", "since", "created"):
        yield name, _text(account[name])
    for key in account["keys"]:
        end = f"until {key['expires']}" if key["expires"] else "without end"
        over = "" if key["good"] else ", over"
        yield "key", f"{key['id']}, from {key['created']}, {end}{over}"


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _cells(record: Record) -> tuple[str, ...]:
    return (
        str(record.number),
        record.name,
        record.tier + ("+" if record.limits else ""),
        "all" if record.models is None else ",".join(record.models),
        record.state,
        str(sum(key.is_good(time.time()) for key in record.keys)),
        record.created,
        record.owner or "",
    )


def _print_plain(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _print_table(rows: list[tuple[str, ...]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in _HEADINGS:
        right = heading in ("NUMBER", "KEYS")
        table.add_column(heading.lower(), justify="right" if right else "left", overflow="fold")
    for row in rows:
        # Text, because an owner may look like rich's markup.
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console().print(table)
