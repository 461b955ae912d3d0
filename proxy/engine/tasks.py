"""What the batch loop is asked for, and what it emits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from proxy.engine.sampling import Sampling, TokenLogprob

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Delta:
    """New text of a sequence, with the log-probabilities of its tokens if asked for.

    `finish` is set on the last one, and `stop` too if a stop string ended the sequence;
    `tokens` counts the answer's tokens so far.
    """

    text: str
    logprobs: tuple[TokenLogprob, ...]
    finish: FinishReason | None
    tokens: int
    stop: str | None = None


@dataclass(frozen=True)
class Failure:
    """The task ended without an answer through no fault of the request."""

    message: str


class QueueFullError(Exception):
    """No place in the queue for all sequences of a request."""


@dataclass(eq=False)
class GenerationTask:
    """One sequence to generate; `emit` is called in the worker thread with each event.

    The choices of one request share one `prompt` object: it is then read only once.
    """

    prompt: Sequence[int]
    sampling: Sampling
    emit: Callable[[Delta | Failure], None]
    choice: int = 0
    ticket: str | None = None
    cancelled: bool = False

    def cancel(self) -> None:
        """Give the row back before the next step; what the running step emits may still come."""
        self.cancelled = True


Vectors = list[list[float]]


@dataclass(eq=False)
class EmbeddingTask:
    """Prompts to embed, none of them empty; `emit` is called once, in the worker thread."""

    prompts: Sequence[Sequence[int]]
    emit: Callable[[Vectors | Failure], None]
    cancelled: bool = False

    def cancel(self) -> None:
        """Read nothing more of it."""
        self.cancelled = True
