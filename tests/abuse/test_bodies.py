"""Bodies: too many bytes, too many values, and JSON that two parsers read in two ways."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import psutil
import pytest
from asking import GOOD, assert_goes_on
from fake_upstream import FakeUpstream
from running import Running, Start
from wire import BODY, Wire, connected, post, sent_on

MB = 2**20
MODEL = b'{"model":"m","messages":[],'

# All of it is answered with 400 invalid_json, and the connection goes on.
MALFORMED = {
    "nothing": b"",
    "spaces": b" \r\n\t",
    "half": BODY[:-1],
    "garbage behind": BODY + b"x",
    "two documents": BODY + b"\n" + BODY,
    "NUL behind": BODY + b"\0",
    "an array": b"[" + BODY + b"]",
    "a text": b'"model"',
    "a number": b"1",
    "null": b"null",
    "a comment": b"/* x */" + BODY,
    "a line comment": BODY + b" // x",
    "single quotes": BODY.replace(b'"', b"'"),
    "no quotes around a key": BODY.replace(b'"model"', b"model"),
    "comma behind the last member": BODY[:-1] + b",}",
    "comma behind the last value": MODEL + b'"stop":["a",]}',
    "NaN": MODEL + b'"temperature":NaN}',
    "Infinity": MODEL + b'"temperature":Infinity}',
    "-Infinity": MODEL + b'"temperature":-Infinity}',
    "1e999": MODEL + b'"temperature":1e999}',
    "-1e999": MODEL + b'"temperature":-1e999}',
    "hexadecimal": MODEL + b'"seed":0x10}',
    "leading zero": MODEL + b'"seed":010}',
    "leading plus": MODEL + b'"seed":+1}',
    "no digit behind the point": MODEL + b'"top_p":1.}',
    "no digit before the point": MODEL + b'"top_p":.5}',
    "an integer of 5,000 digits": MODEL + b'"seed":' + b"9" * 5_000 + b"}",
    "True": MODEL + b'"stream":True}',
    "a key twice": BODY[:-1] + b',"model":"n"}',
    "a key twice, once in escapes": BODY[:-1] + rb',"m\u006fdel":"n"}',
    "a key twice, within": MODEL + b'"x":[{"a":{"b":1,"b":2}}]}',
    "a key twice, with texts like keys": MODEL + b'"y":"\\":","x":{"a":1,"a":1}}',
    "a lone high surrogate": MODEL + rb'"x":"\ud800"}',
    "a lone low surrogate": MODEL + rb'"x":"\udc00"}',
    "surrogates in the wrong order": MODEL + rb'"x":"\udc00\ud800"}',
    "a lone surrogate in a key": MODEL + rb'"\ud83d":1}',
    "a surrogate in bytes": MODEL + b'"x":"\xed\xa0\x80"}',
    "a byte that is no UTF-8": MODEL + b'"x":"\xff"}',
    "half a character": MODEL + b'"x":"\xe2\x82"}',
    "an overlong slash": MODEL + b'"x":"\xc0\xaf"}',
    "an overlong NUL": MODEL + b'"x":"\xe0\x80\x80"}',
    "beyond Unicode": MODEL + b'"x":"\xf4\x90\x80\x80"}',
    "Latin-1": MODEL + b'"x":"caf\xe9"}',
    "UTF-16": BODY.decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + BODY,
    "a line end in a text": MODEL + b'"x":"a\nb"}',
    "NUL in a text": MODEL + b'"x":"a\0b"}',
    "an unknown escape": MODEL + rb'"x":"\x41"}',
    "half an escape": MODEL + rb'"x":"\u00"}',
    "depth 65": MODEL + b'"x":' + b"[" * 64 + b"]" * 64 + b"}",
    "depth 1,000,000": MODEL + b'"x":' + b"[" * 1_000_000,
    "depth 900,000, closed": MODEL + b'"x":' + b"[" * 900_000 + b"]" * 900_000 + b"}",
    "brackets to the limit": b"[" * 8 * MB,
    "braces to the limit": (b'{"a":' * 2 * MB)[: 8 * MB],
    "quotes to the limit": b'["' + b"," * MB + b'"' * 6 * MB,
    "backslashes to the limit": b'["' + b"," * MB + b"\\" * 6 * MB,
    "half a million keys": b"{" + b",".join(b'"%d":1' % number for number in range(500_000)) + b"}",
    "two million values": MODEL + b'"x":[' + b"1," * 2_000_000 + b"1]}",
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_not_json_for_everyone_is_400(
    start: Start, upstream: FakeUpstream, name: str
) -> None:
    gateway = await start()

    async with connected(gateway) as wire:
        await wire.send(post(body=MALFORMED[name]))
        answer = await wire.answer()
        assert (answer.status, answer.code) == (400, "invalid_json")
        assert len(answer.body) < 300
        assert await wire.goes_on()

    assert upstream.received == []
    assert await gateway.stop() == []


# Each reaches the engine as the very bytes that came.
PASSED = [
    b"0",
    b"-0",
    b"-0.0",
    b"1e-999",
    b"1E+2",
    b"12345678901234567890123",
    b"0.1000000000000000055511151231257827",
    b"9007199254740993",
    rb'"\u0041\ud83d\ude00\/"',
    "\u2028\u0085\ufeff\U0010ffff".encode().join([b'"', b'"']),
    b'"\x7f"',
    b'{"__proto__":{"polluted":true},"constructor":1,"":2," ":3}',
    b'{ "a" :\t[ ] ,\r\n"b" : { } }',
    rb'{"\u0061\u0062":1}',
    b"[" * 62 + b"]" * 62,
    b'"\xef\xbb\xbf"',
]


@pytest.mark.parametrize("value", PASSED)
async def test_values_reach_the_engine_as_the_bytes_that_came(
    start: Start, upstream: FakeUpstream, value: bytes
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)

    async with connected(gateway) as wire:
        await wire.send(post(body=b'{"model":"m","x":' + value + b',"y":1}'))
        assert (await wire.answer()).status == 200

    (received,) = upstream.received
    assert received.body.startswith(b'{"model":"engine-m","x":' + value + b',"y":1,"vllm_xargs":')
    assert sent_on(received, upstream.url)


@pytest.mark.parametrize("declared", [8 * MB + 1, 10_000_000, 100 * MB])
async def test_a_declared_size_is_refused_before_a_byte_is_read(
    start: Start, upstream: FakeUpstream, declared: int
) -> None:
    gateway = await start()

    async with connected(gateway) as wire:
        await wire.send(post(b"content-length: %d" % declared, body=b"", length=False))
        answer = await wire.answer()
        assert (answer.status, answer.code) == (413, "request_too_large")
        assert await wire.is_closed()

    assert upstream.received == []


async def test_who_waits_with_expect_never_sends_a_large_body(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()

    async with connected(gateway) as wire:
        head = post(b"content-length: 99999999", b"expect: 100-continue", body=b"", length=False)
        await wire.send(head)
        assert (await wire.answer()).status == 413
        assert await wire.is_closed()


async def test_chunks_without_an_end_are_413_and_kept_nowhere(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(limits={"max_body_bytes": MB})
    memory = psutil.Process().memory_info
    before = memory().rss
    piece = b"%x\r\n%s\r\n" % (MB // 4, b"x" * (MB // 4))

    async with connected(gateway) as wire:
        await wire.send(post(b"transfer-encoding: chunked", body=b"", length=False))
        sending = asyncio.create_task(_for_ever(wire, piece))
        answer = await wire.answer()
        assert (answer.status, answer.code) == (413, "request_too_large")
        assert await wire.is_closed()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)

    assert memory().rss - before < 100 * MB
    assert upstream.received == []
    await assert_goes_on(gateway, upstream)


async def _for_ever(wire: Wire, piece: bytes) -> None:
    while True:
        await wire.send(piece)
        await asyncio.sleep(0)


BOMB = gzip.compress(b" " * 10 * MB + BODY)


async def assert_415(gateway: Running, request: bytes) -> None:
    async with connected(gateway) as wire:
        await wire.send(request)
        answer = await wire.answer()
        assert (answer.status, answer.code) == (415, "unsupported_content_type")
        assert await wire.goes_on()


@pytest.mark.parametrize(
    "coding",
    [b"gzip", b"deflate", b"br", b"zstd", b"x-gzip", b"gzip, gzip", b"identity, gzip", b"", b"*"],
)
async def test_a_compressed_body_is_415_and_never_unpacked(
    start: Start, upstream: FakeUpstream, coding: bytes
) -> None:
    gateway = await start()
    body = zlib.compress(b" " * 10 * MB) if coding == b"deflate" else BOMB

    await assert_415(gateway, post(b"content-encoding: " + coding, body=body))

    assert upstream.received == []


@pytest.mark.parametrize(
    "content_type",
    [
        b"",
        b"text/plain",
        b"application/x-www-form-urlencoded",
        b"multipart/form-data; boundary=x",
        b"application/json-patch+json",
        b"application/jsonp",
        b"application/json, text/plain",
        b"text/plain; application/json",
        b"application/json; charset=utf-16",
        b"application/json; charset=utf-7",
        b"application/json; charset=latin-1",
        b"application/json; charset=utf-8; charset=utf-16",
        b"application/json; charset=utf-16; charset=utf-8",
        b"application/json;charset",
    ],
)
async def test_another_type_or_charset_is_415(
    start: Start, upstream: FakeUpstream, content_type: bytes
) -> None:
    gateway = await start()

    await assert_415(gateway, post(b"content-type: " + content_type, leave_out=[b"content-type"]))

    assert upstream.received == []


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/json",
        b"Application/JSON",
        b"application/json;charset=utf-8",
        b'application/json; charset="UTF-8"',
        b"application/json; charset=us-ascii",
        b"application/json; boundary=x",
    ],
)
async def test_json_in_utf_8_may_be_called_so(
    start: Start, upstream: FakeUpstream, content_type: bytes
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)

    async with connected(gateway) as wire:
        await wire.send(post(b"content-type: " + content_type, leave_out=[b"content-type"]))
        assert (await wire.answer()).body == GOOD

    (received,) = upstream.received
    assert sent_on(received, upstream.url)


async def test_a_body_that_is_hard_to_read_holds_up_no_other_call(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)
    hard = json.dumps({"model": "unknown", "x": '":' * 2_700_000}).encode()
    others = 0

    async with connected(gateway) as slow, connected(gateway) as quick:
        asking = asyncio.create_task(_ask(slow, hard))
        while not asking.done():
            assert await quick.goes_on()
            others += 1
        assert await asking == 404

    assert others > 10


async def _ask(wire: Wire, body: bytes) -> int:
    await wire.send(post(body=body))
    answer = await wire.answer()
    return int(answer.status)
