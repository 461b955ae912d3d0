"""The pipelining connection against a scripted server: order, deadlines, faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from guarding import account, running
from waiting import until

from proxy.guard import wire as wire_module
from proxy.guard.commands import command
from proxy.guard.wire import ReplyError, StoreAwayError, Wire

PING = command("PING")


class ScriptedServer(asyncio.Protocol):
    """Keeps what it reads, chunk by chunk, and answers with `answer` of each chunk."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self.chunks: list[bytes] = []
        self.closed = asyncio.Event()
        self.answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.chunks.append(data)
        answer = self.answer(data)
        if answer is not None:
            self.transport.write(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()


class Pair:
    """A server and the connection to it, with what the connection reported."""

    def __init__(self) -> None:
        self.lost: list[StoreAwayError] = []
        self.seconds: list[float] = []

    async def open(
        self, path: Path, answer: Callable[[bytes], bytes | None], deadline_s: float
    ) -> None:
        loop = asyncio.get_running_loop()
        self.server = ScriptedServer(answer)
        self.listener = await loop.create_unix_server(lambda: self.server, str(path))
        make = lambda: Wire(  # noqa: E731
            deadline_s=deadline_s, on_lost=self.lost.append, observe=self.seconds.append
        )
        _, self.wire = await loop.create_unix_connection(make, str(path))

    def close(self) -> None:
        self.wire.break_off(StoreAwayError("lost"))
        self.listener.close()


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    pairs: list[Pair] = []

    async def open_pair(answer: Callable[[bytes], bytes | None], deadline_s: float = 5.0) -> Pair:
        pairs.append(Pair())
        await pairs[-1].open(tmp_path / f"{len(pairs)}.sock", answer, deadline_s)
        return pairs[-1]

    yield open_pair
    for opened in pairs:
        opened.close()


def echo(data: bytes) -> bytes:
    """Answer each ECHO as a server does."""
    parts = data.split(b"\r\n")
    return b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in parts[4::5])


def silence(data: bytes) -> None:
    return None


async def fails(asking: object) -> StoreAwayError:
    with pytest.raises(StoreAwayError) as caught:
        await asking  # type: ignore[misc]
    return caught.value


async def test_commands_of_one_turn_go_out_in_one_write_and_come_back_in_order(pair) -> None:
    both = await pair(echo)

    replies = await asyncio.gather(*(both.wire.ask(command("ECHO", n)) for n in range(100)))

    assert replies == [str(n).encode() for n in range(100)]
    assert len(both.server.chunks) == 1
    assert len(both.seconds) == 100


async def test_a_reply_in_pieces_is_one_reply(pair) -> None:
    both = await pair(silence)
    asking = asyncio.create_task(both.wire.ask(PING))
    for piece in (b"*2\r\n:1\r", b"\n$3\r\na", b"bc\r\n"):
        both.server.transport.write(piece)
        await asyncio.sleep(0)

    assert await asking == [1, b"abc"]


async def test_an_error_of_the_server_is_a_reply_with_its_code(pair) -> None:
    both = await pair(lambda data: b"-READONLY You can't write\r\n")

    reply = await both.wire.ask(PING)

    assert isinstance(reply, ReplyError)
    assert reply.code == "READONLY"
    assert not both.lost


async def test_a_silent_server_costs_all_that_wait_one_deadline(pair) -> None:
    both = await pair(silence, deadline_s=0.1)
    begun = time.monotonic()

    errors = await asyncio.gather(*(fails(both.wire.ask(PING)) for _ in range(50)))

    assert {error.reason for error in errors} == {"deadline"}
    assert 0.1 <= time.monotonic() - begun < 5
    assert len(both.lost) == 1
    await asyncio.wait_for(both.server.closed.wait(), 10)
    assert (await fails(both.wire.ask(PING))).reason == "deadline"  # and stays broken


async def test_the_deadline_is_of_each_command_not_of_the_connection(pair) -> None:
    both = await pair(silence, deadline_s=1.0)
    for _ in range(4):
        asking = asyncio.create_task(both.wire.ask(PING))
        asyncio.get_running_loop().call_later(0.3, both.server.transport.write, b"+PONG\r\n")
        assert await asking == b"PONG"
    assert not both.lost


