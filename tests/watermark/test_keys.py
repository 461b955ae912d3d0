"""Key files: modes, damage, exports, rotation; and that keys show up nowhere else."""

import base64
import json
import math
import os
import re
import stat
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark.cli import keys as keys_command
from watermark.errors import KeyringError, ManifestError
from watermark.keys import (
    EXPORTED,
    SUBKEYS,
    EpochKeys,
    Keyring,
    KeySet,
    create_keyring,
    rotate_keyring,
    write_secret,
)
from watermark.manifest import Manifest, Parameters

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)


class Home(NamedTuple):
    """A keyring and its manifest on disk, made as the command makes them."""

    keyring: Keyring
    keys_path: Path
    manifest_path: Path

    @property
    def manifest(self) -> Manifest:
        return self.keyring.manifest(self.manifest_path)


@pytest.fixture
def make_home(tmp_path: Path) -> Callable[..., Home]:
    def make(name: str = "home") -> Home:
        paths = tmp_path / name / "keyring.json", tmp_path / name / "manifest.json"
        return Home(create_keyring(*paths), *paths)

    return make


@pytest.fixture
def home(make_home: Callable[..., Home]) -> Home:
    return make_home()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def forms(secret: bytes) -> list[bytes]:
    """Ways in which a secret might be written down."""
    plain = base64.b64encode(secret).rstrip(b"=")
    return [
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        plain,
        base64.urlsafe_b64encode(secret).rstrip(b"="),
        repr(secret).encode(),
        str(int.from_bytes(secret, "big")).encode(),
        str(int.from_bytes(secret, "little")).encode(),
        ", ".join(map(str, secret)).encode(),
    ]


def shows(content: bytes, secret: bytes) -> bool:
    return any(form in content for form in forms(secret))


def secrets_of(keyring: Keyring) -> dict[str, bytes]:
    """Every secret of a keyring by name."""
    found = {"signing key": keyring.signing_key}
    for keys, master in zip(keyring.epochs, keyring.masters, strict=True):
        found[f"{keys.epoch} master"] = master
        found |= {f"{keys.epoch} {name}": getattr(keys, name) for name in SUBKEYS}
    return found


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


# ---- files


def test_a_new_keyring_is_for_its_owner_only_and_the_manifest_for_all(home: Home) -> None:
    assert mode(home.keys_path) == 0o600
    assert mode(home.manifest_path) == 0o644
    assert sorted(p.name for p in home.keys_path.parent.iterdir()) == [
        "keyring.json",
        "manifest.json",
    ]


def test_a_keyring_comes_back_as_it_was(home: Home) -> None:
    for loaded in (Keyring.load(home.keys_path), KeySet.load(home.keys_path)):
        assert loaded == home.keyring
        assert loaded.manifest(home.manifest_path).current_epoch == loaded.current.epoch == 1


def test_two_keyrings_share_nothing(make_home: Callable[..., Home]) -> None:
    first, second = (secrets_of(make_home(name).keyring) for name in ("one", "two"))
    assert not set(first.values()) & set(second.values())


@pytest.mark.parametrize("wider", [0o601, 0o604, 0o610, 0o620, 0o640, 0o644, 0o660, 0o666])
def test_a_file_that_others_may_touch_is_refused(home: Home, wider: int) -> None:
    home.keys_path.chmod(wider)
    with pytest.raises(KeyringError, match=r"keyring\.json: others may read it.*chmod 600"):
        KeySet.load(home.keys_path)


def test_a_file_of_mode_0400_is_read(home: Home) -> None:
    home.keys_path.chmod(0o400)
    assert Keyring.load(home.keys_path) == home.keyring


def test_saving_mends_a_mode(home: Home) -> None:
    home.keys_path.chmod(0o644)
    home.keyring.save()
    assert mode(home.keys_path) == 0o600


def test_an_existing_keyring_is_never_replaced(home: Home, tmp_path: Path) -> None:
    before = home.keys_path.read_bytes()
    with pytest.raises(KeyringError, match="exists already and will not be replaced"):
        create_keyring(home.keys_path, tmp_path / "other.json")
    assert home.keys_path.read_bytes() == before
    assert not (tmp_path / "other.json").exists()


def test_an_existing_manifest_is_never_replaced(home: Home, tmp_path: Path) -> None:
    before = home.manifest_path.read_bytes()
    with pytest.raises(KeyringError, match="exists already and will not be replaced"):
        create_keyring(tmp_path / "other.json", home.manifest_path)
    assert home.manifest_path.read_bytes() == before
    assert not (tmp_path / "other.json").exists()


