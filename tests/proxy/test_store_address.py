"""The URL of the store: what is read from it, and that its password stays in it."""

from __future__ import annotations

import pytest
from running import Site

from proxy.config import load
from proxy.errors import ConfigError
from proxy.guard.address import Address
from proxy.server import load_material


@pytest.mark.parametrize(
    ("url", "where", "who"),
    [
        ("redis://", ("127.0.0.1", 6379, 0), (None, None)),
        ("redis://cache.example", ("cache.example", 6379, 0), (None, None)),
        ("redis://cache.example:7000/3", ("cache.example", 7000, 3), (None, None)),
        ("redis://[::1]:7000/?db=4", ("::1", 7000, 4), (None, None)),
        ("redis://:s3%3Acret@h", ("h", 6379, 0), (None, "s3:cret")),
        ("redis://me:s3%40cret@h/1", ("h", 6379, 1), ("me", "s3@cret")),
    ],
)
def test_a_url_names_a_server_a_database_and_a_user(
    url: str, where: tuple[str, int, int], who: tuple[str | None, str | None]
) -> None:
    address = Address.of(url)

    assert (address.host, address.port, address.database) == where
    assert (address.user, address.password) == who
    assert (address.path, address.tls) == (None, None)


def test_a_unix_url_names_a_socket() -> None:
    address = Address.of("unix://me:secret@/run/valkey.sock?db=2")

    assert (address.path, address.database) == ("/run/valkey.sock", 2)
    assert (address.user, address.password) == ("me", "secret")


def test_rediss_verifies_the_servers_certificate() -> None:
    tls = Address.of("rediss://cache.example").tls

    assert tls is not None
    assert tls.check_hostname
    assert tls.verify_mode.name == "CERT_REQUIRED"


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:hunter2@h:port",
        "redis://u:hunter2@h/x",
        "redis://u:hunter2@h?ssl_cert_reqs=none",
        "redis://u:hunter2@h?timeout",
        "rediss://u:hunter2@h?ssl_ca_certs=/nonexistent.pem",
        "redis://u:hunter2@h/0#f",
        "unix://u:hunter2@",
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^redis\.url: expected") as caught:
        Address.of(url)
    assert "hunter2" not in str(caught.value)


def test_a_password_is_in_no_representation() -> None:
    assert "hunter2" not in repr(Address.of("redis://u:hunter2@h"))


def test_the_url_is_checked_with_the_configuration(site: Site) -> None:
    site.content["redis"]["url"] = "redis://u:hunter2@h?ssl_cert_reqs=none"

    with pytest.raises(ConfigError, match=r"^redis\.url: expected"):
        load_material(load(site.write()))
