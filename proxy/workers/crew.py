"""The workers that serve one configuration: started, kept alive, and let go together."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from typing import Any

import msgspec

from proxy.errors import StartError
from proxy.workers.channel import Drain, Hurry, Retire, Start
from proxy.workers.counted import Counted
from proxy.workers.member import Member

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
# A worker that served so long died of something new: its successor starts at once.
_STABLE_S = 30.0
_GIVE_UP_AFTER = 5
_ASK_S = 5.0
_START_S = 60.0


class Seats:
    """Numbers that tell the living workers of all crews apart, the lowest free one first.

    Files and series of a worker bear its number: no two living workers may share them, and
    reloads must not make ever more of them.
    """

    def __init__(self) -> None:
        self._taken: set[int] = set()

    @contextmanager
    def one(self) -> Iterator[int]:
        """Take a number for as long as the `with` lasts."""
        number = next(number for number in count() if number not in self._taken)
        self._taken.add(number)
        try:
            yield number
        finally:
            self._taken.remove(number)


class Crew:
    """`start.workers` workers; one that dies is replaced, ever more slowly.

    `hopeless` gets a StartError when no worker serves any more and none can be started.
    """

    def __init__(self, start: Start, counted: Counted, seats: Seats) -> None:
        self.hopeless: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._start = start
        self._counted = counted
        self._seats = seats
        self._members: dict[int, Member] = {}
        self._leaving = asyncio.Event()
        self._begun = [asyncio.Event() for _ in range(start.workers)]
        self._up = False
        self._keeping = [asyncio.create_task(self._keep(begun)) for begun in self._begun]

    async def up(self) -> None:
        """Wait until all workers serve; raises StartError with the first complaint."""
        everyone = asyncio.create_task(self._all_begun())
        waits: set[asyncio.Future[Any]] = {everyone, self.hopeless}
        try:
            await asyncio.wait(waits, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
            self._up = everyone.done() and not self.hopeless.done()
        finally:
            everyone.cancel()
        if self.hopeless.done():
            self.hopeless.result()
        if not self._up:
            raise StartError(f"a worker did not start within {_START_S:.0f} s")

    async def _all_begun(self) -> None:
        for event in self._begun:
            await event.wait()

    @property
    def pids(self) -> Mapping[int, int]:
        """Process ids by the workers' seats."""
        return {seat: member.pid for seat, member in self._members.items()}

    async def states(self) -> list[Mapping[str, object]]:
        """Return the readiness of every worker that serves and answers."""
        serving = [member for member in self._members.values() if member.serving]
        answers = await asyncio.gather(*(member.readiness(_ASK_S) for member in serving))
        return [answer for answer in answers if answer is not None]

    def retire(self) -> None:
        """Let every worker end with its last connection."""
        self._leave(Retire())

    def drain(self) -> None:
        """Let every worker end with its last call."""
        self._leave(Drain())

    def hurry(self) -> None:
        """Cut what still runs."""
        self._leave(Hurry())

    def kill(self) -> None:
        """End every process at once."""
        self._leaving.set()
        for member in self._members.values():
            member.signal(signal.SIGKILL)

    async def gone(self) -> None:
        """Wait until every worker has ended."""
        await asyncio.gather(*self._keeping)

    def _leave(self, message: Retire | Drain | Hurry) -> None:
        self._leaving.set()
        for member in self._members.values():
            member.send(message)
            if not member.serving:
                member.signal(signal.SIGTERM)  # it has nothing to finish

    async def _keep(self, first: asyncio.Event) -> None:
        failures = 0
        while not self._leaving.is_set():
            begun = asyncio.get_running_loop().time()
            with self._seats.one() as seat:
                complaint = await self._one_life(seat, first)
            if self._leaving.is_set():
                return
            served_s = asyncio.get_running_loop().time() - begun
            failures = 0 if served_s > _STABLE_S else failures + 1
            if self._is_hopeless(failures):
                self._despair(complaint)
                return
            self._counted.restarts.inc()
            pause = min(_FIRST_PAUSE_S * 2 ** max(0, failures - 1), _LONGEST_PAUSE_S)
            fields = {"worker": seat, "reason": complaint, "restart_in_s": pause}
            _log.error("worker_died", extra={"fields": fields})
            await self._pause(pause)

    async def _one_life(self, seat: int, first: asyncio.Event) -> str:
        """Run one worker to its end; return what there is to say of it."""
        start = msgspec.structs.replace(self._start, seat=seat)
        try:
            member = await Member.spawn(start, self._counted.directory)
        except StartError as error:
            return str(error)
        self._members[seat] = member
        if self._leaving.is_set():
            member.signal(signal.SIGTERM)
        status = await member.follow(first)
        del self._members[seat]
        try:
            await asyncio.to_thread(self._counted.bury, member.pid)
        except OSError as error:  # its counts are lost; its successor must start all the same
            _log.error("counts_lost", extra={"fields": {"worker": seat, "reason": error.strerror}})
        return member.complaint or f"a worker ended with status {status}"

    def _is_hopeless(self, failures: int) -> bool:
        if not self._up:
            return True
        serving = any(member.serving for member in self._members.values())
        return failures >= _GIVE_UP_AFTER and not serving

    def _despair(self, complaint: str) -> None:
        if not self.hopeless.done():
            self.hopeless.set_exception(StartError(complaint))

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._leaving.wait(), seconds)
        except TimeoutError:
            return
