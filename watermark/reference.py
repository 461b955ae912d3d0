"""The detector's counts in plain Python integers, straight from docs/format.md.

Slow and obvious: the tests hold every fast implementation against it, and a
stranger may read it instead of the specification.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from watermark.keys import EpochKeys
from watermark.manifest import CHANNELS, MAX_WIDTH, Channel, Parameters
from watermark.prf import siphash24, splitmix64

_UNUSED = b"\xff\xff\xff\xff"


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
