"""Commands as Redis reads them, packed once where they do not change."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import resources


def arguments(*parts: bytes | str | int) -> bytes:
    """Pack arguments, to follow a head that counts them."""
    packed = []
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        packed.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(packed)


def command(*parts: bytes | str | int) -> bytes:
    """Pack a whole command."""
    return b"*%d\r\n" % len(parts) + arguments(*parts)


class Script:
    """A script of ours: by its digest, and in full for a server that does not know it."""

    def __init__(self, name: str, keys: int) -> None:
        """Read proxy/guard/NAME.lua, which takes `keys` keys."""
        text = resources.files("proxy.guard").joinpath(f"{name}.lua").read_bytes()
        digest = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        self._keys = keys
        self._short = arguments("EVALSHA", digest, keys)
        self._full = arguments("EVAL", text, keys)

    def heads(self, values: int) -> tuple[bytes, bytes]:
        """Return what precedes the packed keys and `values` values: by digest, and in full."""
        count = b"*%d\r\n" % (3 + self._keys + values)
        return count + self._short, count + self._full

    def call(self, keys: Sequence[str], values: Sequence[bytes | int]) -> bytes:
        """Return a whole call, with the script in full."""
        return self.heads(len(values))[1] + arguments(*keys, *values)
