"""azeotrope accounts import and copy: many accounts at once."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import click
from rich.console import Console
from rich.progress import track

from proxy.accounts import importing
from proxy.accounts.book import Book
from proxy.accounts.importing import Imported, Row
from proxy.accounts.places import open_store
from proxy.commands.options import of_accounts
from proxy.config import load
from proxy.errors import AccountsError

# Fewer are done before a bar could be read.
_MANY = 10_000


@click.command(name="import")
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--keys-out",
    type=click.Path(path_type=Path),
    help="New file (mode 0600) for the keys of accounts that the import makes keys for.",
)
@click.option("--update", is_flag=True, help="Change accounts that exist instead of refusing.")
@click.option("--dry-run", is_flag=True, help="Check everything and change nothing.")
@of_accounts
def import_accounts(
    source: Path, keys_out: Path | None, update: bool, dry_run: bool, file: Path
) -> None:
    """Add the accounts of the CSV or JSONL file SOURCE, all or none.

    Columns or members: name, owner, tier, models (in CSV separated by ;),
    requests_per_minute, burst, concurrent_calls, licence, key. Only the name is needed.
    Accounts without a key get a new one, which goes to --keys-out, never to the terminal. A
    file with keys must have mode 0600.

    \b
    Examples:
      azeotrope accounts import customers.csv --dry-run
      azeotrope accounts import customers.csv --keys-out keys.csv
      azeotrope accounts import changed.jsonl --update
    """
    config = load(file)
    rows = importing.read_rows(source)

    def edit(book: Book) -> Imported:
        tracked = _tracked(rows)
        done = importing.apply(
            book, source, tracked, tiers=config.tiers, served=config.served, update=update
        )
        if dry_run:
            book.forget()
        elif done.keys:
            keys.write(book, done)
        return done

    with _KeysFile(keys_out) as keys:
        done = open_store(config).change(edit)
    verb = "good: would add" if dry_run else "added"
    click.echo(f"{source}: {verb} {done.added:,}, update{'' if dry_run else 'd'} {done.updated:,}")


@click.command()
@click.option(
    "--to",
    "destination",
    required=True,
    metavar="FILE|redis",
    help="A new accounts file, or redis: the Redis at redis.url, without accounts as yet.",
)
@of_accounts
def copy(destination: str, file: Path) -> None:
    """Copy all accounts to another store: numbers, keys and all stay good.

    To move from a file to Redis, set redis.url, copy, then set `accounts: redis` and
    restart the gateways. The other way round it makes a copy for safe keeping.

    \b
    Examples:
      azeotrope accounts copy --to redis
      azeotrope accounts copy --to accounts-copy.json
    """
    config = load(file)
    place: Path | Literal["redis"] = "redis" if destination == "redis" else Path(destination)
    book = open_store(config).read()
    open_store(config, place).create(book)
    click.echo(f"{len(book):,} accounts copied to {destination}")


def _tracked(rows: list[Row]) -> Iterable[Row]:
    console = Console(stderr=True)
    shown = len(rows) > _MANY and console.is_terminal
    return track(rows, "checking", console=console, disable=not shown, transient=True)


class _KeysFile:
    """A new private file for keys, which is there only if the import was done.

    It is written before the accounts are: a crash between leaves keys of nobody,
    never accounts whose keys nobody has.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._written = False

    def __enter__(self) -> _KeysFile:
        """Make nothing yet."""
        if self._path is not None and self._path.exists():
            raise AccountsError(f"{self._path}: there is a file already")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Remove the file if the import failed."""
        if kind is not None and self._written and self._path is not None:
            self._path.unlink()

    def write(self, book: Book, done: Imported) -> None:
        """Write the new keys; again if the store wants the change once more."""
        if self._path is None:
            raise AccountsError(
                f"{len(done.keys):,} accounts get new keys: expected --keys-out with a new file"
            )
        exclusive = 0 if self._written else os.O_EXCL
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | exclusive
        try:
            descriptor = os.open(self._path, flags, 0o600)
            self._written = True
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
                writer = csv.writer(stream, lineterminator="\n")
                writer.writerow(("number", "name", "key"))
                writer.writerows((book[name].number, name, key) for name, key in done.keys.items())
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise AccountsError(f"{self._path}: cannot be written ({error.strerror})") from None
