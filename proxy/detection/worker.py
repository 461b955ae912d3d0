"""What runs in the detector's process: one line of JSON in, one out.

First comes the `Setup`; the answer says that it is ready, or why not. Then come texts and
go verdicts. The process holds the site's keys alone: it could not name an account if it
wanted to. A text is held while it is judged, and written nowhere: standard error goes
nowhere, and a crash leaves no core file.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from watermark.errors import AzeotropeError
from watermark.keys import EpochKeys, KeySet
from watermark.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable

# Streams come first on a busy machine.
_NICE = 10


class Setup(msgspec.Struct, frozen=True):
    """What a detector is made of; the epochs have their site keys and no others."""

    epochs: tuple[EpochKeys, ...]
    manifest: Manifest
    tokenizer: str
    level: float


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A verdict; of the setup an empty one, or why there will be none."""

    verdict: str = ""
    error: str = ""


def main() -> None:
    """Serve until standard input ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICE)
    # Whatever a library prints must not be taken for a verdict.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions = sys.stdin.buffer
    try:
        judge = _judge_of(msgspec.json.decode(questions.readline(), type=Setup))
    except (AzeotropeError, ImportError, msgspec.MsgspecError) as error:
        _tell(answers, Answer(error=str(error)))
        return
    _tell(answers, Answer())
    for line in questions:
        _tell(answers, Answer(verdict=judge(msgspec.json.decode(line, type=str))))


def _judge_of(setup: Setup) -> Callable[[str], str]:
    """Load everything, and judge once: kernels are compiled at their first use."""
    from watermark.detect.candidates import Candidates
    from watermark.detect.detector import Detector
    from watermark.detect.encoder import Encoders
    from watermark.detect.filter import FILTER_DEFAULT, load_filter
    from watermark.detect.segments import judge
    from watermark.detect.tokenizer import TextTokenizer

    tokenizer = TextTokenizer(Path(setup.tokenizer))
    tokenizer.require(setup.manifest.tokenizer)
    keys = KeySet(Path("site keys"), setup.epochs, b"")
    common = load_filter(FILTER_DEFAULT, tokenizer)
    detector = Detector(keys, setup.manifest, level=setup.level, common=common)
    encoders = Encoders(keys, tokenizer, words=False)
    nobody = Candidates()

    def verdict(text: str) -> str:
        return judge("", text, encoders, detector, nobody).detection.verdict

    verdict("The sea is wide, and the sea is deep.")
    return verdict


def _tell(file: BinaryIO, answer: Answer) -> None:
    file.write(msgspec.json.encode(answer) + b"\n")
    file.flush()


if __name__ == "__main__":
    main()
