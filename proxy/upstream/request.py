"""The head of a request to an upstream, and what a client may put into it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from proxy import config
from proxy.errors import CallError, Kind

_SENT = ("accept", "user-agent")
_TARGET = re.compile(r"/[!-~]*")
_UNSAFE = re.compile(r"[\r\n\0]")


class RequestHeads:
    """Renders heads for one upstream; what is the same for every call is rendered once."""

    def __init__(self, settings: config.Upstream, key: str | None) -> None:
        parts = urlsplit(settings.url)
        self._base = parts.path.rstrip("/")
        # The splitter reads plain text, and an engine next door gains nothing.
        lines = [f"host: {parts.netloc}", "accept-encoding: identity"]
        if key is not None and settings.auth == "bearer":
            lines.append(f"authorization: Bearer {key}")
        elif key is not None:
            lines.append(f"x-api-key: {key}")
        self._lines = "\r\n".join(lines)
        self._rendered: dict[str, bytes] = {}

    def post(
        self,
        path: str,
        length: int,
        headers: Mapping[str, str],
        forwarded: Iterable[str],
        traceparent: str | None = None,
    ) -> bytes:
        """Return the head of a POST of JSON; `path` comes from a fixed set.

        Of the client's headers those named in `forwarded` go on, beside `accept` and
        `user-agent`; `traceparent` is ours. Raises CallError.
        """
        fixed = self._rendered.get(path)
        if fixed is None:
            fixed = self._rendered[path] = self.head("POST", path) + (
                b"content-type: application/json\r\n"
            )
        own = _lines(headers, (*_SENT, *forwarded))
        if traceparent is not None:
            own += b"traceparent: %b\r\n" % traceparent.encode("ascii")
        return b"%b%bcontent-length: %d\r\n\r\n" % (fixed, own, length)

    def untouched(
        self,
        method: str,
        target: str,
        length: int,
        headers: Mapping[str, str],
        forwarded: Iterable[str],
    ) -> bytes:
        """Return the head of a request that is passed on as it came; raises CallError."""
        if not _TARGET.fullmatch(target):
            raise CallError(Kind.BAD_HTTP, "The request is not well-formed HTTP.")
        own = _lines(headers, (*_SENT, *forwarded))
        # RFC 9110, 8.6: a length with every method that may have a body, none with the others.
        framing = b"content-length: %d\r\n" % length if length or method == "POST" else b""
        return self.head(method, target) + own + framing + b"\r\n"

    def head(self, method: str, target: str) -> bytes:
        """Return the request line and the headers that every request has."""
        return f"{method} {self._base}{target} HTTP/1.1\r\n{self._lines}\r\n".encode()


def _lines(headers: Mapping[str, str], names: Iterable[str]) -> bytes:
    lines = ""
    for name in names:
        value = headers.get(name)
        # What is not ASCII has no encoding (RFC 9110, 5.5): each reader guesses its own.
        if value is None or not value.isascii():
            continue
        if _UNSAFE.search(value):
            raise CallError(Kind.BAD_HTTP, "The request is not well-formed HTTP.")
        lines += f"{name}: {value}\r\n"
    return lines.encode("ascii")
