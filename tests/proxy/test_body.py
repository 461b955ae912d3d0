"""Request bodies: what is ambiguous is refused, what is sent on is what came."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import readings, same, strict_json

from proxy.dialects.body import MAX_DEPTH, MAX_MEMBERS, MAX_VALUES, BodyError, parse, serialise

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


# Bytes that matter to a parser, and a few that should not.
pieces = st.sampled_from(
    [
        *(bytes([byte]) for byte in b'{}[]:,"\\/ \t\r\n\x00\x0b\x1f\x7f-+.eE019atfnu'),
        *(b'\\"', b"\\\\", b"\\u0061", b"\\ud83d", b"\\ude00", b"\\ud83d\\ude00", b"\\u00zz"),
        *(b"NaN", b"Infinity", b"-0", b"1e999", b"-1E+2", b"01", b"0x1", b"1.", b".5", b"9" * 25),
        *(b"true", b"false", b"null", b"True", b"undefined", b"//x", b"/*x*/", b"'a'", b"#"),
        *(b'"a":', b'"a" :', b'"b":1', b'"a":"', b'{"a":1}', b"[1]", b'""', b'":'),
        *(b"\xef\xbb\xbf", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80"),
        *("é".encode(), "\u2028".encode(), "\u0085".encode(), "😀".encode()),
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A document of JSON, with pieces put in or taken out."""
    body = bytearray(json.dumps(draw(objects), ensure_ascii=draw(st.booleans())).encode())
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.integers(0, 3)))
        body[start:end] = draw(pieces)
    return bytes(body)


bodies = damaged() | st.lists(pieces, max_size=12).map(b"".join)


@settings(max_examples=1500, deadline=None)
@given(bodies)
def test_what_is_accepted_every_reader_reads_alike_and_what_one_refuses_is_refused(
    body: bytes,
) -> None:
    try:
        first, *others = readings(body)
    except ValueError:
        with pytest.raises(BodyError):
            parse(body)
        return
    try:
        fields = parse(body)
    except BodyError:
        return

    assert all(same(first, other) for other in others)
    assert list(fields) == list(first)
    for name, value in fields.items():
        assert all(same(first[name], other) for other in readings(bytes(value)))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "\u00e9", ""]), values), max_size=5), st.data()
)
def test_a_repeated_key_is_found_however_it_is_spelt(
    members: list[tuple[str, object]], data: st.DataObject
) -> None:
    def spelt(name: str) -> str:
        plain = json.dumps(name, ensure_ascii=data.draw(st.booleans()))
        escaped = '"' + "".join(f"\\u{ord(letter):04X}" for letter in name) + '"'
        return data.draw(st.sampled_from([plain, escaped]))

    space = data.draw(st.sampled_from(["", " ", "\n", "\t \r"]))
    text = ",".join(f"{spelt(name)}{space}:{json.dumps(value)}" for name, value in members)
    names = [name for name, _ in members]
    body = data.draw(st.sampled_from(["{%s}", '{"in":{%s}}', '{"in":[0,{%s}]}'])) % text

    if len(set(names)) == len(names):
        assert same(
            strict_json(body.encode()),
            {k: strict_json(bytes(v)) for k, v in parse(body.encode()).items()},
        )
    else:
        with pytest.raises(BodyError, match="twice"):
            parse(body.encode())


def test_big_bodies_are_checked_for_repeated_keys_as_well() -> None:
    filler = json.dumps('": , {[' * 20_000)[1:-1]
    good = '{"a":"FILLER","b":[{"c":1},{"c":"\\\\"}],"d" : 2}'.replace("FILLER", filler)
    bad = good.replace('"d" :', '"a" :')

    assert list(parse(good.encode())) == ["a", "b", "d"]
    with pytest.raises(BodyError, match="twice"):
        parse(bad.encode())


@pytest.mark.parametrize("cut", range(8))
def test_escapes_across_the_pieces_of_a_long_text(cut: int) -> None:
    text = "x" * (65_536 - cut) + '\\"' * 70_000
    body = json.dumps({"a": text, "b": "\\", "c": ":"}).encode()

    assert list(parse(body)) == ["a", "b", "c"]


def test_the_number_of_members_is_bounded_before_they_are_built() -> None:
    members = b",".join(b'"%d":1' % number for number in range(MAX_MEMBERS))
    assert len(parse(b"{" + members + b"}")) == MAX_MEMBERS

    with pytest.raises(BodyError, match="members"):
        parse(b"{" + members + b',"x":1}')
