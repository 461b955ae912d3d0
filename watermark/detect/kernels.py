"""The detector's integer arithmetic, compiled: one pass from token ids to distinct windows.

Unsigned 64-bit words throughout, held to `watermark.reference` and `watermark.greenlist` by the
tests. Hashing runs over blocks of positions, whatever document they belong to, in loops that the
compiler turns into vector instructions; only the table of windows seen is walked one by one.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

from watermark import prf
from watermark.manifest import MAX_WIDTH

Words = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]
_Function = TypeVar("_Function", bound=Callable[..., Any])

# Scratch of a block (five arrays of 8 KiB) stays in the first-level cache.
BLOCK = 1024
NGRAM, SHORT_NGRAM = 5, 3
# numba takes a plain integer beside a uint64 for a float: every constant is a uint64.
_U = np.uint64
_GOLDEN, _MIX1, _MIX2 = _U(prf.GOLDEN), _U(prf.MIX1), _U(prf.MIX2)
_SIP0, _SIP1, _SIP2, _SIP3 = _U(prf.SIP0), _U(prf.SIP1), _U(prf.SIP2), _U(prf.SIP3)
_UNUSED = _U(prf.UNUSED)
_CONTEXT_LENGTH = _U(4 * MAX_WIDTH << 56)
_NUMBER_LENGTH = _U(8 << 56)
_ZERO, _ONE, _MASK16, _FINAL = _U(0), _U(1), _U(0xFFFF), _U(0xFF)
_B30, _B27, _B31, _B32, _B64 = _U(30), _U(27), _U(31), _U(32), _U(64)


def compiled(function: _Function) -> _Function:
    """Compile with numba, kept on disk; runs without the interpreter's lock."""
    return cast(_Function, numba.njit(cache=True, nogil=True)(function))


def inlined(function: _Function) -> _Function:
    """Compile into each caller, so that its loops can be vectorised."""
    return cast(_Function, numba.njit(inline="always")(function))


@inlined
def _rotate(word: Any, bits: Any) -> Any:
    return (word << bits) | (word >> (_B64 - bits))


@inlined
def mix64(word: Any) -> Any:
    """Output function of SplitMix64."""
    word = (word ^ (word >> _B30)) * _MIX1
    word = (word ^ (word >> _B27)) * _MIX2
    return word ^ (word >> _B31)


@inlined
def _round(v0: Any, v1: Any, v2: Any, v3: Any) -> Any:
    v0 = v0 + v1
    v1 = _rotate(v1, _U(13)) ^ v0
    v0 = _rotate(v0, _B32)
    v2 = v2 + v3
    v3 = _rotate(v3, _U(16)) ^ v2
    v0 = v0 + v3
    v3 = _rotate(v3, _U(21)) ^ v0
    v2 = v2 + v1
    v1 = _rotate(v1, _U(17)) ^ v2
    v2 = _rotate(v2, _B32)
    return v0, v1, v2, v3


@inlined
def _absorb(v0: Any, v1: Any, v2: Any, v3: Any, message: Any) -> Any:
    v3 = v3 ^ message
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ message, v1, v2, v3


@inlined
def _finish(v0: Any, v1: Any, v2: Any, v3: Any) -> Any:
    v2 = v2 ^ _FINAL
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


@inlined
def _hash_context(k0: Any, k1: Any, first: Any, second: Any) -> Any:
    v0, v1, v2, v3 = k0 ^ _SIP0, k1 ^ _SIP1, k0 ^ _SIP2, k1 ^ _SIP3
    v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, first)
    v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, second)
    v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, _CONTEXT_LENGTH)
    return _finish(v0, v1, v2, v3)


@compiled
def number_hashes(k0: np.uint64, k1: np.uint64, numbers: Words) -> Words:
    """SipHash-2-4 [n] of 64-bit numbers [n], little-endian, under the key (k0, k1)."""
    hashes = np.empty(len(numbers), np.uint64)
    for i in range(len(numbers)):
        v0, v1, v2, v3 = k0 ^ _SIP0, k1 ^ _SIP1, k0 ^ _SIP2, k1 ^ _SIP3
        v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, numbers[i])
        v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, _NUMBER_LENGTH)
        hashes[i] = _finish(v0, v1, v2, v3)
    return hashes


