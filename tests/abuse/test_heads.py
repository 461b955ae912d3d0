"""Heads: lines, names, values, sizes, targets, versions, methods; and what goes to the engine."""

from __future__ import annotations

import pytest
from asking import GOOD
from fake_upstream import FakeUpstream
from running import Site, Start
from wire import BODY, CHAT, connected, post, sent_on

BAD = {
    "bare LF everywhere": post().replace(b"\r\n", b"\n"),
    "bare LF between headers": post(b"x-a: 1\nx-b: 2"),
    "bare CR everywhere": post().replace(b"\r\n", b"\r"),
    "bare CR between headers": post(b"x-a: 1\rx-b: 2"),
    "NUL in a value": post(b"x-a: a\0b"),
    "NUL in a name": post(b"x\0a: b"),
    "control character": post(b"x-a: a\x01b"),
    "DEL": post(b"x-a: a\x7fb"),
    "eight bits in a name": post(b"x\xe9: b"),
    "no name": post(b": b"),
    "space before the colon": post(b"x-a : b"),
    "space in a name": post(b"x a: b"),
    "no colon": post(b"xa"),
    "folded": post(b"x-a: b\r\n c"),
    "folded with a tab": post(b"x-a: b\r\n\tc"),
    "folded before any header": post().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\n x: y\r\n"),
    "authority form": post(target=b"x:80"),
    "asterisk form with POST": post(target=b"*"),
    "CONNECT": b"CONNECT evil:80 HTTP/1.1\r\nhost: evil:80\r\n\r\n",
    "CONNECT to a path": post(method=b"CONNECT"),
    "HTTP/0.9 without a version": b"GET /v1/models\r\n\r\n",
    "HTTP/0.9": post(version=b"HTTP/0.9"),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0": post(version=b"HTTP/2.0"),
    "HTTP/1.2": post(version=b"HTTP/1.2"),
    "HTTP/1.10": post(version=b"HTTP/1.10"),
    "version in lower case": post(version=b"http/1.1"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "no host": post(leave_out=[b"host"]),
    "two hosts": post(b"host: y"),
    "garbage as host": post(b"host: a b/\\@#", leave_out=[b"host"]),
    "host with a user": post(b"host: user@x", leave_out=[b"host"]),
    "key twice": post(b"authorization: Bearer {KEY}"),
    "two keys": post(b"authorization: Bearer other"),
    "two keys of the other family": post(b"x-api-key: a", b"x-api-key: b"),
    "two content types": post(b"content-type: text/plain"),
    "two content codings": post(b"content-encoding: identity", b"content-encoding: gzip"),
    "expect twice": post(b"expect: 100-continue", b"expect: 100-continue"),
    "old websocket": post(b"sec-websocket-key1: x"),
    "unknown method": post(method=b"FOO"),
    "method in lower case": post(method=b"post"),
    "method of 10,000 characters": post(method=b"P" * 10_000),
    "tab in the request line": post().replace(b"POST /", b"POST\t/"),
    "space in the target": post(target=CHAT + b" /x"),
    "NUL in the target": post(target=CHAT + b"\0"),
    "eight bits in the target": post(target=b"/v1/\xff"),
    "backslashes in the target": post(target=rb"\v1\chat\completions"),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_malformed_head_is_400_and_the_connection_closed(
    start: Start, upstream: FakeUpstream, name: str
) -> None:
    gateway = await start()

    async with connected(gateway) as wire:
        await wire.send(BAD[name])
        answer = await wire.answer()
        assert (answer.version, answer.status, answer.code) == ("HTTP/1.1", 400, "invalid_http")
        assert answer.headers["connection"] == "close"
        assert await wire.is_closed()

    assert upstream.received == []
    assert await gateway.stop() == []


LARGE = {
    "one long value": post(b"x-a: " + b"b" * 9_000),
    "one long name": post(b"x" * 9_000 + b": b"),
    "many headers": post(*(b"x-%d: b" % place for place in range(130))),
    "long headers together": post(*(b"x-%d: %s" % (place, b"b" * 8_000) for place in range(5))),
    "a long target": post(target=b"/v1/" + b"a" * 9_000),
    # Neither ever comes to its end: they must not have to.
    "headers without an end": post().partition(b"\r\n\r\n")[0]
    + b"".join(b"\r\nx-%d: %s" % (place, b"b" * 1_000) for place in range(40)),
    "a line without an end": b"GET /" + b"a" * 40_000,
}


@pytest.mark.parametrize("name", LARGE)
async def test_a_head_beyond_the_bounds_is_431_and_the_connection_closed(
    start: Start, upstream: FakeUpstream, name: str
) -> None:
    gateway = await start()

    async with connected(gateway) as wire:
        await wire.send(LARGE[name])
        answer = await wire.answer()
        assert (answer.status, answer.code) == (431, "head_too_large")
        assert await wire.is_closed()

    assert upstream.received == []


async def test_a_refusal_can_be_read_although_a_megabyte_follows_it(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()

    async with connected(gateway) as wire:
        await wire.send(b"GET / HTTP/1.1\r\nhost: x\r\nx-a: ")
        await wire.send(b"b" * 1_000_000)
        assert (await wire.answer()).status == 431
        assert await wire.is_closed()


# name: (request, status, code, whether the connection goes on)
REFUSED: dict[str, tuple[bytes, int, str, bool]] = {
    "OPTIONS *": (post(method=b"OPTIONS", target=b"*"), 404, "unknown_url", True),
    "target of another scheme": (post(target=b"ftp://x" + CHAT), 404, "unknown_url", True),
    "two slashes": (post(target=b"/" + CHAT), 404, "unknown_url", True),
    "slash behind": (post(target=CHAT + b"/"), 404, "unknown_url", True),
    "encoded letter": (post(target=b"/v1/%63hat/completions"), 404, "unknown_url", True),
    "encoded slash": (post(target=b"/v1%2fchat/completions"), 404, "unknown_url", True),
    "encoded NUL": (post(target=CHAT + b"%00"), 404, "unknown_url", True),
    "half an escape": (post(target=b"/v1/%zz"), 404, "unknown_url", True),
    "path parameter": (post(target=CHAT + b";a=b"), 404, "unknown_url", True),
    "fragment": (post(target=CHAT + b"#x"), 404, "unknown_url", True),
    "dots": (post(target=b"/v1/x/../chat/completions"), 404, "unknown_url", True),
    "encoded dots": (post(target=b"/v1/x/%2e%2e/chat/completions"), 404, "unknown_url", True),
    "one dot": (post(target=b"/v1/./chat/completions"), 404, "unknown_url", True),
    "upper case": (post(target=CHAT.upper()), 404, "unknown_url", True),
    "metrics": (post(target=b"/metrics"), 404, "unknown_url", True),
    "GET": (post(method=b"GET"), 405, "method_not_supported", True),
    "HEAD with no body": (
        b"PUT /v1/models HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        405,
        "method_not_supported",
        True,
    ),
    "PURGE": (post(method=b"PURGE"), 405, "method_not_supported", True),
    "expect something": (post(b"expect: 200-ok"), 417, "expectation_failed", True),
    "expect a list": (post(b"expect: 100-continue, x"), 417, "expectation_failed", True),
    "expect nothing": (post(b"expect: "), 417, "expectation_failed", True),
    "no key": (post(leave_out=[b"authorization"]), 401, "invalid_api_key", True),
    "key of another scheme": (
        post(b"authorization: Basic {KEY}", leave_out=[b"authorization"]),
        401,
        "invalid_api_key",
        True,
    ),
    "key in the query": (
        post(target=CHAT + b"?api_key={KEY}", leave_out=[b"authorization"]),
        401,
        "invalid_api_key",
        True,
    ),
    "key with eight bits": (
        post(b"authorization: Bearer \xff{KEY}", leave_out=[b"authorization"]),
        401,
        "invalid_api_key",
        True,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_well_formed_request_that_is_not_ours_is_refused_and_the_connection_kept(
    start: Start, upstream: FakeUpstream, name: str
) -> None:
    gateway = await start()
    request, status, code, kept = REFUSED[name]

    async with connected(gateway) as wire:
        await wire.send(request)
        answer = await wire.answer()
        assert (answer.status, answer.code) == (status, code)
        assert await wire.goes_on() == kept

    assert upstream.received == []
    assert await gateway.stop() == []


WEBSOCKET = (
    b"connection: upgrade",
    b"upgrade: websocket",
    b"sec-websocket-version: 13",
    b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
)
# What clients and proxies send along, or try: answered, and none of it goes to the engine.
HARMLESS = {
    "h2c": post(b"connection: upgrade, http2-settings", b"upgrade: h2c", b"http2-settings: AAMA"),
    "websocket": post(*WEBSOCKET),
    "TLS upgrade": post(b"connection: upgrade", b"upgrade: TLS/1.0"),
    "headers named in connection": post(b"connection: authorization, content-length, host"),
    "hop-by-hop headers": post(
        b"te: trailers",
        b"keep-alive: timeout=9",
        b"proxy-connection: keep-alive",
        b"proxy-authorization: Basic x",
        b"trailer: x",
    ),
    "proxies' headers": post(
        b"x-forwarded-for: 127.0.0.1, 10.0.0.1",
        b"x-forwarded-host: evil",
        b"x-forwarded-proto: https",
        b"x-forwarded-prefix: /admin",
        b"x-real-ip: 127.0.0.1",
        b"x-original-url: /metrics",
        b"x-rewrite-url: /metrics",
        b"forwarded: for=127.0.0.1;host=evil",
        b"via: 1.1 evil",
    ),
    "another method by a header": post(
        b"x-http-method-override: DELETE", b"x-http-method: GET", b"x-method-override: PUT"
    ),
    "ids and tickets of the client's own": post(
        b"x-request-id: chosen",
        b"x-azeotrope-ticket: forged",
        b"azeotrope-mark: forged",
        b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ),
    "cookies": post(b"cookie: a=b", b"cookie: c=d"),
    "eight bits in a value": post(b"x-title: \xe9\xff"),
    "an empty host": post(b"host:", leave_out=[b"host"]),
    "a host of another name": post(b"host: evil.example:99", leave_out=[b"host"]),
    "an IPv6 host": post(b"host: [::1]:8080", leave_out=[b"host"]),
    "absolute target": post(target=b"http://x" + CHAT),
    "absolute target of another host": post(target=b"https://evil:1" + CHAT),
    "a query": post(target=CHAT + b"?api-version=2024-10-21&model=n&x=/../"),
    "two spaces in the request line": post().replace(b"POST /", b"POST  /"),
    "a hundred headers": post(*(b"x-%d: b" % place for place in range(100))),
    "a header of 8,000 bytes": post(b"x-a: " + b"b" * 8_000),
    "HTTP/1.0 kept alive": post(b"connection: keep-alive", version=b"HTTP/1.0"),
}


@pytest.mark.parametrize("name", HARMLESS)
async def test_headers_and_targets_of_a_good_request_never_reach_the_engine(
    start: Start, upstream: FakeUpstream, name: str
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)

    async with connected(gateway) as wire:
        await wire.send(HARMLESS[name])
        answer = await wire.answer()
        assert (answer.status, answer.body) == (200, GOOD)
        assert answer.headers["x-request-id"].startswith("req_")
        assert await wire.goes_on()

    (received,) = upstream.received
    assert sent_on(received, upstream.url)["model"] == "engine-m"


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(version=b"HTTP/1.0"),
        post(version=b"HTTP/1.0", leave_out=[b"host"]),
        post(b"connection: close"),
        post(b"connection: close, x-api-key"),
    ],
)
async def test_a_client_that_wants_it_gets_its_connection_closed(
    start: Start, upstream: FakeUpstream, request_bytes: bytes
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)

    async with connected(gateway) as wire:
        await wire.send(request_bytes)
        assert (await wire.answer()).body == GOOD
        assert await wire.is_closed()

    (received,) = upstream.received
    assert sent_on(received, upstream.url)


async def test_only_accept_and_user_agent_go_on_and_only_in_ascii(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)

    async with connected(gateway) as wire:
        for agent in (b"tests/1 (x; y)", b"caf\xe9\xff", "café".encode()):
            await wire.send(post(b"accept: text/event-stream", b"user-agent: " + agent))
            assert (await wire.answer()).status == 200

    good, *others = upstream.received
    assert sent_on(good, upstream.url, accept="text/event-stream", user_agent="tests/1 (x; y)")
    for received in others:
        assert sent_on(received, upstream.url, accept="text/event-stream")


async def test_100_continue_comes_once_and_only_before_the_body(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)
    head = post(b"Expect: 100-CONTINUE").removesuffix(BODY)

    async with connected(gateway) as wire:
        await wire.send(head)
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.send(BODY)
        assert (await wire.answer()).body == GOOD
        assert await wire.goes_on()

    (received,) = upstream.received
    assert sent_on(received, upstream.url)


async def test_expect_in_http_1_0_is_not_answered_with_100(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)

    async with connected(gateway) as wire:
        await wire.send(post(b"expect: 100-continue", version=b"HTTP/1.0"))
        assert (await wire.answer()).body == GOOD


async def test_an_engines_key_is_never_one_of_the_clients(
    start: Start, upstream: FakeUpstream, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_KEY", "engine-key")
    site.content["upstreams"][0]["api_key_env"] = "ENGINE_KEY"
    gateway = await start()
    upstream.answers_whole(GOOD)

    async with connected(gateway) as wire:
        await wire.send(post(b"connection: authorization, x-api-key", b"x-api-key: client"))
        assert (await wire.answer()).status == 200

    (received,) = upstream.received
    assert sent_on(received, upstream.url, authorization="Bearer engine-key")
