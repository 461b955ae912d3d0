"""Where benchmarks keep what takes long to make."""

import os
from pathlib import Path


def cache(benchmark: str) -> Path:
    """Directory of one benchmark's answers and tools, below $AZEOTROPE_CACHE or .cache."""
    return Path(os.environ.get("AZEOTROPE_CACHE", ".cache")) / "benchmarks" / benchmark
