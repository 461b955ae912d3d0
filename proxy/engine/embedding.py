"""Embeddings: the mean of a prompt's last hidden states, normalised.

The worker thread of the batch loop reads embedding prompts between its decode steps, piece by
piece like any prompt, so that running answers go on meanwhile. Pieces are cut at fixed places and
a prompt is always read alone: its embedding does not depend on what else runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch

from proxy.engine.cache import PIECE, SlotCache
from proxy.engine.metrics import EngineMetrics
from proxy.engine.model import LanguageModel
from proxy.engine.tasks import EmbeddingTask, Failure, QueueFullError, Vectors


class Embedder:
    """The queue of embedding tasks. Any thread may `submit`; the rest is the worker thread's."""

    def __init__(self, model: LanguageModel, metrics: EngineMetrics, max_waiting: int) -> None:
        network = model.network
        self._network, self._metrics, self._max_waiting = network, metrics, max_waiting
        self._cache = SlotCache(network.config, 1, model.context, network.dtype)
        self._waiting: deque[EmbeddingTask] = deque()
        self._vectors: Vectors = []  # of the first task's prompts that have been read
        self._read = 0  # tokens of its next prompt that have been read
        self._sum = torch.zeros(())  # of their hidden states, `[hidden size]` once there are some

    @property
    def busy(self) -> bool:
        """Whether there is something to read."""
        return bool(self._waiting)

    def submit(self, task: EmbeddingTask) -> None:
        """Queue a task, or raise QueueFullError."""
        if len(self._waiting) >= self._max_waiting:
            raise QueueFullError
        self._waiting.append(task)

    def step(self) -> None:
        """Read about one piece, of one prompt or of several short ones."""
        read = 0
        while read < PIECE and self._waiting:
            task = self._waiting[0]
            if task.cancelled:
                self._leave("cancelled")
                continue
            read += self._read_piece(task.prompts[len(self._vectors)])
            if len(self._vectors) == len(task.prompts):
                task.emit(self._vectors)
                self._leave("embedded")

    def fail_all(self, message: str) -> None:
        """Fail every task that waits now; what comes meanwhile is served."""
        for _ in range(len(self._waiting)):
            self._waiting[0].emit(Failure(message))
            self._leave("failed")

    def _read_piece(self, prompt: Sequence[int]) -> int:
        piece = prompt[self._read : self._read + PIECE]
        mask, positions = self._cache.begin_prefill(0, self._read, len(piece))
        states = self._network.base_model(
            input_ids=torch.tensor([piece]),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state  # [1, piece, hidden size]
        self._sum = self._sum + states[0].sum(0, dtype=torch.float32)
        self._read += len(piece)
        self._metrics.tokens.labels("prompt").inc(len(piece))
        if self._read == len(prompt):
            # The mean's length is normalised away, so the sum will do.
            self._vectors.append(torch.nn.functional.normalize(self._sum, dim=0).tolist())
            self._read, self._sum = 0, torch.zeros(())
        return len(piece)

    def _leave(self, reason: str) -> None:
        self._waiting.popleft()
        self._vectors, self._read, self._sum = [], 0, torch.zeros(())
        self._metrics.sequences.labels(reason).inc()
