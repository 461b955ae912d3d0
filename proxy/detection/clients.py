"""How often one client address may ask: GCRA in this process, over a bounded table."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

_MOST_ADDRESSES = 65_536


class AddressLimiter:
    """`per_minute` requests of one address, all at once or spread. `clock` is in seconds.

    Of a full table the address that asked longest ago is forgotten.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float]) -> None:
        self._interval = 60.0 / per_minute
        self._tolerance = self._interval * max(1, int(per_minute))
        self._clock = clock
        self._arrival: dict[str, float] = {}  # oldest request first

    def wait_s(self, address: str) -> float:
        """Count a request; return 0 if it is admitted, else the seconds until one will be."""
        now = self._clock()
        arrival = max(self._arrival.get(address, now), now) + self._interval
        early = arrival - self._tolerance - now
        if early > 1e-9:
            return early
        self._arrival.pop(address, None)
        self._arrival[address] = arrival
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
