"""A second implementation of az1, written from docs/format.md alone, standard library only.

It shares no line and no import with the package: that it agrees with az1.json shows that the
specification is complete. Whoever needs a detector in another language may start here.
"""

import base64
import hashlib
import hmac
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from fractions import Fraction

Keys = dict[str, bytes]
Parameters = dict[str, int]
Number = int | None
M = 2**64 - 1
CHANNELS = ("site", "account", "call")
LABELS = {
    "channel": ("channel", 16),
    "site": ("site", 16),
    "account": ("account context", 16),
    "account_root": ("account root", 16),
    "call": ("call context", 16),
    "call_root": ("call root", 16),
    "words": ("words", 16),
    "ticket": ("ticket", 32),
    "privacy": ("privacy", 32),
    "check": ("key check", 8),
}
# Of az1-words: letters that stand alone, and characters that are removed (besides Cf).
ALONE = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3005, 0x3007), (0x3040, 0x30FF)),
    *((0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)
IGNORED = re.compile("[\u034f\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def hkdf(master: bytes, label: str, length: int) -> bytes:
    """HKDF-SHA256; at most 32 bytes are ever needed, so that one block of expansion is enough."""
    extracted = hmac.new(b"azeotrope az1", master, hashlib.sha256).digest()
    return hmac.new(extracted, label.encode() + b"\x01", hashlib.sha256).digest()[:length]


def subkeys(master: bytes) -> Keys:
    return {name: hkdf(master, label, length) for name, (label, length) in LABELS.items()}


def siphash(key: bytes, message: bytes) -> int:
    k = [int.from_bytes(key[i : i + 8], "little") for i in (0, 8)]
    names = (b"somepseu", b"dorandom", b"lygenera", b"tedbytes")
    a, b, c, d = (int.from_bytes(n, "big") ^ k[i % 2] for i, n in enumerate(names))

    def rounds(a: int, b: int, c: int, d: int, count: int) -> tuple[int, int, int, int]:
        for _ in range(count):
            a = (a + b) & M
            b = ((b << 13 | b >> 51) & M) ^ a
            a = (a << 32 | a >> 32) & M
            c = (c + d) & M
            d = ((d << 16 | d >> 48) & M) ^ c
            a = (a + d) & M
            d = ((d << 21 | d >> 43) & M) ^ a
            c = (c + b) & M
            b = ((b << 17 | b >> 47) & M) ^ c
            c = (c << 32 | c >> 32) & M
        return a, b, c, d

    padded = message + bytes(7 - len(message) % 8) + bytes([len(message) % 256])
    for i in range(0, len(padded), 8):
        m = int.from_bytes(padded[i : i + 8], "little")
        a, b, c, d = rounds(a, b, c, d ^ m, 2)
        a ^= m
    a, b, c, d = rounds(a, b, c ^ 0xFF, d, 4)
    return a ^ b ^ c ^ d


def word(seed: int, block: int) -> int:
    z = (seed + (block + 1) * 0x9E3779B97F4A7C15) & M
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M
    return z ^ (z >> 31)


def green(seed: int, token: int, gamma_bits: int) -> bool:
    if gamma_bits == 1:
        return bool(word(seed, token // 64) >> token % 64 & 1)
    pair = word(seed, token // 32) >> token % 32
    return bool(pair & 1 and pair >> 32 & 1)


def number_key(root: bytes, number: int) -> int:
    return siphash(root, number.to_bytes(8, "little"))


def context_hash(key: bytes, context: Sequence[int]) -> int:
    message = b"".join(token.to_bytes(4, "little") for token in context)
    return siphash(key, message.rjust(16, b"\xff"))


def channel_at(keys: Keys, parameters: Parameters, before: Sequence[int]) -> str | None:
    """Channel of the position after the tokens `before`, or None."""
    width = parameters["selector_width"]
    if len(before) < width:
        return None
    draw = context_hash(keys["channel"], before[len(before) - width :]) & 0xFFFF
    for channel in CHANNELS:
        draw -= parameters[channel + "_share"]
        if draw < 0:
            return channel if len(before) >= parameters[channel + "_width"] else None
    return None


def places(
    keys: Keys, parameters: Parameters, tokens: Sequence[int], account: Number, call: Number
) -> Iterator[tuple[int, str, tuple[int, ...], int]]:
    """Yield position, channel, context and seed of each position whose number is known."""
    extra = {"site": 0}
    if account is not None:
        extra["account"] = number_key(keys["account_root"], account)
    if call is not None:
        extra["call"] = number_key(keys["call_root"], call)
    for i in range(len(tokens)):
        channel = channel_at(keys, parameters, tokens[:i])
        if channel is not None and channel in extra:
            context = tuple(tokens[i - parameters[channel + "_width"] : i])
            yield i, channel, context, context_hash(keys[channel], context) ^ extra[channel]


def score(
    keys: Keys,
    parameters: Parameters,
    tokens: Sequence[int],
    account: Number = None,
    call: Number = None,
) -> dict[str, tuple[int, int]]:
    """Distinct windows and hits by channel."""
    coins: dict[str, dict[tuple[tuple[int, ...], int], bool]] = {}
    for i, channel, context, seed in places(keys, parameters, tokens, account, call):
        coin = green(seed, tokens[i], parameters["gamma_bits"])
        coins.setdefault(channel, {})[context, tokens[i]] = coin
    return {channel: (len(seen), sum(seen.values())) for channel, seen in coins.items()}


def embedding(
    keys: Keys,
    parameters: Parameters,
    tokens: Sequence[int],
    account: Number = None,
    call: Number = None,
) -> list[tuple[str, int] | None]:
    """Channel and seed of the bias before each token; None for none."""
    width, cap = parameters["selector_width"], parameters["repeat_cap"]
    found = {i: (c, s) for i, c, _, s in places(keys, parameters, tokens, account, call)}
    selectors = [tuple(tokens[i - width : i]) if i >= width else None for i in range(len(tokens))]
    return [
        found.get(i) if cap == 0 or selectors[:i].count(selectors[i]) < cap else None
        for i in range(len(tokens))
    ]


def log10_tail(hits: int, windows: int, gamma_bits: int) -> float:
    gamma = Fraction(1, 2**gamma_bits)
    terms = range(hits, windows + 1)
    p = Fraction(
        sum(math.comb(windows, j) * gamma**j * (1 - gamma) ** (windows - j) for j in terms)
    )
    return math.log10(p.numerator) - math.log10(p.denominator)


def character(c: str) -> str:
    """What a folded character is to words: letter x, alone a, mark m, apostrophe, other."""
    kind, code = unicodedata.category(c)[0], ord(c)
    if kind in "LN":
        return "a" if any(low <= code <= high for low, high in ALONE) else "x"
    return "m" if kind == "M" else "'" if c == "'" else " "


def cut_words(text: str) -> list[str]:
    """Folded words of a text."""
    shown = (c for c in text if unicodedata.category(c) != "Cf" and not IGNORED.match(c))
    folded = unicodedata.normalize("NFKC", "".join(shown)).casefold()
    folded = re.sub("[\u2019\u02bc]", "'", unicodedata.normalize("NFKC", folded))
    pattern = re.finditer("x[xm]*('x[xm]*)*|am*", "".join(map(character, folded)))
    return [folded[match.start() : match.end()] for match in pattern]


def id_of_word(key: bytes, word: str) -> int:
    number = siphash(key, word.encode()) & 0x7FFFFFFF | 0x80000000
    return 0xFFFFFFFE if number == 0xFFFFFFFF else number


def read_ticket(text: str, ticket_keys: dict[int, bytes], now: float) -> dict[str, int] | str:
    """The fields of a ticket, or the reason why it is refused."""
    if len(text) != 86 or not all(c.isascii() and (c.isalnum() or c in "-_") for c in text):
        return "malformed"
    raw = base64.urlsafe_b64decode(text + "==")
    if base64.urlsafe_b64encode(raw).decode() != text + "==" or raw[0] != 1:
        return "malformed"
    sizes = {"epoch": 4, "account": 8, "call": 8, "delta_millinats": 2, "level": 1, "expires": 8}
    fields: dict[str, int] = {}
    at = 1
    for name, size in sizes.items():
        fields[name] = int.from_bytes(raw[at : at + size], "little")
        at += size
    if fields["epoch"] not in ticket_keys:
        return "unknown_epoch"
    signature = hmac.new(ticket_keys[fields["epoch"]], raw[:32], hashlib.sha256).digest()
    if not hmac.compare_digest(signature, raw[32:]):
        return "forged"
    return "expired" if fields["expires"] < now else fields


def canonical_manifest(file: str) -> bytes:
    """The bytes that a manifest file's signature is over."""
    return json.dumps(json.loads(file)["manifest"], sort_keys=True, separators=(",", ":")).encode()
