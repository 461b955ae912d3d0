"""Imports: all or none, mistakes by line, keys only into private files."""

from __future__ import annotations

import csv
import json
import subprocess
import time
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import Site
from test_gateway_cli import azeotrope, complaint

from proxy.accounts import changes
from proxy.accounts.book import AccountStore, Book
from proxy.accounts.file_store import FileStore
from proxy.accounts.importing import COLUMNS, apply, read_rows
from proxy.accounts.places import open_store
from proxy.accounts.records import Overrides, new_header
from proxy.commands.accounts import accounts
from proxy.config import Tier, load
from proxy.errors import AccountsError
from proxy.reload import load_file

KEY = "sk-" + "0123456789abcdef" * 2


@pytest.fixture(params=["file", "redis"])
def here(request: pytest.FixtureRequest, site: Site) -> Path:
    """A directory with a good configuration in it, and alice's account in its store."""
    if request.param == "redis":
        site.write()
        assert azeotrope("accounts", "copy", "--to", "redis", cwd=site.directory).returncode == 0
        site.content["accounts"] = "redis"
    site.write()
    return site.directory


def store(here: Path) -> AccountStore:
    return open_store(load(here / "azeotrope.yaml"))


def book(here: Path) -> Book:
    return store(here).read()


def import_of(here: Path, *options: str) -> subprocess.CompletedProcess[str]:
    result = azeotrope("accounts", "import", *options, cwd=here)
    assert result.returncode == 0, result
    return result


def refused(site: Site, name: str, *options: str) -> str:
    """Import a file that must be refused, in this process: there are many; return why."""
    source = str(site.directory / name)
    config = str(site.write())
    result = CliRunner().invoke(accounts, ["import", source, "--config", config, *options])
    assert isinstance(result.exception, AccountsError), result
    assert result.output == ""
    return str(result.exception)


def private(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o600)
    return path.name


def test_a_csv_is_imported_and_its_new_keys_go_to_a_private_file(here: Path) -> None:
    (here / "new.csv").write_text(
        "\ufeffname,owner,tier,models,requests_per_minute,licence\n"
        'bob,"Bob, Ltd.",tiny,m; n,1,L-1\n'
        "carol,,,,,\n"
        "\n"
    )
    result = import_of(here, "new.csv", "--keys-out", "keys.csv")

    assert result.stdout == "new.csv: added 2, updated 0\n"
    bob, carol = book(here)["bob"], book(here)["carol"]
    assert (bob.number, bob.owner, bob.tier, bob.models) == (2, "Bob, Ltd.", "tiny", ["m", "n"])
    assert (bob.limits, bob.licence) == (Overrides(requests_per_minute=1), "L-1")
    assert (carol.number, carol.owner, carol.tier, carol.models) == (3, None, "default", None)
    assert (carol.limits, carol.licence) == (None, None)
    keys = here / "keys.csv"
    assert keys.stat().st_mode & 0o777 == 0o600
    rows = list(csv.DictReader(keys.open()))
    assert [(row["number"], row["name"]) for row in rows] == [("2", "bob"), ("3", "carol")]
    assert all(row["key"] not in result.stdout + result.stderr for row in rows)
    listed = azeotrope("accounts", "list", "--json", cwd=here).stdout
    assert all(row["key"] not in listed for row in rows)


def test_keys_out_are_the_keys_that_are_good(site: Site) -> None:
    site.write()
    (site.directory / "new.jsonl").write_text('{"name":"bob"}\n{"name":"carol"}\n')
    import_of(site.directory, "new.jsonl", "--keys-out", "keys.csv")

    loaded = load_file(site.directory / "accounts.json", load(site.file).tiers)

    for row in csv.DictReader((site.directory / "keys.csv").open()):
        assert loaded.authenticate(row["key"]).name == row["name"]


