"""From a corpus's figures to the summary that the reports are drawn from."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from watermark.detect.counts import Batch, EpochScheme
from watermark.detect.decoys import decoys
from watermark.detect.detector import ChannelTest, expected_green_share
from watermark.detect.distinct import Totals, distinct_in
from watermark.detect.pvalues import clopper_pearson, power
from watermark.detect.report.summary import (
    AccountFinding,
    CorpusFacts,
    Correction,
    DecoyCheck,
    DocumentFacts,
    FilterFacts,
    Interval,
    KeyFacts,
    PooledTest,
    ScanSummary,
    ScanVerdict,
    ShareEstimate,
    SpanFinding,
    StrongDocument,
    TokenizerFacts,
)
from watermark.detect.scan.job import Equipment
from watermark.detect.scan.judging import uniform_p
from watermark.detect.scan.merging import Merged, NamedAccount
from watermark.detect.scan.parts import TokenSample
from watermark.detect.segments import Segment
from watermark.manifest import Parameters

# As for a single text (docs/statistics.md, "Verdicts").
_POWER = 0.99
_UNREMARKABLE = -2.0
_STOREY_LAMBDA = 0.5
_NEW_WINDOWS, _LEAST_DOCUMENTS = 20, 50
# From so many windows on, the spans found tell how green marked text is in this corpus.
_SPAN_WINDOWS = 1000
# The decoy keys are tried on so many tokens of the sample.
_DECOY_TOKENS = 1 << 18
_BAD_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the figures do not tell: when, by which command, over what."""

    version: str
    created: str
    command: str
    options: tuple[tuple[str, str], ...]
    files: int
    shards: int
    decoys: int


@dataclass(frozen=True, slots=True)
class _Verdict:
    verdict: ScanVerdict
    log10_p: float | None
    power: float | None


def summarise(equipment: Equipment, merged: Merged, about: Circumstances) -> ScanSummary:
    """Return the summary."""
    epochs = equipment.keys.epochs
    form = "words" if equipment.job.encoding == "words" else "normalised"
    pooled = [
        PooledTest.of(
            keys.epoch,
            form,
            "site",
            windows=totals.windows,
            hits=totals.hits,
            gamma=parameters.gamma,
        )
        for keys, parameters, totals in zip(
            epochs, _parameters(equipment), merged.pooled, strict=True
        )
    ]
    best = min(range(len(epochs)), key=lambda index: pooled[index].log10_p)
    check = _decoys(equipment, merged.sample, best, about.decoys)
    p_values = merged.q_values.p
    found = _verdict(equipment, pooled, best, p_values, check)
    significant, threshold = merged.q_values.significant(equipment.job.fdr_level)
    return ScanSummary(
        version=about.version,
        created=about.created,
        command=about.command,
        options=about.options,
        verdict=found.verdict,
        log10_p=found.log10_p,
        best_document=float(p_values[0]) if len(p_values) else None,
        level=equipment.job.level,
        power=found.power,
        corrections=(Correction("epochs", len(epochs)),) if len(epochs) > 1 else (),
        corpus=_corpus(equipment, merged, about),
        tokenizer=_tokenizer(equipment),
        keys=tuple(KeyFacts(keys.epoch, keys.check) for keys in epochs),
        manifest_digest=equipment.manifest.digest,
        pooled=tuple(pooled),
        share=_share(equipment, merged, best),
        documents=DocumentFacts(
            tested=len(p_values),
            significant=significant,
            fdr_level=equipment.job.fdr_level,
            log10_threshold=threshold,
            histogram=tuple(merged.histograms[best].tolist()),
        ),
        decoys=check,
        account_candidates=len(equipment.candidates.accounts),
        family_level=equipment.job.family_level,
        accounts=tuple(_account(equipment, account) for account in merged.accounts),
        strongest=_strongest(equipment, merged),
        filter=_filter(equipment, merged.sample, best),
        bad=tuple(merged.bad[:_BAD_SHOWN]),
    )


def _parameters(equipment: Equipment) -> list[Parameters]:
    return [equipment.manifest.parameters(keys.epoch) for keys in equipment.keys.epochs]


def _verdict(
    equipment: Equipment,
    pooled: list[PooledTest],
    best: int,
    p_values: npt.NDArray[np.float64],
    check: DecoyCheck | None,
) -> _Verdict:
    test, epochs = pooled[best], len(pooled)
    parameters = _parameters(equipment)[best]
    log10_level = math.log10(equipment.job.level)
    if not test.windows:
        return _Verdict("inconclusive", None, None)
    ours = test.log10_p + math.log10(epochs)
    document = float(p_values[0]) + math.log10(len(p_values))
    log10_p = min(min(ours, document) + math.log10(2), 0.0)
    able = power(
        test.windows,
        parameters.gamma,
        expected_green_share(parameters),
        log10_level - math.log10(2 * epochs),
    )
    if check is not None and not check.ok:
        return _Verdict("invalid", log10_p, able)
    if log10_p <= log10_level:
        return _Verdict("marked", log10_p, able)
    clear = able >= _POWER and log10_p > _UNREMARKABLE
    return _Verdict("not marked" if clear else "inconclusive", log10_p, able)


