"""The manifest: whatever is changed in it is noticed, and whatever is signed is checked."""

import hashlib
import json
from copy import deepcopy
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from damaged_json import json_values, places
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark.errors import ManifestError
from watermark.keys import rotate_keyring
from watermark.manifest import Manifest, ManifestEpoch, Parameters, TokenizerPin

PRIVATE_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC_KEY = PRIVATE_KEY.public_key().public_bytes_raw()
MANIFEST = Manifest(
    "2026-01-02T00:00:00Z",
    (
        ManifestEpoch(1, "2026-01-01T00:00:00Z", "0011223344556677"),
        ManifestEpoch(3, "2026-01-02T00:00:00Z", "8899aabbccddeeff", Parameters(gamma_bits=1)),
    ),
    TokenizerPin(49_152, "ab" * 32),
)
DOCUMENT: dict[str, Any] = json.loads(MANIFEST.signed(PRIVATE_KEY.sign))


def load(folder: Path, document: Any, public_key: bytes = PUBLIC_KEY) -> Manifest:
    path = folder / "manifest.json"
    if isinstance(document, bytes):
        path.write_bytes(document)
    else:
        path.write_text(json.dumps(document))
    return Manifest.load(path, public_key)


def signed(payload: dict[str, Any]) -> dict[str, Any]:
    """A manifest file with any content, rightly signed."""
    canonical = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
    return {"manifest": payload, "signature": PRIVATE_KEY.sign(canonical).hex()}


def holder_of(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        document = document[key]
    return document


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    loaded = load(tmp_path, DOCUMENT)
    assert loaded == MANIFEST
    assert (loaded.current_epoch, loaded.gamma, loaded.delta_millinats) == (3, 0.5, 2000)
    assert loaded.parameters(1).gamma == 0.25


def test_the_digest_names_the_signed_bytes() -> None:
    assert MANIFEST.digest == hashlib.sha256(MANIFEST.canonical()).hexdigest()
    other = Manifest(MANIFEST.issued, MANIFEST.epochs[:1], MANIFEST.tokenizer)
    assert other.digest != MANIFEST.digest


def test_the_layout_of_the_file_does_not_matter(tmp_path: Path) -> None:
    compact = json.dumps(DOCUMENT, sort_keys=True, separators=(",", ":")).encode()
    assert load(tmp_path, compact) == load(tmp_path, json.dumps(DOCUMENT, indent=7).encode())


@pytest.mark.parametrize("path", places(DOCUMENT), ids=lambda path: ".".join(map(str, path)))
@settings(max_examples=6)
@given(st.data())
def test_a_changed_field_is_noticed(
    tmp_path: Path, path: tuple[Any, ...], data: st.DataObject
) -> None:
    document = deepcopy(DOCUMENT)
    holder = holder_of(document, path)
    before = holder[path[-1]]
    near = st.integers(before - 2, before + 2) if isinstance(before, int) else st.text(max_size=3)
    # As JSON, since Python takes 1, 1.0 and True for equal and the signature does not.
    holder[path[-1]] = data.draw(
        (near | json_values).filter(lambda value: json.dumps(value) != json.dumps(before))
    )
    with pytest.raises(ManifestError, match=r"manifest\.json: "):
        load(tmp_path, document)


@pytest.mark.parametrize("path", places(DOCUMENT), ids=lambda path: ".".join(map(str, path)))
def test_a_missing_or_an_additional_field_is_noticed(tmp_path: Path, path: tuple[Any, ...]) -> None:
    document = deepcopy(DOCUMENT)
    del holder_of(document, path)[path[-1]]
    with pytest.raises(ManifestError):
        load(tmp_path, document)
    if len(path) > 1:
        document = deepcopy(DOCUMENT)
        holder = holder_of(document, path)
        holder.update(extra=1) if isinstance(holder, dict) else holder.append(holder[0])
        with pytest.raises(ManifestError):
            load(tmp_path, document)


@settings(max_examples=150)
@given(st.integers(0, len(json.dumps(DOCUMENT)) - 1), st.integers(1, 255))
def test_a_changed_byte_of_the_file_changes_nothing_unnoticed(
    tmp_path: Path, place: int, flip: int
) -> None:
    content = bytearray(json.dumps(DOCUMENT).encode())
    content[place] ^= flip
    try:
        loaded = load(tmp_path, bytes(content))
    except ManifestError:
        return
    assert loaded == MANIFEST


def test_another_key_s_signature_is_refused(tmp_path: Path) -> None:
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    with pytest.raises(ManifestError, match="the signature is not by this keyring"):
        load(tmp_path, DOCUMENT, other)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_damaged_public_key_verifies_nothing(tmp_path: Path, length: int) -> None:
    with pytest.raises(ManifestError, match="the signature is not by this keyring"):
        load(tmp_path, DOCUMENT, bytes(length))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b'{"manifest": 1, "signature": ""}',
        b"[" * 200_000,
    ],
    ids=["empty", "cut", "binary", "list", "null", "number", "text", "types", "deep"],
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ManifestError, match=r"manifest\.json: not a"):
        load(tmp_path, content)


