"""Paths passed untouched: the bytes are the upstream's, the call is the account's."""

from __future__ import annotations

from typing import Any

import pytest
from asking import error_of
from fake_upstream import Conversation, FakeUpstream
from running import Running, Site, Start

from proxy.config import load
from proxy.errors import ConfigError
from proxy.server import load_material

IMAGES = "/v1/images/generations"
ROUTES = [
    {"path": IMAGES, "upstream": "fake"},
    {"path": "/v1/files", "upstream": "fake", "methods": ["GET", "DELETE"]},
]
ODD = b'{"a": 1, "a": NaN}\xff\x00'  # which no dialect would let pass


@pytest.fixture
async def gateway(start: Start) -> Running:
    return await start(passthrough=ROUTES)


def ask(gateway: Running, method: str, path: str, **options: Any) -> Any:
    headers = {**gateway.headers(), **options.pop("headers", {})}
    return gateway.http.request(method, gateway.url + path, headers=headers, **options)


async def test_body_type_and_answer_are_untouched(gateway: Running, upstream: FakeUpstream) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head(
            "201 Made", content_type="image/png", content_length="4", set_cookie="a=b"
        )
        await conversation.send(b"\x89PNG")

    upstream.answers(script)
    kind = "multipart/form-data; boundary=x"

    async with ask(gateway, "POST", IMAGES, data=ODD, headers={"content-type": kind}) as response:
        assert (response.status, await response.read()) == (201, b"\x89PNG")
        assert response.headers["content-type"] == "image/png"
        assert "set-cookie" not in response.headers
        assert response.headers["x-ratelimit-remaining-requests"] == "59999"

    (received,) = upstream.received
    assert received.line == f"POST {IMAGES} HTTP/1.1"
    assert received.body == ODD
    assert received.headers["content-type"] == kind
    assert gateway.site.key not in str(received.headers)


async def test_the_call_is_recorded(gateway: Running, upstream: FakeUpstream) -> None:
    upstream.answers_whole(b"{}")
    async with ask(gateway, "POST", IMAGES, data=ODD) as response:
        assert response.status == 200

    line = f'azeotrope_requests_total{{dialect="passthrough",model="{IMAGES}",status="200"}}'
    assert await gateway.metric(line) == 1
    (entry,) = await gateway.stop()
    assert (entry["model"], entry["status"], entry["end"]) == (IMAGES, 200, "complete")
    assert entry["completion_tokens"] is None


async def test_a_get_keeps_its_query_and_sends_no_body(
    gateway: Running, upstream: FakeUpstream
) -> None:
    upstream.answers_whole(b"{}")

    async with ask(gateway, "GET", "/v1/files?after=x%20y&limit=2") as response:
        assert response.status == 200

    (received,) = upstream.received
    assert received.line == "GET /v1/files?after=x%20y&limit=2 HTTP/1.1"
    assert not {"content-length", "transfer-encoding", "content-type"} & set(received.headers)


async def test_a_stream_comes_event_by_event(gateway: Running, upstream: FakeUpstream) -> None:
    upstream.answers_until_hung_up(b"event: a\ndata: 1\n\n")

    async with ask(gateway, "POST", IMAGES, data=ODD) as response:
        assert await response.content.readany() == b"event: a\ndata: 1\n\n"
    await upstream.hung_up.wait()


async def test_it_needs_a_key_and_the_right_method(
    gateway: Running, upstream: FakeUpstream
) -> None:
    async with gateway.http.post(gateway.url + IMAGES, data=ODD) as response:
        assert (await error_of(response))[0] == 401
    async with ask(gateway, "GET", IMAGES) as response:
        assert (await error_of(response))[1]["code"] == "method_not_supported"
        assert response.headers["allow"] == "POST"
    async with ask(gateway, "POST", "/v1/files") as response:
        assert response.headers["allow"] == "GET, DELETE"
    async with ask(gateway, "POST", IMAGES + "/", data=ODD) as response:
        assert (await error_of(response))[1]["code"] == "unknown_url"
    assert not upstream.received


async def test_it_counts_against_the_limits(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    key = site.add("bob", tier="tiny")
    gateway = await start(passthrough=ROUTES)
    upstream.answers_whole(b"{}")
    headers = {"authorization": f"Bearer {key}"}

    for expected in (200, 200, 429):
        async with ask(gateway, "POST", IMAGES, data=ODD, headers=headers) as response:
            assert response.status == expected


async def test_an_account_of_some_models_cannot_use_it(
    start: Start, upstream: FakeUpstream, site: Site
) -> None:
    key = site.add("bob", models=["m"])
    gateway = await start(passthrough=ROUTES)

    headers = {"authorization": f"Bearer {key}"}
    async with ask(gateway, "POST", IMAGES, data=ODD, headers=headers) as response:
        assert (await error_of(response))[1]["code"] == "unknown_url"


async def test_a_large_body_is_413_and_a_dead_upstream_502(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(passthrough=ROUTES, limits={"max_body_bytes": len(ODD)})
    upstream.goes_down()

    async with ask(gateway, "POST", IMAGES, data=ODD + b" ") as response:
        assert (await error_of(response))[0] == 413
    async with ask(gateway, "POST", IMAGES, data=ODD) as response:
        assert (await error_of(response))[1]["code"] == "upstream_unreachable"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/models/m", IMAGES])
def test_no_path_is_answered_twice(site: Site, path: str) -> None:
    site.content["passthrough"] = [ROUTES[0], {"path": path, "upstream": "fake"}]

    with pytest.raises(ConfigError, match=rf"passthrough\[1\].path: expected a path .* {path}"):
        load_material(load(site.write()))
