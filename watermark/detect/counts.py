"""Distinct windows of whole batches of documents, counted and listed.

One pure object over arrays; commands, corpus scans, benchmarks and tests all call it. The CPU
runs the compiled kernels; `watermark.detect.counts_torch` gives the same integers on a GPU.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from watermark.detect import kernels
from watermark.errors import InputError
from watermark.keys import EpochKeys
from watermark.manifest import Channel, Parameters
from watermark.prf import GOLDEN, UNUSED, ids_per_word

if TYPE_CHECKING:
    from watermark.detect.filter import CommonFilter

Words = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]
CHANNEL_INDEX: dict[Channel, int] = {"site": 0, "account": 1, "call": 2}


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids of consecutive documents: `ids` uint32 [n], `offsets` int64 [d + 1]."""

    ids: npt.NDArray[np.uint32]
    offsets: Integers

    @classmethod
    def of(cls, documents: Sequence[Sequence[int] | npt.NDArray[np.integer]]) -> "Batch":
        """Put documents together; raises InputError for an id outside 0 to 2^32 - 2."""
        lengths = [len(document) for document in documents]
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        parts = [np.asarray(document, np.int64) for document in documents if len(document)]
        ids = np.concatenate(parts) if parts else np.empty(0, np.int64)
        if len(ids) and not (ids.min() >= 0 and ids.max() < UNUSED):
            raise InputError("token ids must lie between 0 and 2^32 - 2")
        return cls(ids.astype(np.uint32), offsets.astype(np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def document(self, index: int) -> npt.NDArray[np.uint32]:
        """Token ids of one document."""
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    def part(self, first: int, last: int) -> "Batch":
        """Return the documents first to last - 1, sharing memory."""
        offsets = self.offsets[first : last + 1]
        return Batch(self.ids[offsets[0] : offsets[-1]], offsets - offsets[0])

    def chosen(self, indexes: Sequence[int] | Integers) -> "Batch":
        """Return some documents, in the order given, copied."""
        rows = np.asarray(indexes, np.int64)
        starts, sizes = self.offsets[rows], np.diff(self.offsets)[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        places = np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])
        return Batch(self.ids[places], offsets)


@dataclass(frozen=True, slots=True)
class Counts:
    """Distinct windows and green ones [d, 3] by document and channel (site, account, call)."""

    windows: Integers
    hits: Integers


@dataclass(frozen=True, slots=True)
class Coins:
    """Distinct windows [m] in text order, each at its first place in its document.

    `document`, `position` (within the document) int64; `channel` uint8; `seed` uint64 without an
    account or call key; `token` uint32; `green` uint8 under the keys asked for; `digest` uint64
    names the window across documents.
    """

    document: Integers
    position: Integers
    channel: npt.NDArray[np.uint8]
    seed: Words
    token: npt.NDArray[np.uint32]
    green: npt.NDArray[np.uint8]
    digest: Words

    def __len__(self) -> int:
        return len(self.position)

    def where(self, keep: npt.NDArray[np.bool_]) -> "Coins":
        """Return the windows for which `keep` [m] is true."""
        return Coins(
            self.document[keep],
            self.position[keep],
            self.channel[keep],
            self.seed[keep],
            self.token[keep],
            self.green[keep],
            self.digest[keep],
        )

    def of(self, channel: Channel) -> "Coins":
        """Return the windows of one channel."""
        return self.where(self.channel == CHANNEL_INDEX[channel])


class EpochScheme:
    """The arithmetic of one epoch over batches.

    A channel whose key is not at hand has no windows. `common` leaves out windows that end a
    common n-gram (`watermark.detect.filter`).
    """

    def __init__(
        self, keys: EpochKeys, parameters: Parameters, common: "CommonFilter | None" = None
    ) -> None:
        self.keys = keys
        self.parameters = parameters
        absent = np.iinfo(np.int64).max  # a context wider than any text
        self._epoch = kernels.Epoch(
            keys=np.array([_halves(key) for key in _channel_keys(keys)], np.uint64),
            widths=np.array(
                [
                    parameters.selector_width,
                    parameters.site_width,
                    parameters.account_width if keys.account else absent,
                    parameters.call_width if keys.call else absent,
                ],
                np.int64,
            ),
            bounds=np.array(parameters.bounds(), np.int64),
            extra=np.zeros(3, np.uint64),
            two_bits=parameters.gamma_bits == 2,
            common=common.bits if common is not None else np.empty(0, np.uint64),
            probes=common.probes if common is not None else 0,
        )

    def count(
        self,
        batch: Batch,
        *,
        account: int | None = None,
        call: int | None = None,
        threads: int = 1,
    ) -> Counts:
        """Count each document; without a number, a channel's hits are those under key 0."""
        epoch = self._under(account, call)
        counts = Counts(*np.zeros((2, len(batch), 3), np.int64))

        def run(first: int, last: int) -> None:
            part, rows = batch.part(first, last), slice(first, last)
            windows, hits = counts.windows[rows], counts.hits[rows]
            kernels.walk(part.ids, part.offsets, epoch, windows, hits, _listing(0), -1)

        _run_parts(run, _cuts(batch, threads))
        return counts

    def coins(
        self,
        batch: Batch,
        *,
        account: int | None = None,
        call: int | None = None,
        only: Channel | None = None,
    ) -> tuple[Counts, Coins]:
        """Count each document, and list its distinct windows: all, or `only` one channel's.

        Other channels are then passed over: they count none.
        """
        counts = Counts(*np.zeros((2, len(batch), 3), np.int64))
        listing, epoch = _listing(len(batch.ids)), self._under(account, call)
        wanted = -1 if only is None else CHANNEL_INDEX[only]
        listed = kernels.walk(
            batch.ids, batch.offsets, epoch, counts.windows, counts.hits, listing, wanted
        )
        documents, positions = listing.documents[:listed], listing.positions[:listed]
        coins = Coins(
            document=documents,
            position=positions,
            channel=listing.channels[:listed],
            seed=listing.seeds[:listed],
            token=batch.ids[batch.offsets[documents] + positions],
            green=listing.greens[:listed],
            digest=listing.digests[:listed],
        )
        return counts, coins

    def _under(self, account: int | None, call: int | None) -> kernels.Epoch:
        own = self.keys.account_key(account) if account is not None else 0
        request = self.keys.call_key(call) if call is not None else 0
        return self._epoch._replace(extra=np.array([0, own, request], np.uint64))


def number_keys(root: bytes, numbers: Words) -> Words:
    """Keys [n] of account or call numbers [n] under their 16-byte root key."""
    k0, k1 = _halves(root)
    return kernels.number_hashes(np.uint64(k0), np.uint64(k1), numbers)


def search(
    keys: Words,
    seeds: Words,
    tokens: npt.NDArray[np.uint32],
    gamma_bits: int,
    *,
    threads: int = 1,
) -> Integers:
    """Hits [k] of every account or call key [k] among windows [w] given by seed and token."""
    steps, places = word_places(tokens, gamma_bits)
    hits = np.zeros(len(keys), np.uint64)

    def run(first: int, last: int) -> None:
        part = slice(first, last)
        kernels.search_hits(keys[part], seeds, steps, places, gamma_bits == 2, hits[part])

    _run_parts(run, [len(keys) * i // threads for i in range(threads + 1)])
    return hits.astype(np.int64)


def toss(seeds: Words, tokens: npt.NDArray[np.uint32], gamma_bits: int) -> npt.NDArray[np.uint8]:
    """Coins [n] of windows given by seed (with every key in it) and token, [n] each."""
    return kernels.toss(seeds, tokens.astype(np.uint64), gamma_bits == 2)


def word_places(tokens: npt.NDArray[np.uint32], gamma_bits: int) -> tuple[Words, Words]:
    """SplitMix64 steps [w] of the words that decide tokens [w], and their bits' places [w]."""
    width = np.uint64(ids_per_word(gamma_bits))
    wide = tokens.astype(np.uint64)
    return (wide // width + np.uint64(1)) * np.uint64(GOLDEN), wide % width


def _listing(size: int) -> kernels.Listing:
    return kernels.Listing(
        *np.empty((2, size), np.int64),
        *np.empty((2, size), np.uint8),
        *np.empty((2, size), np.uint64),
    )


def _channel_keys(keys: EpochKeys) -> tuple[bytes, ...]:
    absent = bytes(16)
    return keys.channel, keys.site, keys.account or absent, keys.call or absent


def _halves(key: bytes) -> tuple[int, int]:
    return int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")


def _run_parts(run: Callable[[int, int], None], cuts: list[int]) -> None:
    """Call `run` for each part between two cuts, a thread a part."""
    if len(cuts) == 2:  # a pool would take longer than a small part
        run(*cuts)
        return
    with ThreadPoolExecutor(len(cuts) - 1) as pool:
        list(pool.map(run, cuts[:-1], cuts[1:]))


def _cuts(batch: Batch, parts: int) -> list[int]:
    """Cut a batch's documents into `parts` runs of about as many tokens each."""
    targets = [batch.offsets[-1] * i // parts for i in range(1, parts)]
    cuts = [0, *np.searchsorted(batch.offsets, targets).tolist(), len(batch)]
    assert all(a <= b for a, b in pairwise(cuts))
    return cuts
