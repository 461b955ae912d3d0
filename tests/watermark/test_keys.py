"""Key files: modes, damage, exports, rotation; and that keys show up nowhere else."""

import base64
import json
import math
import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from damaged_json import json_values, places
from hypothesis import given, settings
from hypothesis import strategies as st
from key_files import Home, mode, rewrite, secrets_of, shows

from watermark.errors import KeyringError, ManifestError
from watermark.keys import (
    SUBKEYS,
    EpochKeys,
    Keyring,
    KeySet,
    create_keyring,
    rotate_keyring,
    write_secret,
)


@pytest.fixture
def make_home(tmp_path: Path) -> Callable[..., Home]:
    """Make keyrings as the command makes them, with keys of chance."""

    def make(name: str = "home") -> Home:
        paths = tmp_path / name / "keyring.json", tmp_path / name / "manifest.json"
        return Home(create_keyring(*paths), *paths)

    return make


@pytest.fixture
def home(make_home: Callable[..., Home]) -> Home:
    return make_home()


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
