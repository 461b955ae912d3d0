"""Lets real vLLM schedule asynchronously on the CPU, so that its -1 placeholders can be met there.

vLLM's CPU platform switches asynchronous scheduling off as of no use, and the runner orders its
copies by CUDA streams. On the CPU everything is in order anyhow: streams and events may be
empty. Scheduler, executor, batch and sampler are vLLM's own. A directory on PYTHONPATH with an
entry point, because vLLM calls such plugins in each of its processes.
"""

import contextlib
import logging
from typing import Any

import torch
from vllm.platforms.cpu import CpuPlatform


class _Nothing:
    def __init__(self, *_: Any, **__: Any) -> None: ...

    def record(self, *_: Any) -> None: ...

    def synchronize(self) -> None: ...

    def wait_stream(self, *_: Any) -> None: ...


def allow() -> None:
    """Put asynchronous scheduling back after the platform has cleared it; called by vLLM."""
    if hasattr(CpuPlatform, "azeotrope_async"):
        return
    CpuPlatform.azeotrope_async = True
    torch.cuda.Stream = torch.cuda.Event = _Nothing  # type: ignore[assignment,misc]
    torch.cuda.current_stream = lambda *_: _Nothing()  # type: ignore[assignment,return-value]
    torch.cuda.stream = lambda _: contextlib.nullcontext()  # type: ignore[assignment]
    cleared = CpuPlatform.check_and_update_config.__func__

    def check_and_update_config(cls: type[CpuPlatform], vllm_config: Any) -> None:
        asked = vllm_config.scheduler_config.async_scheduling
        cleared(cls, vllm_config)
        vllm_config.scheduler_config.async_scheduling = asked

    CpuPlatform.check_and_update_config = classmethod(check_and_update_config)
    _report_the_first_placeholder()


def _report_the_first_placeholder() -> None:
    """Log once that the batch met a -1 before the sampler: the proof that scheduling is async."""
    from vllm.v1.worker.gpu_input_batch import InputBatch

    original = InputBatch.update_async_output_token_ids

    def reporting(self: InputBatch) -> None:
        if any(output and output[-1] == -1 for output in self.req_output_token_ids):
            logging.getLogger("vllm.async_on_cpu").warning("the batch met a placeholder")
            InputBatch.update_async_output_token_ids = original
        original(self)

    InputBatch.update_async_output_token_ids = reporting
