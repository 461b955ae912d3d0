"""The client of upstreams: reads what is legal as others do, refuses the rest, stays bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from answers import CHUNKED, ILLEGAL, LEGAL, OK
from bare_connection import HOUR, answer_to, ask, connected, deliver, new_buffer
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config import Timeouts
from proxy.errors import CallError, Kind
from proxy.upstream.connection import Connection

HI = OK + b"content-length: 2\r\n\r\nhi"


@pytest.mark.parametrize("name", LEGAL)
async def test_a_legal_answer_is_read_however_it_is_cut(name: str) -> None:
    wire, status, body = LEGAL[name]

    assert await answer_to([wire], lost=True) == (status, body)
    assert await answer_to([wire[at : at + 1] for at in range(len(wire))], lost=True) == (
        status,
        body,
    )
    for at in range(1, len(wire)):
        assert await answer_to([wire[:at], wire[at:]], lost=True) == (status, body)


@asynccontextmanager
async def serving(wire: bytes) -> AsyncIterator[int]:
    """Serve the same bytes to whoever asks; yields the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(wire)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("name", LEGAL)
async def test_aiohttp_reads_the_same(name: str) -> None:
    wire, status, body = LEGAL[name]

    async with serving(wire) as port, aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/") as theirs:
            assert (theirs.status, await theirs.read()) == (status, body)
        _, ours = await asyncio.get_running_loop().create_connection(
            lambda: Connection(Timeouts(), new_buffer(), lambda lost: None), "127.0.0.1", port
        )
        await ours.request(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"", HOUR * 1e6)
        chunks = []
        while chunk := await ours.next_chunk():
            chunks.append(chunk)
        assert (ours.status, b"".join(chunks)) == (status, body)


@pytest.mark.parametrize("name", ILLEGAL)
async def test_an_answer_that_can_be_read_in_two_ways_is_refused(name: str) -> None:
    wire = ILLEGAL[name]

    for pieces in ([wire], [wire[at : at + 1] for at in range(min(len(wire), 1000))]):
        with pytest.raises(CallError) as caught:
            await answer_to(pieces, lost=True)
        assert caught.value.kind is Kind.UPSTREAM_BROKEN


async def test_a_reset_is_no_end_even_where_the_end_is_the_connections() -> None:
    wire, _, _ = LEGAL["until the end"]

    with pytest.raises(CallError):
        await answer_to([wire], error=ConnectionResetError())


async def test_what_came_before_a_failure_is_read_first() -> None:
    connection, _ = connected()
    asking = asyncio.create_task(connection.request(b"head", b"", HOUR * 1e6))
    await asyncio.sleep(0)
    deliver(connection, CHUNKED + b"2\r\nhi\r\n")
    await asking
    connection.connection_lost(ConnectionResetError())

    assert await connection.next_chunk() == b"hi"
    with pytest.raises(CallError):
        await connection.next_chunk()


def pieces_of(wire: bytes) -> st.SearchStrategy[list[bytes]]:
    """Cut some bytes anywhere."""
    places = st.lists(st.integers(0, len(wire)), max_size=5).map(sorted)
    return places.map(
        lambda at: [wire[a:b] for a, b in zip([0, *at], [*at, len(wire)], strict=True) if a < b]
    )


WIRES = [*(wire for wire, _, _ in LEGAL.values()), *ILLEGAL.values()]
DAMAGED = st.tuples(
    st.sampled_from([wire for wire in WIRES if len(wire) < 4096]),
    st.floats(0, 1),
    st.integers(0, 9),
    st.binary(max_size=9),
).map(
    lambda damage: (
        damage[0][: int(damage[1] * len(damage[0]))]
        + damage[3]
        + damage[0][int(damage[1] * len(damage[0])) + damage[2] :]
    )
)


@given(pieces=st.one_of(st.lists(st.binary(min_size=1, max_size=99)), DAMAGED.flatmap(pieces_of)))
@settings(max_examples=500, deadline=None)
def test_any_bytes_give_an_answer_or_a_call_error(pieces: list[bytes]) -> None:
    async def read() -> int | Kind:
        try:
            return (await answer_to(pieces, lost=True))[0]
        except CallError as error:
            return error.kind

    assert asyncio.run(read()) in {Kind.UPSTREAM_BROKEN, *range(200, 600)}


@pytest.mark.parametrize(
    ("wire", "reusable"),
    [
        (HI, True),
        (CHUNKED + b"2\r\nhi\r\n0\r\n\r\n", True),
        (LEGAL["204"][0], True),
        (LEGAL["100 before"][0], True),
        (LEGAL["close"][0], False),
        (OK + b"connection: x, CLOSE\r\ncontent-length: 2\r\n\r\nhi", False),
        (LEGAL["HTTP/1.0 with a length"][0], False),
        (HI + b"HTTP/1.1 200 OK\r\n", False),
        (HI + b"x", False),
        (LEGAL["204"][0] + b"hello", False),
    ],
)
async def test_a_connection_is_used_again_only_after_a_clean_end(
    wire: bytes, reusable: bool
) -> None:
    connection, _ = connected()
    asking = asyncio.create_task(ask(connection))
    await asyncio.sleep(0)
    deliver(connection, wire)
    await asking

    assert connection.reusable is reusable
    if reusable:
        connection.rest()
        again = asyncio.create_task(ask(connection))
        await asyncio.sleep(0)
        deliver(connection, HI)
        assert await again == (200, b"hi")


