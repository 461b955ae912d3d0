"""The demo's script, in five acts."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
import urllib.request
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from proxy.demo import questions
from proxy.demo.stage import MODEL, Stage, build
from proxy.engine.weights import demo_model
from watermark.cache import cache_root
from watermark.detect.candidates import Candidates
from watermark.detect.detector import Detector
from watermark.detect.encoder import Encoders
from watermark.detect.page import render_page
from watermark.detect.segments import judge
from watermark.detect.terminal import render
from watermark.detect.tokenizer import TextTokenizer
from watermark.errors import AzeotropeError, InputError
from watermark.keys import KeySet

# Accounts that the detector searches, besides the three that exist.
_OTHER_ACCOUNTS = "1-100"
_REGISTRY_SECONDS = 10


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything running until Ctrl-C.")
def demo(*, keep: bool) -> None:
    """Show the main job on a real model, with nothing else running.

    Makes keys and accounts, starts the built-in engine, an embedded Valkey and the gateway,
    asks as two accounts, names both from their answers, and runs into the rate limit.

    \b
    Examples:
      azeotrope demo
      azeotrope demo --keep
    """
    console = Console(highlight=False)
    start = time.monotonic()
    directory = cache_root() / "demo"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    with ExitStack() as stack:
        _act(console, "1  Keys, accounts, engines, gateway")
        stage = _set_up(console, directory, stack)
        _act(console, f"2  Two accounts ask: “{questions.QUESTION}”")
        answers = asyncio.run(questions.ask(stage, console))
        _act(console, "3  Whose is it? The detector knows the keys, not the prompts")
        _judge(console, stage, answers)
        _act(console, "4  A burst from one key")
        _burst(console, stage)
        _act(console, "5  Metrics")
        _metrics(console, stage)
        console.print(f"\nAll of it in {time.monotonic() - start:.0f} s.", style="bold")
        if keep:
            # Around the printing too: Ctrl-C may come while the last lines go out.
            try:
                _keep(console, stage)
            except KeyboardInterrupt:
                click.echo("\nstopping")


def _act(console: Console, title: str) -> None:
    console.print()
    console.rule(f"[bold]{title}", align="left")


def _set_up(console: Console, directory: Path, stack: ExitStack) -> Stage:
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
    )
    with bar:
        task = bar.add_task("model", total=1.0)
        model = demo_model(
            progress=lambda what, share: bar.update(task, description=what, completed=share * 0.5)
        )
        bar.update(task, completed=0.5)
        stage = build(
            directory,
            model,
            stack,
            lambda what: bar.update(task, description=what, advance=0.12),
        )
        bar.update(task, description="ready", completed=1.0)
    console.print(f"gateway  {stage.gateway}/v1   (accounts: {', '.join(stage.keys)})")
    console.print(f"files    {stage.directory}")
    return stage


def _judge(console: Console, stage: Stage, answers: list[questions.Answer]) -> None:
    human = files("proxy.demo").joinpath("human.txt").read_text("utf-8")
    texts = {answer.title: answer.text for answer in answers} | {
        "Abraham Lincoln, Gettysburg, 1863": human
    }
    keys = KeySet.load(stage.directory / "keyring.json")
    manifest = keys.manifest(stage.directory / "manifest.json")
    encoders = Encoders(keys, TextTokenizer(stage.model), words=False)
    calls = sum(answer.calls + questions.EARLIER_CALLS for answer in answers[:-1])
    candidates = _candidates(stage, calls)
    detector = Detector(keys, manifest)
    judged = []
    for name, text in texts.items():
        item = judge(name, text, encoders, detector, candidates)
        judged.append(item)
        console.print(render(item))
    page = stage.directory / "report.html"
    page.write_text(
        render_page(
            judged,
            level=detector.level,
            reading=f"tokenizer {stage.model.name}",
            manifest=manifest.digest,
        ),
        encoding="utf-8",
    )
    console.print(f"The same as a page: {page}")


def _candidates(stage: Stage, calls: int) -> Candidates:
    """Accounts and calls from the registry, once the calls are settled, and other accounts."""
    end = time.monotonic() + _REGISTRY_SECONDS
    while True:
        candidates = Candidates()
        candidates.add_range(_OTHER_ACCOUNTS)
        candidates.add_registry(stage.registry, _complain)
        if len(candidates.calls) >= calls:
            return candidates
        if time.monotonic() > end:
            raise InputError(f"{stage.registry}: the calls did not arrive there")
        time.sleep(0.05)


def _complain(message: str) -> None:
    raise AzeotropeError(message)


def _burst(console: Console, stage: Stage) -> None:
    statuses, refusal = asyncio.run(questions.burst(stage))
    console.print(f"carol may send 3 at once; 8 came: {' '.join(map(str, statuses))}")
    if refusal is None:
        raise InputError("the rate limit did not answer: see gateway.log")
    console.print_json(json.dumps(refusal.response.json()))
    for name, value in refusal.response.headers.items():
        if name.lower() == "retry-after" or name.lower().startswith("x-ratelimit-"):
            console.print(f"{name}: {value}")


def _metrics(console: Console, stage: Stage) -> None:
    with urllib.request.urlopen(f"{stage.admin}/metrics", timeout=5) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    console.print(f"{stage.admin}/metrics   ({len(lines)} lines, for example)")
    for line in lines:
        if line.startswith(("azeotrope_requests_total", "azeotrope_tokens_total")):
            console.print(f"  {line}")


def _keep(console: Console, stage: Stage) -> None:
    console.print("\nLeft running until Ctrl-C. Try, in another terminal:\n", style="bold")
    key, directory = stage.keys["alice"], stage.directory
    lines = (
        f"curl {stage.gateway}/v1/models -H 'Authorization: Bearer {key}'",
        f"curl -N {stage.gateway}/v1/chat/completions -H 'Authorization: Bearer {key}' \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        f'  -d \'{{"model":"{MODEL}","stream":true,"max_tokens":300,'
        '"messages":[{"role":"user","content":"Tell me a story."}]}\'',
        f"ANTHROPIC_BASE_URL={stage.gateway} ANTHROPIC_API_KEY={key} python  # its client too",
        f"curl {stage.admin}/metrics",
        f"curl {stage.admin}/readyz",
        f"azeotrope detect answer.txt --keys {directory}/keyring.json "
        f"--manifest {directory}/manifest.json \\\n"
        f"  --tokenizer {stage.model} --registry {stage.registry}",
    )
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)
    threading.Event().wait()
