"""How many connections of clients the process's file descriptors allow for."""

from __future__ import annotations

import resource

# Logs, registry, store, ports, the event loop's own.
_RESERVED = 64


def most_connections() -> int:
    """Raise the soft limit on descriptors to the hard one; return how many clients fit.

    Every call may take a second descriptor, to its engine, so clients get half.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = 2**31 if hard == resource.RLIM_INFINITY else hard
    return max(1, (most - _RESERVED) // 2)
