"""Summaries as a scan would fill them: the counts are consistent, the texts made up."""

import math
import random
from dataclasses import replace

from watermark.detect.report.summary import (
    AccountFinding,
    BadItem,
    CorpusFacts,
    Correction,
    DecoyCheck,
    DocumentFacts,
    FilterFacts,
    Interval,
    KeyFacts,
    PooledTest,
    ScanSummary,
    ShareEstimate,
    SpanFinding,
    StrongDocument,
    TokenizerFacts,
)
from watermark.detect.segments import Segment

PROSE = (
    "Tea came to the harbour towns long before it reached the hills. The merchants who carried it "
    "kept careful books, and from these we know what a chest cost in spring, when the roads were "
    "dry, and what it cost after the rains. A good year paid for two bad ones.\n\nWhat they did "
    "not write down is how the habit spread from the counting houses to the kitchens. There are "
    "letters that mention a cup in the afternoon as if nobody had ever lived otherwise. "
)


def decoys(seed: int, true_z: float, *, count: int = 200, mean: float = 0.0) -> DecoyCheck:
    """z of decoy keys around `mean`."""
    rng = random.Random(seed)
    return DecoyCheck.of(2, [rng.gauss(mean, 1) for _ in range(count)], true_z)


def pieces(text: str, green: float, seed: int = 1) -> tuple[Segment, ...]:
    """The words of a text, most of them coloured."""
    rng = random.Random(seed)
    found = []
    for word in text.split(" "):
        colour = "plain" if rng.random() < 0.15 else "green" if rng.random() < green else "red"
        found.append(Segment(word + " ", colour, "" if colour == "plain" else "site"))
    return tuple(found)


def document(name: str, log10_p: float, *, repeat: int = 1, seed: int = 1) -> StrongDocument:
    """A document whose second half is marked."""
    text = PROSE * repeat
    shown = pieces(text, 0.3, seed)[: len(text.split(" ")) // 2]
    start = sum(len(piece.text) for piece in shown)
    shown += pieces(text[start:], 0.75, seed)
    end = sum(len(piece.text) for piece in shown)
    spans = (SpanFinding(start, end, log10_p + 2),)
    return StrongDocument(name, log10_p, log10_p + 1.6, 61, 39, spans, "ACME Research", shown)


def marked() -> ScanSummary:
    """A corpus of which a part is ours, with two accounts behind it."""
    pooled = (
        PooledTest.of(2, "normalised", "site", windows=2_113_400, hits=551_020, gamma=0.25),
        PooledTest.of(1, "normalised", "site", windows=2_113_391, hits=528_104, gamma=0.25),
    )
    histogram = (1412, 431, 402, 396, 388, 404, 379, 391, 377, 402) + (385,) * 9 + (553,)
    return ScanSummary(
        version="0.2.0",
        created="2026-05-04T09:12:44Z",
        command="azeotrope scan 'corpus/*.jsonl.zst' notes.txt --out report/ --decoys 200",
        options=(("level", "1e-05"), ("fdr", "0.01"), ("text-field", "text"), ("decoys", "200")),
        verdict="marked",
        log10_p=pooled[0].log10_p + math.log10(4),
        best_document=-31.7,
        level=1e-5,
        power=1.0,
        corrections=(Correction("epochs", 2),),
        corpus=CorpusFacts(41, 66, 9000, 3_402_118, 3, 1, None, 57),
        tokenizer=TokenizerFacts("SmolLM2-135M-Instruct", 49152, "9ca9acd0" * 8, True, "fastokens"),
        keys=(KeyFacts(1, "5f3a90c1d27b44e8"), KeyFacts(2, "0c77fe12ab9034d5")),
        manifest_digest="b020734c" * 8,
        pooled=pooled,
        share=ShareEstimate(
            Interval(0.0298, 0.0282, 0.0313), 0.61, True, Interval(0.142, 0.118, 0.166)
        ),
        documents=DocumentFacts(9000, 1034, 0.01, -2.94, histogram),
        decoys=decoys(3, 36.1),
        account_candidates=24_000,
        accounts=(
            AccountFinding(1041, "ACME Research", 2, 811, 30_411, 17_902, 0.25, -4021.5),
            AccountFinding(77, "مختبر النص", 2, 12, 391, 180, 0.25, -17.2),
        ),
        strongest=(
            document("corpus/part-0003.jsonl.zst, record 118", -31.7, repeat=20),
            document("notes.txt", -9.4, seed=4),
        ),
        filter=FilterFacts("default", "11e0beef" * 8, 0.0571),
        bad=(
            BadItem("record", "corpus/part-0003.jsonl.zst, record 77", "not JSON: line 1 column 9"),
            BadItem("file", "corpus/part-0009.jsonl.zst", "damaged: the zstd frame ends early"),
        ),
    )


def not_marked() -> ScanSummary:
    """The same corpus without a mark; no account was searched."""
    pooled = (PooledTest.of(2, "normalised", "site", windows=2_113_391, hits=528_104, gamma=0.25),)
    return replace(
        marked(),
        verdict="not marked",
        log10_p=0.0,
        best_document=-3.1,
        corrections=(),
        pooled=pooled,
        share=ShareEstimate(Interval(0.0, 0.0, 0.0011), 0.48, False, Interval(0.01, 0.0, 0.032)),
        documents=DocumentFacts(9000, 0, 0.01, None, (450,) * 20),
        decoys=decoys(4, -0.4),
        account_candidates=0,
        accounts=(),
        strongest=(replace(document("notes.txt", -3.1), spans=(), account="", log10_q=-0.2),),
        filter=None,
        bad=(),
        corpus=CorpusFacts(41, 66, 9000, 3_402_118, sample=0.1),
    )


def invalid() -> ScanSummary:
    """A run whose decoys are off."""
    return replace(marked(), verdict="invalid", decoys=decoys(5, 36.1, mean=1.5))


def tiny() -> ScanSummary:
    """One sentence: too little to say anything."""
    pooled = (PooledTest.of(2, "normalised", "site", windows=11, hits=6, gamma=0.25),)
    return replace(
        marked(),
        verdict="inconclusive",
        log10_p=pooled[0].log10_p + math.log10(2),
        best_document=pooled[0].log10_p,
        power=0.12,
        corrections=(),
        corpus=CorpusFacts(1, 1, 1, 19),
        pooled=pooled,
        share=ShareEstimate(Interval(0.82, 0.0, 1.0), 0.48, False),
        documents=DocumentFacts(1, 0, 0.01, None, (1,) + (0,) * 19),
        decoys=None,
        accounts=(),
        strongest=(),
        bad=(),
    )


def nothing() -> ScanSummary:
    """No record could be read."""
    return replace(
        tiny(),
        log10_p=None,
        best_document=None,
        power=None,
        pooled=(),
        corpus=CorpusFacts(0, 0, 0, 0, 4, 2),
        tokenizer=None,
        share=None,
        documents=DocumentFacts(0, 0, 0.01, None, (0,) * 20),
        account_candidates=0,
        bad=(BadItem("file", "a.parquet", "not a Parquet file"),),
    )


def no_accounts() -> ScanSummary:
    """Marked, and nobody is named."""
    return replace(marked(), accounts=())


def everything() -> dict[str, ScanSummary]:
    """All samples by name."""
    makers = (marked, not_marked, invalid, tiny, nothing, no_accounts)
    return {make.__name__: make() for make in makers}
