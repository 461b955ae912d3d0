"""How often one client address may ask: the limiter's arithmetic, over a bounded table."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from proxy.guard.gcra import Rate

_MOST_ADDRESSES = 65_536


class AddressLimiter:
    """Holds every address to a rate. `clock` is in seconds.

    Of a full table the address that asked longest ago is forgotten.
    """

    def __init__(self, rate: Rate, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._arrival: dict[str, int] = {}  # oldest request first

    def wait_s(self, address: str) -> float:
        """Count a request; return 0 if it is admitted, else the seconds until one will be."""
        now_us = int(self._clock() * 1e6)
        arrival_us, early_us = self._rate.arrive(self._arrival.get(address, now_us), now_us)
        if early_us > 0:
            return early_us / 1e6
        self._arrival.pop(address, None)
        self._arrival[address] = arrival_us
        if len(self._arrival) > _MOST_ADDRESSES:
            del self._arrival[next(iter(self._arrival))]
        return 0.0


def client_network(peer: str | None) -> str:
    """Return what is limited of a peer's address: IPv4 itself, of IPv6 the network of 64 bits."""
    try:
        address = ipaddress.ip_address((peer or "").partition("%")[0])
    except ValueError:
        return ""  # no internet address: all such clients share one budget
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
