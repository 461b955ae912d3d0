"""The report's sentences and numbers, the same on the page and in the terminal."""

import math
from collections.abc import Callable

from watermark.detect.report.summary import ScanSummary, ShareEstimate
from watermark.detect.terminal import format_p, format_rate

_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def plural(count: int, noun: str) -> str:
    """A count with its noun: "1 document", "12,000 documents"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def percent(share: float | None) -> str:
    """A share in per cent, small ones to two digits: "63.4 %", "0.021 %"; "-" for None."""
    if share is None or not math.isfinite(share):
        return "-"
    return f"{100 * share:.2g} %" if 0 < abs(share) < 1e-3 else f"{100 * share:.1f} %"


def show_p(log10_p: float | None) -> str:
    """A p-value from its logarithm; "-" where there is none."""
    return "-" if log10_p is None else format_p(log10_p)


def odds(log10_p: float) -> str:
    """An upper bound of a small p in words: "less than one in 10³⁹", at most p = 0.1."""
    exponent = math.floor(round(-log10_p, 9))
    bound = f"{10**exponent:,}" if exponent <= 9 else f"10{str(exponent).translate(_SUPERSCRIPT)}"
    return f"{'less than ' if exponent < round(-log10_p, 9) else ''}one in {bound}"


def verdict_word(summary: ScanSummary) -> str:
    """The verdict, or that there is none because nothing was tested."""
    return summary.verdict if summary.log10_p is not None else "nothing tested"


def verdict_sentence(summary: ScanSummary) -> str:
    """The verdict and its error rate, for a reader who knows no statistics."""
    if summary.verdict == "invalid":
        return (
            "This run is invalid and gives no verdict. Keys that were never used score in a way "
            "that chance does not explain, so its probabilities cannot be trusted."
        )
    if summary.log10_p is None:
        return "Nothing was tested: no record that could be read held a window to test."
    sentences: dict[str, Callable[[ScanSummary, float], str]] = {
        "marked": _marked,
        "inconclusive": _inconclusive,
        "not marked": _not_marked,
    }
    return sentences[summary.verdict](summary, summary.log10_p)


def _marked(_: ScanSummary, log10_p: float) -> str:
    return (
        "These texts contain our mark. If none of them did, a result like this would turn up "
        f"with probability {format_p(log10_p)} at most ({odds(log10_p)})."
    )


def _inconclusive(summary: ScanSummary, log10_p: float) -> str:
    return (
        "It stays open whether these texts contain our mark. If none of them did, a result like "
        f"this would turn up with probability {format_p(log10_p)} at most; we say “marked” at "
        f"{format_rate(summary.level)} and below."
    )


def _not_marked(summary: ScanSummary, log10_p: float) -> str:
    able = ""
    if summary.power is not None:
        power = min(math.floor(summary.power * 1000) / 1000, 0.999)
        able = (
            " Had they been marked from end to end, this scan would have said so with "
            f"probability {power:g} or more."
        )
    return (
        f"No mark of ours was found in these texts (p = {format_p(log10_p)}).{able} A small marked "
        "part is not excluded."
    )


def error_rate(summary: ScanSummary) -> str:
    """What the level promises."""
    return (
        f"“Marked” is said only at a probability of {format_rate(summary.level)} or less: of "
        f"scans of texts without our mark at most one in {1 / summary.level:,.0f} ends so by "
        "accident."
    )


def correction_line(summary: ScanSummary) -> str:
    """How the verdict's p follows from the tests, factor by factor."""
    sites = [test.log10_p for test in summary.pooled if test.channel == "site"]
    best = summary.best_document
    if not sites or summary.log10_p is None or best is None:
        return "No test was made."
    factors = "".join(f" times {item.factor} ({item.counted})" for item in summary.corrections)
    return (
        f"Smallest p of the pooled site tests: {format_p(min(sites))}{factors}. Smallest p of a "
        f"document: {format_p(best)} times {summary.documents.tested:,} (documents). Twice the "
        f"smaller of the two: p = {format_p(summary.log10_p)}."
    )


def share_sentences(summary: ScanSummary) -> list[str]:
    """The estimated marked share, of windows and of documents, in words."""
    share = summary.share
    if share is None:
        return ["The marked share was not estimated."]
    windows = share.windows
    sentences = [
        f"About {percent(windows.point)} of the distinct windows are marked (between "
        f"{percent(windows.low)} and {percent(windows.high)} with {100 * share.confidence:g} % "
        f"confidence), if marked text shows green in {percent(share.green_share)} of its "
        f"windows{_green_source(share)}. Text that repeats itself counts once."
    ]
    if share.documents is not None:
        documents = share.documents
        sentences.append(
            f"By their p-values about {percent(documents.point)} of the documents hold a mark "
            f"(between {percent(documents.low)} and {percent(documents.high)}; Storey's estimate "
            f"from the p-values above {share.storey_lambda:g}, which may miss weak marks)."
        )
    return sentences


def _green_source(share: ShareEstimate) -> str:
    return ", as the marked spans found here do" if share.observed else " (assumed)"


def documents_sentence(summary: ScanSummary) -> str:
    """How many documents are marked by Benjamini-Hochberg, and how many of these are wrong."""
    facts = summary.documents
    if not facts.tested:
        return "No document was tested."
    named = f"{facts.significant:,} of {plural(facts.tested, 'document')}"
    rate = f"at a false discovery rate of {percent(facts.fdr_level)}"
    if not facts.significant:
        return f"{named} can be called marked on their own {rate}."
    wrong = facts.fdr_level * facts.significant
    return (
        f"{named} {'is' if facts.significant == 1 else 'are'} marked by their own test (p ≤ "
        f"{show_p(facts.log10_threshold)}) {rate}: on average at most {wrong:,.1f} of these "
        "would be wrong."
    )


def decoy_sentence(summary: ScanSummary) -> str:
    """What the decoy keys say of the run and of the true key."""
    check = summary.decoys
    if check is None:
        return "The decoy check was not made; run the scan again with --decoys 200 to have it."
    state = "as chance would have it" if check.ok else "which chance does not explain"
    off = "" if check.ok else " The run is invalid."
    return (
        f"{check.count:,} keys that were never used score z = {check.mean_z:+.2f} on average "
        f"(allowed: ±{check.mean_bound:.2f}) with a spread of {check.sd_z:.2f} (allowed: "
        f"{check.spread_low:.2f} to {check.spread_high:.2f}), {state}.{off} The true key of epoch "
        f"{check.epoch} has z = {check.true_z:.1f}: rank {check.rank:,} of {check.count + 1:,}."
    )
