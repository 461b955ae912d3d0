"""The loaded model and its tokenizer: what the batch loop runs, what requests are turned into."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from safetensors import SafetensorError

from proxy.engine import attention
from proxy.engine.linear import pack_linears
from proxy.engine.requests import RequestError
from proxy.engine.weights import ModelError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class LanguageModel:
    """A decoder-only model with full attention, ready to run on the CPU.

    `network` is the transformers model, `tokenizer` its fast tokenizer, `context` the most
    positions (prompt and answer) of a sequence, `end_tokens` the ids that end an answer.
    """

    network: Any = field(repr=False)
    tokenizer: Any = field(repr=False)
    context: int
    end_tokens: frozenset[int]

    @classmethod
    def load(cls, directory: Path, dtype: str, context: int) -> LanguageModel:
        """Load a directory that transformers can read; `context` is cut to what the model knows.

        Raises ModelError for an incomplete directory and for a kind of model that the
        batch loop cannot run (no fast tokenizer, sliding windows, encoders).
        """
        network, tokenizer = _read(directory, DTYPES[dtype])
        config = network.config.get_text_config(decoder=True)
        _require_full_attention(config, directory)
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                f"the tokenizer in {directory} has no tokenizer.json; convert it first"
            )
        with torch.inference_mode():
            pack_linears(network.eval())
        return cls(
            network=network,
            tokenizer=tokenizer,
            context=min(context, getattr(config, "max_position_embeddings", context)),
            end_tokens=_end_tokens(network, tokenizer),
        )

    @property
    def vocabulary(self) -> int:
        """Number of ids that a prompt may hold."""
        return int(self.network.get_input_embeddings().num_embeddings)

    def encode(self, text: str) -> list[int]:
        """Token ids of a plain prompt, with the special tokens that the tokenizer puts in front."""
        return list(self.tokenizer.backend_tokenizer.encode(text).ids)

    def encode_chat(self, messages: list[dict[str, str]], field: str = "messages") -> list[int]:
        """Token ids of a conversation in the model's own template.

        RequestError, naming the request's `field`, if the template refuses it.
        """
        if not self.tokenizer.chat_template:
            raise RequestError("this model has no chat template; use /v1/completions", field)
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except TemplateError as error:
            raise RequestError(f"the model's chat template refuses it: {error}", field) from error
        return list(self.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: list[int]) -> str:
        """Text of an answer's tokens, without special tokens."""
        return str(self.tokenizer.backend_tokenizer.decode(tokens, skip_special_tokens=True))

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for, also where they are only part of a character."""
        piece = self.tokenizer.convert_ids_to_tokens(token)
        if piece is None:
            return b""  # an id of the padded vocabulary
        if self._byte_of and all(character in self._byte_of for character in piece):
            return bytes(self._byte_of[character] for character in piece)
        return str(
            self.tokenizer.backend_tokenizer.decode([token], skip_special_tokens=False)
        ).encode()

    @cached_property
    def _byte_of(self) -> dict[str, int]:
        """Byte for each character of a byte-level vocabulary; empty for other vocabularies."""
        from transformers.convert_slow_tokenizer import bytes_to_unicode

        if "ByteLevel" not in type(self.tokenizer.backend_tokenizer.decoder).__name__:
            return {}
        table = bytes_to_unicode()  # type: ignore[no-untyped-call]
        return {character: byte for byte, character in table.items()}


def _read(directory: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype,
            attn_implementation=attention.NAME,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"{directory} is not a model that transformers can load: {reason}"
        ) from error
    network, report = loaded
    # transformers only warns, and makes up what is missing.
    if report["missing_keys"]:
        raise ModelError(f"the weights in {directory} are incomplete: convert or copy them again")
    return network, tokenizer


def _require_full_attention(config: Any, directory: Path) -> None:
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention"} or (getattr(config, "sliding_window", None) and not kinds):
        raise ModelError(
            f"the model in {directory} has sliding-window or linear attention, "
            "which this engine does not run; serve it with vLLM"
        )


def _end_tokens(network: Any, tokenizer: Any) -> frozenset[int]:
    found: set[int] = set()
    for value in (network.generation_config.eos_token_id, tokenizer.eos_token_id):
        if isinstance(value, int):
            found.add(value)
        elif value is not None:
            found.update(value)
    return frozenset(found)
