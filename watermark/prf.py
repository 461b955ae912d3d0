"""The arithmetic of az1 on plain integers: SipHash-2-4, SplitMix64, HKDF-SHA256.

This is the definition; `watermark.greenlist` computes the same on arrays, and
the tests hold the two against each other and against the published vectors.
"""

import hashlib
import hmac

MASK64 = (1 << 64) - 1
# Fills the context slots that a channel's width leaves unused, oldest first; no token has that id.
UNUSED = 0xFFFFFFFF
# SplitMix64 (Steele, Lea, Flood, OOPSLA 2014; constants of Vigna's splitmix64.c).
GOLDEN = 0x9E3779B97F4A7C15
MIX1 = 0xBF58476D1CE4E5B9
MIX2 = 0x94D049BB133111EB
# SipHash initial state (Aumasson, Bernstein: SipHash, section 2.1).
SIP0 = 0x736F6D6570736575
SIP1 = 0x646F72616E646F6D
SIP2 = 0x6C7967656E657261
SIP3 = 0x7465646279746573


def siphash24(key: bytes, message: bytes) -> int:
    """SipHash-2-4 of `message` under a 16-byte `key`, as an unsigned 64-bit integer.

    Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012).
    """
    if len(key) != 16:
        raise ValueError(f"a SipHash key has 16 bytes, not {len(key)}")
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    state = [k0 ^ SIP0, k1 ^ SIP1, k0 ^ SIP2, k1 ^ SIP3]
    tail = len(message) % 8
    body = len(message) - tail
    words = [int.from_bytes(message[i : i + 8], "little") for i in range(0, body, 8)]
    words.append((len(message) & 0xFF) << 56 | int.from_bytes(message[body:], "little"))
    for word in words:
        state[3] ^= word
        _rounds(state, 2)
        state[0] ^= word
    state[2] ^= 0xFF
    _rounds(state, 4)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _rotate(x: int, bits: int) -> int:
    return (x << bits | x >> (64 - bits)) & MASK64


def _rounds(v: list[int], count: int) -> None:
    for _ in range(count):
        v[0] = (v[0] + v[1]) & MASK64
        v[1] = _rotate(v[1], 13) ^ v[0]
        v[0] = _rotate(v[0], 32)
        v[2] = (v[2] + v[3]) & MASK64
        v[3] = _rotate(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & MASK64
        v[3] = _rotate(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & MASK64
        v[1] = _rotate(v[1], 17) ^ v[2]
        v[2] = _rotate(v[2], 32)


def splitmix64(seed: int, index: int) -> int:
    """Output number `index` (from 0) of SplitMix64 started at `seed`, unsigned 64 bits."""
    z = (seed + (index + 1) * GOLDEN) & MASK64
    z = (z ^ z >> 30) * MIX1 & MASK64
    z = (z ^ z >> 27) * MIX2 & MASK64
    return z ^ z >> 31


def ids_per_word(gamma_bits: int) -> int:
    """How many token ids one SplitMix64 output decides: each takes gamma_bits of its 64."""
    return 64 // gamma_bits


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """`length` bytes (at most 8160) derived from `secret` by HKDF-SHA256 (RFC 5869)."""
    pseudorandom = hmac.digest(salt, secret, hashlib.sha256)
    output, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(pseudorandom, block + info + bytes([counter]), hashlib.sha256)
        output += block
    return output[:length]