@inlined
def _is_green(seed: Any, token: Any, two_bits: bool) -> Any:
    """Return 1 if the token is green (docs/format.md, "Green tokens"), else 0."""
    if two_bits:
        word = mix64(seed + ((token >> _U(5)) + _ONE) * _GOLDEN)
        place = token & _U(31)
        return (word >> place) & (word >> (place + _B32)) & _ONE
    word = mix64(seed + ((token >> _U(6)) + _ONE) * _GOLDEN)
    return (word >> (token & _U(63))) & _ONE


@compiled
def toss(seeds: Words, tokens: Words, two_bits: bool) -> npt.NDArray[np.uint8]:
    """Coins [n] of windows given by seed and token, [n] each."""
    greens = np.empty(len(seeds), np.uint8)
    for i in range(len(seeds)):
        greens[i] = _is_green(seeds[i], tokens[i], two_bits)
    return greens


@compiled
def ngram_hash(tokens: Words, end: int) -> np.uint64:
    """Unkeyed 64-bit hash of the five tokens of `tokens` that end at index `end`, inclusive."""
    word = mix64(tokens[end - 4] | (tokens[end - 3] << _B32))
    word = mix64(word ^ (tokens[end - 2] | (tokens[end - 1] << _B32)))
    mixed: np.uint64 = mix64(word ^ tokens[end])
    return mixed


@compiled
def short_ngram_hash(tokens: Words, end: int) -> np.uint64:
    """Hash of the three tokens that end at index `end`: a 5-gram that begins with UNUSED twice."""
    word = mix64(_UNUSED | (_UNUSED << _B32))
    word = mix64(word ^ (tokens[end - 2] | (tokens[end - 1] << _B32)))
    mixed: np.uint64 = mix64(word ^ tokens[end])
    return mixed


@compiled
def is_common(bits: Words, probes: int, word: np.uint64) -> bool:
    """Whether the Bloom filter `bits` (a power of two words) holds the hash `word`."""
    mask = _U(len(bits) * 64 - 1)
    step = (word >> _B32) | _ONE
    for _ in range(probes):
        place = word & mask
        if (bits[place >> _U(6)] >> (place & _U(63))) & _ONE == _ZERO:
            return False
        word += step
    return True


@compiled
def ends_common(bits: Words, probes: int, tokens: Words, end: int, before: int, width: int) -> bool:
    """Whether a window with a context of `width`, at `tokens[end]`, ends a common n-gram.

    `before` tokens of the document stand before it: n-grams do not reach beyond its beginning.
    A window no longer than a trigram recurs wherever the trigram does; a longer one does not.
    """
    if before >= NGRAM - 1 and is_common(bits, probes, ngram_hash(tokens, end)):
        return True
    short = width < SHORT_NGRAM and before >= SHORT_NGRAM - 1
    return short and is_common(bits, probes, short_ngram_hash(tokens, end))


class Epoch(NamedTuple):
    """What the kernels need of an epoch.

    `keys` uint64 [4, 2]: selector, site, account, call; `widths` [4] and `bounds` [3] likewise;
    `extra` [3] is XORed into the seeds of the channels; `common` the words of a Bloom filter of
    5-grams and trigrams (none: length 0) with `probes` probes.
    """

    keys: Words
    widths: Integers
    bounds: Integers
    extra: Words
    two_bits: bool
    common: Words
    probes: int


class Listing(NamedTuple):
    """Columns [n] to be filled with the distinct windows (or [0]: count only)."""

    documents: Integers
    positions: Integers
    channels: npt.NDArray[np.uint8]
    greens: npt.NDArray[np.uint8]
    seeds: Words
    digests: Words


class _Block(NamedTuple):
    """Scratch for a run of positions: position j is tokens[j + 4], after its context."""

    tokens: Words
    channels: Words
    seeds: Words
    greens: Words
    digests: Words
    suspects: Words


@compiled
def _choose_channels(block: _Block, epoch: Epoch, size: int) -> None:
    """Channel (3: none) of each position of a block."""
    tokens, widths, channels = block.tokens, epoch.widths, block.channels[:size]
    k0, k1 = epoch.keys[0, 0], epoch.keys[0, 1]
    fill2 = _ZERO if widths[0] >= 2 else _UNUSED
    fill3 = _ZERO if widths[0] >= 3 else _UNUSED
    fill4 = _ZERO if widths[0] >= 4 else _UNUSED
    site, account, call = _U(epoch.bounds[0]), _U(epoch.bounds[1]), _U(epoch.bounds[2])
    for j in range(len(channels)):
        first = (tokens[j] | fill4) | ((tokens[j + 1] | fill3) << _B32)
        second = (tokens[j + 2] | fill2) | (tokens[j + 3] << _B32)
        draw = _hash_context(k0, k1, first, second) & _MASK16
        channel = _ZERO if draw < site else _ONE
        channel = channel if draw < account else _U(2)
        channels[j] = channel if draw < call else _U(3)


