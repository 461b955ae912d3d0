"""POST /detect on a running gateway: real process, real tokenizer, golden texts."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from asking import error_of
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fake_upstream import FakeUpstream
from running import Running, Start
from waiting import until

from proxy.config import Detection as Settings
from proxy.detection import DetectorProcess
from proxy.detection import process as process_module
from proxy.detection.clients import AddressLimiter, client_network
from proxy.detection.process import DetectorDownError, setup_of
from proxy.errors import StartError
from proxy.guard.gcra import per_minute
from watermark.keys import EpochKeys, Keyring, write_manifest
from watermark.manifest import Manifest, ManifestEpoch, Parameters

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "texts" / "answer-0.json").read_bytes())
HUMAN = (ROOT / "proxy" / "demo" / "human.txt").read_text()
DEADLINE_S = 120.0


@pytest.fixture(scope="session")
def model_dir() -> Path:
    from proxy.engine.weights import demo_model

    return demo_model(Path(os.environ.get("AZEOTROPE_CACHE") or ROOT / ".cache"))


@pytest.fixture(scope="session")
def golden_keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Keyring and manifest under which the golden answer was marked."""
    folder = tmp_path_factory.mktemp("golden")
    seed = sha256(b"signing key").digest()
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    master = bytes.fromhex(GOLDEN["master"])
    keys = EpochKeys.derive(1, "2026-01-01T00:00:00Z", master)
    keyring = Keyring(folder / "keyring.json", (keys,), public, (master,), seed)
    keyring.save(new=True)
    entry = ManifestEpoch(1, keys.created, keys.check, Parameters(**GOLDEN["parameters"]))
    write_manifest(folder / "manifest.json", Manifest(keys.created, (entry,)), keyring)
    return folder / "keyring.json", folder / "manifest.json"


@pytest.fixture
def opened(start: Start, golden_keys: tuple[Path, Path], model_dir: Path) -> Callable[..., Any]:
    """Start a gateway with the endpoint open; arguments are its settings."""

    async def run(**settings: Any) -> Running:
        chosen = {"enabled": True, "tokenizer": str(model_dir), "timeout_s": DEADLINE_S}
        return await start(
            keyring=str(golden_keys[0]),
            manifest=str(golden_keys[1]),
            detection={**chosen, "requests_per_minute": 100, **settings},
        )

    return run


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def ask(gateway: Running, text: Any, **options: Any) -> Any:
    return gateway.http.post(f"{gateway.url}/detect", json={"text": text}, **options)


async def verdict(gateway: Running, text: str) -> str:
    async with ask(gateway, text) as response:
        assert response.status == 200, await response.text()
        return str(json.loads(await response.read())["verdict"])


async def state(gateway: Running) -> object:
    return (await gateway.ready())[1]["detection"]


