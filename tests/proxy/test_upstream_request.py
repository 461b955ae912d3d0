"""What goes out to an upstream: one host, one key, and nothing that a client could add."""

from __future__ import annotations

import pytest

from proxy.config import Upstream
from proxy.errors import CallError
from proxy.upstream.request import RequestHeads


def heads(
    url: str = "http://engine:8000", key: str | None = None, **fields: object
) -> RequestHeads:
    return RequestHeads(Upstream(name="a", url=url, models={"m": "m"}, **fields), key)


def lines(head: bytes) -> list[bytes]:
    assert head.endswith(b"\r\n\r\n")
    return head[:-4].split(b"\r\n")


@pytest.mark.parametrize(
    ("url", "line", "host"),
    [
        ("http://engine:8000", b"POST /v1/x HTTP/1.1", b"host: engine:8000"),
        ("https://engine/", b"POST /v1/x HTTP/1.1", b"host: engine"),
        ("http://engine/a/b/", b"POST /a/b/v1/x HTTP/1.1", b"host: engine"),
        ("http://[::1]:80", b"POST /v1/x HTTP/1.1", b"host: [::1]:80"),
    ],
)
def test_the_line_has_the_base_path_and_the_host_its_port(
    url: str, line: bytes, host: bytes
) -> None:
    head = lines(heads(url).post("/v1/x", 3, {}, ()))

    assert head == [
        line,
        host,
        b"accept-encoding: identity",
        b"content-type: application/json",
        b"content-length: 3",
    ]


def test_the_key_goes_as_the_api_wants_it() -> None:
    bearer = lines(heads(key="k").post("/v1/x", 0, {}, ()))
    assert b"authorization: Bearer k" in bearer

    own = lines(heads(key="k", auth="x-api-key").post("/v1/x", 0, {}, ()))
    assert b"x-api-key: k" in own
    assert not any(line.startswith(b"authorization") for line in own)


def test_of_the_clients_headers_only_those_named_go_on() -> None:
    client = {
        "accept": "a/b",
        "user-agent": "me",
        "authorization": "Bearer mine",
        "cookie": "a=b",
        "anthropic-version": "2023-06-01",
    }
    head = lines(heads().post("/v1/x", 0, client, ("anthropic-version",)))

    assert b"accept: a/b" in head
    assert b"user-agent: me" in head
    assert b"anthropic-version: 2023-06-01" in head
    assert b"mine" not in b"".join(head)
    assert b"cookie" not in b"".join(head)


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\0"])
def test_no_header_brings_another_one(end: str) -> None:
    with pytest.raises(CallError, match="not well-formed"):
        heads().post("/v1/x", 0, {"user-agent": f"a{end}x-api-key: b"}, ())
    with pytest.raises(CallError, match="not well-formed"):
        heads().untouched("GET", f"/v1/x?{end}", 0, {}, ())


def test_a_value_beyond_ascii_stays_here() -> None:
    head = heads().post("/v1/x", 0, {"user-agent": "caf\xe9", "accept": "a/b"}, ())

    assert b"accept: a/b" in lines(head)
    assert b"user-agent" not in head


@pytest.mark.parametrize(
    "url", ["http://a\r\nx: y", "http://a/\tb", "http://a b", "http://caf\xe9", "http://a:99999"]
)
def test_a_url_that_would_bend_the_head_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected an http"):
        heads(url)
