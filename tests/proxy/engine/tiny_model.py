"""A llama of one layer and 258 tokens as a GGUF file, for the tests of conversion and loading."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

HEADS, KEY_HEADS, SIZE, HIDDEN, INNER = 4, 2, 8, 32, 48
# Ids as a byte-level vocabulary spells them, with one merge; 256 is the only control token.
TOKENS = [chr(33 + i) if i < 94 else f"x{i}" for i in range(256)] + ["<|end|>", "ab"]


def write_tiny(path: Path, *, drop: str = "", extra: str = "", **fields: Any) -> Path:
    """Write a llama of one layer; `fields` replace metadata."""
    writer = gguf.GGUFWriter(path, fields.get("architecture", "llama"))
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(fields.get("pre", "smollm"))
    writer.add_token_list(TOKENS)
    writer.add_token_types([3 if token == "<|end|>" else 1 for token in TOKENS])
    writer.add_token_merges(["a b"])
    for add in (
        writer.add_bos_token_id,
        writer.add_eos_token_id,
        writer.add_unk_token_id,
        writer.add_pad_token_id,
    ):
        add(256)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    for name, shape in _shapes().items():
        if name != drop:
            writer.add_tensor(name, _random(name, shape))
    if extra:
        writer.add_tensor(extra, _random(extra, (len(TOKENS), HIDDEN)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _shapes() -> dict[str, tuple[int, ...]]:
    layer = {
        "attn_norm": (HIDDEN,),
        "attn_q": (HEADS * SIZE, HIDDEN),
        "attn_k": (KEY_HEADS * SIZE, HIDDEN),
        "attn_v": (KEY_HEADS * SIZE, HIDDEN),
        "attn_output": (HIDDEN, HEADS * SIZE),
        "ffn_norm": (HIDDEN,),
        "ffn_gate": (INNER, HIDDEN),
        "ffn_up": (INNER, HIDDEN),
        "ffn_down": (HIDDEN, INNER),
    }
    outer = {"token_embd.weight": (len(TOKENS), HIDDEN), "output_norm.weight": (HIDDEN,)}
    return outer | {f"blk.0.{name}.weight": shape for name, shape in layer.items()}


def _random(name: str, shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(len(name)).standard_normal(shape).astype(np.float32)
