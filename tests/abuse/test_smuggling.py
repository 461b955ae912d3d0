"""Framing: a request has one end for every reader, or it is refused and its connection closed."""

from __future__ import annotations

import asyncio
import json

import pytest
from asking import GOOD
from fake_upstream import Conversation, FakeUpstream
from running import Start
from wire import BODY, DEADLINE_S, KEY, chunked, connected, post, sent_on

CHUNKED = b"transfer-encoding: chunked"
LENGTH = b"content-length: %d" % len(BODY)
# A second request, hidden where one reader sees a body and another one does not.
HIDDEN = post(target=b"/v1/completions")


def coded(*headers: bytes, body: bytes | None = None, version: bytes = b"HTTP/1.1") -> bytes:
    return post(*headers, body=chunked() if body is None else body, length=False, version=version)


REFUSED = {
    "length, then coding": post(CHUNKED, body=b"0\r\n\r\n" + HIDDEN),
    "coding, then length": coded(CHUNKED, b"content-length: 5", body=b"0\r\n\r\n" + HIDDEN),
    "one length twice": post(LENGTH),
    "two lengths": post(b"content-length: 5"),
    "list of one length": post(LENGTH + b", %d" % len(BODY), length=False),
    "length +57": post(b"content-length: +57", length=False),
    "length -1": post(b"content-length: -1", length=False),
    "length with a space": post(b"content-length: 5 7", length=False),
    "length in hex": post(b"content-length: 0x39", length=False),
    "length with an underscore": post(b"content-length: 5_7", length=False),
    "length beyond 64 bits": post(b"content-length: " + b"9" * 30, length=False),
    "no length in the header": post(b"content-length: ", length=False),
    "coding twice": coded(CHUNKED, CHUNKED),
    "chunked, chunked": coded(b"transfer-encoding: chunked, chunked"),
    "xchunked": coded(b"transfer-encoding: xchunked"),
    "gzip, chunked": coded(b"transfer-encoding: gzip, chunked"),
    "chunked, gzip": coded(b"transfer-encoding: chunked, gzip"),
    "identity": coded(b"transfer-encoding: identity", body=BODY),
    "identity beside a length": post(b"transfer-encoding: identity"),
    "no coding in the header": coded(b"transfer-encoding: ", body=BODY),
    "quoted": coded(b'transfer-encoding: "chunked"'),
    "comma behind": coded(b"transfer-encoding: chunked,"),
    "folded": coded(b"transfer-encoding:\r\n chunked"),
    "vertical tab": coded(b"transfer-encoding: \x0bchunked"),
    "space before the colon": post(b"transfer-encoding : chunked", body=chunked()),
    "coding in HTTP/1.0": coded(CHUNKED, version=b"HTTP/1.0"),
    "chunk size beyond 64 bits": coded(CHUNKED, body=b"f" * 17 + b"\r\nabc\r\n0\r\n\r\n"),
    "chunk size -1": coded(CHUNKED, body=b"-1\r\nabc\r\n0\r\n\r\n"),
    "chunk size with 0x": coded(CHUNKED, body=b"0x39\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunk size with a space": coded(CHUNKED, body=b"39 \r\n" + BODY + b"\r\n0\r\n\r\n"),
    "chunks with bare LF": coded(CHUNKED, body=b"39\n" + BODY + b"\n0\n\n"),
    "bare LF behind the size": coded(CHUNKED, body=b"39\n" + BODY + b"\r\n0\r\n\r\n"),
    "bare LF behind an extension": coded(CHUNKED, body=b"39;\n" + BODY + b"\r\n0\r\n\r\n"),
    "bare CR in an extension": coded(CHUNKED, body=chunked(extension=b";a\rb")),
    "chunk longer than its size": coded(CHUNKED, body=b"39\r\n" + BODY + b"0\r\n\r\n"),
    "length as a trailer": coded(CHUNKED, body=chunked(trailers=b"content-length: 5\r\n")),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_ambiguous_framing_is_refused_and_the_connection_closed(
    start: Start, upstream: FakeUpstream, name: str
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)

    async with connected(gateway) as wire:
        await wire.send(REFUSED[name])
        answer = await wire.answer()
        assert (answer.status, answer.code) == (400, "invalid_http")
        assert answer.headers["connection"] == "close"
        assert await wire.is_closed()

    assert upstream.received == []
    assert await gateway.stop() == []


ACCEPTED = {
    "a length": post(),
    "zeros before the length": post(b"content-length: 000%d" % len(BODY), length=False),
    "spaces behind the length": post(LENGTH + b"  ", length=False),
    "chunks": coded(CHUNKED),
    "chunks of one byte": coded(
        CHUNKED, body=b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
    ),
    "a tab before the coding": coded(b"transfer-encoding:\tchunked"),
    "mixed case": coded(b"Transfer-Encoding: cHuNkEd"),
    "another header's name": post(b"transfer_encoding: chunked"),
    "zeros before the size": coded(CHUNKED, body=b"00039\r\n" + BODY + b"\r\n0\r\n\r\n"),
    "an extension": coded(CHUNKED, body=chunked(extension=b';a=b;c="d"')),
    "a long extension": coded(CHUNKED, body=chunked(extension=b";" + b"x" * 100_000)),
    "trailers": coded(CHUNKED, body=chunked(trailers=b"x-a: b\r\nauthorization: Bearer z\r\n")),
    "empty lines before": b"\r\n\r\n" + post(),
}


@pytest.mark.parametrize("name", ACCEPTED)
async def test_what_has_one_meaning_is_answered_and_sent_on_in_our_own_framing(
    start: Start, upstream: FakeUpstream, name: str
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)

    async with connected(gateway) as wire:
        await wire.send(ACCEPTED[name])
        answer = await wire.answer()
        assert (answer.status, answer.body) == (200, GOOD)
        if b"chunked" in ACCEPTED[name].lower() and b"transfer_" not in ACCEPTED[name]:
            assert answer.headers["connection"] == "close"
            assert await wire.is_closed()
        else:
            assert await wire.goes_on()

    (received,) = upstream.received
    content = sent_on(received, upstream.url)
    assert content == {**json.loads(BODY), "model": "engine-m"}


@pytest.mark.parametrize("declared", [2**63, 2**64 - 1])
async def test_an_absurd_length_is_too_large(
    start: Start, upstream: FakeUpstream, declared: int
) -> None:
    gateway = await start()

    async with connected(gateway) as wire:
        await wire.send(post(b"content-length: %d" % declared, length=False))
        answer = await wire.answer()
        assert (answer.status, answer.code) == (413, "request_too_large")
        assert await wire.is_closed()

    assert upstream.received == []


async def test_a_chunk_that_never_ends_runs_into_the_deadline_of_bodies(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(limits={"body_timeout_s": 0.2})

    async with connected(gateway) as wire:
        await wire.send(coded(CHUNKED, body=b"f" * 16 + b"\r\nabc"))
        answer = await wire.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert await wire.is_closed()

    assert upstream.received == []


@pytest.mark.parametrize("trailers", [b"x-a: " + b"b" * 20_000, b"x: y\r\n" * 5_000])
async def test_trailers_are_bounded(start: Start, upstream: FakeUpstream, trailers: bytes) -> None:
    gateway = await start()

    async with connected(gateway) as wire:
        await wire.send(coded(CHUNKED, body=chunked(trailers=trailers + b"\r\n")))
        answer = await wire.answer()
        assert (answer.status, answer.code) == (431, "head_too_large")
        assert await wire.is_closed()

    assert upstream.received == []


async def test_a_trailer_never_becomes_a_header_of_the_next_request(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)
    trailer = b"x-api-key: " + KEY + b"\r\n"

    async with connected(gateway) as wire:
        await wire.send(
            coded(CHUNKED, body=chunked(trailers=trailer)) + post(leave_out=[b"authorization"])
        )
        answer = await wire.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await wire.is_closed()

    assert len(upstream.received) == 1


async def test_requests_in_one_packet_are_answered_in_order(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)

    async with connected(gateway) as wire:
        await wire.send(post() + post() + post(target=b"/v1/nothing") + post())
        answers = [await wire.answer() for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 404, 200]
        assert await wire.goes_on()

    assert len(upstream.received) == 3
    assert len({answer.headers["x-request-id"] for answer in answers}) == 4


async def test_garbage_in_the_packet_of_a_good_request_refuses_both(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()

    async with connected(gateway) as wire:
        await wire.send(post() + b"garbage\r\n\r\n")
        answer = await wire.answer()
        assert (answer.status, answer.code) == (400, "invalid_http")
        assert await wire.is_closed()

    assert upstream.received == []


async def test_what_is_sent_ahead_cannot_hide_that_the_client_hangs_up(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_until_hung_up()

    async with connected(gateway) as wire:
        await wire.send(post())
        await upstream.arrived.wait()
        await wire.send(post() * 2_000)
        wire.reset()
        async with asyncio.timeout(DEADLINE_S):
            await upstream.hung_up.wait()

    assert [line["end"] for line in await gateway.stop()] == ["client_closed"]


async def test_more_requests_ahead_than_are_kept_close_the_connection_after_the_answer(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    go = asyncio.Event()

    async def script(conversation: Conversation) -> None:
        await go.wait()
        await conversation.whole(GOOD)

    upstream.answers(script)

    async with connected(gateway) as wire:
        await wire.send(post())
        await upstream.arrived.wait()
        await wire.send(post() * 2_000)
        go.set()
        assert (await wire.answer()).status == 200
        assert await wire.is_closed()

    assert len(upstream.received) == 1