async def test_a_stalled_event_loop_is_not_taken_for_a_dead_server(pair) -> None:
    both = await pair(lambda data: b"+PONG\r\n", deadline_s=0.1)
    asking = asyncio.create_task(both.wire.ask(PING))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    time.sleep(0.3)  # noqa: ASYNC251 (what is tested)

    assert await asking == b"PONG"


async def test_what_waits_is_bounded(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_module, "MAX_WAITING", 10)
    both = await pair(silence)
    waiting = [asyncio.create_task(both.wire.ask(PING)) for _ in range(10)]
    await asyncio.sleep(0)

    assert (await fails(both.wire.ask(PING))).reason == "overfull"
    assert not both.lost
    both.server.transport.write(b"+PONG\r\n" * 10)
    assert await asyncio.gather(*waiting) == [b"PONG"] * 10


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$70000\r\n" + b"x" * 69_999, b"+PONG\r\n+PONG\r\n"],
    ids=["another protocol", "a reply without end", "more replies than commands"],
)
async def test_what_is_not_a_reply_breaks_the_connection(pair, answer: bytes) -> None:
    both = await pair(lambda data: answer)

    results = await asyncio.gather(both.wire.ask(PING), return_exceptions=True)

    assert results == [b"PONG"] or results[0].reason == "error"
    assert [error.reason for error in both.lost] == ["error"]
    await asyncio.wait_for(both.server.closed.wait(), 10)


async def test_a_server_that_hangs_up_is_lost_at_once(pair) -> None:
    both = await pair(silence)
    asking = [asyncio.create_task(fails(both.wire.ask(PING))) for _ in range(3)]
    await asyncio.sleep(0)
    both.server.transport.write(b"$100\r\nhalf")
    both.server.transport.close()

    assert {error.reason for error in await asyncio.gather(*asking)} == {"lost"}
    assert len(both.lost) == 1


async def test_a_caller_that_gives_up_keeps_its_place_in_the_row(pair) -> None:
    both = await pair(echo)
    first = asyncio.create_task(both.wire.ask(command("ECHO", "a")))
    second = asyncio.create_task(both.wire.ask(command("ECHO", "b")))
    await asyncio.sleep(0)
    first.cancel()

    assert await second == b"b"


@pytest.mark.parametrize("code", ["LOADING", "MASTERDOWN", "BUSY", "NOPERM", "NOSCRIPT"])
async def test_a_server_that_answers_with_errors_is_not_asked_by_requests(
    tmp_path: Path, code: str
) -> None:
    asked: list[bytes] = []

    def answer(data: bytes) -> bytes:
        asked.append(data)
        return b"-%b some reason\r\n" % code.encode()

    loop = asyncio.get_running_loop()
    path = str(tmp_path / "s.sock")
    listener = await loop.create_unix_server(lambda: ScriptedServer(answer), path)
    async with running(f"unix://{path}") as limiter:
        assert not limiter.store.up
        assert await limiter.admit(account()) == (True, "local")
        await until(lambda: sum(b"EVALSHA" in data for data in asked) >= 3)  # it goes on looking
    listener.close()
    # Sent in full only to a server that does not know the script, and once.
    full = sum(b"$4\r\nEVAL\r\n" in data for data in asked)
    short = sum(b"EVALSHA" in data for data in asked)
    assert full in ((short, short - 1) if code == "NOSCRIPT" else (0,))


@pytest.mark.parametrize("reply", [b"+OK\r\n", b":1\r\n", b"*1\r\n:1\r\n", b"*0\r\n"])
async def test_a_server_that_does_not_run_the_script_is_away_and_looked_for(
    tmp_path: Path, reply: bytes
) -> None:
    asked: list[bytes] = []

    def answer(data: bytes) -> bytes:
        asked.append(data)
        return reply

    loop = asyncio.get_running_loop()
    path = str(tmp_path / "s.sock")
    listener = await loop.create_unix_server(lambda: ScriptedServer(answer), path)
    async with running(f"unix://{path}") as limiter:
        assert not limiter.store.up
        assert await limiter.admit(account()) == (True, "local")
        await until(lambda: sum(b"EVALSHA" in data for data in asked) >= 3)
    listener.close()


async def test_a_host_name_that_cannot_be_one_is_a_store_that_is_away() -> None:
    async with running("redis://cache..example") as limiter:
        assert not limiter.store.up
        assert await limiter.admit(account()) == (True, "local")
