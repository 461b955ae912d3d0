"""The vLLM plugin for the V1 model runner.

    vllm serve MODEL --logits-processors watermark.embed.vllm:AzeotropeLogitsProcessor

What of vLLM's contract this file relies on (read in 0.32; places below `vllm/v1/`):

- `update_state` runs before every forward pass; its argument is None when the batch did not
  change. The changes are to be applied removed, added, moved. An index that was freed and
  filled again in one step appears only in `added` or as the target of a move: both may
  overwrite. Afterwards rows 0 .. batch_size - 1 are those of `logits`, rows of an unfinished
  prefill included: their sample is thrown away (worker/gpu_input_batch.py).
- The output list in `added` is the request's live list: it grows by itself. A preempted
  request is removed and later added again with the tokens that it has, under asynchronous
  scheduling in a new list. Its SamplingParams are the same object. A finished request is
  removed in the same way: nothing tells the two apart.
- Asynchronous scheduling appends -1 for a token that is still on the device.
  `InputBatch.update_async_output_token_ids` writes the real one before processors run, but
  only if a processor was named on the command line (`logitsprocs_need_output_token_ids`): one
  from an entry point would hash -1. Hence this class has no entry point.
- Processors that are not argmax-invariant see float32 logits before temperature and
  penalties, for greedy requests too (sample/sampler.py). `raw_logprobs`, the default, are
  taken before they run; the `processed_*` modes would show the mark to clients.
- Beam search asks for one token after another, each a request of its own whose context is
  all prompt, and picks by raw logprobs: it would come out unmarked.
- With speculative decoding vLLM itself refuses a processor named on the command line.

The V2 model runner has another interface (slots, a row for each draft token) and gets a class
of its own; it refuses this one at start.
"""

import importlib.metadata
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from watermark.embed.marker import Marker, RowMark
from watermark.embed.stats import Metric, StatsFile
from watermark.errors import AzeotropeError

try:
    from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality
except ImportError as error:
    raise ImportError(
        f"azeotrope: this vLLM lacks the V1 logits-processor interface ({error}); the plugin is "
        "written for and tested with vLLM 0.32: install that version"
    ) from error

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.config import VllmConfig

_TICKET_ARGUMENT = "azeotrope"
_TICKET_STATES = ("valid", "absent", "expired", "forged", "malformed", "unknown_epoch")
_WARNING_PAUSE = 60.0  # seconds
# vLLM resumes whom it preempted before it admits anyone new, so few others leave in between.
_PARKED_PER_ROW = 4
# Below vLLM's own logger, so that its handlers, level and format apply.
_logger = logging.getLogger("vllm.azeotrope")


@dataclass(frozen=True, slots=True)
class _Row:
    """A request in the batch; `params` are kept because their identity names the request."""

    mark: RowMark
    outputs: list[int]
    params: "SamplingParams"


@dataclass(frozen=True, slots=True)
class _Parked:
    """What is kept of a request that left; most have finished, so nothing of their length."""

    mark: RowMark
    started: bool
    params: "SamplingParams"

    @classmethod
    def of(cls, row: _Row) -> "_Parked":
        # Without its counts: they are of tokens that may be other ones by then.
        mark = RowMark(row.mark.epoch, row.mark.delta, row.mark.keys)
        return cls(mark, bool(row.outputs), row.params)