@compiled
def _hash_windows(block: _Block, epoch: Epoch, size: int) -> None:
    """Seeds of a block, without account or call key: three choices a lane, no branch."""
    tokens, channels, seeds = block.tokens, block.channels[:size], block.seeds[:size]
    fills = np.empty((3, 3), np.uint64)
    for c in range(3):
        for slot in range(3):
            fills[c, slot] = _ZERO if epoch.widths[c + 1] >= slot + 2 else _UNUSED
    keys = epoch.keys
    site0, site1, account0, account1 = keys[1, 0], keys[1, 1], keys[2, 0], keys[2, 1]
    call0, call1 = keys[3, 0], keys[3, 1]
    site2, site3, site4 = fills[0]
    account2, account3, account4 = fills[1]
    call2, call3, call4 = fills[2]
    for j in range(len(channels)):
        site, account = channels[j] == _ZERO, channels[j] == _ONE
        k0 = site0 if site else (account0 if account else call0)
        k1 = site1 if site else (account1 if account else call1)
        fill2 = site2 if site else (account2 if account else call2)
        fill3 = site3 if site else (account3 if account else call3)
        fill4 = site4 if site else (account4 if account else call4)
        first = (tokens[j] | fill4) | ((tokens[j + 1] | fill3) << _B32)
        second = (tokens[j + 2] | fill2) | (tokens[j + 3] << _B32)
        seeds[j] = _hash_context(k0, k1, first, second)


@compiled
def _toss_coins(block: _Block, epoch: Epoch, size: int) -> None:
    """Coins and digests of a block's windows."""
    tokens, channels, seeds = block.tokens, block.channels[:size], block.seeds[:size]
    greens, digests, two_bits = block.greens[:size], block.digests[:size], epoch.two_bits
    extra0, extra1, extra2 = epoch.extra
    for j in range(len(channels)):
        site, account = channels[j] == _ZERO, channels[j] == _ONE
        key = extra0 if site else (extra1 if account else extra2)
        token = tokens[j + 4]
        greens[j] = _is_green(seeds[j] ^ key, token, two_bits)
        # 0 marks an empty slot of the table of windows seen.
        digests[j] = max(mix64(seeds[j] ^ mix64(token + _ONE)), _ONE)


@inlined
def _first_probes(bits: Any, mask: Any, word: Any, second: Any, third: Any, fourth: Any) -> Any:
    """Return 1 if the first probes of a hash find their bits, else 0: no branch, four gathers."""
    step = (word >> _B32) | _ONE
    one, two = word & mask, (word + step * second) & mask
    three, four = (word + step * third) & mask, (word + step * fourth) & mask
    held = (bits[one >> _U(6)] >> (one & _U(63))) & (bits[two >> _U(6)] >> (two & _U(63)))
    held &= (bits[three >> _U(6)] >> (three & _U(63))) & (bits[four >> _U(6)] >> (four & _U(63)))
    return held & _ONE


@compiled
def _suspect_common(block: _Block, epoch: Epoch, size: int) -> None:
    """Mark the positions that may end a common n-gram; most end none, and cost no branch."""
    tokens, suspects, bits = block.tokens, block.suspects[:size], epoch.common
    mask = _U(len(bits) * 64 - 1)
    second = _U(min(1, epoch.probes - 1))
    third, fourth = _U(min(2, epoch.probes - 1)), _U(min(3, epoch.probes - 1))
    begin = mix64(_UNUSED | (_UNUSED << _B32))
    for j in range(len(suspects)):
        last = tokens[j + 2] | (tokens[j + 3] << _B32)
        long = mix64(mix64(mix64(tokens[j] | (tokens[j + 1] << _B32)) ^ last) ^ tokens[j + 4])
        short = mix64(mix64(begin ^ last) ^ tokens[j + 4])
        suspects[j] = _first_probes(bits, mask, long, second, third, fourth) | _first_probes(
            bits, mask, short, second, third, fourth
        )