def test_brought_keys_are_hashed_and_need_a_private_file(site: Site) -> None:
    here, path = site.directory, site.directory / "new.jsonl"
    site.write()
    path.write_text(json.dumps({"name": "bob", "key": KEY}))
    path.chmod(0o644)
    assert "chmod 600" in complaint("accounts", "import", "new.jsonl", cwd=here)
    path.chmod(0o600)

    result = import_of(here, "new.jsonl")

    loaded = load_file(here / "accounts.json", load(site.file).tiers)
    assert loaded.authenticate(KEY).name == "bob"
    assert KEY not in (here / "accounts.json").read_text() + result.stdout + result.stderr


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (["{"], "line 2: expected a JSON object"),
        (["[]"], "line 2: expected a JSON object"),
        (['{"owner":"x"}'], "line 2: name: expected 1 to 64"),
        (['{"name":7}'], "line 2: name: Expected `str`, got `int`"),
        (['{"name":"b b"}'], "line 2: name: expected 1 to 64"),
        (['{"name":"bob","colour":"red"}'], "line 2: unknown member"),
        (['{"name":"bob","tier":"gold"}'], "line 2: tier: expected one of default, tiny"),
        (['{"name":"bob","models":"m"}'], "line 2: models: Expected"),
        (['{"name":"bob","models":["x"]}'], "line 2: models: expected any of m, n"),
        (['{"name":"bob","models":[]}'], "line 2: models: expected names"),
        (['{"name":"bob","burst":0}'], "line 2: limits.burst: Expected `int` >= 1"),
        (['{"name":"bob","tier":"tiny","burst":9}'], "line 2: burst: expected at most"),
        (['{"name":"bob","requests_per_minute":"many"}'], "limits.requests_per_minute: Expected"),
        (['{"name":"bob","key":"short"}'], "line 2: key: expected 24 to 256"),
        (['{"name":"bob","key":"with a space in the midst of it"}'], "line 2: key: expected 24"),
        (['{"name":"bob","owner":"\\u001b[2J"}'], "line 2: owner: expected"),
        (['{"name":"alice"}'], "line 2: name: there is such an account already"),
        (['{"name":"bob"}', '{"name":"bob"}'], "line 3: name: the same as in line 2"),
        (
            [f'{{"name":"bob","key":"{KEY}"}}', f'{{"name":"eve","key":"{KEY}"}}'],
            "line 3: key: it is another account's too",
        ),
        (['{"name":"bob","tier":"gold"}', '{"name":""}'], "line 3: name"),
    ],
)
def test_a_mistake_is_told_by_its_line_and_nothing_is_imported(
    site: Site, rows: list[str], reason: str
) -> None:
    before = (site.directory / "accounts.json").read_bytes()
    name = private(site.directory / "new.jsonl", "\n".join(['{"name":"zoe"}', *rows]))

    told = refused(site, name, "--keys-out", str(site.directory / "keys.csv"))

    assert reason in told
    assert KEY not in told
    assert (site.directory / "accounts.json").read_bytes() == before
    assert not (site.directory / "keys.csv").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "line 1: expected the columns name"),
        ("owner\nx\n", "line 1: expected the columns name"),
        ("name,colour\nbob,red\n", "line 1: expected the columns name"),
        ("name,name\nbob,bob\n", "each once"),
        ("name,owner\nbob\n", "line 2: expected 2 cells, got 1"),
        ('name\n"bob\n', "cannot be read"),
        ("name\nb\xe4b\n", "cannot be read"),
        ("name,burst\nbob,-1\n", "line 2: limits.burst: Expected"),
        ("name,burst\nbob," + "9" * 5000 + "\n", "line 2: limits.burst: Expected"),
        ("name,models\nbob,m;;n\n", "line 2: models: expected names"),
    ],
)
def test_a_bad_csv_is_told(site: Site, text: str, reason: str) -> None:
    (site.directory / "new.csv").write_bytes(text.encode("latin-1"))

    told = refused(site, "new.csv", "--keys-out", str(site.directory / "keys.csv"))

    assert reason in told


def test_many_mistakes_are_told_in_short(site: Site) -> None:
    (site.directory / "new.jsonl").write_text("{}\n" * 1000)

    told = refused(site, "new.jsonl")

    assert "line 5:" in told
    assert "line 6:" not in told
    assert told.endswith("and 995 more")


def test_other_files_are_refused(site: Site) -> None:
    (site.directory / "new.xlsx").write_text("")
    assert ".csv or .jsonl" in refused(site, "new.xlsx")


