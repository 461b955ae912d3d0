"""The detector's counts in plain Python integers, straight from docs/format.md.

Slow and obvious: the tests hold every fast implementation against it, and a
stranger may read it instead of the specification.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from unicodedata import category, normalize

from watermark.keys import EpochKeys
from watermark.manifest import CHANNELS, MAX_WIDTH, Channel, Parameters
from watermark.prf import siphash24, splitmix64

_UNUSED = b"\xff\xff\xff\xff"
# az1-words: letters that are words by themselves, and characters that never count.
_ALONE = (
    *(range(0x0E00, 0x0F00), range(0x1000, 0x10A0), range(0x1780, 0x1800)),
    *(range(0x3005, 0x3008), range(0x3040, 0x3100), range(0x31F0, 0x3200)),
    *(range(0x3400, 0x4DC0), range(0x4E00, 0xA000), range(0xF900, 0xFB00)),
    range(0x20000, 0x40000),
)
_SELECTORS = (
    *(range(0x034F, 0x0350), range(0x180B, 0x180E), range(0x180F, 0x1810)),
    *(range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0)),
)


@dataclass(frozen=True, slots=True)
class Count:
    """Hits (green) among the distinct windows of a channel."""

    windows: int
    hits: int


def context_hash(key: bytes, context: Sequence[int]) -> int:
    """SipHash-2-4 of the context's tokens, left-padded to four slots."""
    slots = b"".join(token.to_bytes(4, "little") for token in context)
    return siphash24(key, _UNUSED * (MAX_WIDTH - len(context)) + slots)


def channel_of(keys: EpochKeys, parameters: Parameters, before: Sequence[int]) -> Channel | None:
    """Return the channel of the position after the tokens `before`, None if it has none."""
    if len(before) < parameters.selector_width:
        return None
    draw = context_hash(keys.channel, before[-parameters.selector_width :]) & 0xFFFF
    for channel, bound in zip(CHANNELS, parameters.bounds(), strict=True):
        if draw < bound:
            return channel if len(before) >= parameters.width(channel) else None
    return None


def is_green(seed: int, token: int, gamma_bits: int) -> bool:
    """Whether `token` is green under `seed`."""
    width = 64 // gamma_bits
    word = splitmix64(seed, token // width)
    places = [token % width + 32 * i for i in range(gamma_bits)]
    return all(word >> place & 1 for place in places)


def count(
    tokens: Sequence[int],
    keys: EpochKeys,
    parameters: Parameters,
    *,
    account: int | None = None,
    call: int | None = None,
) -> dict[Channel, Count]:
    """Hits and distinct windows by channel; account and call are numbers, absent if unknown.

    A channel whose number is unknown is left out: without it no coin can be looked at.
    """
    extra: dict[Channel, int] = {"site": 0}
    if account is not None:
        extra["account"] = keys.account_key(account)
    if call is not None:
        extra["call"] = keys.call_key(call)
    coins: dict[Channel, dict[tuple[int, ...], bool]] = {channel: {} for channel in extra}
    for position, token in enumerate(tokens):
        channel = channel_of(keys, parameters, tokens[:position])
        if channel is None or channel not in extra:
            continue
        context = tokens[position - parameters.width(channel) : position]
        seed = context_hash(getattr(keys, channel), context) ^ extra[channel]
        coins[channel][(*context, token)] = is_green(seed, token, parameters.gamma_bits)
    return {
        channel: Count(len(windows), sum(windows.values())) for channel, windows in coins.items()
    }


def words(text: str) -> list[str]:
    """Folded words of a text, in the format az1-words."""
    letters, found, start = _folded(text), [], 0
    kinds = [*map(_kind, letters), "none"]
    while start < len(letters):
        end = start + 1
        if kinds[start] == "letter":
            while kinds[end] in ("letter", "mark") or (
                letters[end : end + 1] == "'" and kinds[end + 1] == "letter"
            ):
                end += 1
        elif kinds[start] == "alone":
            while kinds[end] == "mark":
                end += 1
        if kinds[start] in ("letter", "alone"):
            found.append(letters[start:end])
        start = end
    return found


def _folded(text: str) -> str:
    shown = "".join(c for c in text if category(c) != "Cf" and not _within(c, _SELECTORS))
    folded = normalize("NFKC", normalize("NFKC", shown).casefold())
    return folded.replace("\u2019", "'").replace("\u02bc", "'")


def _kind(character: str) -> str:
    if category(character)[0] in "LN":
        return "alone" if _within(character, _ALONE) else "letter"
    return "mark" if category(character)[0] == "M" else "none"


def _within(character: str, ranges: Sequence[range]) -> bool:
    return any(ord(character) in part for part in ranges)


def word_id(key: bytes, word: str) -> int:
    """Id of a folded word under the words key."""
    low = siphash24(key, word.encode("utf-8")) % 2**31
    return min(2**31 + low, 0xFFFFFFFE)
