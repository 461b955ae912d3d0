"""Answers of SmolLM2 of an exact length, with each token's probability in the unmarked model.

The end-of-text tokens are forbidden, so that every answer has the same number of tokens.
Sampling is plain: T = 1, the whole vocabulary. The model runs in bfloat16, for speed; its logits
are turned into float32 before anything is done with them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from benchmarks import attention
from proxy.engine.weights import demo_model

# (token ids [B, prompt + answer so far], raw logits [B, V]) -> biased logits [B, V]
Processor = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Answers:
    """Token ids [N, L] and log-probabilities [N, L] under the unmarked model, in nats."""

    tokens: np.ndarray
    logprobs: np.ndarray

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, tokens=self.tokens.astype(np.int32), logprobs=self.logprobs)

    @classmethod
    def load(cls, path: Path) -> "Answers":
        with np.load(path) as data:
            return cls(data["tokens"].astype(np.int64), data["logprobs"])

    def perplexity(self) -> np.ndarray:
        """Perplexity [N] of each answer under the unmarked model."""
        return np.exp(-self.logprobs.mean(axis=1))


class Generator:
    """The model and its tokenizer, for many runs."""

    def __init__(self) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        attention.register()
        directory = demo_model()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(directory)
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            directory, dtype=torch.bfloat16, attn_implementation=attention.NAME
        ).eval()

    def prompt_ids(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Left-padded chat prompts [B, P] and their attention mask."""
        rendered = [
            self.tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
            )
            for text in texts
        ]
        batch = self.tokenizer(
            rendered,
            return_tensors="pt",
            padding=True,
            padding_side="left",
            add_special_tokens=False,
        )
        return batch["input_ids"], batch["attention_mask"]

    @torch.inference_mode()
    def batch(
        self,
        texts: Sequence[str],
        length: int,
        seed: int,
        make: Callable[[int, int], Processor | None],
        first: int,
        name: str,
    ) -> Answers:
        """One batch, with a progress bar; `make(first row, prompt length)` gives its processor."""
        from transformers import StaticCache

        ids, mask = self.prompt_ids(texts)
        prompt = ids.shape[1]
        processor = make(first, prompt)
        cache = StaticCache(self.model.config, max_cache_len=prompt + length)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        generator = torch.Generator().manual_seed(seed)
        step, logprobs = ids, []
        console = Console(stderr=True)
        for _ in track(range(length), f"{name}, from {first}", console=console):
            logits = (
                self.model(
                    step,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1,
                )
                .logits[:, -1]
                .float()
            )
            logits[:, self.tokenizer.all_special_ids] = -torch.inf
            natural = logits.log_softmax(-1)
            biased = logits if processor is None else processor(ids, logits.clone())
            step = torch.multinomial(biased.softmax(-1), 1, generator=generator)
            logprobs.append(natural.gather(1, step)[:, 0])
            ids = torch.cat([ids, step], 1)
            mask = torch.cat([mask, torch.ones_like(step)], 1)
            positions = positions[:, -1:] + 1
        return Answers(ids[:, prompt:].numpy(), torch.stack(logprobs, 1).numpy())