def test_new_keys_need_a_new_file_to_go_to(here: Path) -> None:
    (here / "new.jsonl").write_text('{"name":"bob"}')
    assert "--keys-out" in complaint("accounts", "import", "new.jsonl", cwd=here)
    (here / "keys.csv").write_text("precious")

    told = complaint("accounts", "import", "new.jsonl", "--keys-out", "keys.csv", cwd=here)

    assert told == "keys.csv: there is a file already"
    assert (here / "keys.csv").read_text() == "precious"
    assert len(book(here)) == 1


def test_a_dry_run_changes_nothing(here: Path) -> None:
    (here / "new.jsonl").write_text('{"name":"bob"}')
    before = list(book(here))

    result = import_of(here, "new.jsonl", "--dry-run")

    assert result.stdout == "new.jsonl: good: would add 1, update 0\n"
    assert list(book(here)) == before


def test_an_update_changes_what_the_file_names_and_keeps_the_rest(here: Path) -> None:
    (here / "new.jsonl").write_text(
        '{"name":"bob","owner":"Bob","models":["m"],"requests_per_minute":9,"burst":2}'
    )
    import_of(here, "new.jsonl", "--keys-out", "keys.csv")
    before = book(here)["bob"]
    changed = {"name": "bob", "owner": None, "burst": 3, "key": KEY}
    name = private(here / "changed.jsonl", json.dumps(changed))

    result = import_of(here, name, "--update")

    assert result.stdout == "changed.jsonl: added 0, updated 1\n"
    after = book(here)["bob"]
    assert (after.number, after.created) == (before.number, before.created)
    assert (after.owner, after.models) == (None, ["m"])
    assert after.limits == Overrides(requests_per_minute=9, burst=3)
    assert after.keys[0] == before.keys[0]
    assert len(after.keys) == 2
    import_of(here, name, "--update")
    assert book(here)["bob"] == after


def test_an_update_gives_no_account_more_than_eight_good_keys(site: Site) -> None:
    store = FileStore(site.directory / "accounts.json")
    for _ in range(7):
        changes.rotate(store, "alice", timedelta(hours=1))
    private(site.directory / "more.jsonl", json.dumps({"name": "alice", "key": KEY}))

    reason = refused(site, "more.jsonl", "--update")

    assert "line 1: the account has 8 keys that are good" in reason
    assert len(store.read()["alice"].keys) == 8


def test_24000_accounts_are_imported_at_once(here: Path) -> None:
    lines = ["name,owner,tier", *(f"customer-{row},Customer {row},tiny" for row in range(24_000))]
    (here / "many.csv").write_text("\n".join(lines))

    begun = time.monotonic()
    import_of(here, "many.csv", "--keys-out", "keys.csv")

    assert time.monotonic() - begun < 60  # a few seconds; this is for a machine under load
    assert sorted(record.number for record in book(here)) == list(range(1, 24_002))
    assert len((here / "keys.csv").read_text().splitlines()) == 24_001


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(["bob", "m", "default", "tiny", KEY]),
    st.lists(st.one_of(st.text(), st.just(KEY)), max_size=2),
)
OBJECTS = st.lists(st.dictionaries(st.sampled_from(COLUMNS), CELLS), max_size=4)
LINES = OBJECTS.map(lambda rows: "\n".join(map(json.dumps, rows)).encode())
TEXTS = st.one_of(st.text(max_size=5), st.just(KEY))
TABLES = st.lists(st.lists(TEXTS, min_size=4, max_size=4), max_size=4).map(
    lambda rows: "\n".join(["name,tier,models,key", *map(",".join, rows)]).encode(
        "utf-8", "surrogatepass"
    )
)


@given(
    st.sampled_from([".csv", ".jsonl"]),
    st.one_of(st.binary(), st.just(KEY.encode()), LINES, TABLES),
)
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_file_is_imported_or_refused_in_words(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(content)
    path.chmod(0o600)
    book = Book(new_header(), ())
    tiers = {"default": Tier(requests_per_minute=60), "tiny": Tier(requests_per_minute=2)}
    try:
        rows = read_rows(path)
        done = apply(book, path, rows, tiers=tiers, served=frozenset({"m"}), update=False)
    except AccountsError as error:
        refusal = str(error)
    else:
        refusal = None
        assert done.added == len(rows) == len(book)
        assert all(key.startswith("az-") for key in done.keys.values())

    assert refusal is None or refusal.startswith(str(path))
    assert refusal is None or KEY not in refusal
