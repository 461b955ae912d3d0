"""Continuous batching: one thread owns the model; sequences join and leave between steps. No HTTP.

Ownership: all that begins with an underscore belongs to the worker thread, save `_waiting`, which
is shared under `_changed`. A step is: drop cancelled rows, read prompts (bounded), decode one token
for every row. Rows 0..B-1 of the cache are the running sequences, in the order of `_rows`; the last
slot of the cache is where a prompt is read before its sequence joins.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

import torch

from proxy.engine.cache import PIECE, SlotCache
from proxy.engine.detokenize import Detokenizer, StopScanner
from proxy.engine.embedding import Embedder
from proxy.engine.metrics import EngineMetrics
from proxy.engine.model import LanguageModel
from proxy.engine.sampling import TokenLogprob, generator, logprobs, sample
from proxy.engine.tasks import (
    Delta,
    EmbeddingTask,
    Failure,
    FinishReason,
    GenerationTask,
    QueueFullError,
)
from watermark.embed.marker import Marker, RowMark

_log = logging.getLogger("azeotrope.engine")


class _Row:
    """A task that has been admitted: its tokens, mark, randomness and unsent text."""

    def __init__(self, task: GenerationTask, model: LanguageModel, mark: RowMark | None) -> None:
        self.task = task
        self.mark = mark
        self.tokens: list[int] = []
        self.length = 0  # positions of this row in the cache
        self.finished = False
        self.random = generator(task.sampling.seed, task.choice)
        self._end_tokens = frozenset() if task.sampling.ignore_end else model.end_tokens
        self._detokenizer = Detokenizer(model.decode)
        self._stops = StopScanner(task.sampling.stop)
        self._logprobs: list[TokenLogprob] = []

    @property
    def last_token(self) -> int:
        """Input of the next step: what came last, in the prompt or after it."""
        return self.tokens[-1] if self.tokens else self.task.prompt[-1]

    def accept(self, token: int, logprob: TokenLogprob | None) -> FinishReason | None:
        """Take the next token and emit what has become certain; return why the row ends, if so."""
        self.tokens.append(token)
        if logprob is not None:
            self._logprobs.append(logprob)
        ended = token in self._end_tokens
        text = "" if ended else self._stops.feed(self._detokenizer.feed(token))
        finish: FinishReason | None = "stop" if ended or self._stops.stopped_by else None
        if finish is None and len(self.tokens) >= self.task.sampling.max_tokens:
            finish = "length"
        if finish is not None:
            text += self._stops.feed(self._detokenizer.flush())
            finish = "stop" if self._stops.stopped_by else finish
            text += self._stops.flush()
        if text or finish:
            shown, made = tuple(self._logprobs), len(self.tokens)
            self.task.emit(Delta(text, shown, finish, made, self._stops.stopped_by))
            self._logprobs.clear()
        return finish


class Batcher:
    """Runs tasks on the model. `submit` from any thread; `step` only when no worker runs."""

    def __init__(
        self,
        model: LanguageModel,
        marker: Marker | None,
        metrics: EngineMetrics,
        max_batch: int = 32,
        max_waiting: int = 256,
    ) -> None:
        self._model, self._marker, self._metrics = model, marker, metrics
        self._max_batch, self._max_waiting = max_batch, max_waiting
        network = model.network
        # One slot more than rows: the last one is where prompts are read.
        self._cache = SlotCache(network.config, max_batch + 1, model.context, network.dtype)
        self._rows: list[_Row] = []
        self._joining: _Row | None = None
        self._staged: Sequence[int] | None = None  # whose prompt the last slot holds
        self._read = 0  # positions of it that are filled
        self._waiting: deque[GenerationTask] = deque()
        self._embedder = Embedder(model, metrics, max_waiting)
        self._changed = threading.Condition()
        self._stopping = False
        self._worker = threading.Thread(target=self._work, name="azeotrope-engine", daemon=True)

    @property
    def running(self) -> int:
        """Sequences in the batch."""
        return len(self._rows)

    def submit(self, tasks: Sequence[GenerationTask]) -> None:
        """Queue all tasks of a request, or none and raise QueueFullError."""
        with self._changed:
            if len(self._waiting) + len(tasks) > self._max_waiting:
                raise QueueFullError
            self._waiting.extend(tasks)
            self._metrics.waiting.set(len(self._waiting))
            self._changed.notify()

    def embed(self, task: EmbeddingTask) -> None:
        """Queue prompts to embed, or raise QueueFullError."""
        with self._changed:
            self._embedder.submit(task)
            self._changed.notify()

    def start(self) -> None:
        """Start the worker thread."""
        self._worker.start()

    def stop(self) -> None:
        """End the worker after its step; what is unfinished fails."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._worker.join()
        self._fail_all("the engine is stopping")

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._stopping or self._waiting or self._busy):
                    self._changed.wait()
                if self._stopping:
                    return
            try:
                self.step()
            except Exception:  # whatever it is, no request may hang and the next ones are served
                _log.exception("a step failed; its %d sequences fail with it", len(self._rows))
                self._fail_all("the model failed on this batch")

    @property
    def _busy(self) -> bool:
        return bool(self._rows or self._joining or self._embedder.busy)

    @torch.inference_mode()
    def step(self) -> None:
        """Drop cancelled rows, read waiting prompts, decode one token for each running row."""
        self._drop_cancelled()
        self._read_prompts()
        self._embedder.step()
        if not self._rows:
            return
        began = time.perf_counter()
        rows = list(self._rows)
        self._advance(rows, self._decode(rows))
        self._metrics.batch.observe(len(rows))
        self._metrics.step.observe(time.perf_counter() - began)
        self._metrics.running.set(len(self._rows))

    def _read_prompts(self) -> None:
        read = 0
        while read < PIECE and len(self._rows) < self._max_batch:
            row = self._joining or self._next_waiting()
            if row is None:
                return
            self._joining = row
            body = row.task.prompt[:-1]
            if self._read < len(body):
                piece = body[self._read : self._read + PIECE]
                self._read_piece(piece)
                read += len(piece)
            if self._read == len(body):
                self._join(row)

    def _read_piece(self, piece: Sequence[int]) -> None:
        """Run the model without its output layer: nothing is sampled within a prompt."""
        mask, positions = self._cache.begin_prefill(self._max_batch, self._read, len(piece))
        self._model.network.base_model(
            input_ids=torch.tensor([piece]),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._read += len(piece)
        self._metrics.tokens.labels("prompt").inc(len(piece))

    def _next_waiting(self) -> _Row | None:
        with self._changed:
            if not self._waiting:
                return None
            task = self._waiting.popleft()
            self._metrics.waiting.set(len(self._waiting))
        # Another choice of the request just read finds its prompt in the last slot.
        again = self._staged is task.prompt
        self._staged, self._read = task.prompt, len(task.prompt) - 1 if again else 0
        return _Row(task, self._model, self._marker.admit(task.ticket) if self._marker else None)

    def _join(self, row: _Row) -> None:
        """Give the row its slot; the prompt's last token is the input of its first decode step."""
        self._cache.copy(self._max_batch, len(self._rows), self._read)
        row.length = self._read
        self._joining = None
        self._rows.append(row)
        self._metrics.tokens.labels("prompt").inc()

    def _decode(self, rows: list[_Row]) -> torch.Tensor:
        """Run one position of each row; return float32 logits `[B, V]`."""
        mask, positions = self._cache.begin_decode([row.length for row in rows])
        for row in rows:
            row.length += 1
        output = self._model.network(
            input_ids=torch.tensor([[row.last_token] for row in rows]),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            row_lengths=[row.length for row in rows],
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    def _advance(self, rows: list[_Row], logits: torch.Tensor) -> None:
        """Mark, sample and deliver the next token of each row; `logits` `[B, V]` is overwritten."""
        asked = [i for i, row in enumerate(rows) if row.task.sampling.logprobs is not None]
        raw = logits[asked]  # a copy, taken before the mark: clients cannot see the mark
        if self._marker is not None:
            self._marker.apply(logits, [row.mark for row in rows], [row.tokens for row in rows])
        sampling = [row.task.sampling for row in rows]
        tokens = sample(logits, sampling, [row.random for row in rows])
        shown = logprobs(raw, [tokens[i] for i in asked], [sampling[i] for i in asked])
        by_row = dict(zip(asked, shown, strict=True))
        self._metrics.tokens.labels("completion").inc(len(rows))
        for index, row in enumerate(rows):
            reason = row.accept(tokens[index], by_row.get(index))
            if reason is not None:
                row.finished = True
                self._metrics.sequences.labels(reason).inc()
        self._compact()

    def _drop_cancelled(self) -> None:
        for row in self._rows:
            if row.task.cancelled:
                row.finished = True
                self._metrics.sequences.labels("cancelled").inc()
        self._compact()
        if self._joining is not None and self._joining.task.cancelled:
            self._joining, self._staged = None, None
            self._metrics.sequences.labels("cancelled").inc()
        with self._changed:
            if any(task.cancelled for task in self._waiting):
                self._waiting = deque(task for task in self._waiting if not task.cancelled)
            self._metrics.waiting.set(len(self._waiting))

    def _compact(self) -> None:
        """Remove finished rows; the last row moves into each hole, so that rows stay 0..B-1."""
        for index in reversed(range(len(self._rows))):
            if not self._rows[index].finished:
                continue
            last = self._rows.pop()
            if index < len(self._rows):
                self._cache.copy(len(self._rows), index, last.length)
                self._rows[index] = last
        self._metrics.running.set(len(self._rows))

    def _fail_all(self, message: str) -> None:
        with self._changed:
            tasks = [row.task for row in self._rows] + list(self._waiting)
            self._waiting.clear()
        if self._joining is not None:
            tasks.append(self._joining.task)
        self._rows.clear()
        self._joining = self._staged = None
        self._embedder.fail_all(message)
        for task in tasks:
            self._metrics.sequences.labels("failed").inc()
            task.emit(Failure(message))