async def test_an_answer_that_was_not_read_leaves_no_connection() -> None:
    connection, _ = connected()
    asking = asyncio.create_task(connection.request(b"head", b"", HOUR * 1e6))
    await asyncio.sleep(0)
    deliver(connection, HI)
    await asking

    assert connection.complete
    assert not connection.reusable


async def test_bytes_that_nobody_asked_for_end_an_idle_connection() -> None:
    lost: list[Connection] = []
    connection, transport = connected()
    connection._on_lost = lost.append
    asking = asyncio.create_task(ask(connection))
    await asyncio.sleep(0)
    deliver(connection, HI)
    await asking
    connection.rest()

    deliver(connection, HI)

    assert transport.aborted
    assert lost == [connection]


async def test_a_slow_reader_stops_the_upstream() -> None:
    connection, transport = connected()
    asking = asyncio.create_task(connection.request(b"head", b"", HOUR * 1e6))
    await asyncio.sleep(0)
    size = 1 << 20
    deliver(connection, OK + b"content-length: %d\r\n\r\n" % size + b"x" * 5_000)
    await asking
    assert transport.reading
    deliver(connection, b"x" * 5_000)
    assert not transport.reading

    assert len(await connection.next_chunk()) == 10_000
    assert transport.reading


@pytest.mark.parametrize("lines", [b"5;" + b"x" * 100 + b"\r\n", b"0\r\n" + b"a: b\r\n" * 9])
async def test_framing_without_a_body_is_bounded(lines: bytes) -> None:
    connection, transport = connected()
    asking = asyncio.create_task(ask(connection))
    await asyncio.sleep(0)
    deliver(connection, CHUNKED + lines[:-2])
    sent = 0
    while not transport.aborted:
        deliver(connection, b"y" * 1000 if lines.startswith(b"5") else b"\r\na: " + b"b" * 999)
        sent += 1000
        assert sent < 100_000
    with pytest.raises(CallError, match="failed to answer"):
        await asking


async def test_a_request_goes_out_at_once_or_in_pieces() -> None:
    for size, sizes in ((10, [14]), (150_000, [4, 65536, 65536, 18928])):
        connection, transport = connected()
        asking = asyncio.create_task(ask(connection, b"x" * size))
        await asyncio.sleep(0)
        deliver(connection, HI)
        await asking
        assert transport.sizes == sizes
        assert connection.reusable


async def test_a_long_request_waits_for_an_upstream_that_does_not_read() -> None:
    connection, transport = connected()
    transport.pauses_at = 100_000
    asking = asyncio.create_task(ask(connection, b"x" * 300_000))
    await asyncio.sleep(0)
    assert len(transport.written) == 4 + 2 * 65536

    connection.resume_writing()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(transport.written) == 4 + 3 * 65536

    # The upstream refuses what it has not read: the rest would be read as a new request.
    deliver(connection, HI)
    assert await asking == (200, b"hi")
    assert len(transport.written) < 300_000
    assert not connection.reusable


async def test_a_thousand_answers_arm_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    armed: list[float] = []
    call_at = loop.call_at

    def counted(when: float, *rest: object) -> object:
        armed.append(when)
        return call_at(when, *rest)  # type: ignore[arg-type]

    connection, _ = connected()
    monkeypatch.setattr(connection._loop, "call_at", counted, raising=False)
    for _ in range(1000):
        asking = asyncio.create_task(ask(connection))
        await asyncio.sleep(0)
        deliver(connection, HI)
        await asking
        connection.rest()

    assert len(armed) == 1


@pytest.mark.parametrize("timeouts", [{"first_byte": 0.02}, {"total": 0.02}, {"idle": 0.02}])
async def test_a_deadline_holds_on_every_use_of_a_connection(timeouts: dict[str, float]) -> None:
    connection, transport = connected(Timeouts(**timeouts))
    loop = asyncio.get_running_loop()
    for _ in range(3):
        asking = asyncio.create_task(ask(connection))
        await asyncio.sleep(0)
        deliver(connection, HI)
        await asking
        connection.rest()

    await_head = asyncio.create_task(
        connection.request(b"head", b"", loop.time() + timeouts.get("total", HOUR))
    )
    await asyncio.sleep(0)
    if "idle" in timeouts:
        deliver(connection, CHUNKED + b"2\r\nhi\r\n")
        await await_head
        assert await connection.next_chunk() == b"hi"
    with pytest.raises(CallError) as caught:
        async with asyncio.timeout(10):
            await (connection.next_chunk() if "idle" in timeouts else await_head)

    assert caught.value.kind is Kind.UPSTREAM_TIMEOUT
    assert transport.aborted