async def test_a_marked_answer_is_told_from_human_text_without_a_key(
    opened: Any,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UPSTREAM_PASSWORD", "hunter2")
    gateway = await opened()
    assert await state(gateway) == "idle"
    async with ask(gateway, GOLDEN["text"]) as response:
        assert response.status == 200
        assert response.headers["cache-control"] == "no-store"
        assert "azeotrope-mark" not in response.headers
        answer = json.loads(await response.read())
    assert answer == {"verdict": "marked", "level": 1e-5, "format": "az1", "scope": "site"}
    assert await state(gateway) == "running"
    pid = gateway.gateway._detection.process._process.pid  # type: ignore[union-attr]
    assert b"hunter2" not in environment(pid)
    assert await verdict(gateway, HUMAN) == "not marked"
    assert await verdict(gateway, "") == "inconclusive"
    assert await gateway.metric('azeotrope_detections_total{verdict="marked"}') == 1
    async with gateway.http.get(f"{gateway.url}/.well-known/azeotrope") as response:
        assert (await response.json())["detect"] == "/detect"
    metrics = await gateway.metrics()
    await gateway.stop()

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    said = metrics + "".join(capfd.readouterr()) + caplog.text + repr(caplog.records)
    assert GOLDEN["text"][:40] not in said
    assert HUMAN[:40] not in said


async def test_a_process_that_dies_is_started_again(opened: Any) -> None:
    gateway = await opened()
    assert await verdict(gateway, "") == "inconclusive"
    process = gateway.gateway._detection.process._process
    os.kill(process.pid, signal.SIGKILL)
    await process.wait()
    assert await verdict(gateway, GOLDEN["text"]) == "marked"


async def test_a_process_that_dies_with_a_text_costs_that_text_its_verdict(opened: Any) -> None:
    gateway = await opened()
    assert await verdict(gateway, "") == "inconclusive"
    detector = gateway.gateway._detection.process
    process = detector._process
    os.kill(process.pid, signal.SIGSTOP)
    asked = asyncio.create_task(error_in(gateway, "text"))
    await until(lambda: detector._jobs)
    os.kill(process.pid, signal.SIGKILL)
    status, error = await asked
    assert (status, error["code"]) == (503, "overloaded")
    assert await verdict(gateway, GOLDEN["text"]) == "marked"


async def error_in(gateway: Running, text: str) -> tuple[int, dict[str, Any]]:
    async with ask(gateway, text) as response:
        return await error_of(response)


async def test_a_text_that_takes_too_long_costs_nobody_else_the_answer(opened: Any) -> None:
    gateway = await opened()
    assert await verdict(gateway, "") == "inconclusive"
    process = gateway.gateway._detection.process
    first = process._process
    os.kill(first.pid, signal.SIGSTOP)  # stands still, as with a text that takes for ever
    process._timeout_s = 0.2
    async with ask(gateway, "text") as response:
        assert (await error_of(response))[0] == 503
        assert response.headers["retry-after"] == "5"
    await asyncio.wait_for(first.wait(), DEADLINE_S)  # it was killed
    process._timeout_s = DEADLINE_S
    assert await verdict(gateway, GOLDEN["text"]) == "marked"
    assert await gateway.metric('azeotrope_detections_refused_total{reason="down"}') == 1


async def test_streams_and_the_loop_do_not_wait_for_a_verdict(
    opened: Any, upstream: FakeUpstream
) -> None:
    gateway = await opened()
    upstream.answers_whole(b'{"choices":[]}')
    judging = asyncio.create_task(verdict(gateway, HUMAN))  # the process is not even started
    async with gateway.chat() as response:
        assert response.status == 200
    assert not judging.done()
    assert await judging == "not marked"


async def test_an_address_may_ask_so_often(opened: Any) -> None:
    gateway = await opened(requests_per_minute=2)
    for _ in range(2):
        async with ask(gateway, 1) as response:
            assert response.status == 400
    async with ask(gateway, "text") as response:
        status, error = await error_of(response)
        assert 1 <= int(response.headers["retry-after"]) <= 30
    assert (status, error["code"]) == (429, "rate_limit_exceeded")
    assert await gateway.metric('azeotrope_detections_refused_total{reason="rate"}') == 1


async def test_bodies_are_bounded_before_they_are_read(opened: Any) -> None:
    gateway = await opened(max_characters=100)
    for text, expected in (("a" * 101, "characters"), ("a" * 3000, "bytes")):
        async with ask(gateway, text) as response:
            status, error = await error_of(response)
        assert (status, error["code"]) == (413, "request_too_large")
        assert expected in error["message"]
    # The longest spelling of so many characters is not too large.
    assert await verdict(gateway, "\U0001d11e" * 100) == "inconclusive"


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"text", b"[]", b"{}", b'{"text":null}', b'{"text":"\xff secret"}'),
        b'{"x":' + b"[" * 300_000,
    ],
)
async def test_what_is_no_text_is_400_and_is_not_quoted(opened: Any, body: bytes) -> None:
    gateway = await opened()
    headers = {"content-type": "application/json"}
    async with gateway.http.post(f"{gateway.url}/detect", data=body, headers=headers) as response:
        status, error = await error_of(response)
    assert status == 400
    assert "secret" not in error["message"]