def test_an_existing_file_is_never_replaced_by_an_export(home: Home) -> None:
    before = home.keys_path.read_bytes()
    with pytest.raises(KeyringError, match="exists already and will not be replaced"):
        home.keyring.export("engine", home.keys_path)
    assert home.keys_path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "keyring.json"
    with pytest.raises(KeyringError, match=r"file/keyring\.json: cannot be written"):
        create_keyring(path, tmp_path / "manifest.json")


def test_a_temporary_file_left_by_a_crash_is_in_nobodys_way(home: Home) -> None:
    # In a container the process id is the same again after every crash.
    home.keys_path.with_name(f".keyring.json.{os.getpid()}").write_text("half")
    home.keyring.rotated().save()
    assert Keyring.load(home.keys_path).current.epoch == 2


def test_a_write_that_fails_leaves_no_half_secret_behind(home: Home) -> None:
    occupied = home.keys_path.with_name("occupied")
    (occupied / "inner").mkdir(parents=True)
    with pytest.raises(KeyringError, match="occupied: cannot be written"):
        write_secret(occupied, {"key": "secret"}, new=False)
    assert {path.name for path in home.keys_path.parent.iterdir()} == {
        "keyring.json",
        "manifest.json",
        "occupied",
    }


# ---- damage


def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match=r"none\.json: no such key file.*azeotrope keys new"):
        KeySet.load(tmp_path / "none.json")


def test_a_directory_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(KeyringError, match="cannot be read"):
        KeySet.load(tmp_path)


@pytest.mark.parametrize("export", [False, True])
@pytest.mark.parametrize("version", [0, 2, 17, "1", None])
def test_another_format_version_is_refused(home: Home, export: bool, version: Any) -> None:
    path = home.keys_path
    if export:
        path = path.with_name("export.json")
        home.keyring.export("engine", path)
    rewrite(path, lambda document: document.update(version=version))
    with pytest.raises(KeyringError, match=r"format version .*; this release reads version 1"):
        KeySet.load(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"7",
        b'{"format": "other"}',
        b"[" * 200_000,
        b"9" * 9999,
    ],
    ids=["empty", "cut", "binary", "null", "list", "number", "other", "deep", "long"],
)
def test_a_file_that_is_no_key_file_is_refused(home: Home, content: bytes) -> None:
    home.keys_path.write_bytes(content)
    with pytest.raises(KeyringError, match=r"keyring\.json: "):
        KeySet.load(home.keys_path)


def test_a_truncated_keyring_is_refused_wherever_it_ends(home: Home) -> None:
    content = home.keys_path.read_bytes().rstrip()
    for length in range(0, len(content), 7):
        home.keys_path.write_bytes(content[:length])
        with pytest.raises(KeyringError):
            KeySet.load(home.keys_path)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in items:
        found.append((*path, key))
        if isinstance(inner, dict | list):
            found += places(inner, (*path, key))
    return found


@pytest.mark.parametrize("purpose", ["keyring", "engine"])
@settings(max_examples=150)
@given(st.data())
def test_a_damaged_field_is_refused_or_read_but_never_crashes(
    tmp_path: Path, purpose: Any, data: st.DataObject
) -> None:
    path = tmp_path / "keyring.json"
    if not path.exists():
        create_keyring(path, tmp_path / "manifest.json")
    damaged = tmp_path / "damaged.json"
    damaged.unlink(missing_ok=True)
    if purpose == "engine":
        Keyring.load(path).export("engine", damaged)
    document = json.loads((path if purpose == "keyring" else damaged).read_text())
    *parents, last = data.draw(st.sampled_from(places(document)))
    holder = document
    for key in parents:
        holder = holder[key]
    if data.draw(st.booleans()):
        holder[last] = data.draw(json_values)
    elif isinstance(holder, dict):
        del holder[last]
    damaged.touch(0o600)
    damaged.write_text(json.dumps(document))
    with suppress(KeyringError):
        loaded = KeySet.load(damaged)
        assert all(len(keys.site) == len(keys.channel) == 16 for keys in loaded.epochs)