def _decoys(equipment: Equipment, sample: TokenSample, epoch: int, count: int) -> DecoyCheck | None:
    """Try decoy keys on the sample, and rank the true key of that epoch among them."""
    batch = sample.reduced(_DECOY_TOKENS).batch
    if count == 0 or not len(batch):
        return None
    parameters = _parameters(equipment)[epoch]
    keys = equipment.keys.epochs[epoch]
    totals = _pool(batch, EpochScheme(keys, parameters, equipment.common))
    true_z = ChannelTest.of(totals.windows, totals.hits, parameters.gamma).z
    return decoys(batch, parameters, count, equipment.common).check(keys.epoch, true_z)


def _pool(batch: Batch, scheme: EpochScheme) -> Totals:
    """Count the site windows of a batch, each once however many documents have it."""
    _, site = scheme.coins(batch, only="site")
    return distinct_in(site.digest, site.green)


def _corpus(equipment: Equipment, merged: Merged, about: Circumstances) -> CorpusFacts:
    def total(name: str) -> int:
        return sum(facts[name] for facts in merged.facts)

    sample = equipment.job.fields.sample
    bad_files = sum(len(facts["errors"]) for facts in merged.facts)
    return CorpusFacts(
        files=about.files - bad_files,
        shards=about.shards,
        records=total("documents"),
        tokens=total("tokens"),
        bad_records=total("bad"),
        bad_files=bad_files,
        sample=sample if sample < 1 else None,
        normalised_documents=total("normalised"),
    )


def _tokenizer(equipment: Equipment) -> TokenizerFacts | None:
    tokenizer = equipment.tokenizer
    if tokenizer is None:
        return None
    pin = tokenizer.pin()
    pinned = equipment.manifest.tokenizer
    return TokenizerFacts(
        str(tokenizer.path),
        pin.vocabulary_size,
        pin.sha256,
        None if pinned is None else pinned == pin,
        tokenizer.backend,
    )


def _share(equipment: Equipment, merged: Merged, best: int) -> ShareEstimate | None:
    """Estimate how much is marked (docs/statistics.md, "How much is marked")."""
    totals, parameters = merged.pooled[best], _parameters(equipment)[best]
    if not totals.windows:
        return None
    gamma, spans = parameters.gamma, merged.spans
    observed = spans.windows >= _SPAN_WINDOWS
    share = spans.hits / spans.windows if observed else expected_green_share(parameters)

    def marked(green: float) -> float:
        return min(max((green - gamma) / (share - gamma), 0.0), 1.0)

    low, high = clopper_pearson(totals.hits, totals.windows)
    windows = Interval(marked(totals.hits / totals.windows), marked(low), marked(high))
    documents = _marked_documents(equipment, merged.sample, best)
    return ShareEstimate(windows, share, observed, documents, _STOREY_LAMBDA)


def _marked_documents(equipment: Equipment, sample: TokenSample, best: int) -> Interval | None:
    """Storey's estimate (2002) of the share of documents whose p is not chance.

    Documents that share phrases share coins. So a window counts in the first document of the
    sample only: then their p-values are independent, and the interval holds.
    """
    parameters = _parameters(equipment)[best]
    scheme = EpochScheme(equipment.keys.epochs[best], parameters, equipment.common)
    _, site = scheme.coins(sample.batch, only="site")
    _, first = np.unique(site.digest, return_index=True)
    windows = np.bincount(site.document[first], minlength=len(sample.batch))
    hits = np.bincount(site.document[first], site.green[first], len(sample.batch))
    enough = windows >= _NEW_WINDOWS
    tested = int(enough.sum())
    if tested < _LEAST_DOCUMENTS:
        return None
    draws = sample.priorities[enough] / 2.0**64
    p = uniform_p(windows[enough], hits[enough].astype(np.int64), parameters.gamma, draws)
    beyond = int((p > _STOREY_LAMBDA).sum())

    def marked(share_beyond: float) -> float:
        return min(max(1 - share_beyond / (1 - _STOREY_LAMBDA), 0.0), 1.0)

    low, high = clopper_pearson(beyond, tested)
    return Interval(marked(beyond / tested), marked(high), marked(low))


def _account(equipment: Equipment, account: NamedAccount) -> AccountFinding:
    return AccountFinding(
        account.number,
        equipment.candidates.name(account.number),
        account.epoch,
        account.documents,
        account.windows,
        account.hits,
        equipment.manifest.parameters(account.epoch).gamma,
        account.log10_family_p,
    )


def _strongest(equipment: Equipment, merged: Merged) -> tuple[StrongDocument, ...]:
    found = []
    for name, item in merged.strongest:
        log10_p = item["log10_corrected_p"]
        number = item["account"]
        label = equipment.candidates.name(number) if number is not None else ""
        q = float(merged.q_values.look_up(np.array([log10_p]))[0])
        found.append(
            StrongDocument(
                name,
                log10_p,
                q,
                item["windows"],
                item["hits"],
                tuple(SpanFinding(*span) for span in item["spans"] if span[0] is not None),
                "" if number is None else f"{label} (number {number})".strip(),
                tuple(Segment(*piece) for piece in item["pieces"]),
            )
        )
    return tuple(found)


def _filter(equipment: Equipment, sample: TokenSample, best: int) -> FilterFacts | None:
    common = equipment.common
    if common is None:
        return None
    keys, parameters = equipment.keys.epochs[best], _parameters(equipment)[best]
    kept = _pool(sample.batch, EpochScheme(keys, parameters, common)).windows
    every = _pool(sample.batch, EpochScheme(keys, parameters)).windows
    return FilterFacts(equipment.job.common, common.sha256, 1 - kept / every if every else 0.0)
