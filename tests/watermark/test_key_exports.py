"""Exports hold what they are for, and a rotation loses nothing."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
from key_files import mode, rewrite, secrets_of, shows

from watermark.embed.marker import Marker
from watermark.errors import KeyringError, ManifestError
from watermark.keys import EXPORTED, SUBKEYS, Keyring, KeySet, rotate_keyring
from watermark.manifest import Parameters

# ---- exports


@pytest.mark.parametrize("purpose", EXPORTED)
def test_an_export_holds_what_its_purpose_needs_and_nothing_more(home: Any, purpose: Any) -> None:
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
def test_an_export_loads_with_the_same_keys(home: Any, purpose: Any) -> None:
    path = home.keys_path.with_name("export.json")
    home.keyring.export(purpose, path)
    loaded = KeySet.load(path)
    for name in SUBKEYS:
        expected = getattr(home.keyring.current, name) if name in EXPORTED[purpose] else b""
        assert getattr(loaded.current, name) == expected
    assert loaded.manifest(home.manifest_path) == home.manifest


def test_an_export_is_no_keyring(home: Any) -> None:
    path = home.keys_path.with_name("export.json")
    home.keyring.export("engine", path)
    with pytest.raises(KeyringError, match="not a keyring; the gateway needs the keyring itself"):
        Keyring.load(path)


# ---- rotation


def test_rotation_keeps_old_epochs_and_their_parameters(home: Any) -> None:
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


def test_epochs_share_no_key(home: Any) -> None:
    secrets = secrets_of(rotate_keyring(home.keyring, home.manifest_path))
    assert len(set(secrets.values())) == len(secrets)


def test_keys_older_than_the_manifest_are_to_be_exported_again(home: Any) -> None:
    path = home.keys_path.with_name("engine.json")
    home.keyring.export("engine", path)
    rotate_keyring(home.keyring, home.manifest_path)
    with pytest.raises(ManifestError, match=r"newest epoch is 2, .* export the keys again"):
        KeySet.load(path).manifest(home.manifest_path)


def test_keys_newer_than_the_manifest_are_refused(home: Any) -> None:
    old = home.manifest_path.read_bytes()
    rotated = rotate_keyring(home.keyring, home.manifest_path)
    home.manifest_path.write_bytes(old)
    with pytest.raises(ManifestError, match="does not list epoch 2"):
        rotated.manifest(home.manifest_path)


def test_a_rotation_cut_off_between_keyring_and_manifest_says_how_to_finish_it(home: Any) -> None:
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


def test_a_rotation_cut_off_before_the_keyring_is_as_if_it_had_not_been(home: Any) -> None:
    home.manifest_path.with_name("manifest.json.next").write_text("half")
    rotated = rotate_keyring(home.keyring, home.manifest_path)
    assert rotated.manifest(home.manifest_path).current_epoch == 2


def test_the_manifest_of_another_keyring_is_refused(make_home: Callable[..., Any]) -> None:
    ours, theirs = make_home("ours"), make_home("theirs")
    with pytest.raises(ManifestError, match="signature is not by this keyring"):
        ours.keyring.manifest(theirs.manifest_path)


def test_an_export_with_a_flipped_bit_in_a_key_is_refused(home: Any) -> None:
    path = home.keys_path.with_name("export.json")
    home.keyring.export("engine", path)

    def flip(document: dict[str, Any]) -> None:
        key = bytearray(base64.b64decode(document["epochs"][0]["keys"]["site"]))
        key[0] ^= 1
        document["epochs"][0]["keys"]["site"] = base64.b64encode(key).decode()

    rewrite(path, flip)
    with pytest.raises(KeyringError, match="damaged"):
        KeySet.load(path)


def test_an_engine_refuses_a_detector_export(home: Any) -> None:
    path = home.keys_path.with_name("export.json")
    home.keyring.export("detector", path)
    with pytest.raises(KeyringError, match="export-engine"):
        Marker.load(path, home.manifest_path)
