"""Tickets: what was signed comes back, and nothing else is believed."""

import base64
import hmac
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark.errors import TicketError
from watermark.ticket import Ticket, sign, verify

KEY = bytes(range(32))
TICKET = Ticket(epoch=3, account=12, call=2**40 + 5, delta_millinats=2000, level=1, expires=1000)
TEXT = sign(TICKET, KEY)
DIGITS = string.ascii_letters + string.digits + "-_"


def words(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, 2**bits - 1)


tickets = st.builds(Ticket, words(32), words(64), words(64), words(16), words(8), words(64))


def reason(text: Any, now: float = 0, keys: dict[int, bytes] | None = None) -> str:
    with pytest.raises(TicketError) as caught:
        verify(text, keys or {3: KEY}, now)
    return caught.value.reason


def encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "==")


def resigned(body: bytes) -> str:
    return encode(body + hmac.digest(KEY, body, "sha256"))


@given(tickets, st.binary(min_size=32, max_size=32))
def test_a_ticket_comes_back_as_it_was_signed(ticket: Ticket, key: bytes) -> None:
    text = sign(ticket, key)
    assert len(text) == 86
    assert set(text) <= set(DIGITS)
    assert verify(text, {ticket.epoch: key}, 0) == ticket


@given(tickets)
def test_the_layout_is_that_of_the_specification(ticket: Ticket) -> None:
    values = [ticket.epoch, ticket.account, ticket.call, ticket.delta_millinats]
    values += [ticket.level, ticket.expires]
    body = b"\x01" + b"".join(
        value.to_bytes(size, "little")
        for value, size in zip(values, (4, 8, 8, 2, 1, 8), strict=True)
    )
    assert sign(ticket, KEY) == resigned(body)


def test_a_flipped_bit_is_refused_wherever_it_is() -> None:
    raw = decode(TEXT)
    for bit in range(8 * len(raw)):
        flipped = bytes(byte ^ (1 << bit % 8 if i == bit // 8 else 0) for i, byte in enumerate(raw))
        where = bit // 8
        expected = "malformed" if where == 0 else "unknown_epoch" if where < 5 else "forged"
        assert reason(encode(flipped)) == expected


def test_a_changed_character_is_refused_wherever_it_is() -> None:
    # The last one included, whose spare bits decode to nothing, and the digits of the other
    # alphabet of base64.
    for place, right in enumerate(TEXT):
        for digit in DIGITS + "+/=. ":
            if digit != right:
                assert reason(TEXT[:place] + digit + TEXT[place + 1 :])


def test_a_ticket_in_the_other_alphabet_of_base64_is_malformed() -> None:
    texts = [sign(Ticket(3, 1, call, 0, 0, 9), KEY) for call in range(20)]
    changed = [text.replace("-", "+").replace("_", "/") for text in texts]
    refused = [reason(text) for text, before in zip(changed, texts, strict=True) if text != before]
    assert len(refused) > 10
    assert set(refused) == {"malformed"}


def test_a_ticket_ends_after_the_second_that_it_names() -> None:
    assert verify(TEXT, {3: KEY}, 1000.0) == TICKET
    assert reason(TEXT, now=1000.01) == "expired"


def test_a_ticket_of_an_epoch_without_key_is_refused() -> None:
    assert reason(TEXT, keys={1: KEY, 2: KEY, 4: KEY}) == "unknown_epoch"


def test_a_ticket_under_another_key_is_forged_even_if_it_has_expired() -> None:
    assert reason(TEXT, now=5000, keys={3: bytes(32)}) == "forged"


def test_a_ticket_of_one_epoch_is_forged_under_the_key_of_another() -> None:
    other = sign(Ticket(4, 12, 5, 2000, 1, 1000), KEY)
    assert reason(other, keys={3: KEY, 4: bytes(32)}) == "forged"


@pytest.mark.parametrize("version", [0, 2, 255])
def test_a_signed_ticket_of_another_version_is_malformed(version: int) -> None:
    assert reason(resigned(bytes([version]) + decode(TEXT)[1:32])) == "malformed"


@pytest.mark.parametrize("length", [0, 1, 31, 63, 65, 66, 200])
def test_bytes_of_another_length_are_malformed(length: int) -> None:
    assert reason(encode(bytes(length))) == "malformed"


@pytest.mark.parametrize(
    "wrong", [None, 7, 1.5, True, b"A" * 86, ["A"] * 86, {"ticket": TEXT}, TEXT.encode()]
)
def test_what_is_no_text_is_malformed(wrong: Any) -> None:
    assert reason(wrong) == "malformed"


@settings(max_examples=300)
@given(
    st.text()
    | st.text(min_size=86, max_size=86)
    | st.text("=AQ-_+/ \n", min_size=86, max_size=86)
    | st.integers(0, 86).map(lambda cut: TEXT[:cut] + "=" * (86 - cut)).filter(TEXT.__ne__)
    | st.integers(1, 86).map(lambda cut: TEXT[:-cut] + "\n" * cut)
)
def test_any_other_text_is_refused(text: str) -> None:
    assert reason(text) in {"malformed", "unknown_epoch", "forged"}


def test_the_error_does_not_repeat_the_ticket() -> None:
    for text, now in ((TEXT, 5000.0), (TEXT[:-4] + "AAAA", 0.0), ("x" + TEXT[1:], 0.0)):
        with pytest.raises(TicketError) as caught:
            verify(text, {3: KEY}, now)
        assert text[40:60] not in str(caught.value)
        assert str(caught.value).startswith("ticket refused: ")
