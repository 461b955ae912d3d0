"""From a request's ticket to the bias of each decode step, in any engine.

An engine calls `Marker.admit` once a sequence and `Marker.apply` once a step. Seeds are
computed on the host, where the sampled tokens are; the bias on the logits' device.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from watermark.embed.bias import add_green_bias
from watermark.errors import KeyringError, TicketError
from watermark.greenlist import NO_CHANNEL, context_words, key_words, signed64, siphash24
from watermark.keys import EpochKeys, KeySet
from watermark.manifest import CHANNELS, MAX_WIDTH, Manifest, Parameters
from watermark.prf import UNUSED
from watermark.ticket import Ticket, verify

_Array = npt.NDArray[np.int64]


@dataclass(slots=True)
class RowMark:
    """The mark of one generated sequence; owned by the engine's row, never shared.

    `keys` are the signed 64-bit keys of site (always 0), account and call; None where the
    ticket named none. `counts` says how often each selector context was met, `met` how many
    output tokens it covers: an engine that resumes a sequence with a new RowMark, or
    recomputes it, thus gets the same bias as without the interruption.
    """

    epoch: int
    delta: float
    keys: tuple[int, int | None, int | None]
    counts: dict[tuple[int, ...], int] = field(default_factory=dict)
    met: int = 0

    def repeats(self, output: Sequence[int], width: int) -> int:
        """Count earlier positions of `output` with the selector context that it ends with."""
        for end in range(max(self.met, width), len(output) + 1):
            context = tuple(output[end - width : end])
            self.counts[context] = self.counts.get(context, 0) + 1
        self.met = len(output) + 1
        return self.counts.get(tuple(output[len(output) - width :]), 1) - 1


@dataclass(frozen=True, slots=True)
class _EpochMarks:
    """Everything of an epoch that a step needs, prepared once; k0 and k1 are [4, 1]."""

    parameters: Parameters
    k0: _Array
    k1: _Array

    @classmethod
    def prepare(cls, keys: EpochKeys, parameters: Parameters) -> "_EpochMarks":
        words = [key_words(key) for key in (keys.channel, keys.site, keys.account, keys.call)]
        k0, k1 = np.array(words, dtype=np.int64).T[..., None]
        return cls(parameters, k0, k1)


class Marker:
    """Green-list embedder for a batch of rows; one object an engine, not thread-safe.

    `ticket_states` counts admitted sequences by the state of their ticket: valid, absent,
    expired, forged, malformed, unknown_epoch.
    """

    def __init__(self, keys: KeySet, manifest: Manifest) -> None:
        self.manifest = manifest
        self.ticket_states: Counter[str] = Counter()
        self._keys: Mapping[int, EpochKeys] = {entry.epoch: entry for entry in keys.epochs}
        self._ticket_keys = {entry.epoch: entry.ticket for entry in keys.epochs if entry.ticket}
        self._epochs = {
            entry.epoch: _EpochMarks.prepare(entry, manifest.parameters(entry.epoch))
            for entry in keys.epochs
        }

    @classmethod
    def load(cls, keys_path: Path, manifest_path: Path) -> "Marker":
        """Load keys (keyring or engine export) and manifest.

        Raises KeyringError or ManifestError; an engine must not start unmarked instead.
        """
        keys = KeySet.load(keys_path)
        if not keys.current.ticket:
            raise KeyringError(
                f"{keys_path}: holds no ticket keys, so no account could be marked: use what "
                "azeotrope keys export-engine writes"
            )
        return cls(keys, keys.manifest(manifest_path))

    def admit(self, ticket: str | None, *, now: float | None = None) -> RowMark:
        """Return the mark that a new sequence gets.

        A sequence whose ticket is absent or refused gets the site mark at the default
        delta, so that nothing which a client sends can switch the mark off.
        """
        if ticket is None:
            self.ticket_states["absent"] += 1
            return self._site_only()
        try:
            fields = verify(ticket, self._ticket_keys, time.time() if now is None else now)
        except TicketError as error:
            self.ticket_states[error.reason] += 1
            return self._site_only()
        self.ticket_states["valid"] += 1
        return self.row(fields)

    def row(self, ticket: Ticket) -> RowMark:
        """Return the mark that a verified ticket names."""
        keys = self._keys[ticket.epoch]
        return RowMark(
            ticket.epoch,
            ticket.delta_millinats / 1000,
            (
                0,
                signed64(keys.account_key(ticket.account)),
                signed64(keys.call_key(ticket.call)),
            ),
        )

    def apply(
        self,
        logits: torch.Tensor,
        rows: Sequence[RowMark | None],
        outputs: Sequence[Sequence[int]],
    ) -> torch.Tensor:
        """Bias the next token of every row, in place, and return `logits`.

        `logits` [B, V] float32, float16 or bfloat16 on any device, before temperature;
        `rows[i]` None leaves a row alone; `outputs[i]` are the token ids generated so far
        for row i, without its prompt.
        """
        groups: dict[int, list[int]] = defaultdict(list)
        for index, row in enumerate(rows):
            if row is not None:
                groups[row.epoch].append(index)
        for epoch, indexes in groups.items():
            marks = self._epochs[epoch]
            seeds, deltas = _plan(marks, [(rows[i], outputs[i]) for i in indexes])  # type: ignore[misc]
            if not deltas.any():
                continue
            gamma_bits = marks.parameters.gamma_bits
            device = logits.device
            words = torch.from_numpy(seeds).to(device, non_blocking=True)
            strengths = torch.from_numpy(deltas).to(device, non_blocking=True)
            if len(indexes) == len(rows):
                add_green_bias(logits, words, strengths, gamma_bits)
            else:
                chosen = torch.tensor(indexes, device=device)
                part = add_green_bias(logits[chosen], words, strengths, gamma_bits)
                logits.index_copy_(0, chosen, part)
        return logits

    def _site_only(self) -> RowMark:
        current = self.manifest.current
        return RowMark(current.epoch, current.parameters.delta_millinats / 1000, (0, None, None))


def _plan(
    marks: _EpochMarks, rows: Sequence[tuple[RowMark, Sequence[int]]]
) -> tuple[_Array, npt.NDArray[np.float32]]:
    """Seeds [B] and deltas [B] of the next position of each row."""
    parameters = marks.parameters
    tails = [[UNUSED] * (MAX_WIDTH - len(out)) + list(out[-MAX_WIDTH:]) for _, out in rows]
    seeds, channels = _seeds(marks, np.array(tails, dtype=np.int64))
    deltas = np.zeros(len(rows), dtype=np.float32)
    for index, (row, output) in enumerate(rows):
        length, channel = len(output), int(channels[index])
        if length < parameters.selector_width:
            continue
        repeats = row.repeats(output, parameters.selector_width) if parameters.repeat_cap else -1
        if channel == NO_CHANNEL or length < parameters.width(CHANNELS[channel]):
            continue
        key = row.keys[channel]
        if key is not None and repeats < parameters.repeat_cap:
            seeds[index] ^= key
            deltas[index] = row.delta
    return seeds, deltas


def _seeds(marks: _EpochMarks, contexts: _Array) -> tuple[_Array, _Array]:
    """Context seeds [B] of contexts [B, 4] in their own channels, and the channels [B].

    Selector and channels are hashed in one pass over [4, B]: at these sizes numpy's cost is
    the number of operations, not of elements.
    """
    parameters = marks.parameters
    widths = (
        parameters.selector_width,
        parameters.site_width,
        parameters.account_width,
        parameters.call_width,
    )
    words = [context_words(contexts, width) for width in widths]
    first = np.stack([pair[0] for pair in words])
    second = np.stack([pair[1] for pair in words])
    hashes = siphash24(marks.k0, marks.k1, first, second)  # [4, B]
    draws = hashes[0] & 0xFFFF
    channels = np.searchsorted(np.array(parameters.bounds()), draws, side="right")
    picked = np.minimum(channels, NO_CHANNEL - 1) + 1
    return hashes[picked, np.arange(len(contexts))], channels
