"""azeotrope accounts: what each command prints, and what none may."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from command_line import azeotrope, complaint
from running import Site
from serving import AZEOTROPE

from proxy.accounts.records import unix_time
from proxy.commands.accounts import accounts
from proxy.config import load
from proxy.errors import ConfigError
from proxy.reload import load_file


@pytest.fixture
def here(site: Site) -> Path:
    site.write()
    return site.directory


def done(here: Path, *arguments: str) -> str:
    result = azeotrope("accounts", *arguments, cwd=here)
    assert result.returncode == 0, result
    return result.stdout


def shown(here: Path, name: str) -> dict[str, object]:
    return dict(json.loads(done(here, "show", name, "--json")))


def test_an_account_is_added_with_all_that_it_may_have(here: Path) -> None:
    options = "--tier default --model m --licence L-1 --requests-per-minute 9 --burst 3"
    done(here, "add", "bob", "--owner", "Bob Ltd.", "--concurrent-calls", "2", *options.split())

    bob = shown(here, "bob")

    assert (bob["number"], bob["owner"], bob["tier"]) == (2, "Bob Ltd.", "default")
    assert (bob["models"], bob["licence"], bob["state"]) == (["m"], "L-1", "active")
    assert bob["limits"] == {"requests_per_minute": 9, "burst": 3, "concurrent_calls": 2}


def test_wrong_limits_are_refused(here: Path) -> None:
    told = complaint("accounts", "add", "bob", "--tier", "tiny", "--burst", "3", cwd=here)
    assert told == "burst: expected at most requests_per_minute (2), got 3"
    assert azeotrope("accounts", "add", "bob", "--burst", "0", cwd=here).returncode == 2


def test_neither_list_nor_show_prints_a_key_or_a_hash(here: Path, site: Site) -> None:
    new = done(here, "rotate", "alice").strip()
    content = json.loads((here / "accounts.json").read_text())
    (alice,) = content["accounts"]
    hashes = [key["hash"] for key in alice["keys"]]

    printed = [
        done(here, *command)
        for command in (
            ("list",),
            ("list", "--json"),
            ("show", "alice"),
            ("show", "alice", "--json"),
        )
    ]

    for secret in (site.key, new, *hashes, content["pepper"]):
        assert all(secret not in text for text in printed)
    keys = shown(here, "alice")["keys"]
    assert isinstance(keys, list)
    assert [key["id"] for key in keys] == [digest[:8] for digest in hashes]


@pytest.mark.parametrize(
    ("grace", "seconds"), [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800)]
)
def test_rotate_prints_the_new_key_and_ends_the_old_after_the_grace(
    here: Path, site: Site, grace: str, seconds: int
) -> None:
    new = done(here, "rotate", "alice", "--grace", grace).strip()

    loaded = load_file(here / "accounts.json", load(site.file).tiers)
    assert {loaded.authenticate(key).name for key in (site.key, new)} == {"alice"}
    old, fresh = json.loads((here / "accounts.json").read_text())["accounts"][0]["keys"]
    assert unix_time(old["expires"]) - unix_time(fresh["created"]) == seconds


@pytest.mark.parametrize("grace", ["", "1", "-1h", "1y", "h", "1.5h"])
def test_a_grace_that_is_no_time_is_refused(grace: str) -> None:
    result = CliRunner().invoke(accounts, ["rotate", "alice", "--grace", grace])

    assert result.exit_code == 2
    assert "24h or 7d" in result.stderr


def test_suspend_and_resume_show_in_the_list(here: Path) -> None:
    done(here, "suspend", "alice", "--reason", "unpaid since May")
    assert done(here, "list").splitlines()[1].split()[4] == "suspended"
    assert "unpaid since May" in done(here, "show", "alice")

    done(here, "resume", "alice")
    assert done(here, "list").splitlines()[1].split()[4] == "active"
    assert complaint("accounts", "suspend", "bob", cwd=here) == "there is no account 'bob'"


def test_the_list_is_json_for_programs(here: Path) -> None:
    done(here, "add", "bob", "--owner", "Ä [red]Ltd.[/red]")

    listed = json.loads(done(here, "list", "--json"))

    assert [(account["number"], account["name"]) for account in listed] == [
        (1, "alice"),
        (2, "bob"),
    ]
    assert listed[1]["owner"] == "Ä [red]Ltd.[/red]"


def test_a_terminal_gets_a_table_with_names_as_they_are(here: Path) -> None:
    done(here, "add", "bob", "--owner", "[red]Ltd.[/red]")
    leader, follower = pty.openpty()
    subprocess.run(
        [*AZEOTROPE, "accounts", "list"],
        cwd=here,
        stdout=follower,
        check=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(follower)
    text = os.read(leader, 65_536).decode()
    os.close(leader)

    assert "\x1b[1m" in text
    assert "[red]Ltd.[/red]" in text


def test_accounts_move_to_redis_and_back(here: Path, site: Site) -> None:
    done(here, "rotate", "alice")
    before = done(here, "list", "--json")
    assert done(here, "copy", "--to", "redis") == "1 accounts copied to redis\n"
    site.content["accounts"] = "redis"
    site.write()

    assert done(here, "list", "--json") == before
    assert "already" in complaint("accounts", "copy", "--to", "redis", cwd=here)
    done(here, "copy", "--to", "copy.json")
    tiers = load(site.file).tiers
    assert load_file(here / "copy.json", tiers).authenticate(site.key).name == "alice"


def test_accounts_in_redis_need_a_lasting_one(site: Site) -> None:
    site.content["accounts"] = "redis"
    site.content["redis"]["url"] = None
    with pytest.raises(ConfigError, match=r"redis\.url: expected a URL, since accounts"):
        load(site.write())


def test_check_looks_at_the_accounts(here: Path, site: Site) -> None:
    site.content["accounts"] = "redis"
    site.write()
    assert "azeotrope accounts add" in complaint("serve", "--check", cwd=here)
    done(here, "add", "bob")
    assert azeotrope("serve", "--check", cwd=here).returncode == 0
