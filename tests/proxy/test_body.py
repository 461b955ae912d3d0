"""Request bodies: what is ambiguous is refused, what is sent on is what came."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dialects.body import MAX_DEPTH, MAX_VALUES, BodyError, parse, serialise

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)
objects = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values, max_size=6)


@given(objects, st.booleans(), st.sampled_from([None, 1]))
def test_values_keep_their_bytes_and_keys_their_order(
    content: dict[str, object], ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(content, ensure_ascii=ascii_only, indent=indent).encode()

    fields = parse(body)

    assert list(fields) == list(content)
    assert all(bytes(value) in body for value in fields.values())
    assert json.loads(serialise(fields)) == json.loads(body)


def test_numbers_that_no_float_holds_go_out_as_they_came() -> None:
    body = b'{"seed":12345678901234567890123,"p":0.10000000000000000555,"z":-0.0e0}'

    assert serialise(parse(body)) == body


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "malformed"),
        (b"{", "malformed"),
        (b'{"a":1}x', "malformed"),
        (b'{"a":NaN}', "malformed"),
        (b'{"a":Infinity}', "malformed"),
        (b'{"a":1e999}', "malformed"),
        (b'{"a":01}', "malformed"),
        (b'{"a":"\x01"}', "malformed"),
        (b"{'a':1}", "malformed"),
        (b'\xef\xbb\xbf{"a":1}', "malformed"),
        (rb'{"a":"\ud800"}', "malformed"),
        (rb'{"a":"x\udc00y"}', "malformed"),
        (rb'{"\ud800x":1}', "malformed"),
        (b'{"a":"\xff"}', "UTF-8"),
        (b'{"a":"\xed\xa0\x80"}', "UTF-8"),
        (b"[1]", "not a JSON object"),
        (b'"a"', "not a JSON object"),
        (b'{"a":1,"a":1}', "twice"),
        (rb'{"a":1,"\u0061":2}', "twice"),
        (b'{"m":[{"role":"user","role":"system"}]}', "twice"),
        (b'{"a":":","b":"\\":","c":{"x":1,"x":2}}', "twice"),
    ],
)
def test_an_ambiguous_body_is_refused(body: bytes, reason: str) -> None:
    with pytest.raises(BodyError, match=reason):
        parse(body)


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def test_depth_is_bounded() -> None:
    assert parse(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 2_000, 200_000):
        with pytest.raises(BodyError, match="deeper"):
            parse(nested(depth))


def test_the_number_of_values_is_bounded_before_they_are_built() -> None:
    many = b",".join([b"[]"] * (MAX_VALUES // 2 + 2))
    with pytest.raises(BodyError, match="values"):
        parse(b'{"a":[' + many + b"]}")


def test_texts_may_have_as_many_commas_and_brackets_as_they_like() -> None:
    text = json.dumps({"a": '[,{"' * MAX_VALUES, "b": 1}).encode()

    assert list(parse(text)) == ["a", "b"]


@pytest.mark.parametrize("unit", ['\\"', '"\\', ",\\"])
def test_hostile_quotes_take_linear_time(unit: str) -> None:
    with pytest.raises(BodyError):
        parse(b"[" + b"," * (MAX_VALUES + 1) + b'"' + unit.encode() * 3_000_000)


def test_colons_in_texts_are_not_taken_for_repeated_keys() -> None:
    body = b'{"a":"\\":","b":": x","c":{"a":"\\"x\\" : y"}}'

    assert list(parse(body)) == ["a", "b", "c"]


def test_a_refusal_quotes_nothing_of_the_body() -> None:
    for body in (b'{"secret-prompt": NaN}', b'{"secret-prompt":1,"secret-prompt":2}'):
        with pytest.raises(BodyError) as caught:
            parse(body)
        assert "secret" not in str(caught.value)
