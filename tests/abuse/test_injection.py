"""Fields, model names and keys through which a client could reach more than its answer."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from asking import GOOD
from fake_upstream import FakeUpstream
from running import Site, Start, question
from wire import BODY, ask, connected, post, sent_on

from proxy.config import load
from proxy.dialects.dropped import DROPPED
from watermark.keys import Keyring
from watermark.ticket import verify

MODELS = [
    "http://evil.example/v1",
    "//evil.example",
    "../m",
    "m/../n",
    "%2e%2e/m",
    "m%2f..%2fn",
    "file:///etc/passwd",
    "m\r\nx-injected: 1",
    "m\n",
    "m\0",
    " m",
    "m ",
    "M",
    "\uff4d",
    "m\u200b",
    "engine-m",
    "",
    "m" * 10_000,
    "${jndi:ldap://evil}",
    "'; DROP TABLE models; --",
    "{{7*7}}",
    "__proto__",
]


@pytest.mark.parametrize("model", MODELS)
async def test_a_model_is_one_of_the_configuration_or_unknown(
    start: Start, upstream: FakeUpstream, model: str
) -> None:
    gateway = await start()

    async with connected(gateway) as wire:
        for ascii_only in (True, False):
            body = json.dumps(question(model=model), ensure_ascii=ascii_only).encode()
            await wire.send(post(body=body))
            answer = await wire.answer()
            assert (answer.status, answer.code) == (404, "model_not_found")
            assert len(model) < 4 or model not in answer.body.decode()
        assert await wire.goes_on()

    assert upstream.received == []
    assert await gateway.stop() == []


@pytest.mark.parametrize(
    "target",
    [
        b"/v1/models/../../metrics",
        b"/v1/models/%2e%2e%2fadmin",
        b"/v1/models/m%00",
        b"/v1/models/m%0d%0ax-injected:%201",
        b"/v1/models/http:%2f%2fevil",
        b"/v1/models//m",
        b"/v1/models/m/",
        b"/v1/models/%ff",
        b"/v1/models/",
    ],
)
async def test_a_model_in_a_path_is_a_name_and_nothing_else(
    start: Start, upstream: FakeUpstream, target: bytes
) -> None:
    gateway = await start()
    request = b"GET %s HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n"

    async with connected(gateway) as wire:
        await wire.send(request % target)
        answer = await wire.answer()
        assert (answer.status, answer.code) == (404, "model_not_found")
        assert "x-injected" not in answer.headers
        await wire.send(request % b"/v1/models/%6d?x=y")
        assert json.loads((await wire.answer()).body)["id"] == "m"


def escaped(name: str) -> str:
    return "".join(f"\\u{ord(letter):04x}" for letter in name)


def half_escaped(name: str) -> str:
    return f"\\u{ord(name[0]):04X}{name[1:]}"


@pytest.mark.parametrize("spell", [str, escaped, half_escaped])
async def test_what_no_client_may_send_is_dropped_however_it_is_spelt(
    start: Start, upstream: FakeUpstream, site: Site, spell: Any
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)
    forged = "".join(f',"{spell(name)}":{{"azeotrope":"forged"}}' for name in sorted(DROPPED))
    body = BODY.removesuffix(b"}") + forged.encode() + b"}"

    assert (await ask(gateway, post(body=body))).status == 200

    (received,) = upstream.received
    assert b"forged" not in received.body
    assert received.body.count(b"azeotrope") == 1
    ticket = json.loads(received.body)["vllm_xargs"]["azeotrope"]
    keyring = Keyring.load(load(site.file).keyring)
    keys = {epoch.epoch: epoch.ticket for epoch in keyring.epochs}
    assert verify(ticket, keys, time.time()).account == 1


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"m","messages":[],"vllm_xargs":{"azeotrope":"forged"},"vllm_xargs":{}}',
        r'{"model":"m","messages":[],"vllm_xargs":{},"vllm\u005fxargs":{"azeotrope":"forged"}}',
        '{"model":"m","messages":[],"vllm_xargs":{"azeotrope":"a","azeotrope":"forged"}}',
        r'{"model":"m","messages":[],"stream":false,"str\u0065am":true}',
    ],
)
async def test_a_forged_field_given_twice_is_refused(
    start: Start, upstream: FakeUpstream, body: str
) -> None:
    gateway = await start()

    answer = await ask(gateway, post(body=body.encode()))

    assert (answer.status, answer.code) == (400, "invalid_json")
    assert upstream.received == []


async def test_within_other_members_names_are_only_content(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)
    inner = {"vllm_xargs": {"azeotrope": "content"}, "logits_processors": ["os:system"]}
    asked = question(
        metadata=inner, stream=True, stream_options={"include_usage": True, "vllm_xargs": inner}
    )

    answer = await ask(gateway, post(body=json.dumps(asked).encode()))

    assert answer.status == 200
    (received,) = upstream.received
    # No engine reads them there: they go on as they are, and the ticket is ours alone.
    content = sent_on(received, upstream.url)
    assert content == {**asked, "model": "engine-m"}
    assert json.loads(received.body)["vllm_xargs"]["azeotrope"] != "content"


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b" ",
        b"az-",
        b"{KEY}x",
        b"{KEY} {KEY}",
        b"{KEY},{KEY}",
        b'"{KEY}"',
        b"Bearer {KEY}",
        b"*",
        b"az-*",
        b"\xff",
        "é".encode(),
        b"a" * 8_000,
        b"az-%00",
        b"../accounts.json",
        b"1",
        b"alice",
    ],
)
@pytest.mark.parametrize("target", [b"/v1/chat/completions", b"/v1/messages"])
async def test_no_other_key_opens(
    start: Start, upstream: FakeUpstream, key: bytes, target: bytes
) -> None:
    gateway = await start()

    for header in (b"authorization: Bearer ", b"x-api-key: "):
        request = post(header + key, target=target, leave_out=[b"authorization"])
        answer = await ask(gateway, request)
        assert answer.status == 401
        assert key == b"" or key.strip() == b"" or len(key) < 5 or key not in answer.body

    assert upstream.received == []


@pytest.mark.parametrize("other", [b"az-other", b"\xff", b"\xe9"])
async def test_two_different_keys_are_no_key(
    start: Start, upstream: FakeUpstream, other: bytes
) -> None:
    gateway = await start()

    answer = await ask(gateway, post(b"x-api-key: " + other, target=b"/v1/messages"))

    assert answer.status == 401
    assert json.loads(answer.body)["error"]["type"] == "authentication_error"
    assert upstream.received == []


async def test_nothing_of_a_request_becomes_a_header_of_its_answer(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)
    request = post(
        b"x-request-id: req_chosen", b"x-echo: marker", b"origin: https://marker", b"accept: marker"
    )

    answer = await ask(gateway, request)

    assert "marker" not in json.dumps(answer.headers)
    assert answer.headers["x-request-id"] != "req_chosen"
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_path_that_is_passed_on_is_the_configured_one_and_no_other(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(passthrough=[{"path": "/v1/rerank", "upstream": "fake"}])
    upstream.answers_whole(GOOD)

    async with connected(gateway) as wire:
        for target in (
            b"/v1/%72erank",
            b"/v1/rerank/",
            b"/v1/rerank/../chat/completions",
            b"//v1/rerank",
            b"/v1/rerank;x",
            b"/v1/rerank%3fx=y",
            b"/v1/rerank#x",
        ):
            await wire.send(post(target=target))
            assert (await wire.answer()).code == "unknown_url"
        await wire.send(post(b"x-secret: 1", target=b"http://evil/v1/rerank?x=%0d%0aevil:1"))
        assert (await wire.answer()).body == GOOD
        assert await wire.goes_on()

    (received,) = upstream.received
    line, *headers = received.head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
    assert line == "POST /v1/rerank?x=%0d%0aevil:1 HTTP/1.1"
    assert {header.partition(":")[0].lower() for header in headers} == {
        "host",
        "accept-encoding",
        "content-length",
        "content-type",
    }
    assert received.body == BODY
