"""Texts with a known mark, and runs of `azeotrope detect` over them."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from watermark.detect.cli import detect
from watermark.detect.tokenizer import TextTokenizer
from watermark.errors import AzeotropeError
from watermark.manifest import Parameters

ACCOUNT, CALL = 7, 7 << 40 | 99
PLAIN = Parameters(site_share=30_000, account_share=25_000, call_share=10_536)
Plant = Callable[..., list[int]]


def invoke(*arguments: object, stdin: bytes | None = None, **options: Any) -> Result:
    return CliRunner().invoke(detect, list(map(str, arguments)), input=stdin, **options)


def records(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def refused(kind: type[AzeotropeError], *arguments: object) -> str:
    """The message of the error that ends a run."""
    result = invoke(*arguments)
    assert isinstance(result.exception, kind), result.output
    assert result.stdout == ""
    return str(result.exception)


class Texts:
    """Texts of one keyring under one tokenizer, and the options to judge them with."""

    def __init__(self, home: Any, tokenizer: Path, plant: Plant, vocabulary: list[int]) -> None:
        self.folder: Path = home.keys_path.parent
        self.keys = home.keyring.current
        self.parameters = home.manifest.current.parameters
        self.options = ["--keys", home.keys_path, "--manifest", home.manifest_path]
        self.options += ["--tokenizer", tokenizer]
        self._tokenizer = TextTokenizer(tokenizer)
        self._plant = plant
        self._vocabulary = vocabulary

    def text(self, length: int = 400, share: float = 1.0, seed: int = 1) -> str:
        ids = self._plant(
            random.Random(seed),
            self.keys,
            self.parameters,
            self._vocabulary,
            length,
            account=ACCOUNT,
            call=CALL,
            share=share,
        )
        text = str(self._tokenizer._tokenizer.decode(ids))
        assert self._tokenizer.encode(text).ids == ids
        return text

    def file(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def registry(self, name: str = "ACME", **extra: Any) -> Path:
        lines = [
            {"call": n << 40 | m, "account": n, "time": "2026-03-01T10:00:00Z", "model": "m"}
            for n in (ACCOUNT, 8, 9)
            for m in (98, 99)
        ]
        lines[1] |= {"name": name} | extra
        return self.file("calls.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
