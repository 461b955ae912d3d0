"""Bad input: a clear error in OpenAI's shape, and the server goes on."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from asking import GOOD, assert_goes_on, chat_error, error_of, raw
from fake_upstream import FakeUpstream
from running import Running, Site, Start, question


async def _send(
    gateway: Running, method: str, path: str, **options: Any
) -> tuple[int, dict[str, Any]]:
    options.setdefault("headers", gateway.headers())
    async with gateway.http.request(method, gateway.url + path, **options) as response:
        return await error_of(response)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"m","model":"m"}', b'{"a":NaN}'])
async def test_a_malformed_body_is_400(start: Start, upstream: FakeUpstream, body: bytes) -> None:
    gateway = await start()

    status, error = await chat_error(gateway, body)

    assert (status, error["type"], error["code"]) == (400, "invalid_request_error", "invalid_json")
    await assert_goes_on(gateway, upstream)
    assert len(upstream.received) == 1


async def test_a_big_malformed_body_is_400_as_well(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    body = b'{"model":"m","messages":[' + b"{}," * 60_000 + b"]}"

    status, error = await chat_error(gateway, body)

    assert (status, error["code"]) == (400, "invalid_json")
    await assert_goes_on(gateway, upstream)


@pytest.mark.parametrize("model", ["unknown", "engine-m", "", "m "])
async def test_an_unknown_model_is_404(start: Start, upstream: FakeUpstream, model: str) -> None:
    gateway = await start()

    status, error = await chat_error(gateway, json.dumps(question(model=model)).encode())

    assert (status, error["param"], error["code"]) == (404, "model", "model_not_found")
    await assert_goes_on(gateway, upstream)


async def test_a_model_that_the_account_may_not_use_looks_unknown(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    key = site.add("bob", models=["n"])
    gateway = await start()

    status, error = await chat_error(gateway, json.dumps(question()).encode(), key=key)

    assert (status, error["code"]) == (404, "model_not_found")
    await assert_goes_on(gateway, upstream)


@pytest.mark.parametrize("authorization", [None, "Bearer ", "Basic x", "Bearer az-wrong"])
async def test_a_missing_or_unknown_key_is_401(
    start: Start, upstream: FakeUpstream, authorization: str | None
) -> None:
    gateway = await start()
    headers = {"content-type": "application/json"}
    if authorization is not None:
        headers["authorization"] = authorization

    for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models")):
        status, error = await _send(gateway, method, path, headers=headers, data=b"{}")
        assert (status, error["code"]) == (401, "invalid_api_key")
    await assert_goes_on(gateway, upstream)


async def test_a_suspended_account_is_403(start: Start, upstream: FakeUpstream, site: Site) -> None:
    key = site.add("mallory")
    file = site.directory / "accounts.json"
    content = json.loads(file.read_text())
    content["accounts"][-1]["state"] = "suspended"
    file.write_text(json.dumps(content))
    gateway = await start()

    status, error = await chat_error(gateway, json.dumps(question()).encode(), key=key)

    assert (status, error["code"]) == (403, "account_suspended")
    await assert_goes_on(gateway, upstream)


async def test_a_body_declared_too_large_is_413_before_it_is_read(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(limits={"max_body_bytes": 1000})
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {gateway.site.key}\r\ncontent-length: 100000000\r\n\r\n"
    )
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode())

    answer = await reader.readuntil(b"\r\n\r\n")  # not a byte of the body was sent

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()
    writer.close()
    await assert_goes_on(gateway, upstream)


async def test_a_chunked_body_is_413_once_it_is_too_large(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(limits={"max_body_bytes": 1000})

    async def body() -> Any:
        for _ in range(20):
            yield b"x" * 100

    async with gateway.http.post(
        f"{gateway.url}/v1/chat/completions",
        data=body(),
        headers={"content-type": "application/json", **gateway.headers()},
    ) as response:
        status, error = await error_of(response)

    assert (status, error["code"]) == (413, "request_too_large")
    await assert_goes_on(gateway, upstream)


async def test_a_body_of_just_the_limit_passes(start: Start, upstream: FakeUpstream) -> None:
    body = json.dumps(question()).encode()
    gateway = await start(limits={"max_body_bytes": len(body)})

    await assert_goes_on(gateway, upstream)
    status, _ = await chat_error(gateway, body + b" ")
    assert status == 413


async def test_a_body_that_trickles_is_408(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start(limits={"body_timeout_s": 0.05})
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        f"authorization: Bearer {gateway.site.key}\r\ncontent-length: 100\r\n\r\n{{"
    )

    answer = await raw(gateway, head.encode())

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"
    await assert_goes_on(gateway, upstream)


async def test_a_head_that_trickles_closes_the_connection(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(limits={"header_timeout_s": 0.05})

    assert await raw(gateway, b"POST /v1/chat/completions HTTP/1.1\r\nhost:") == b""
    await assert_goes_on(gateway, upstream)


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_a_wrong_content_type_is_415(
    start: Start, upstream: FakeUpstream, headers: dict[str, str]
) -> None:
    gateway = await start()

    status, error = await _send(
        gateway,
        "POST",
        "/v1/chat/completions",
        data=b"{}",
        headers={**headers, **gateway.headers()},
    )

    assert (status, error["code"]) == (415, "unsupported_content_type")
    await assert_goes_on(gateway, upstream)


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf-8"'])
async def test_utf_8_may_be_said_aloud(start: Start, upstream: FakeUpstream, charset: str) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)

    async with gateway.http.post(
        f"{gateway.url}/v1/chat/completions",
        data=json.dumps(question()),
        headers={"content-type": f"application/json; charset={charset}", **gateway.headers()},
    ) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("PUT", "/v1/completions", "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", "/v1/models/m", "GET"),
    ],
)
async def test_a_wrong_method_is_405(
    start: Start, upstream: FakeUpstream, method: str, path: str, allowed: str
) -> None:
    gateway = await start()

    async with gateway.http.request(
        method, gateway.url + path, headers=gateway.headers()
    ) as response:
        status, error = await error_of(response)
        assert response.headers["allow"] == allowed

    assert (status, error["code"]) == (405, "method_not_supported")
    await assert_goes_on(gateway, upstream)


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/responses/r", "/v1/chat/completions/", "/metrics", "/healthz"]
)
async def test_every_other_path_is_404(start: Start, upstream: FakeUpstream, path: str) -> None:
    gateway = await start()

    status, error = await _send(gateway, "POST", path)

    assert (status, error["code"]) == (404, "unknown_url")
    await assert_goes_on(gateway, upstream)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: x\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n",
        # Two lengths: what one server takes for the body, another takes for a request.
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_malformed_http_is_400_in_the_same_shape(
    start: Start, upstream: FakeUpstream, request_bytes: bytes
) -> None:
    gateway = await start()

    head, _, body = (await raw(gateway, request_bytes)).partition(b"\r\n\r\n")

    assert head.split(b" ")[1] == b"400"
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    await assert_goes_on(gateway, upstream)


async def test_expect_continue_is_answered_only_for_a_body_that_is_wanted(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)
    body = json.dumps(question()).encode()

    async def post(key: str, expect: str) -> bytes:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {key}\r\ncontent-length: {len(body)}\r\nexpect: {expect}\r\n"
            "connection: close\r\n\r\n"
        )
        return await raw(gateway, head.encode() + body)

    welcome = await post(gateway.site.key, "100-continue")
    assert welcome.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    assert (await post("az-wrong", "100-continue")).startswith(b"HTTP/1.1 401 ")
    assert (await post(gateway.site.key, "a miracle")).startswith(b"HTTP/1.1 417 ")
