"""TLS to upstreams: verified against the right authority and name, or no call at all."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from asking import GOOD, chat_error
from certificates import Authority
from fake_upstream import FakeUpstream
from running import Site, Start, question

from proxy.config import load
from proxy.errors import ConfigError
from proxy.server import load_material

BODY = b'{"model": "m", "messages": []}'


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def entry(upstream: FakeUpstream, tls: dict[str, Any]) -> dict[str, Any]:
    # Without looks: they would show the server's errors twice.
    return {
        "name": "far",
        "url": f"https://localhost:{upstream.port}",
        "models": {"m": "m"},
        "health": {"path": None},
        "tls": tls,
    }


async def test_an_upstream_with_the_right_certificate_is_called(
    start: Start, authority: Authority
) -> None:
    context = authority.server(authority.issue("localhost"))
    async with FakeUpstream(ssl=context) as upstream:
        gateway = await start(upstreams=[entry(upstream, {"ca_file": authority.file.name})])
        upstream.answers_stream(b"data: 1\n\n", b"data: [DONE]\n\n")

        async with gateway.chat(question(stream=True)) as response:
            assert await response.read() == b"data: 1\n\ndata: [DONE]\n\n"
        assert upstream.received[0].headers["host"] == f"localhost:{upstream.port}"


async def test_a_large_body_and_a_large_answer_pass_through_tls(
    start: Start, authority: Authority
) -> None:
    context = authority.server(authority.issue("localhost"))
    async with FakeUpstream(ssl=context) as upstream:
        gateway = await start(upstreams=[entry(upstream, {"ca_file": authority.file.name})])
        answer = b'{"x":"' + b"y" * 3_000_000 + b'"}'
        upstream.answers_whole(answer)

        async with gateway.chat(question(x="z" * 3_000_000)) as response:
            assert await response.read() == answer
        assert len(upstream.received[0].body) > 3_000_000


async def test_the_name_of_a_certificate_may_be_configured(
    start: Start, authority: Authority
) -> None:
    context = authority.server(authority.issue("engine.internal"))
    async with FakeUpstream(ssl=context) as upstream:
        tls = {"ca_file": authority.file.name, "server_name": "engine.internal"}
        gateway = await start(upstreams=[entry(upstream, tls)])
        upstream.answers_whole(GOOD)
        async with gateway.chat() as response:
            assert response.status == 200


async def test_a_stranger_is_not_called(start: Start, authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other", "stranger")
    served = {
        "of another authority": stranger.issue("localhost"),
        "of another name": authority.issue("elsewhere"),
    }
    for pair in served.values():
        async with FakeUpstream(ssl=authority.server(pair)) as upstream:
            gateway = await start(upstreams=[entry(upstream, {"ca_file": authority.file.name})])
            status, error = await chat_error(gateway, BODY)
            assert (status, error["code"]) == (502, "upstream_unreachable")
            assert not upstream.received


async def test_without_an_authority_the_systems_decide(start: Start, authority: Authority) -> None:
    async with FakeUpstream(ssl=authority.server(authority.issue("localhost"))) as upstream:
        gateway = await start(upstreams=[entry(upstream, {})])
        assert (await chat_error(gateway, BODY))[0] == 502


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_an_old_version_of_tls_is_refused(start: Start, authority: Authority) -> None:
    context = authority.server(authority.issue("localhost"))
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    async with FakeUpstream(ssl=context) as upstream:
        gateway = await start(upstreams=[entry(upstream, {"ca_file": authority.file.name})])
        assert (await chat_error(gateway, BODY))[0] == 502


async def test_the_gateway_shows_its_own_certificate(start: Start, authority: Authority) -> None:
    context = authority.server(authority.issue("localhost"), asks_for_certificate=True)
    own = authority.issue("gateway")
    async with FakeUpstream(ssl=context) as upstream:
        upstream.answers_whole(GOOD)
        tls = {"ca_file": authority.file.name}
        gateway = await start(upstreams=[entry(upstream, tls)])
        assert (await chat_error(gateway, BODY))[0] == 502

        tls |= {"client_cert_file": own.certificate.name, "client_key_file": own.key.name}
        gateway = await start(upstreams=[entry(upstream, tls)])
        async with gateway.chat() as response:
            assert response.status == 200


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_files_that_cannot_be_used_are_told_at_start(site: Site, content: bytes | None) -> None:
    if content is not None:
        (site.directory / "ca.pem").write_bytes(content)
    site.content["upstreams"][0] |= {"url": "https://x", "tls": {"ca_file": "ca.pem"}}

    with pytest.raises(ConfigError, match=r"^upstreams\[0\].tls: expected PEM files"):
        load_material(load(site.write()))
