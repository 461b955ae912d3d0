"""The guard on real servers of both kinds: Valkey, and Redis 7 where it is installed."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from guarding import account, running
from own_server import PROGRAMS, OwnServer
from waiting import until

from proxy.guard.keyspace import account_keys, leases_key

Serve = Callable[..., OwnServer]


@pytest.fixture(params=PROGRAMS)
def serve(request: pytest.FixtureRequest) -> Iterator[Serve]:
    """Start servers of one kind."""
    with contextlib.ExitStack() as stack:

        def start(**options: str) -> OwnServer:
            server = OwnServer(request.param, **options)
            stack.callback(server.close)
            return server

        yield start


async def test_limits_and_leases_are_exact(serve: Serve) -> None:
    server = serve()
    who = account(per_minute=40, burst=40, concurrent=30)
    async with running(server.url) as limiter:
        first = await asyncio.gather(*(limiter.guard.admit(who) for _ in range(100)))
        admitted = [verdict for verdict in first if verdict.admitted]
        assert len(admitted) == 30
        assert {verdict.refused_by for verdict in first if not verdict.admitted} == {"concurrency"}
        for verdict in admitted:
            limiter.guard.release(verdict)

        second = await asyncio.gather(*(limiter.guard.admit(who) for _ in range(100)))

        assert sum(verdict.admitted for verdict in second) == 10
        assert len({verdict.call for verdict in (*first, *second) if verdict.admitted}) == 40
        assert limiter.failures() == 0
        with server.client() as client:
            assert client.zcard(leases_key(1)) == 10
            ages = [client.pttl(key) for key in account_keys(1)]
        assert all(age > 0 for age in ages)


async def test_flushed_scripts_and_keys_are_put_back_without_a_failure(serve: Serve) -> None:
    server = serve()
    async with running(server.url) as limiter:
        with server.client() as client:
            for _ in range(5):
                client.script_flush()
                verdicts = await asyncio.gather(
                    *(limiter.guard.admit(account(n, concurrent=1)) for n in range(1, 20))
                )
                assert {verdict.source for verdict in verdicts} == {"store"}
                for verdict in verdicts:
                    limiter.guard.release(verdict)
                client.flushall()
        assert limiter.failures() == 0


@pytest.mark.parametrize("clock", ["ahead", "behind"])
async def test_state_from_a_clock_that_was_wrong_locks_nobody_out_and_repeats_no_number(
    serve: Serve, clock: str
) -> None:
    """The server's clock cannot be turned; its state can be as another clock left it."""
    server = serve()
    who = account(per_minute=60, burst=5)
    arrival, calls, _ = account_keys(1)
    async with running(server.url) as limiter:
        before = await limiter.guard.admit(who)
        with server.client() as client:
            day_us = 86_400_000_000 if clock == "ahead" else -86_400_000_000
            client.incrby(arrival, day_us)
            client.incrby(calls, day_us // 1000)
        verdict = await limiter.guard.admit(who)
        if clock == "ahead":
            assert verdict.retry_after_s <= 1.0  # one interval, not a day
        else:
            assert verdict.admitted
        async with asyncio.timeout(30):
            while not verdict.admitted:
                await asyncio.sleep(verdict.retry_after_s)
                verdict = await limiter.guard.admit(who)
        assert verdict.source == "store"
        assert before.call < verdict.call


async def test_password_user_and_database_are_used(serve: Serve) -> None:
    server = serve(requirepass="hunter2")
    with server.client() as client:
        rights = ["~az:*", "+@all", "-@dangerous", "+select"]
        client.execute_command("ACL", "SETUSER", "gate", "on", ">s3cret", *rights)
        path = server.url.removeprefix("unix://")
        for who in (":hunter2", "gate:s3cret"):
            async with running(f"unix://{who}@{path}?db=3") as limiter:
                assert await limiter.admit(account()) == (True, "store")
    with server.client(database=3) as client:
        assert client.exists(account_keys(1)[1]) == 1


@pytest.mark.parametrize("who", ["", ":wrong@", "nobody:hunter2@"])
async def test_a_wrong_password_is_a_store_that_is_away(serve: Serve, who: str) -> None:
    server = serve(requirepass="hunter2")
    path = server.url.removeprefix("unix://")
    async with running(f"unix://{who}{path}") as limiter:
        assert await limiter.admit(account()) == (True, "local")
        with server.client() as client:
            client.config_set("requirepass", "")
        if not who:
            await limiter.until_back()
            assert await limiter.admit(account()) == (True, "store")


async def test_a_full_server_is_away_until_it_has_room(serve: Serve) -> None:
    server = serve()
    async with running(server.url) as limiter:
        with server.client() as client:
            client.config_set("maxmemory", "1")
            sources = [(await limiter.admit(account()))[1] for _ in range(3)]
            assert sources == ["local"] * 3
            assert limiter.failures("error") == 1
            client.config_set("maxmemory", "0")
        await limiter.until_back()
        assert await limiter.admit(account()) == (True, "store")


async def test_a_replica_is_away_until_it_is_the_primary(serve: Serve) -> None:
    server = serve()
    async with running(server.url) as limiter:
        with server.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", "1")
            assert await limiter.admit(account()) == (True, "local")
            assert limiter.failures() == 1
            client.execute_command("REPLICAOF", "NO", "ONE")
        await limiter.until_back()
        assert await limiter.admit(account()) == (True, "store")


async def test_a_server_busy_with_another_script_is_away_until_it_is_free(serve: Serve) -> None:
    server = serve(**{"lua-time-limit": "20"})
    async with running(server.url) as limiter:
        with server.client() as client:
            blocked = asyncio.create_task(
                asyncio.to_thread(_ignore, lambda: client.eval("while true do end", 0))
            )
            async with asyncio.timeout(30):
                # Before the limit it is silent, behind it it answers BUSY.
                while (await limiter.admit(account()))[1] == "store":  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            with server.client() as other:
                other.execute_command("SCRIPT", "KILL")
            await blocked
        await limiter.until_back()
        assert await limiter.admit(account()) == (True, "store")


def _ignore(action: Callable[[], object]) -> None:
    with contextlib.suppress(Exception):
        action()


async def test_a_key_of_the_wrong_type_spoils_one_account_only(serve: Serve) -> None:
    server = serve()
    async with running(server.url) as limiter:
        with server.client() as client:
            client.rpush(account_keys(1)[0], "x")
        assert await limiter.admit(account(1)) == (True, "local")
        assert await limiter.admit(account(2)) == (True, "store")
        assert limiter.store.up


async def test_a_killed_connection_is_made_anew(serve: Serve) -> None:
    server = serve()
    async with running(server.url) as limiter:
        assert await limiter.admit(account()) == (True, "store")
        with server.client() as client:
            names = [each["name"] for each in client.client_list()]
            assert "azeotrope" in names
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await until(lambda: not limiter.store.up)
        await limiter.until_back()
        assert await limiter.admit(account()) == (True, "store")


async def test_over_tcp_with_tls_the_certificate_decides(serve: Serve, tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    port = _free_port()
    try:
        serve(
            **{
                "tls-port": str(port),
                "tls-cert-file": certificate,
                "tls-key-file": key,
                "tls-auth-clients": "no",
            }
        )
    except TimeoutError:
        pytest.skip("this server was built without TLS")

    async with running(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}") as limiter:
        assert await limiter.admit(account()) == (True, "store")
    async with running(f"rediss://127.0.0.1:{port}") as limiter:
        assert await limiter.admit(account()) == (True, "local")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _certificate(directory: Path) -> tuple[str, str]:
    """Write a certificate for 127.0.0.1 that signs itself; return its files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    files = directory / "cert.pem", directory / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(files[0]), str(files[1])
