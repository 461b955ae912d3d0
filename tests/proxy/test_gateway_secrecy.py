"""What clients may not do or see, what engines may not see, what no log may hold."""

from __future__ import annotations

import json
import logging
import time

import pytest
from fake_upstream import Conversation, FakeUpstream
from running import Site, Start, question
from secrecy import leaks, secrets_in

from proxy.config import load
from proxy.errors import ConfigError
from proxy.logs import JsonFormatter, TextFormatter
from proxy.server import load_material
from watermark.keys import Keyring
from watermark.ticket import Ticket, verify

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":22}}\n\n'
ANSWER = b'{"choices":[{"message":{"content":"the-secret-answer"}}]}'


def ticket_of(site: Site, upstream: FakeUpstream, place: int = -1) -> Ticket:
    keyring = Keyring.load(load(site.file).keyring)
    text = json.loads(upstream.received[place].body)["vllm_xargs"]["azeotrope"]
    return verify(text, {keys.epoch: keys.ticket for keys in keyring.epochs}, time.time())


async def test_every_call_carries_its_own_signed_ticket(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    bob = site.add("bob")
    gateway = await start(mark={"ticket_ttl_s": 60})
    upstream.answers_whole(ANSWER)
    for key in (None, bob):
        async with gateway.chat(key=key) as response:
            await response.read()

    lines = await gateway.stop()

    tickets = [ticket_of(site, upstream, place) for place in (0, 1)]
    assert [ticket.account for ticket in tickets] == [1, 2] == [line["account"] for line in lines]
    assert [ticket.call for ticket in tickets] == [line["call"] for line in lines]
    assert [ticket.call >> 40 for ticket in tickets] == [1, 2]
    assert [line["name"] for line in lines] == ["alice", "bob"]
    assert all(0 < ticket.expires - time.time() <= 60 for ticket in tickets)
    manifest = load_material(load(site.file)).manifest
    assert {ticket.delta_millinats for ticket in tickets} == {manifest.delta_millinats}
    assert {ticket.epoch for ticket in tickets} == {manifest.current_epoch} == {lines[0]["epoch"]}


async def test_a_client_cannot_choose_weaken_or_switch_off_its_mark(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    gateway = await start()
    upstream.answers_whole(ANSWER)
    forged = question(
        vllm_xargs={"azeotrope": "forged", "delta": 0},
        watermarking=False,
        watermark={"key": 1},
        extra_args={"azeotrope": None},
        logits_processors=["os:system"],
        use_beam_search=True,
    )

    async with gateway.chat(forged) as response:
        assert response.status == 200

    body = json.loads(upstream.received[0].body)
    assert set(body) == {"model", "messages", "vllm_xargs"}
    assert ticket_of(site, upstream).account == 1
    assert await gateway.metric('azeotrope_dropped_fields_total{field="watermarking"}') == 1
    assert await gateway.metric("azeotrope_tickets_signed_total") == 1


async def test_delta_may_be_raised_but_never_lowered(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    least = load_material(load(site.write())).manifest.delta_millinats
    site.content["mark"] = {"delta": (least - 1) / 1000}
    with pytest.raises(ConfigError, match=r"^mark.delta: expected at least the manifest's"):
        load_material(load(site.write()))

    gateway = await start(mark={"delta": (least + 500) / 1000})
    upstream.answers_whole(ANSWER)
    async with gateway.chat() as response:
        await response.read()
    assert ticket_of(site, upstream).delta_millinats == least + 500


async def test_an_engine_sees_the_gateways_key_and_only_allowed_headers(
    start: Start, upstream: FakeUpstream, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGINE_KEY", "engine-key")
    site.content["upstreams"][0]["api_key_env"] = "ENGINE_KEY"
    gateway = await start()
    upstream.answers_whole(ANSWER)

    async with gateway.http.post(
        f"{gateway.url}/v1/chat/completions",
        json=question(),
        headers={
            **gateway.headers(),
            "accept": "application/json",
            "accept-encoding": "gzip, br",
            "cookie": "session=1",
            "connection": "x-secret",
            "openai-organization": "org",
            "proxy-authorization": "Basic x",
            "te": "trailers",
            "user-agent": "tests",
            "x-forwarded-for": "1.2.3.4",
            "x-secret": "1",
        },
    ) as response:
        assert response.status == 200

    headers = upstream.received[0].headers
    assert headers.pop("host") == upstream.url.removeprefix("http://")
    assert headers.pop("content-length") == str(len(upstream.received[0].body))
    assert headers == {
        "authorization": "Bearer engine-key",
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "tests",
    }


async def test_without_a_key_for_the_engine_it_gets_none(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_whole(ANSWER)
    async with gateway.chat() as response:
        await response.read()

    assert "authorization" not in upstream.received[0].headers


async def test_a_client_sees_only_allowed_headers_of_the_engine(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()

    async def script(conversation: Conversation) -> None:
        await conversation.head(
            content_type="application/json",
            content_length=str(len(ANSWER)),
            server="engine",
            set_cookie="a=b",
            x_request_id="engine-id",
            x_ratelimit_limit_requests="7",
            x_azeotrope_ticket="t",
            keep_alive="timeout=5",
            cache_control="no-store",
        )
        await conversation.send(ANSWER)

    upstream.answers(script)

    async with gateway.chat() as response:
        headers = {name.lower(): value for name, value in response.headers.items()}

    assert set(headers) == {
        "azeotrope-mark",
        "cache-control",
        "content-digest",
        "content-length",
        "content-type",
        "date",
        "server",
        "signature",
        "signature-input",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
        "x-request-id",
    }
    assert headers["server"] == "azeotrope"
    assert headers["x-ratelimit-limit-requests"] == "60000"
    assert headers["x-request-id"].startswith("req_")


async def test_neither_keys_nor_prompts_nor_answers_are_in_logs_metrics_registry_or_errors(
    start: Start,
    upstream: FakeUpstream,
    site: Site,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ENGINE_KEY", "the-secret-engine-key")
    site.content["upstreams"][0]["api_key_env"] = "ENGINE_KEY"
    gateway = await start()
    prompt = question(messages=[{"role": "user", "content": "the-secret-prompt"}])
    told = b""

    async def dies(conversation: Conversation) -> None:
        await conversation.begin_stream()
        await conversation.chunk(b"data: the-secret-answer\n\n")
        conversation.reset()

    upstream.answers_whole(ANSWER)
    async with gateway.chat(prompt) as response:
        await response.read()
    upstream.answers(dies)
    async with gateway.chat({**prompt, "stream": True}) as response:
        await response.content.readuntil(b"answer\n\n")
        told += await response.content.readuntil(b"\n\n")
    for body in (b'{"the-secret-prompt":NaN}', b'{"model":"the-secret-prompt"}'):
        async with gateway.chat(body) as response:
            told += await response.read()
    async with gateway.chat(prompt, key="az-the-secret-wrong-key") as response:
        told += await response.read()
    metrics = await gateway.metrics()
    lines = await gateway.stop()

    formatters = (JsonFormatter(), TextFormatter())
    logs = [each.format(record) for each in formatters for record in caplog.records]
    for place in (metrics, json.dumps(lines), told.decode(), *logs):
        assert "the-secret" not in place
        assert site.key not in place
        assert "vllm_xargs" not in place
    for received in upstream.received[:2]:
        ticket = json.loads(received.body)["vllm_xargs"]["azeotrope"]
        assert all(ticket not in line for line in logs)


async def test_a_call_is_logged_with_numbers_and_durations(
    start: Start, upstream: FakeUpstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "proxy")
    gateway = await start()
    upstream.answers_stream(USAGE, b"data: [DONE]\n\n")
    async with gateway.chat(question(stream=True, extra_args={})) as response:
        await response.read()
        request_id = response.headers["x-request-id"]
    (line,) = await gateway.stop()

    (record,) = [record for record in caplog.records if record.message == "call"]
    logged = json.loads(JsonFormatter().format(record))
    assert logged["call"] == line["call"]
    assert logged["request_id"] == request_id
    assert (logged["account"], logged["model"], logged["upstream"]) == (1, "m", "fake")
    assert (logged["status"], logged["end"]) == (200, "complete")
    assert (logged["prompt_tokens"], logged["completion_tokens"]) == (11, 22)
    assert logged["dropped_fields"] == ["extra_args"]
    assert 0 < logged["first_byte_ms"] <= logged["total_ms"]
    assert 0 < logged["upstream_ms"] < logged["total_ms"]


def test_the_search_after_every_test_finds_keys_prompts_and_answers() -> None:
    asked = json.dumps(
        question(messages=[{"role": "user", "content": 'a prompt\nwith "two" lines'}])
    )
    secrets = secrets_in([asked.encode(), b'{"delta":{"content":"some words of an answer"}}'])

    for told in (
        'p=a prompt\nwith "two" lines',
        asked,
        "x some words of an answer",
        "az-" + "x" * 43,
    ):
        assert leaks(told, secrets)
    assert not leaks("model=m status=200 az-wrong", secrets)
