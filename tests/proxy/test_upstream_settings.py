"""Settings of one model, whichever upstream answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asking import GOOD, chat_error
from fake_upstream import FakeUpstream
from running import Site, Start, question

from proxy.config import load
from proxy.errors import ConfigError
from proxy.server import load_material


async def test_without_an_embedder_nothing_of_ours_is_sent(
    start: Start, upstream: FakeUpstream
) -> None:
    gateway = await start(models={"m": {"embedder": "none"}})
    upstream.answers_whole(GOOD)

    async with gateway.chat() as response:
        assert response.status == 200
    async with gateway.chat(question(model="n")) as response:
        assert response.status == 200

    plain, marked = (json.loads(call.body) for call in upstream.received)
    assert plain == {**question(), "model": "engine-m"}
    assert "vllm_xargs" in marked
    assert await gateway.metric("azeotrope_tickets_signed_total") == 1


def test_a_model_has_its_own_delta(site: Site) -> None:
    site.content["mark"] = {"delta": 3.0}
    site.content["models"] = {"m": {"delta": 2.5}}

    assert load_material(load(site.write())).delta_millinats == {"m": 2500, "n": 3000}


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"models": {"m": {"delta": 0.1}}}, "models.m.delta"),
        ({"mark": {"delta": 0.1}}, "mark.delta"),
    ],
)
def test_no_delta_is_below_the_manifests(site: Site, sections: dict[str, Any], path: str) -> None:
    site.content.update(sections)

    with pytest.raises(ConfigError, match=f"^{path}: expected at least the manifest's 2 nats"):
        load_material(load(site.write()))


async def test_a_model_may_take_smaller_bodies(start: Start, upstream: FakeUpstream) -> None:
    body = json.dumps(question()).encode()
    gateway = await start(models={"m": {"max_body_bytes": len(body)}})
    upstream.answers_whole(GOOD)

    async with gateway.chat(body) as response:
        assert response.status == 200
    status, error = await chat_error(gateway, body + b" ")

    assert (status, error["code"]) == (413, "request_too_large")
    assert len(upstream.received) == 1


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_a_model_gives_no_more_tokens_than_it_may(
    start: Start, upstream: FakeUpstream, field: str
) -> None:
    gateway = await start(models={"m": {"max_output_tokens": 100}})
    upstream.answers_whole(GOOD)

    async with gateway.chat(question(**{field: 100})) as response:
        assert response.status == 200
    status, error = await chat_error(gateway, json.dumps(question(**{field: 101})).encode())

    assert (status, error["param"]) == (400, "max_tokens")
    assert "at most 100 output tokens" in error["message"]
    assert len(upstream.received) == 1
