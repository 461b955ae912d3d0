"""What the head of a request must be: whatever two readers could read in two ways is refused.

The HTTP parser has refused malformed lines, two lengths, and a length beside a coding by
then. What it lets through, and what matters to a gateway alone, is checked here.
"""

from __future__ import annotations

import re

from aiohttp import HttpVersion11, web

from proxy.errors import CallError, Kind

# Names and values of all headers, and the target. Clients of these APIs send one or two KB.
MAX_HEAD_BYTES = 32 * 1024
CLOSE = {"connection": "close"}
_HOST = re.compile(r"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_ABSOLUTE = re.compile(r"https?://[^/?#]*(?=/)", re.IGNORECASE)
# Given twice, each reader would take another one.
_SINGLE = ("authorization", "x-api-key", "content-encoding", "expect")


def path_of(target: str) -> str:
    """Return the path of a request's target, compared byte for byte, so never decoded.

    Queries are no part of these APIs: they are left out, and never sent on. An absolute
    target (RFC 9112, 3.2.2) is taken whatever host it names: only its path counts.
    """
    if not target.startswith("/"):
        target = _ABSOLUTE.sub("", target, count=1)
    return target.partition("?")[0]


def check(request: web.BaseRequest) -> None:
    """Raise CallError (BAD_HTTP, HEAD_TOO_LARGE) for a head that is not one request's of ours."""
    headers = request.headers
    size = sum(len(name) + len(value) for name, value in request.raw_headers)
    if size + len(request.raw_path) > MAX_HEAD_BYTES:
        raise too_large()
    if request.method == "CONNECT":
        raise bad_http("This server is no proxy.")
    coding = headers.get("Transfer-Encoding")
    if coding is not None and (
        coding.lower() != "chunked" or request.version < HttpVersion11  # RFC 9112, 6.1
    ):
        raise bad_http("Expected no Transfer-Encoding but chunked, and that in HTTP/1.1 alone.")
    if _HOST.fullmatch(headers.get("Host", "")) is None:
        raise bad_http("The header Host is malformed.")
    for name in _SINGLE:
        if name in headers and len(headers.getall(name)) > 1:
            raise bad_http(f"The header {name} is given twice.")


def bad_http(message: str) -> CallError:
    """Return the error for a request that is not HTTP as it should be; it ends the connection."""
    return CallError(Kind.BAD_HTTP, message, headers=CLOSE)


def too_large() -> CallError:
    """Return the error for a head beyond the bounds; it ends the connection."""
    return CallError(
        Kind.HEAD_TOO_LARGE,
        f"The request's head has more than {MAX_HEAD_BYTES} bytes, a line or too many headers "
        "beyond the bounds.",
        headers=CLOSE,
    )
