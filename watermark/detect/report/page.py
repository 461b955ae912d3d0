"""A scan's report as one self-contained HTML page: no script, no external resource."""

from importlib.resources import files

from jinja2 import Environment

from watermark.detect.report import charts, wording
from watermark.detect.report.excerpt import excerpt
from watermark.detect.report.summary import ScanSummary
from watermark.detect.terminal import format_rate, visible, visible_line

_MAX_ACCOUNTS = 100


def render_report(summary: ScanSummary) -> str:
    """Return the page. Whatever comes from the suspect files is escaped and made visible."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "p": wording.show_p,
        "percent": wording.percent,
        "rate": format_rate,
        "visible": visible,
        "line": visible_line,
        "count": "{:,}".format,
    }
    source = files("watermark.detect.report").joinpath("report.html.jinja").read_text("utf-8")
    return environment.from_string(source).render(
        s=summary,
        word=wording.verdict_word(summary),
        w=wording,
        charts=charts,
        facts=_facts(summary),
        accounts=summary.accounts[:_MAX_ACCOUNTS],
        strongest=[(item, excerpt(item.pieces, item.spans)) for item in summary.strongest],
    )


def _facts(summary: ScanSummary) -> list[tuple[str, str]]:
    """What was tested, as rows of a table: values may hold names from outside."""
    corpus = summary.corpus
    read = f"{wording.plural(corpus.files, 'file')} in {wording.plural(corpus.shards, 'shard')}"
    records = wording.plural(corpus.records, "record")
    if corpus.sample is not None:
        records += f", a sample of {wording.percent(corpus.sample)}"
    rows = [("Files", read), ("Documents", records), ("Tokens", f"{corpus.tokens:,}")]
    if corpus.normalised_documents:
        found = wording.plural(corpus.normalised_documents, "document")
        rows.append(("Odd characters", f"in {found}: invisible, look-alike or odd spaces"))
    rows.append(("Tokenizer", _tokenizer(summary)))
    rows += [(f"Keys of epoch {key.epoch}", f"public check {key.check}") for key in summary.keys]
    rows += [
        ("Manifest", f"SHA-256 {summary.manifest_digest}"),
        ("Common phrases", _filter(summary)),
    ]
    rows += [("Scanned", summary.created), ("Software", f"azeotrope {summary.version}")]
    return rows


def _tokenizer(summary: ScanSummary) -> str:
    facts = summary.tokenizer
    if facts is None:
        return "none: token ids were given, or the test reads words"
    pinned = {
        True: "the manifest's own",
        False: "NOT the vocabulary of the manifest",
        None: "the manifest names none to compare with",
    }[facts.pinned]
    engine = f", by {facts.engine}" if facts.engine else ""
    size = f"{facts.vocabulary_size:,} entries"
    return f"{facts.name}{engine}; vocabulary of {size}, SHA-256 {facts.sha256} ({pinned})"


def _filter(summary: ScanSummary) -> str:
    if summary.filter is None:
        return "not filtered out"
    dropped = wording.percent(summary.filter.dropped_share)
    return (
        f"left out by the filter {summary.filter.source} (SHA-256 {summary.filter.sha256}): "
        f"{dropped} of the windows of a sample"
    )
