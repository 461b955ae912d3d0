"""One request put to an engine and to the gateway before it: are the answers the same bytes?"""

import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

# What no two answers of an engine have in common: ids, times, and how fast it was.
_CHANGING = (
    (rb'"(id|item_id|response_id)":"[^"]*"', rb'"\1":"-"'),
    (rb'"(created|created_at|completed_at)":[0-9.]+', rb'"\1":0'),
    (rb'"timings":\{[^}]*\}', rb'"timings":{}'),
)
_END_OF_EVENT = b"\n\n"


@dataclass(frozen=True)
class Answered:
    """Status, content type and body of an answer."""

    status: int
    content_type: str
    body: bytes

    def masked(self) -> bytes:
        """Body without what differs from answer to answer."""
        body = self.body
        for pattern, replacement in _CHANGING:
            body = re.sub(pattern, replacement, body)
        return body

    def events(self) -> list[bytes]:
        """Events of a stream, masked, with their ends; the last one is whatever follows."""
        return [event + _END_OF_EVENT for event in self.masked().split(_END_OF_EVENT)]


def ask(url: str, path: str, body: dict[str, Any], key: str | None = None) -> Answered:
    """Put a request, as bytes on the wire would have it; errors are answers too."""
    headers = {"content-type": "application/json"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return Answered(response.status, response.headers["content-type"], response.read())
    except urllib.error.HTTPError as error:
        return Answered(error.code, error.headers["content-type"], error.read())


def without_usage_event(answer: Answered) -> list[bytes]:
    """Events of a stream less the usage record, which carries no choices."""
    return [event for event in answer.events() if b'"choices":[]' not in event]
