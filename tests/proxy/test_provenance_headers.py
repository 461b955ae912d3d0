"""The headers of a running gateway's answers: verified as a client would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from asking import GOOD
from fake_upstream import Conversation, FakeUpstream
from running import Running, Start, question

from proxy.provenance.verify import Finding, SavedResponse, verify
from watermark.keys import Keyring

MARK = "az1;epoch=1;by=engine"


@pytest.fixture
def public_key(key_files: tuple[Path, Path]) -> bytes:
    return Keyring.load(key_files[0]).public_key


async def found(response: aiohttp.ClientResponse, public_key: bytes) -> Finding:
    headers: dict[str, str] = {name.lower(): value for name, value in response.headers.items()}
    return verify(SavedResponse(response.status, headers, await response.read()), public_key)


async def test_a_whole_answer_is_bound_to_its_mark(
    start: Start, upstream: FakeUpstream, public_key: bytes
) -> None:
    gateway = await start()
    upstream.answers_whole(GOOD)
    async with gateway.chat() as response:
        finding = await found(response, public_key)
    assert (finding.valid, finding.mark, finding.body) == (True, MARK, "covered")
    assert finding.request_id == response.headers["x-request-id"]


async def test_a_stream_says_its_mark_before_its_first_byte(
    start: Start, upstream: FakeUpstream, public_key: bytes
) -> None:
    gateway = await start()

    async def script(conversation: Conversation) -> None:
        await conversation.begin_stream()
        await conversation.chunk(b'data: {"choices":[]}\n\ndata: [DONE]\n\n')
        await conversation.end_stream()

    upstream.script = script
    async with gateway.chat(question(stream=True)) as response:
        assert response.headers["azeotrope-mark"] == MARK
        finding = await found(response, public_key)
    assert (finding.valid, finding.body) == (True, "not covered")


async def test_a_model_without_embedder_says_none(
    start: Start, upstream: FakeUpstream, public_key: bytes
) -> None:
    gateway = await start(models={"m": {"embedder": "none"}})
    upstream.answers_whole(GOOD)
    async with gateway.chat() as response:
        finding = await found(response, public_key)
    assert (finding.valid, finding.mark) == (True, "none")
    (line,) = await gateway.stop()
    assert line["embedder"] == "none"


async def test_no_error_claims_a_mark(start: Start, upstream: FakeUpstream) -> None:
    gateway = await start()
    upstream.answers_whole(b'{"error":{}}', "400 Bad Request")
    async with gateway.chat() as response:
        assert response.status == 400
        assert "azeotrope-mark" not in response.headers
    async with gateway.chat(key="wrong") as response:
        assert response.status == 401
        assert "azeotrope-mark" not in response.headers


@pytest.mark.parametrize("settings", [{"headers": False}, {"sign": False}])
async def test_each_part_can_be_switched_off(
    start: Start, upstream: FakeUpstream, settings: dict[str, Any]
) -> None:
    gateway = await start(provenance=settings)
    upstream.answers_whole(GOOD)
    async with gateway.chat() as response:
        assert ("azeotrope-mark" in response.headers) == settings.get("headers", True)
        assert "signature" not in response.headers
        assert "content-digest" not in response.headers
    assert (await described(gateway))["signed"] is False


async def test_an_engine_cannot_speak_for_the_gateway(
    start: Start, upstream: FakeUpstream, public_key: bytes
) -> None:
    gateway = await start()

    async def script(conversation: Conversation) -> None:
        await conversation.head(
            content_type="application/json",
            content_length=str(len(GOOD)),
            azeotrope_mark="az1;epoch=9;by=engine",
            signature="azeotrope=:AAAA:",
        )
        await conversation.send(GOOD)

    upstream.script = script
    async with gateway.chat() as response:
        assert response.headers.getall("azeotrope-mark") == [MARK]
        assert (await found(response, public_key)).valid


async def described(gateway: Running) -> dict[str, Any]:
    async with gateway.http.get(f"{gateway.url}/.well-known/azeotrope") as response:
        assert response.status == 200
        assert "max-age" in response.headers["cache-control"]
        content: dict[str, Any] = json.loads(await response.read())
        return content


async def test_anyone_may_read_the_public_key(start: Start, public_key: bytes) -> None:
    gateway = await start()
    content = await described(gateway)
    assert content["public_key"] == public_key.hex()
    assert (content["formats"], content["epoch"]) == (["az1"], 1)
    assert (content["header"], content["signed"], content["detect"]) == (
        "azeotrope-mark",
        True,
        None,
    )
    async with gateway.http.post(f"{gateway.url}/.well-known/azeotrope") as response:
        assert (response.status, response.headers["allow"]) == (405, "GET")
