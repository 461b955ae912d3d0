"""Where things are kept that can be made again: converted models, filters."""

import os
from pathlib import Path


def cache_root() -> Path:
    """Return `$AZEOTROPE_CACHE`, else `~/.cache/azeotrope`; it need not exist yet."""
    return Path(os.environ.get("AZEOTROPE_CACHE") or Path.home() / ".cache" / "azeotrope")