def test_a_flipped_bit_of_a_master_key_shows_in_the_manifest(home: Home) -> None:
    master = home.keyring.masters[0]
    other = base64.b64encode(bytes([master[0] ^ 1]) + master[1:]).decode()
    rewrite(home.keys_path, lambda document: document["epochs"][0].update(master=other))
    with pytest.raises(ManifestError, match="does not list epoch 1"):
        KeySet.load(home.keys_path).manifest(home.manifest_path)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_master_key_of_another_length_is_refused(home: Home, length: int) -> None:
    other = base64.b64encode(bytes(length)).decode()
    rewrite(home.keys_path, lambda document: document["epochs"][0].update(master=other))
    with pytest.raises(KeyringError, match="damaged"):
        KeySet.load(home.keys_path)


@pytest.mark.parametrize("number", [0, -1, 2**32, 1.5, math.inf, math.nan, "1", True, None, [1]])
def test_an_epoch_number_outside_the_format_is_refused(home: Home, number: Any) -> None:
    path = home.keys_path.with_name("export.json")
    home.keyring.export("engine", path)
    for damaged in (path, home.keys_path):
        rewrite(damaged, lambda document: document["epochs"][0].update(epoch=number))
        with pytest.raises(KeyringError, match="damaged"):
            KeySet.load(damaged)


def test_epochs_out_of_order_or_listed_twice_are_refused(home: Home) -> None:
    rotate_keyring(home.keyring, home.manifest_path)
    content = home.keys_path.read_text()
    for change in (
        lambda document: document["epochs"].reverse(),
        lambda document: document["epochs"].append(document["epochs"][1]),
        lambda document: document.update(epochs=[]),
    ):
        home.keys_path.write_text(content)
        rewrite(home.keys_path, change)
        with pytest.raises(KeyringError, match="damaged"):
            KeySet.load(home.keys_path)


# ---- exports


@pytest.mark.parametrize("purpose", EXPORTED)
def test_an_export_holds_what_its_purpose_needs_and_nothing_more(home: Home, purpose: Any) -> None:
    keyring = rotate_keyring(home.keyring, home.manifest_path)
    path = home.keys_path.with_name("export.json")
    keyring.export(purpose, path)
    assert mode(path) == 0o600
    content = path.read_bytes()
    allowed = {f"{epoch} {name}" for epoch in (1, 2) for name in EXPORTED[purpose]}
    assert {name for name, key in secrets_of(keyring).items() if shows(content, key)} == allowed


def test_what_each_purpose_may_know() -> None:
    everyone = {"channel", "site"}
    tracing = {"account", "account_root", "call", "call_root"}
    assert {purpose: set(names) for purpose, names in EXPORTED.items()} == {
        "site-detector": everyone,
        "detector": everyone | tracing | {"words"},
        "engine": everyone | tracing | {"ticket"},
    }


@pytest.mark.parametrize("purpose", EXPORTED)
def test_an_export_loads_with_the_same_keys(home: Home, purpose: Any) -> None:
    path = home.keys_path.with_name("export.json")
    home.keyring.export(purpose, path)
    loaded = KeySet.load(path)
    for name in SUBKEYS:
        expected = getattr(home.keyring.current, name) if name in EXPORTED[purpose] else b""
        assert getattr(loaded.current, name) == expected
    assert loaded.manifest(home.manifest_path) == home.manifest


def test_an_export_is_no_keyring(home: Home) -> None:
    path = home.keys_path.with_name("export.json")
    home.keyring.export("engine", path)
    with pytest.raises(KeyringError, match="not a keyring; the gateway needs the keyring itself"):
        Keyring.load(path)


# ---- rotation


def test_rotation_keeps_old_epochs_and_their_parameters(home: Home) -> None:
    second = rotate_keyring(home.keyring, home.manifest_path, Parameters(gamma_bits=1))
    third = rotate_keyring(second, home.manifest_path)
    loaded = Keyring.load(home.keys_path)
    manifest = loaded.manifest(home.manifest_path)
    assert loaded == third
    assert loaded.masters[:1] == home.keyring.masters
    assert loaded.epochs[:2] == second.epochs
    assert [entry.epoch for entry in manifest.epochs] == [1, 2, 3]
    assert [manifest.parameters(epoch).gamma_bits for epoch in (1, 2, 3)] == [2, 1, 1]
    assert mode(home.keys_path) == 0o600


def test_epochs_share_no_key(home: Home) -> None:
    secrets = secrets_of(rotate_keyring(home.keyring, home.manifest_path))
    assert len(set(secrets.values())) == len(secrets)


def test_keys_older_than_the_manifest_are_to_be_exported_again(home: Home) -> None:
    path = home.keys_path.with_name("engine.json")
    home.keyring.export("engine", path)
    rotate_keyring(home.keyring, home.manifest_path)
    with pytest.raises(ManifestError, match=r"newest epoch is 2, .* export the keys again"):
        KeySet.load(path).manifest(home.manifest_path)


