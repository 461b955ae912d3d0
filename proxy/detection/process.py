"""The process that judges texts: started when one comes, ended when it takes too long.

Judging takes milliseconds of a core and the detector hundreds of megabytes: neither belongs
into the process that passes streams on. Texts are judged one at a time; whoever gives up
waiting does not disturb the text that is being judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import re
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path

import msgspec

from proxy.detection.worker import Answer, Setup
from proxy.errors import StartError
from watermark.errors import AzeotropeError
from watermark.keys import EpochKeys, KeySet
from watermark.manifest import Manifest

_log = logging.getLogger(__name__)
# Of the verdict "marked": the detector's own default.
LEVEL = 1e-5
MOST_WAITING = 8
_START_S = 120.0
# Not the rest of the environment: it may hold passwords, and the process reads strangers' texts.
_INHERITED = re.compile(
    "PATH$|HOME$|TMPDIR$|LANG$|LC_|XDG_|PYTHON|VIRTUAL_ENV$|LD_LIBRARY_PATH$|AZEOTROPE_CACHE$"
    "|NUMBA_|OMP_|RAYON_"
)
_NEEDED = ("fastokens", "numba", "tokenizers")


class DetectorDownError(AzeotropeError):
    """No verdict: the detector is busy, too slow, or does not start."""


class DetectorProcess:
    """At most one process, over its ends and beginnings; `state` is for readiness."""

    def __init__(self, setup: Setup, timeout_s: float) -> None:
        """Check what can be checked without loading it; raises StartError."""
        for name in _NEEDED:
            if importlib.util.find_spec(name) is None:
                raise StartError(
                    f"detection.enabled: {name} is not installed: run "
                    "`pip install 'azeotrope[detect]'`"
                )
        if not Path(setup.tokenizer).exists():
            raise StartError(f"detection.tokenizer: {setup.tokenizer}: no such file or folder")
        self.state = "idle"
        self._setup = msgspec.json.encode(setup) + b"\n"
        self._timeout_s = timeout_s
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._jobs: set[asyncio.Task[str]] = set()

    async def judge(self, text: str) -> str:
        """Return the verdict on a text; raises DetectorDownError."""
        if len(self._jobs) >= MOST_WAITING:
            raise DetectorDownError("busy")
        job = asyncio.create_task(self._judge(msgspec.json.encode(text) + b"\n"))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        # A failure that nobody waits for any more is logged where it happens.
        job.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            async with asyncio.timeout(self._timeout_s):
                return await asyncio.shield(job)
        except TimeoutError:
            raise DetectorDownError("too slow") from None

    async def close(self) -> None:
        """End the process and whatever waits for it."""
        for job in list(self._jobs):
            job.cancel()
        await asyncio.gather(*self._jobs, return_exceptions=True)
        await self._end()
        self.state = "stopped"

    async def _judge(self, line: bytes) -> str:
        async with self._turn:
            try:
                process = self._alive() or await self._start()
                answer = await self._ask(process, line, self._timeout_s)
            except BaseException:
                # Whatever came between question and answer: the next must not get this one's.
                await self._end()
                raise
        return answer.verdict

    def _alive(self) -> Process | None:
        return self._process if self._process and self._process.returncode is None else None

    async def _start(self) -> Process:
        self.state = "starting"
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "proxy.detection.worker"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env={name: value for name, value in os.environ.items() if _INHERITED.match(name)},
            start_new_session=True,  # Ctrl-C is for the gateway, which drains first
        )
        answer = await self._ask(process, self._setup, _START_S)
        if answer.error:
            _log.error("detector_not_started", extra={"fields": {"reason": answer.error}})
            raise DetectorDownError("not started")
        self.state = "running"
        _log.info("detector_started", extra={"fields": {"pid": process.pid}})
        return process

    async def _ask(self, process: Process, line: bytes, limit_s: float) -> Answer:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(limit_s):
                process.stdin.write(line)
                await process.stdin.drain()
                answer = await process.stdout.readline()
            return msgspec.json.decode(answer, type=Answer)
        # uvloop raises RuntimeError for a pipe whose other end is gone.
        except (TimeoutError, ConnectionError, RuntimeError, msgspec.MsgspecError) as error:
            _log.error("detector_failed", extra={"fields": {"reason": type(error).__name__}})
            raise DetectorDownError("failed") from None

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self.state = "failed" if self.state == "starting" else "idle"
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def setup_of(keys: KeySet, manifest: Manifest, tokenizer: Path | None) -> Setup:
    """Return a setup with the site's keys and no others; raises StartError."""
    if tokenizer is None:
        raise StartError("detection.tokenizer: missing; expected the marked model's directory")
    epochs = tuple(
        EpochKeys(entry.epoch, entry.created, entry.check, entry.channel, entry.site)
        for entry in keys.epochs
    )
    return Setup(epochs, manifest, str(tokenizer), LEVEL)
