"""Distinct windows of whole batches in torch, on any device: the integers of `EpochScheme`.

All tensors are int64; unsigned words keep their bits. A window that occurs again is found by two
stable sorts, of digests and of documents, so that the first of equals is the first in the text.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from watermark.detect.counts import CHANNEL_INDEX, Batch, Coins, Counts, Integers, Words
from watermark.detect.kernels import NGRAM, SHORT_NGRAM
from watermark.errors import InputError
from watermark.greenlist import (
    NO_CHANNEL,
    channels_of,
    context_seeds,
    green_bits,
    mix64,
    shift_right,
    signed64,
    windows_contexts,
)
from watermark.keys import EpochKeys
from watermark.manifest import CHANNELS, Channel, Parameters
from watermark.prf import UNUSED

if TYPE_CHECKING:
    from watermark.detect.filter import CommonFilter

# Key-window pairs that a search holds at once: 2^21 int64 words are 16 MiB an operand.
_SEARCH_BATCH = 1 << 21


class _Found:
    """Distinct windows [m] on the device, in text order."""

    def __init__(self, columns: dict[str, torch.Tensor], keep: torch.Tensor) -> None:
        self.document = columns["document"][keep]
        self.position = columns["position"][keep]
        self.channel = columns["channel"][keep]
        self.seed = columns["seed"][keep]
        self.token = columns["token"][keep]
        self.digest = columns["digest"][keep]


def usable_device(name: str) -> str:
    """Return the torch device's name; raises InputError if it cannot be used here."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device {name}: not usable here ({str(error).splitlines()[0]})"
        ) from error
    return name


class TorchScheme:
    """The arithmetic of one epoch over batches, as `EpochScheme`, on a torch device."""

    def __init__(
        self,
        keys: EpochKeys,
        parameters: Parameters,
        device: torch.device | str,
        common: "CommonFilter | None" = None,
    ) -> None:
        self.keys = keys
        self.parameters = parameters
        self.device = torch.device(device)
        present = {"site": True, "account": bool(keys.account), "call": bool(keys.call)}
        never = np.iinfo(np.int64).max  # a context wider than any text
        needs = [
            max(parameters.width(channel), parameters.selector_width) if present[channel] else never
            for channel in CHANNELS
        ]
        self._needs = torch.tensor([*needs, never], device=self.device)
        self._common = _signed(common.bits, self.device) if common is not None else None
        self._probes = common.probes if common is not None else 0

    def count(self, batch: Batch, *, account: int | None = None, call: int | None = None) -> Counts:
        """Count each document; without a number, a channel's hits are those under key 0."""
        found = self._found(batch)
        return self._counts(batch, found, self._greens(found, account, call))

    def coins(
        self,
        batch: Batch,
        *,
        account: int | None = None,
        call: int | None = None,
        only: Channel | None = None,
    ) -> tuple[Counts, Coins]:
        """Count each document, and list its distinct windows: all, or `only` one channel's."""
        found = self._found(batch, only)
        greens = self._greens(found, account, call)
        coins = Coins(
            document=found.document.cpu().numpy(),
            position=found.position.cpu().numpy(),
            channel=found.channel.cpu().numpy().astype(np.uint8),
            seed=found.seed.cpu().numpy().view(np.uint64),
            token=found.token.cpu().numpy().astype(np.uint32),
            green=greens.cpu().numpy().astype(np.uint8),
            digest=found.digest.cpu().numpy().view(np.uint64),
        )
        return self._counts(batch, found, greens), coins

    def _found(self, batch: Batch, only: Channel | None = None) -> _Found:
        tokens = torch.from_numpy(batch.ids.astype(np.int64)).to(self.device)  # [n]
        offsets = torch.from_numpy(batch.offsets.astype(np.int64)).to(self.device)
        places = torch.arange(len(tokens), device=self.device)
        document = torch.searchsorted(offsets, places, right=True) - 1
        position = places - offsets[document]
        contexts = windows_contexts(tokens)  # [n, 4]; those that begin too early are no windows
        channel = channels_of(self.keys, self.parameters, contexts)
        seed = self._seeds(contexts, channel)
        digest = mix64(seed ^ mix64(tokens + 1))
        columns = {
            "document": document,
            "position": position,
            "channel": channel,
            "seed": seed,
            "token": tokens,
            "digest": torch.where(digest == 0, 1, digest),
        }
        windows = (channel != NO_CHANNEL) & (position >= self._needs[channel])
        if only is not None:
            windows &= channel == CHANNEL_INDEX[only]
        if self._common is not None:
            windows &= ~self._is_common(tokens, position, channel)
        return _Found(columns, _first(columns, torch.nonzero(windows).squeeze(1)))

    def _seeds(self, contexts: torch.Tensor, channel: torch.Tensor) -> torch.Tensor:
        seed = torch.zeros_like(channel)
        for name, index in CHANNEL_INDEX.items():
            hashes = context_seeds(self.keys, self.parameters, name, contexts)
            seed = torch.where(channel == index, hashes, seed)
        return seed

    def _is_common(
        self, tokens: torch.Tensor, position: torch.Tensor, channel: torch.Tensor
    ) -> torch.Tensor:
        """Whether the five (of short windows also the three) tokens up to each place are common."""
        widths = [self.parameters.width(name) for name in CHANNEL_INDEX]
        fits = torch.tensor([*(width < SHORT_NGRAM for width in widths), False])
        short = fits.to(self.device)[channel] & (position >= SHORT_NGRAM - 1)
        long = (position >= NGRAM - 1) & self._holds(_ngram_hashes(tokens, NGRAM))
        return long | (short & self._holds(_ngram_hashes(tokens, SHORT_NGRAM)))

    def _holds(self, word: torch.Tensor) -> torch.Tensor:
        assert self._common is not None
        step = shift_right(word, 32) | 1
        held = torch.ones_like(word, dtype=torch.bool)
        for _ in range(self._probes):
            place = word & (len(self._common) * 64 - 1)
            held &= ((self._common[place >> 6] >> (place & 63)) & 1) == 1
            word = word + step
        return held

    def _greens(self, found: _Found, account: int | None, call: int | None) -> torch.Tensor:
        own = signed64(self.keys.account_key(account)) if account is not None else 0
        request = signed64(self.keys.call_key(call)) if call is not None else 0
        extra = torch.tensor([0, own, request], device=self.device)
        seeds = found.seed ^ extra[found.channel]
        return green_bits(seeds, found.token, self.parameters.gamma_bits)

    def _counts(self, batch: Batch, found: _Found, greens: torch.Tensor) -> Counts:
        cell = found.document * len(CHANNELS) + found.channel
        size = len(batch) * len(CHANNELS)
        windows = torch.bincount(cell, minlength=size)
        hits = torch.bincount(cell[greens == 1], minlength=size)
        shape = (len(batch), len(CHANNELS))
        return Counts(
            windows.cpu().numpy().reshape(shape).astype(np.int64),
            hits.cpu().numpy().reshape(shape).astype(np.int64),
        )


