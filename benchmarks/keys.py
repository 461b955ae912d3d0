"""Keys for benchmarks: fixed, derived from a name, so that a run can be repeated."""

import hashlib
from pathlib import Path

from watermark.keys import EpochKeys, KeySet
from watermark.manifest import Manifest, ManifestEpoch, Parameters

_CREATED = "2026-01-01T00:00:00Z"


def bench_keys(name: str, parameters: Parameters) -> tuple[KeySet, Manifest]:
    """Return the key set and (unsigned) manifest of the benchmark `name`."""
    master = hashlib.sha256(f"azeotrope benchmark {name}".encode()).digest()
    keys = EpochKeys.derive(1, _CREATED, master)
    epoch = ManifestEpoch(1, _CREATED, keys.check, parameters)
    return KeySet(Path(name), (keys,), b""), Manifest(_CREATED, (epoch,))
