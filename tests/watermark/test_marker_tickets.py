"""The embedder: what a ticket changes, and what an engine must have to start."""

import base64
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from expected_bias import NOW, VOCABULARY, biased, random_logits, signer, step_seed

from watermark import reference
from watermark.embed.marker import Marker, RowMark
from watermark.errors import KeyringError, ManifestError
from watermark.greenlist import signed64
from watermark.keys import rotate_keyring
from watermark.manifest import Parameters
from watermark.ticket import Ticket, sign

# ---- tickets


def test_a_valid_ticket_names_epoch_delta_account_and_call(
    home: Any, marker: Marker, ticket_for: Any
) -> None:
    keys = home.keyring.current
    row = marker.admit(ticket_for(12, 34, delta=2500), now=NOW)
    expected = (0, signed64(keys.account_key(12)), signed64(keys.call_key(34)))
    assert row == RowMark(1, 2.5, expected)
    assert marker.ticket_states == {"valid": 1}


def test_whatever_is_no_valid_ticket_gives_the_site_mark_only_and_is_counted(
    home: Any, marker: Marker, ticket_for: Any
) -> None:
    good = ticket_for(12, 34)
    raw = bytearray(base64.urlsafe_b64decode(good + "=="))
    raw[5] ^= 1  # another account
    forged = base64.urlsafe_b64encode(bytes(raw)).decode().rstrip("=")
    unknown = sign(Ticket(9, 12, 34, 0, 0, 2000), home.keyring.current.ticket)
    tickets: list[Any] = [None, ticket_for(12, 34, end=999), forged, unknown, "", "x" * 86, 5]
    rows = [marker.admit(ticket, now=NOW) for ticket in tickets]
    assert all(row == RowMark(1, 2.0, (0, None, None)) for row in rows)
    assert marker.ticket_states == {
        "absent": 1,
        "expired": 1,
        "forged": 1,
        "unknown_epoch": 1,
        "malformed": 3,
    }


def test_an_answer_without_a_ticket_is_biased_at_site_positions_only(
    home: Any, marker: Marker
) -> None:
    keys, parameters = home.keyring.current, home.manifest.current.parameters
    rng = random.Random(8)
    outputs = [[rng.randrange(VOCABULARY) for _ in range(9)] for _ in range(60)]
    rows = [marker.admit(None) for _ in outputs]
    result = marker.apply(torch.zeros(60, VOCABULARY), rows, outputs)
    channels = [reference.channel_of(keys, parameters, output) for output in outputs]
    assert result.any(1).tolist() == [channel == "site" for channel in channels]
    assert len(set(channels)) == 3


def test_now_is_the_clock_unless_it_is_given(marker: Marker, ticket_for: Any) -> None:
    marker.admit(ticket_for(1, end=2_000))
    marker.admit(ticket_for(1, end=2**40))
    assert marker.ticket_states == {"expired": 1, "valid": 1}


def test_epochs_are_mixed_in_one_batch(make_home: Callable[..., Any]) -> None:
    home = make_home(parameters=Parameters(gamma_bits=1, selector_width=1, site_width=1))
    keyring = rotate_keyring(home.keyring, home.manifest_path, Parameters())
    manifest = keyring.manifest(home.manifest_path)
    marker, sign_for = Marker.load(home.keys_path, home.manifest_path), signer(keyring.epochs)
    rng = random.Random(9)
    outputs = [[rng.randrange(VOCABULARY) for _ in range(9)] for _ in range(40)]
    epochs = [1 + n % 2 for n in range(40)]
    rows: list[RowMark | None] = [
        marker.admit(sign_for(5, 6, epoch=epoch), now=NOW) for epoch in epochs
    ]
    rows[7] = None
    logits = random_logits(40)
    expected = [
        biased(
            before,
            step_seed(keyring.epochs[epoch - 1], manifest.parameters(epoch), output, 5, 6),
            manifest.parameters(epoch),
            1.3,
        )
        for before, output, epoch in zip(logits, outputs, epochs, strict=True)
    ]
    expected[7] = logits[7]
    assert torch.equal(marker.apply(logits.clone(), rows, outputs), torch.stack(expected))


def test_without_a_ticket_the_newest_epoch_marks(home: Any) -> None:
    rotate_keyring(home.keyring, home.manifest_path, Parameters(delta_millinats=3000))
    marker = Marker.load(home.keys_path, home.manifest_path)
    assert marker.admit(None) == RowMark(2, 3.0, (0, None, None))


def test_a_ticket_of_strength_zero_leaves_the_logits_as_they_are(
    marker: Marker, ticket_for: Any
) -> None:
    logits = random_logits(1)
    row = marker.admit(ticket_for(1, delta=0), now=NOW)
    assert torch.equal(marker.apply(logits.clone(), [row], [[1, 2, 3, 4, 5]]), logits)


# ---- loading


def test_an_engine_export_marks_as_the_keyring_does(home: Any, ticket_for: Any) -> None:
    path = home.keys_path.with_name("engine.json")
    home.keyring.export("engine", path)
    outputs = [[n, n + 1, n + 2, n + 3, n + 4] for n in range(30)]
    results = []
    for keys_path in (path, home.keys_path):
        marker = Marker.load(keys_path, home.manifest_path)
        rows = [marker.admit(ticket_for(3, 4), now=NOW) for _ in outputs]
        results.append(marker.apply(random_logits(30), rows, outputs))
        assert marker.ticket_states == {"valid": 30}
    assert torch.equal(*results)


def test_an_engine_does_not_start_without_its_keys_or_its_manifest(
    home: Any, make_home: Callable[..., Any]
) -> None:
    with pytest.raises(KeyringError, match="no such key file"):
        Marker.load(home.keys_path.with_name("none.json"), home.manifest_path)
    with pytest.raises(ManifestError, match="no such manifest"):
        Marker.load(home.keys_path, home.manifest_path.with_name("none.json"))
    with pytest.raises(ManifestError, match="signature is not by this keyring"):
        Marker.load(home.keys_path, make_home("other").manifest_path)
