"""What is sampled of a gateway, and when a series of samples is called a leak."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from redis import ConnectionError as RedisConnectionError
from redis import Redis

from benchmarks.gateway.processes import Program

# Share of the time in which a process may still grow into its work.
WARM_UP = 1 / 3
# A rise of the trend line over the time measured, as a share of the median and at least so much.
_SHARE = 0.05
_LEAST = {"RSS MB": 3.0, "open files": 20.0, "tasks": 20.0, "upstream connections": 20.0}
_LEAST |= {"Redis keys": 20.0}
QUANTITIES = tuple(_LEAST)


@dataclass(frozen=True, slots=True)
class Probe:
    """Looks at a gateway's processes together, at its upstream's port, and at its Redis."""

    gateway: Program
    tasks: Path
    upstream: int
    redis: int

    def sample(self) -> dict[str, float]:
        """Return one value of each quantity."""
        family = self.gateway.family()
        connections = [each for process in family for each in process.net_connections(kind="tcp")]
        to_upstream = sum(
            bool(each.raddr) and each.raddr.port == self.upstream for each in connections
        )
        keys = 0
        with Redis(port=self.redis) as redis, contextlib.suppress(RedisConnectionError):
            keys = redis.dbsize()  # 0 while Redis is being restarted
        return {
            "RSS MB": self.gateway.resident_mb(),
            "open files": float(sum(process.num_fds() for process in family)),
            "tasks": float(self.tasks.read_text() or 0),
            "upstream connections": float(to_upstream),
            "Redis keys": float(keys),
        }


@dataclass(frozen=True, slots=True)
class Series:
    """Samples of one quantity after the warm-up; `rest` before the load and after it."""

    name: str
    times: Sequence[float]  # seconds
    values: Sequence[float]
    rest: tuple[float, float]

    @property
    def rise(self) -> float:
        """Rise of the least-squares line over the time measured."""
        slope = statistics.linear_regression(self.times, self.values).slope
        return slope * (self.times[-1] - self.times[0])

    @property
    def allowed(self) -> float:
        """How much of a rise is within the noise of the load."""
        return max(_LEAST[self.name], _SHARE * statistics.median(self.values))

    @property
    def leaks(self) -> bool:
        """Whether the line rises by more than is allowed, or more than that is left at rest.

        Memory is judged by the line alone: what Python has taken it keeps for later.
        """
        left = self.rest[1] - self.rest[0]
        return self.rise > self.allowed or (self.name != "RSS MB" and left > _LEAST[self.name])