def test_a_missing_manifest_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"m\.json: no such manifest.*azeotrope keys new"):
        Manifest.load(tmp_path / "m.json", PUBLIC_KEY)


@pytest.mark.parametrize(("name", "value"), [("version", 2), ("version", 0), ("format", "az2")])
def test_a_signed_manifest_of_another_version_is_refused(
    tmp_path: Path, name: str, value: Any
) -> None:
    with pytest.raises(ManifestError, match="another format version; this release reads az1"):
        load(tmp_path, signed(DOCUMENT["manifest"] | {name: value}))


def test_a_signed_manifest_with_unknown_or_missing_fields_is_refused(tmp_path: Path) -> None:
    payload = DOCUMENT["manifest"]
    without = {name: value for name, value in payload.items() if name != "tokenizer"}
    for changed in (payload | {"colour": "green"}, without):
        with pytest.raises(ManifestError, match="a field is missing or unknown"):
            load(tmp_path, signed(changed))


@pytest.mark.parametrize("order", [[], [1, 0], [0, 0], [0, 1, 1]])
def test_signed_epochs_out_of_order_are_refused(tmp_path: Path, order: list[int]) -> None:
    payload = deepcopy(DOCUMENT["manifest"])
    payload["epochs"] = [payload["epochs"][i] for i in order]
    with pytest.raises(ManifestError, match="ascending order"):
        load(tmp_path, signed(payload))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gamma_bits", 0),
        ("gamma_bits", 3),
        ("selector_width", 0),
        ("site_width", 5),
        ("account_width", -1),
        ("call_width", 5),
        ("site_share", -1),
        ("account_share", 65_536),
        ("delta_millinats", -1),
        ("delta_millinats", 65_536),
        ("repeat_cap", -1),
        *((field.name, wrong) for field in fields(Parameters) for wrong in (1.0, True, "1", None)),
    ],
)
def test_parameters_outside_the_format_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(ManifestError):
        Parameters(**{name: value})
    payload = deepcopy(DOCUMENT["manifest"])
    payload["epochs"][0]["parameters"][name] = value
    with pytest.raises(ManifestError, match=r"manifest\.json: "):
        load(tmp_path, signed(payload))


def test_shares_may_leave_positions_without_a_channel_but_not_all() -> None:
    assert Parameters(site_share=1, account_share=0, call_share=0).bounds() == (1, 1, 1)
    with pytest.raises(ManifestError, match="shares must add up"):
        Parameters(site_share=0, account_share=0, call_share=0)


def test_an_epoch_that_is_not_listed_has_no_parameters() -> None:
    with pytest.raises(ManifestError, match="epoch 2 is not listed"):
        MANIFEST.parameters(2)


def test_a_rotated_manifest_is_another_one_and_lists_what_was_before(home: Any) -> None:
    before = home.manifest
    rotated = rotate_keyring(home.keyring, home.manifest_path)
    after = rotated.manifest(home.manifest_path)
    assert after.digest != before.digest
    assert after.epochs[:1] == before.epochs
