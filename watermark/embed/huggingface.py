"""The mark as a transformers `LogitsProcessor`.

transformers accepts any callable of this signature in a `LogitsProcessorList`, so nothing
of it need be imported here.
"""

from collections.abc import Sequence

import torch

from watermark.embed.marker import Marker, RowMark


class WatermarkLogitsProcessor:
    """Marks the rows of one `model.generate` call, sampled or greedy (not beam search).

    Put it first in the `LogitsProcessorList`: the bias belongs before temperature.
    `prompt_length` is the number of prompt tokens (padding included) before the answer;
    prompt tokens never enter a context.
    """

    def __init__(self, marker: Marker, marks: Sequence[RowMark], prompt_length: int) -> None:
        self._marker = marker
        self._marks = marks
        self._prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Bias `scores` [B, V] after `input_ids` [B, prompt + answer so far]."""
        answers = input_ids[:, self._prompt_length :].tolist()
        return self._marker.apply(scores.clone(), self._marks, answers)
