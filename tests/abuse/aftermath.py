"""What must be so after every attack: nothing held, nothing forgotten, nothing running on."""

from __future__ import annotations

import asyncio

from running import Running
from waiting import until


def sample(gateway: Running, name: str, **labels: str) -> float:
    """Return the value of a series as it is now."""
    metrics = gateway.gateway.metrics
    metrics.publish()
    return metrics.registry.get_sample_value(name, labels) or 0.0


class Aftermath:
    """Remembers how much is going on before an attack, and waits until it is no more again.

    Make it after a first call, so that pools and their tasks are there.
    """

    def __init__(self, gateway: Running) -> None:
        self._gateway = gateway
        self._tasks = len(asyncio.all_tasks())

    def sample(self, name: str, **labels: str) -> float:
        return sample(self._gateway, name, **labels)

    async def is_quiet(self) -> bool:
        await until(lambda: len(asyncio.all_tasks()) <= self._tasks)
        await until(lambda: self.sample("azeotrope_open_calls") == 0)
        await until(lambda: self.sample("azeotrope_open_streams") == 0)
        return True