class AzeotropeLogitsProcessor(LogitsProcessor):  # type: ignore[misc]
    """Marks every row that vLLM samples, greedy ones included.

    Reads AZEOTROPE_KEYS, AZEOTROPE_MANIFEST and, if set, AZEOTROPE_STATS_DIR from the
    environment. The ticket is `SamplingParams.extra_args["azeotrope"]`, which is
    `"vllm_xargs": {"azeotrope": ...}` of the request. Raises AzeotropeError if it cannot mark:
    the engine must not start unmarked.
    """

    def __init__(
        self, vllm_config: "VllmConfig", device: torch.device, is_pin_memory: bool
    ) -> None:
        _refuse_unsupported(vllm_config)
        self.marker = Marker.load(
            _environment_path("AZEOTROPE_KEYS"), _environment_path("AZEOTROPE_MANIFEST")
        )
        _refuse_smaller_vocabulary(self.marker, vllm_config.model_config.get_vocab_size())
        self._steps = self._sampled_rows = self._resumed = self._unknown_contexts = 0
        self._rows: dict[int, _Row] = {}
        self._marks: list[RowMark] = []
        self._outputs: list[list[int]] = []
        # Requests that left the batch, by identity of their parameters: those preempted come
        # back, and must neither be counted twice nor lose their mark to an expired ticket.
        self._parked: dict[int, _Parked] = {}
        self._parked_limit = _PARKED_PER_ROW * vllm_config.scheduler_config.max_num_seqs
        self._refused_reported = 0
        self._next_warning = 0.0
        self._identity = _identity(self.marker)
        if directory := os.environ.get("AZEOTROPE_STATS_DIR"):
            # Under tensor parallelism every rank counts the same requests.
            labels = f'rank="{vllm_config.parallel_config.rank}"'
            StatsFile(Path(directory), labels, self.metrics, _logger).start()
        _logger.info("azeotrope: marking, %s", self._identity)

    @classmethod
    def validate_params(cls, sampling_params: "SamplingParams") -> None:
        """Raise ValueError for the requests that vLLM's beam search makes of one.

        Runs in the API server, which answers with 400. No other request of vLLM's OpenAI and
        Anthropic endpoints has these three together.
        """
        if (
            sampling_params.max_tokens == 1
            and not sampling_params.detokenize
            and sampling_params.logprobs is not None
        ):
            raise ValueError("beam search is not offered here: its answers cannot be marked")

    def is_argmax_invariant(self) -> bool:
        """Return False: the bias changes which token is the most likely one."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow the rows of the persistent batch."""
        if batch_update is None:
            return
        for index in _left(batch_update):
            self._park(self._rows.pop(index, None))
        for index, params, _, outputs in batch_update.added:
            self._rows[index] = self._admit(params, outputs)
        for source, target, direction in batch_update.moved:
            self._move(source, target, swap=direction == MoveDirectionality.SWAP)
        self._align(batch_update.batch_size)
        self._warn_of_refused_tickets()

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Bias `logits` [B, V] in place and return them."""
        outputs = self._outputs
        if logits.shape[0] != len(outputs):
            raise RuntimeError(
                f"azeotrope: vLLM samples {logits.shape[0]} rows, but {len(outputs)} requests are "
                "in the batch: this vLLM is not the one that the plugin was written for"
            )
        self._steps += 1
        self._sampled_rows += len(outputs)
        marks: Sequence[RowMark | None] = self._marks
        for output in outputs:
            if output and output[-1] < 0:
                marks = self._without_unknown_contexts()
                break
        return self.marker.apply(logits, marks, outputs)

    def metrics(self) -> list[Metric]:
        """Return the counters: requests by ticket state, steps, rows, and what went unmarked."""
        states = self.marker.ticket_states
        requests = tuple((f'ticket="{state}"', states[state]) for state in _TICKET_STATES)
        return [
            Metric(
                "azeotrope_engine_info",
                "gauge",
                "The mark that this engine embeds.",
                ((self._identity, 1),),
            ),
            Metric(
                "azeotrope_engine_requests_total",
                "counter",
                "Sequences by the state of their ticket; without a valid one: site mark only.",
                requests,
            ),
            _total("steps", "Decode steps.", self._steps),
            _total("rows", "Rows of logits in these steps.", self._sampled_rows),
            _total("resumed", "Sequences resumed after preemption.", self._resumed),
            _total(
                "unknown_contexts",
                "Rows left unmarked because the token before was not known yet.",
                self._unknown_contexts,
            ),
        ]

    def _admit(self, params: "SamplingParams", outputs: list[int]) -> _Row:
        parked = self._parked.pop(id(params), None)
        # Sequences of one in-process request may share their parameters: one that has no
        # tokens is not the parked one that had some, but its sister.
        if parked is not None and parked.started == bool(outputs):
            self._resumed += 1
            return _Row(parked.mark, outputs, params)
        ticket = (params.extra_args or {}).get(_TICKET_ARGUMENT)
        return _Row(self.marker.admit(ticket), outputs, params)

    def _move(self, source: int, target: int, *, swap: bool) -> None:
        moving, displaced = self._rows.pop(source, None), self._rows.pop(target, None)
        if moving is not None:
            self._rows[target] = moving
        if swap and displaced is not None:
            self._rows[source] = displaced
        else:
            self._park(displaced)

    def _park(self, row: _Row | None) -> None:
        if row is None:
            return
        self._parked[id(row.params)] = _Parked.of(row)
        while len(self._parked) > self._parked_limit:
            del self._parked[next(iter(self._parked))]

    def _align(self, batch_size: int) -> None:
        try:
            rows = [self._rows[index] for index in range(batch_size)]
        except KeyError as error:
            raise RuntimeError(
                f"azeotrope: vLLM never announced the request of row {error}: this vLLM is not "
                "the one that the plugin was written for"
            ) from error
        self._marks = [row.mark for row in rows]
        self._outputs = [row.outputs for row in rows]

    def _without_unknown_contexts(self) -> list[RowMark | None]:
        marks = [
            None if output and output[-1] < 0 else mark
            for mark, output in zip(self._marks, self._outputs, strict=True)
        ]
        self._unknown_contexts += marks.count(None)
        return marks

    def _warn_of_refused_tickets(self) -> None:
        states = self.marker.ticket_states
        refused = sum(states.values()) - states["valid"] - states["absent"]
        if refused == self._refused_reported or time.monotonic() < self._next_warning:
            return
        reasons = ", ".join(f"{s} {states[s]}" for s in _TICKET_STATES[2:] if states[s])
        _logger.warning(
            "azeotrope: %d tickets refused so far (%s): these answers carry the site mark only. "
            "Compare the keys and the clocks of gateway and engine.",
            refused,
            reasons,
        )
        self._refused_reported = refused
        self._next_warning = time.monotonic() + _WARNING_PAUSE


def _left(batch_update: BatchUpdate) -> list[int]:
    """Indices whose request of the step before has left: freed, or overwritten.

    Wanted before anything is added: a request that vLLM preempts and resumes in one step
    (when it resets its prefix cache) comes back at another index.
    """
    left = [*batch_update.removed, *(index for index, *_ in batch_update.added)]
    touched = set(left)
    for source, target, direction in batch_update.moved:
        if direction == MoveDirectionality.UNIDIRECTIONAL and target not in touched:
            left.append(target)
        touched.update((source, target))
    return left


def _refuse_unsupported(vllm_config: "VllmConfig") -> None:
    try:
        speculative = vllm_config.speculative_config
        logprobs_mode: str = vllm_config.model_config.logprobs_mode
        asynchronous = vllm_config.scheduler_config.async_scheduling
    except AttributeError as error:
        raise AzeotropeError(
            f"vLLM's configuration has changed ({error}); the plugin is tested with vLLM 0.32"
        ) from error
    if speculative is not None:
        raise AzeotropeError(
            "the V1 model runner cannot mark speculative decoding: start without "
            "--speculative-config"
        )
    if logprobs_mode.startswith("processed"):
        raise AzeotropeError(
            f"--logprobs-mode {logprobs_mode} would show the mark to every client that asks for "
            "logprobs: use raw_logprobs or raw_logits"
        )
    if asynchronous and not _fills_in_tokens():
        raise AzeotropeError(
            "this vLLM no longer fills in the tokens of asynchronous scheduling before logits "
            "processors run: start with --no-async-scheduling"
        )


def _fills_in_tokens() -> bool:
    # Imported on use: the API server loads this module too, and has no batch.
    from vllm.v1.worker.gpu_input_batch import InputBatch

    return hasattr(InputBatch, "update_async_output_token_ids")


def _refuse_smaller_vocabulary(marker: Marker, vocabulary_size: int) -> None:
    # A larger one is padding, which many models have.
    pin = marker.manifest.tokenizer
    if pin is not None and vocabulary_size < pin.vocabulary_size:
        raise AzeotropeError(
            f"AZEOTROPE_MANIFEST was made for a tokenizer of {pin.vocabulary_size} tokens, but "
            f"this model has {vocabulary_size}: use the manifest of this model"
        )


def _environment_path(name: str) -> Path:
    value = os.environ.get(name)
    if not value:
        raise AzeotropeError(
            f"{name} is not set, so answers would be unmarked: set it in the environment of "
            "vllm serve (docs/how-to-vllm.md)"
        )
    return Path(value)


def _identity(marker: Marker) -> str:
    """Return what gateway and engine must agree on, as Prometheus labels."""
    manifest = marker.manifest
    version = importlib.metadata.version("vllm")
    return f'manifest="{manifest.digest}",epoch="{manifest.current_epoch}",vllm="{version}"'


def _total(name: str, description: str, value: int) -> Metric:
    return Metric(f"azeotrope_engine_{name}_total", "counter", description, (("", value),))
