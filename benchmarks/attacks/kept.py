"""Texts that take long to make, kept on disk."""

import hashlib
import json
from collections.abc import Callable, Sequence

from benchmarks.cache import cache


def kept(name: str, made_of: Sequence[str], make: Callable[[], list[str]]) -> list[str]:
    """Return what `make` made of these texts the first time."""
    digest = hashlib.sha256(json.dumps(list(made_of)).encode()).hexdigest()[:12]
    path = cache("attacks") / f"{name}-{digest}.json"
    if not path.exists():
        path.write_text(json.dumps(make()), encoding="utf-8")
    texts: list[str] = json.loads(path.read_text("utf-8"))
    return texts
