"""What clients do to a gateway, well and badly, in one mixture."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from benchmarks.gateway import client
from benchmarks.gateway.questions import DIES, LARGE, question

_PATIENCE_S = 30.0
_STALL_S = 3.0


@dataclass(slots=True)
class Clients:
    """The clients of a gateway; `outcomes` counts (behaviour, outcome)."""

    port: int
    keys: list[str]
    draw: random.Random = field(default_factory=lambda: random.Random(1))
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def call(self) -> None:
        """Do one thing, chosen by weight, and count how it ended."""
        name = self.draw.choices(list(MIXTURE), [weight for weight, _ in MIXTURE.values()])[0]
        try:
            async with asyncio.timeout(_PATIENCE_S):
                outcome = await self._behave(MIXTURE[name][1])
        except (OSError, TimeoutError) as error:
            outcome = type(error).__name__
        self.outcomes[name, outcome] += 1

    async def _behave(self, behaviour: Behaviour) -> str:
        connection = await client.connect(self.port, keep=False)
        try:
            return await behaviour(self, connection)
        finally:
            connection.transport.abort()

    def wire(self, body: bytes, key: str | None = None) -> bytes:
        """Return a request with one of the keys."""
        return client.request(body, key or self.draw.choice(self.keys))


async def _whole(clients: Clients, connection: client.Connection) -> str:
    return str((await connection.ask(clients.wire(question()))).status)


async def _stream(clients: Clients, connection: client.Connection) -> str:
    body = question(events=clients.draw.randint(5, 100), gap_ms=clients.draw.randint(2, 30))
    return str((await connection.ask(clients.wire(body))).status)


async def _hangs_up_in_the_midst(clients: Clients, connection: client.Connection) -> str:
    connection.ask(clients.wire(question(events=1000, gap_ms=20)))
    assert connection.begun is not None
    await connection.begun
    await asyncio.sleep(clients.draw.random())
    return "hung up"


async def _hangs_up_at_once(clients: Clients, connection: client.Connection) -> str:
    wire = clients.wire(question(events=100, gap_ms=20))
    connection.transport.write(wire[: clients.draw.randint(1, len(wire))])
    await asyncio.sleep(clients.draw.random() / 100)
    return "hung up"


async def _reads_slowly(clients: Clients, connection: client.Connection) -> str:
    connection.ask(clients.wire(question(events=500, gap_ms=5, user=LARGE)))
    assert connection.begun is not None
    await connection.begun
    connection.transport.pause_reading()
    await asyncio.sleep(_STALL_S)
    return "hung up"


async def _is_refused(clients: Clients, connection: client.Connection) -> str:
    bodies = (b'{"model":"bench","model":"bench"}', b"[1,", question(model="another"))
    if clients.draw.random() < 0.25:
        wire = clients.wire(question(), key="az-wrong")
    else:
        wire = clients.wire(clients.draw.choice(bodies))
    return str((await connection.ask(wire)).status)


async def _meets_a_dying_upstream(clients: Clients, connection: client.Connection) -> str:
    events = clients.draw.choice((None, 10))
    answer = await connection.ask(clients.wire(question(events=events, gap_ms=5, user=DIES)))
    return str(answer.status)


Behaviour = Callable[[Clients, client.Connection], Awaitable[str]]
MIXTURE: dict[str, tuple[float, Behaviour]] = {
    "whole answer": (60, _whole),
    "stream": (20, _stream),
    "hangs up amid a stream": (6, _hangs_up_in_the_midst),
    "hangs up while sending or waiting": (5, _hangs_up_at_once),
    "is refused": (5, _is_refused),
    "meets an upstream that dies": (3, _meets_a_dying_upstream),
    "reads nothing for 3 s, then hangs up": (1, _reads_slowly),
}
# Outcomes of those who do nothing wrong and are done no wrong.
GOOD = frozenset({("whole answer", "200"), ("stream", "200")})