def search(
    keys: Words,
    seeds: Words,
    tokens: npt.NDArray[np.uint32],
    gamma_bits: int,
    *,
    device: torch.device | str,
) -> Integers:
    """Hits [k] of every account or call key [k] among windows [w] given by seed and token."""
    if len(seeds) == 0:
        return np.zeros(len(keys), np.int64)
    seed = _signed(seeds, device)
    token = torch.from_numpy(tokens.astype(np.int64)).to(device)
    counts = [
        green_bits(seed ^ part[:, None], token, gamma_bits).sum(1)
        for part in torch.split(_signed(keys, device), max(1, _SEARCH_BATCH // len(seeds)))
    ]
    return torch.cat(counts).cpu().numpy() if counts else np.zeros(0, np.int64)


def _signed(words: Words, device: torch.device | str) -> torch.Tensor:
    return torch.from_numpy(np.array(words, np.uint64).view(np.int64)).to(device)


def _first(columns: dict[str, torch.Tensor], windows: torch.Tensor) -> torch.Tensor:
    """Those of the indexes `windows`, ascending, whose (document, digest) was not there before."""
    order = windows[torch.argsort(columns["digest"][windows], stable=True)]
    order = order[torch.argsort(columns["document"][order], stable=True)]
    documents, digests = columns["document"][order], columns["digest"][order]
    new = torch.ones(len(order), dtype=torch.bool, device=order.device)
    new[1:] = (documents[1:] != documents[:-1]) | (digests[1:] != digests[:-1])
    return order[new].sort().values


def _ngram_hashes(tokens: torch.Tensor, length: int) -> torch.Tensor:
    """Hash, as in the kernels, of the `length` tokens up to each position [n].

    Tokens beyond `length` are UNUSED; so are those before the first document.
    """
    padded = torch.nn.functional.pad(tokens, (NGRAM - 1, 0), value=UNUSED)
    columns = [padded[i : i + len(tokens)] for i in range(NGRAM)]
    columns[: NGRAM - length] = [torch.full_like(tokens, UNUSED)] * (NGRAM - length)
    first, second, third, fourth, last = columns
    word = mix64(first | (second << 32))
    word = mix64(word ^ (third | (fourth << 32)))
    return mix64(word ^ last)