async def test_other_methods_are_refused(opened: Any) -> None:
    gateway = await opened()
    async with gateway.http.get(f"{gateway.url}/detect") as response:
        assert (response.status, response.headers["allow"]) == (405, "POST")


async def test_it_is_closed_unless_it_is_opened(start: Start) -> None:
    gateway = await start()
    async with ask(gateway, "text") as response:
        assert (await error_of(response))[0] == 404
    assert await state(gateway) == "off"


# ---- the process


@pytest.fixture
def setup(golden_keys: tuple[Path, Path], byte_file: Path) -> Any:
    keyring = Keyring.load(golden_keys[0])
    return setup_of(keyring, keyring.manifest(golden_keys[1]), byte_file)


@pytest.fixture
def byte_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    return path


def test_the_process_gets_the_sites_keys_and_no_others(setup: Any) -> None:
    (epoch,) = setup.epochs
    assert epoch.channel
    assert epoch.site
    others = ("account", "account_root", "call", "call_root", "words", "ticket", "privacy")
    assert not any(getattr(epoch, name) for name in others)


async def test_a_detector_that_cannot_start_says_why_in_the_log(
    setup: Any, caplog: pytest.LogCaptureFixture
) -> None:
    process = DetectorProcess(setup, DEADLINE_S)
    with pytest.raises(DetectorDownError):
        await process.judge("text")
    assert process.state == "failed"
    assert "detector_not_started" in {record.message for record in caplog.records}
    await process.close()


async def test_no_more_texts_wait_than_are_allowed(
    setup: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = DetectorProcess(setup, DEADLINE_S)
    monkeypatch.setattr(process_module, "MOST_WAITING", 2)
    await process._turn.acquire()
    waiting = [asyncio.create_task(process.judge("text")) for _ in range(2)]
    await asyncio.sleep(0)  # both begin
    with pytest.raises(DetectorDownError, match="busy"):
        await process.judge("text")
    await process.close()
    assert all(isinstance(end, asyncio.CancelledError) for end in await gathered(waiting))


async def gathered(tasks: list[asyncio.Task[str]]) -> list[Any]:
    return list(await asyncio.gather(*tasks, return_exceptions=True))


def test_what_is_missing_stops_the_start(
    setup: Any, golden_keys: tuple[Path, Path], byte_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = Keyring.load(golden_keys[0])
    with pytest.raises(StartError, match=r"detection\.tokenizer: missing"):
        setup_of(keyring, keyring.manifest(golden_keys[1]), Settings().tokenizer)
    byte_file.unlink()
    with pytest.raises(StartError, match=r"detection\.tokenizer: .*no such file"):
        DetectorProcess(setup, 1.0)
    monkeypatch.setattr(process_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StartError, match=r"azeotrope\[detect\]"):
        DetectorProcess(setup, 1.0)


# ---- addresses


def test_an_address_gets_its_budget_back_with_time() -> None:
    now = [0.0]
    limiter = AddressLimiter(per_minute(6), lambda: now[0])
    assert [limiter.wait_s("a") for _ in range(6)] == [0.0] * 6
    assert limiter.wait_s("a") == pytest.approx(10.0)
    assert limiter.wait_s("b") == 0.0
    now[0] = 10.0
    assert limiter.wait_s("a") == 0.0
    assert limiter.wait_s("a") == pytest.approx(10.0)


def test_the_table_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.detection.clients._MOST_ADDRESSES", 3)
    limiter = AddressLimiter(per_minute(1), time.monotonic)
    for address in "abcabcd":
        limiter.wait_s(address)
    assert list(limiter._arrival) == ["b", "c", "d"]


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        (None, ""),
    ],
)
def test_ipv6_is_limited_by_network(peer: str | None, expected: str) -> None:
    assert client_network(peer) == expected