def test_keys_newer_than_the_manifest_are_refused(home: Home) -> None:
    old = home.manifest_path.read_bytes()
    rotated = rotate_keyring(home.keyring, home.manifest_path)
    home.manifest_path.write_bytes(old)
    with pytest.raises(ManifestError, match="does not list epoch 2"):
        rotated.manifest(home.manifest_path)


def test_a_rotation_cut_off_between_keyring_and_manifest_says_how_to_finish_it(home: Home) -> None:
    before = home.manifest_path.read_bytes()
    rotated = rotate_keyring(home.keyring, home.manifest_path, Parameters(gamma_bits=1))
    following = home.manifest_path.with_name("manifest.json.next")
    assert not following.exists()
    home.manifest_path.rename(following)
    home.manifest_path.write_bytes(before)
    with pytest.raises(ManifestError, match=r"cut off: mv \S+\.next \S+manifest\.json"):
        rotated.manifest(home.manifest_path)
    following.rename(home.manifest_path)
    assert rotated.manifest(home.manifest_path).gamma == 0.5


def test_a_rotation_cut_off_before_the_keyring_is_as_if_it_had_not_been(home: Home) -> None:
    home.manifest_path.with_name("manifest.json.next").write_text("half")
    rotated = rotate_keyring(home.keyring, home.manifest_path)
    assert rotated.manifest(home.manifest_path).current_epoch == 2


def test_the_manifest_of_another_keyring_is_refused(make_home: Callable[..., Home]) -> None:
    ours, theirs = make_home("ours"), make_home("theirs")
    with pytest.raises(ManifestError, match="signature is not by this keyring"):
        ours.keyring.manifest(theirs.manifest_path)


# ---- nothing shows a key


def test_keys_have_no_printed_form(home: Home) -> None:
    keyring = rotate_keyring(home.keyring, home.manifest_path)
    things = [keyring, KeySet(keyring.path, keyring.epochs, keyring.public_key), *keyring.epochs]
    printed = "".join(f"{thing!r}{thing!s}{thing}" for thing in [*things, things]).encode()
    assert b"2 epochs" in printed
    assert not [name for name, key in secrets_of(keyring).items() if shows(printed, key)]


@pytest.mark.parametrize(
    ("place", "value"),
    [("master", None), ("master", "short"), ("epoch", "one"), ("epoch", None), ("created", ...)],
)
def test_errors_about_a_damaged_keyring_show_no_key(home: Home, place: str, value: Any) -> None:
    def damage(document: dict[str, Any]) -> None:
        if value is ...:
            del document["epochs"][0][place]
        else:
            document["epochs"][0][place] = value

    rewrite(home.keys_path, damage)
    content = home.keys_path.read_bytes()
    for written in (content, content[:-2]):
        home.keys_path.write_bytes(written)
        with pytest.raises(KeyringError) as caught:
            KeySet.load(home.keys_path)
        printed = "".join(traceback.format_exception(caught.value)).encode()
        assert not [name for name, key in secrets_of(home.keyring).items() if shows(printed, key)]


def test_the_key_check_reveals_no_subkey(keys: EpochKeys) -> None:
    check = bytes.fromhex(keys.check)
    assert all(check not in getattr(keys, name) for name in SUBKEYS)


# ---- the command


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


def test_listing_an_export_names_epochs_whose_key_it_lacks(tmp_path: Path) -> None:
    both = ["--keys", tmp_path / "k.json", "--manifest", tmp_path / "m.json"]
    run("new", *both)
    run("rotate", *both)
    run("export-engine", tmp_path / "e.json", "--keys", tmp_path / "k.json")
    rewrite(tmp_path / "e.json", lambda document: document["epochs"].pop(0))
    listed = run("list", "--keys", tmp_path / "e.json", "--manifest", tmp_path / "m.json")
    assert "key not in this file" in listed.splitlines()[0]
    assert "current" in listed.splitlines()[1]


@pytest.mark.parametrize("value", ["-1", "66", "nan", "inf", "much"])
def test_the_command_refuses_a_delta_that_is_no_strength(tmp_path: Path, value: str) -> None:
    both = ["--keys", str(tmp_path / "k.json"), "--manifest", str(tmp_path / "m.json")]
    result = CliRunner().invoke(keys_command, ["new", *both, "--delta", value])
    assert result.exit_code == 2
    assert "--delta" in result.output
    assert not (tmp_path / "k.json").exists()