@inlined
def insert(table: Words, mask: Any, digest: Any) -> bool:
    """Put a digest (not 0) into an open-addressed table; False if it was there."""
    slot = digest & mask
    while table[slot] != _ZERO:
        if table[slot] == digest:
            return False
        slot = (slot + _ONE) & mask
    table[slot] = digest
    return True


@inlined
def table_size(entries: int) -> int:
    """Slots of a table for so many entries: a power of two, at most half full."""
    size = 64
    while size < 2 * entries:
        size *= 2
    return size


@compiled
def _longest(offsets: Integers) -> int:
    most = 0
    for d in range(len(offsets) - 1):
        most = max(most, offsets[d + 1] - offsets[d])
    return most


@compiled
def walk(
    ids: npt.NDArray[np.uint32],
    offsets: Integers,
    epoch: Epoch,
    windows: Integers,
    hits: Integers,
    listing: Listing,
    only: int,
) -> int:
    """Count the distinct windows of every document, and list them if `listing` has room.

    `ids` uint32 [n] with all documents, `offsets` [d + 1]. Adds to `windows` and `hits` [d, 3]
    and returns how many windows were listed. Channels other than `only` (-1: all) are passed over.
    """
    block = _Block(
        np.zeros(BLOCK + 4, np.uint64),
        np.empty(BLOCK, np.uint64),
        np.empty(BLOCK, np.uint64),
        np.empty(BLOCK, np.uint64),
        np.empty(BLOCK, np.uint64),
        np.zeros(BLOCK, np.uint64),
    )
    # Locals: what is read through a tuple would be loaded anew after every store.
    tokens, channels, digests = block.tokens, block.channels, block.digests
    common, probes, suspects = epoch.common, epoch.probes, block.suspects
    widths, needs = epoch.widths, np.maximum(epoch.widths[1:], epoch.widths[0])
    emit, wanted = len(listing.documents) > 0, _U(max(only, 0))
    table = np.zeros(table_size(_longest(offsets)), np.uint64)
    mask, document, start, end, listed = _ZERO, -1, 0, 0, 0
    for first in range(0, offsets[-1], BLOCK):
        size = min(BLOCK, offsets[-1] - first)
        for j in range(size + 4):
            tokens[j] = _U(ids[first + j - 4]) if first + j >= 4 else _ZERO
        _choose_channels(block, epoch, size)
        _hash_windows(block, epoch, size)
        _toss_coins(block, epoch, size)
        if len(common):
            _suspect_common(block, epoch, size)
        for j in range(size):
            while first + j >= end:
                document += 1
                start, end = offsets[document], offsets[document + 1]
                slots = table_size(end - start)
                mask = _U(slots - 1)
                table[:slots] = _ZERO
            channel, before = channels[j], first + j - start
            if channel == _U(3) or before < needs[channel] or (only >= 0 and channel != wanted):
                continue
            width = widths[channel + _ONE]
            if suspects[j] and ends_common(common, probes, tokens, j + 4, before, width):
                continue
            if not insert(table, mask, digests[j]):
                continue
            windows[document, channel] += 1
            hits[document, channel] += block.greens[j]
            if emit:
                listing.documents[listed] = document
                listing.positions[listed] = before
                listing.channels[listed] = channel
                listing.greens[listed] = block.greens[j]
                listing.seeds[listed] = block.seeds[j]
                listing.digests[listed] = digests[j]
                listed += 1
    return listed


@compiled
def search_hits(
    keys: Words, seeds: Words, steps: Words, places: Words, two_bits: bool, hits: Words
) -> None:
    """Add to `hits` [k] the green windows under each of `keys` [k].

    A window is its seed, the SplitMix64 step of its token's word, and the place of its bit.
    """
    for low in range(0, len(keys), BLOCK):
        # Slices, not offsets: only then does the compiler see that indexes never wrap.
        part, counts = keys[low : low + BLOCK], hits[low : low + BLOCK]
        for w in range(len(seeds)):
            seed, step, place = seeds[w], steps[w], places[w]
            if two_bits:
                other = place + _B32
                for k in range(len(part)):
                    word = mix64((seed ^ part[k]) + step)
                    counts[k] += (word >> place) & (word >> other) & _ONE
            else:
                for k in range(len(part)):
                    word = mix64((seed ^ part[k]) + step)
                    counts[k] += (word >> place) & _ONE
