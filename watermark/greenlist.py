"""Format az1 on arrays: seeds, channels and green bits of many windows at once.

Written with operators only, so the same lines run on numpy arrays (on the host,
beside the sampler) and on torch tensors (any device). All 64-bit words are held
as signed int64, whose addition and multiplication wrap as unsigned ones do; the
one difference, the right shift, is masked. Integers only: results are the same
bits on every device. `watermark.prf` is the definition in plain integers.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from watermark.keys import EpochKeys
from watermark.manifest import MAX_WIDTH, Channel, Parameters
from watermark.prf import GOLDEN, MIX1, MIX2, SIP0, SIP1, SIP2, SIP3, UNUSED, ids_per_word

Words = TypeVar("Words", npt.NDArray[np.int64], torch.Tensor)

NO_CHANNEL = 3
_LENGTH_WORD = 4 * MAX_WIDTH << 56


def signed64(value: int) -> int:
    """Return the signed int64 with the bits of the unsigned 64-bit `value`."""
    return value - (1 << 64) if value >> 63 else value


_GOLDEN, _MIX1, _MIX2 = signed64(GOLDEN), signed64(MIX1), signed64(MIX2)


def shift_right(words: Words, bits: int) -> Words:
    """Logical right shift of 64-bit words."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def rotate_left(words: Words, bits: int) -> Words:
    """Rotation of 64-bit words to the left."""
    return (words << bits) | shift_right(words, 64 - bits)


def mix64(words: Words) -> Words:
    """Output function of SplitMix64, elementwise."""
    words = (words ^ shift_right(words, 30)) * _MIX1
    words = (words ^ shift_right(words, 27)) * _MIX2
    return words ^ shift_right(words, 31)


def context_words(contexts: Words, width: int) -> tuple[Words, Words]:
    """Two message words of contexts [..., 4] (int64 token ids, newest last), cut to `width`.

    Unused slots hold 0xFFFFFFFF, so that every channel hashes 16 bytes whatever its width
    and contexts of different widths never collide.
    """
    slots = [
        contexts[..., i] if i >= MAX_WIDTH - width else contexts[..., i] * 0 + UNUSED
        for i in range(MAX_WIDTH)
    ]
    return slots[0] | (slots[1] << 32), slots[2] | (slots[3] << 32)


def siphash24(k0: Words | int, k1: Words | int, first: Words, second: Words) -> Words:
    """SipHash-2-4 of 16-byte messages given as two little-endian words; keys likewise.

    All arguments broadcast; integers must fit in a signed int64. Source: `watermark.prf`.
    """
    v0 = first * 0 + (k0 ^ signed64(SIP0))
    v1 = first * 0 + (k1 ^ signed64(SIP1))
    v2 = first * 0 + (k0 ^ signed64(SIP2))
    v3 = first * 0 + (k1 ^ signed64(SIP3))
    for message in (first, second, signed64(_LENGTH_WORD)):
        v3 = v3 ^ message
        v0, v1, v2, v3 = _round(*_round(v0, v1, v2, v3))
        v0 = v0 ^ message
    v2 = v2 ^ 0xFF
    for _ in range(4):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _round(v0: Words, v1: Words, v2: Words, v3: Words) -> tuple[Words, Words, Words, Words]:
    v0 = v0 + v1
    v1 = rotate_left(v1, 13) ^ v0
    v0 = rotate_left(v0, 32)
    v2 = v2 + v3
    v3 = rotate_left(v3, 16) ^ v2
    v0 = v0 + v3
    v3 = rotate_left(v3, 21) ^ v0
    v2 = v2 + v1
    v1 = rotate_left(v1, 17) ^ v2
    v2 = rotate_left(v2, 32)
    return v0, v1, v2, v3


def key_words(key: bytes) -> tuple[int, int]:
    """Split a 16-byte SipHash key into two signed 64-bit words."""
    return tuple(  # type: ignore[return-value]
        int.from_bytes(key[i : i + 8], "little", signed=True) for i in (0, 8)
    )


def context_seeds(
    keys: EpochKeys, parameters: Parameters, channel: Channel, contexts: Words
) -> Words:
    """Seeds [...] of contexts [..., 4] in a channel, before an account or call key goes in."""
    key: bytes = getattr(keys, channel)
    return siphash24(*key_words(key), *context_words(contexts, parameters.width(channel)))


def channels_of(keys: EpochKeys, parameters: Parameters, contexts: Words) -> Words:
    """Index into CHANNELS (3: none) for each of contexts [..., 4].

    The low 16 bits of a keyed hash of the newest `selector_width` tokens are compared
    with the channels' shares.
    """
    words = context_words(contexts, parameters.selector_width)
    draw = siphash24(*key_words(keys.channel), *words) & 0xFFFF
    # A comparison's bool has no common type in numpy and torch: the sign bit serves both.
    below = ((draw - bound) >> 63 for bound in parameters.bounds())
    return sum(below, draw * 0 + NO_CHANNEL)


def green_bits(seeds: Words, tokens: Words, gamma_bits: int) -> Words:
    """1 where the token is green under the seed, else 0; arguments broadcast, int64.

    Token `t` belongs to word b = t // w of SplitMix64(seed), w = 64 / gamma_bits; it is
    green when bits t mod w, and for gamma_bits = 2 also t mod w + 32, of the word are set.
    """
    width = ids_per_word(gamma_bits)
    words = mix64(seeds + (tokens // width + 1) * _GOLDEN)
    place = tokens % width
    bits = words >> place
    if gamma_bits == 2:
        bits = bits & (words >> (place + 32))
    return bits & 1


def green_words(seeds: torch.Tensor, vocabulary: int, gamma_bits: int) -> torch.Tensor:
    """Green bits of the whole vocabulary as packed bytes.

    `seeds` is int64 [B]; the result uint8 [B, n] on the same device, n * 8 >= vocabulary;
    token t is bit t mod 8 of byte t // 8 (on little-endian machines, which torch requires).
    """
    blocks = -(-vocabulary // ids_per_word(gamma_bits))
    steps = torch.arange(1, blocks + 1, dtype=torch.int64, device=seeds.device) * _GOLDEN
    words = mix64(seeds[:, None] + steps)  # [B, blocks]
    if gamma_bits == 2:
        words = (words & (words >> 32)).to(torch.int32)
    return words.view(torch.uint8)


def windows_contexts(tokens: Words) -> Words:
    """Contexts [n, 4] of the tokens [n] of a text, newest last; missing slots hold UNUSED.

    A position that lacks a channel's full context is no window of that channel: callers
    compare the position with the width.
    """
    columns = []
    for back in range(MAX_WIDTH, 0, -1):
        if isinstance(tokens, torch.Tensor):
            shifted = torch.full_like(tokens, UNUSED)
        else:
            shifted = np.full_like(tokens, UNUSED)
        shifted[back:] = tokens[: max(len(tokens) - back, 0)]
        columns.append(shifted)
    stack = torch.stack if isinstance(tokens, torch.Tensor) else np.stack
    return stack(columns, -1)
