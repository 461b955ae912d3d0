"""What is read: a shard of a file, the fields of its records, and the batches that come out."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from watermark.detect.counts import Batch

# A longer record is no text that somebody wrote; it would cost a worker its memory.
MAX_RECORD = 64 << 20
TOO_LONG = f"over {MAX_RECORD >> 20} MiB long"
# UNUSED of watermark.greenlist, 2^32 - 1, pads short documents.
MAX_ID = 2**32 - 2

# Told (position, reason) of every record that cannot be used.
Report = Callable[[int, str], None]


@dataclass(frozen=True, slots=True)
class Fields:
    """What of each record is read.

    `text_field` may be a path ("response.content", "choices.0.message.content"). With `ids_field`
    the token ids in that field are read instead of a text. `sample`, above 0 and at most 1, is
    the share of the records that is read: the same ones however the files are cut into shards.
    """

    text_field: str = "text"
    ids_field: str | None = None
    sample: float = 1.0

    @property
    def missing(self) -> str:
        """Say that a record lacks the field, and how to choose another."""
        if self.ids_field is not None:
            return f"no token ids in field {self.ids_field!r} (choose another with --ids-field)"
        return f"no text in field {self.text_field!r} (choose another with --text-field)"


@dataclass(frozen=True, slots=True)
class Shard:
    """A file, or a part of one, that is read by itself.

    `first` and `last` (not included; None: to the end) are bytes of a JSONL file, whose lines
    belong to the shard that they begin in, or row groups of a Parquet file. `size` is the number
    of bytes to read (0: not known), `version` tells contents of one URL apart.
    """

    url: str
    format: str
    compression: str | None = None
    first: int = 0
    last: int | None = None
    size: int = 0
    version: str = ""

    @property
    def name(self) -> str:
        """The URL, with the range if this is a part of a file."""
        if self.first == 0 and self.last is None:
            return self.url
        return f"{self.url}[{self.first}:{'' if self.last is None else self.last}]"

    def key(self, fields: Fields) -> str:
        """Return 32 hexadecimal digits that change with the file, the range and the fields."""
        identity = json.dumps([astuple(self), asdict(fields)])
        return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()

    def record_name(self, position: int, before: int = 0) -> str:
        """Name a record ("set.jsonl:17"); `before`: the `end` of the file's earlier shards."""
        return f"{self.url}:{before + position}" if position else self.url


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Consecutive good records of one shard: either `texts` or `ids` of d documents.

    `positions` int64 [d] are lines (JSONL) or rows within the shard, from 1; 0 stands for a file
    that is one document. `end` is the number of lines or rows that the shard covered so far, bad
    and empty ones included. The last batch of a shard tells its whole length and may be empty.
    """

    positions: npt.NDArray[np.int64]
    texts: list[str] | None
    ids: "Batch | None"
    end: int

    def __len__(self) -> int:
        return len(self.positions)
