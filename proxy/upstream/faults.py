"""The ways in which an upstream fails a call, as the errors that the client is told.

No message names an address, a key or a byte of what was sent; `detail` is for the log.
"""

from __future__ import annotations

from proxy.errors import CallError, Kind


def unreachable(detail: str) -> CallError:
    """Return the error for an upstream to which no connection stands: it has seen nothing."""
    return CallError(
        Kind.UPSTREAM_UNREACHABLE, "The model server cannot be reached.", detail=detail
    )


def broken(detail: str) -> CallError:
    """Return the error for an answer that broke off, or was no HTTP."""
    return CallError(
        Kind.UPSTREAM_BROKEN, "The model server failed to answer this request.", detail=detail
    )


def timed_out(detail: str) -> CallError:
    """Return the error for an answer that did not come in time."""
    return CallError(
        Kind.UPSTREAM_TIMEOUT, "The model server took too long to answer.", detail=detail
    )


def overloaded(detail: str) -> CallError:
    """Return the error for a model all of whose upstreams have as many calls as they may."""
    return CallError(
        Kind.OVERLOADED,
        "The model is at its limit of calls at once. Please try again.",
        headers={"retry-after": "1"},
        detail=detail,
    )
