"""Tracing's integer arithmetic, compiled: the best stretch of a text under each of many keys."""

from typing import NamedTuple

import numpy as np

from watermark.detect.kernels import Integers, Words, compiled, mix64

# Keys of a block: their three columns of state stay in the first-level cache.
_BLOCK = 512
_B32, _ONE = np.uint64(32), np.uint64(1)
# A stretch is one word, score above and first window below: one comparison takes the better.
PLACE_BITS = 24
_UNIT = 1 << PLACE_BITS
LONGEST = _UNIT - 1


class Windows(NamedTuple):
    """Windows [w] as to `kernels.search_hits`: seeds, SplitMix64 steps, places of the bits."""

    seeds: Words
    steps: Words
    places: Words
    two_bits: bool


@compiled
def best_stretches(
    keys: Words, windows: Windows, gain: int, loss: int
) -> tuple[Integers, Integers]:
    """Find each key's best stretch: score · 2^24 + first window [k], and last window [k].

    A stretch scores `gain` for a green window and `-loss` for another; the best is found in one
    pass (Kadane's algorithm, a lane for each key). Windows are at most 2^24 - 1. A key
    without any green window has the score 0.
    """
    seeds, steps, places, two_bits = windows
    step_up, step_down = (gain + loss) * _UNIT, loss * _UNIT
    best, ends = np.full(len(keys), _UNIT - 1, np.int64), np.zeros(len(keys), np.int64)
    states = np.empty(_BLOCK, np.int64)
    for low in range(0, len(keys), _BLOCK):
        # Slices, not offsets: only then does the compiler see that indexes never wrap.
        part = keys[low : low + _BLOCK]
        top, last = best[low : low + _BLOCK], ends[low : low + _BLOCK]
        state = states[: len(part)]
        state[:] = 0
        for w in range(len(seeds)):
            seed, step, place, here = seeds[w], steps[w], places[w], np.int64(w)
            other = place + _B32 if two_bits else place
            for k in range(len(part)):
                word = mix64((seed ^ part[k]) + step)
                green = np.int64((word >> place) & (word >> other) & _ONE)
                before = state[k] if state[k] >= _UNIT else here
                total = before - step_down + green * step_up
                state[k] = total
                last[k] = here if total > top[k] else last[k]
                top[k] = max(top[k], total)
    return best, ends
