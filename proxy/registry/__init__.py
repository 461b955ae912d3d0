"""The call registry: one line per finished call, from which a detector names calls.

entry.py      what a line says
writer.py     the thread that writes them, and the queue before it
segments.py   the open file, and how it is closed and numbered
parquet.py    closed files as Parquet
"""

from proxy.registry.entry import Entry
from proxy.registry.writer import CallRegistry

__all__ = ["CallRegistry", "Entry"]
