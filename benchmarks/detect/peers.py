"""Published detectors on token ids: one call judges a batch of documents of one length.

`pip install --no-deps --target .cache/benchmarks/detect/peers sbw==1.0.0 ymark==0.2.0
markllm==0.1.5` adds three that are no dependencies of this repository.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.cache import cache
from proxy.engine.weights import demo_model
from watermark.detect.kernels import compiled, mix64

Ids = npt.NDArray[np.int64]
Judge = Callable[[Ids], object]  # ids [documents, tokens]
_SYNTHID_KEYS = list(range(100, 130))  # any 30: the number decides the time
_KEY = np.uint64(0x0123456789ABCDEF)
_B32, _GREEN = np.uint64(32), np.uint64(3)


def peers() -> Iterator[tuple[str, Judge | None]]:
    """Yield every peer by name; None if its package is not installed."""
    yield "transformers WatermarkDetector, left hash", _transformers("lefthash", 1)
    yield "transformers WatermarkDetector, self hash", _transformers("selfhash", 4)
    yield "transformers SynthID-Text, weighted mean", _synthid()
    sys.path.append(str(cache("detect") / "peers"))
    for name, make in _OTHERS.items():
        try:
            yield name, make()
        except ImportError:
            yield name, None
    yield "one arithmetic PRF, repeats counted, numpy", _floor_numpy
    yield "one arithmetic PRF, repeats counted, compiled", _each(lambda ids: _floor(ids, _KEY))


def _each(judge: Judge) -> Judge:
    return lambda ids: [judge(document) for document in ids]


def _transformers(scheme: str, width: int) -> Judge:
    from transformers import AutoConfig, WatermarkDetector, WatermarkingConfig

    detector = WatermarkDetector(
        AutoConfig.from_pretrained(demo_model()),
        "cpu",
        WatermarkingConfig(seeding_scheme=scheme, context_width=width),
        ignore_repeated_ngrams=True,
    )
    return lambda ids: detector(torch.from_numpy(ids), return_dict=True)


def _synthid() -> Judge:
    """Its processor's g-values and masks, and the published weighted mean of them."""
    from transformers.generation.logits_process import SynthIDTextWatermarkLogitsProcessor

    processor = SynthIDTextWatermarkLogitsProcessor(
        ngram_len=5,
        keys=_SYNTHID_KEYS,
        sampling_table_size=2**16,
        sampling_table_seed=0,
        context_history_size=1024,
        device=torch.device("cpu"),
    )
    weights = torch.linspace(10, 1, processor.keys.shape[0])
    weights *= len(weights) / weights.sum()

    def judge(ids: Ids) -> torch.Tensor:
        rows = torch.from_numpy(ids)
        values = processor.compute_g_values(rows)
        mask = processor.compute_context_repetition_mask(rows)
        return ((values * weights).mean(2) * mask).sum(1) / mask.sum(1)

    return judge


def _sbw() -> Judge:
    from sbw import WatermarkDetector

    detector = WatermarkDetector(
        device=torch.device("cpu"),
        tokenizer=SimpleNamespace(bos_token_id=None),
        vocab=list(range(_vocabulary())),
        gamma=0.25,
        seeding_scheme="gpu-selfhash",
    )
    return _each(lambda ids: detector.detect(tokenized_text=torch.from_numpy(ids)))


def _ymark() -> Judge:
    from ymark import WatermarkConfig, WatermarkDetector

    tokenizer = SimpleNamespace(vocab_size=_vocabulary())
    with _diverted():
        detector = WatermarkDetector(WatermarkConfig(gamma=0.25), tokenizer)
    return _each(lambda ids: detector.detect_tokens(ids.tolist()))


def _markllm() -> Judge:
    from markllm.watermark.kgw.kgw import KGWConfig, KGWUtils

    model: Any = SimpleNamespace(
        model=None, tokenizer=None, vocab_size=_vocabulary(), device="cpu", gen_kwargs={}
    )
    detector = KGWUtils(KGWConfig(None, model))
    return _each(lambda ids: detector.score_sequence(torch.from_numpy(ids)))


_OTHERS: dict[str, Callable[[], Judge]] = {
    "sbw, self hash (Philox)": _sbw,
    "ymark": _ymark,
    "MarkLLM KGW": _markllm,
}


@contextmanager
def _diverted() -> Iterator[None]:
    """Let what compiled code prints go to standard error: standard output is a document."""
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _vocabulary() -> int:
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(demo_model()).vocab_size)


def _floor_numpy(ids: Ids) -> npt.NDArray[np.float64]:
    wide = ids.astype(np.uint64)
    word = (wide[:, :-1] << _B32 | wide[:, 1:]) ^ _KEY
    with np.errstate(over="ignore"):
        word = (word ^ word >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ word >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    hits = ((word ^ word >> np.uint64(31)) & _GREEN == 0).sum(1)
    z: npt.NDArray[np.float64] = (hits - 0.25 * word.shape[1]) / np.sqrt(word.shape[1] * 0.1875)
    return z


@compiled
def _floor(ids: Ids, key: np.uint64) -> float:
    hits = 0
    for i in range(1, len(ids)):
        word = mix64(((np.uint64(ids[i - 1]) << _B32) | np.uint64(ids[i])) ^ key)
        hits += int(word & _GREEN == np.uint64(0))
    count = len(ids) - 1
    return float((hits - 0.25 * count) / np.sqrt(count * 0.1875))
