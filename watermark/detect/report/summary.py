"""What a scan found, as data: the JSON summary, from which page and terminal are drawn.

Probabilities of the tests are decimal logarithms ("log10_…"), because they underflow as
plain numbers. Counts are integers; shares are between 0 and 1.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from watermark.detect.pvalues import log10_tail
from watermark.manifest import Channel

if TYPE_CHECKING:  # the report is drawn without torch
    from watermark.detect.segments import Segment

BINS = 20
# Standard errors by which the decoys' mean and spread may be off by chance: about one valid
# run in ten thousand is called invalid.
DECOY_TOLERANCE = 4.0
FORMAT = "azeotrope-scan-1"

ScanVerdict = Literal["marked", "inconclusive", "not marked", "invalid"]


@dataclass(frozen=True, slots=True)
class CorpusFacts:
    """What was read.

    `files` were readable, in `shards` pieces; `records` documents were tested, holding
    `tokens` tokens. `bad_records` and `bad_files` could not be read. `sample` is the share
    of records drawn (None: all); `normalised_documents` had odd characters that were
    normalised before the test.
    """

    files: int
    shards: int
    records: int
    tokens: int
    bad_records: int = 0
    bad_files: int = 0
    sample: float | None = None
    normalised_documents: int = 0


@dataclass(frozen=True, slots=True)
class TokenizerFacts:
    """The tokenizer: its name, vocabulary size and the vocabulary's SHA-256 (hex).

    `pinned` says whether the manifest pins this very vocabulary (None: it pins none).
    `engine` names the implementation that cut the texts.
    """

    name: str
    vocabulary_size: int
    sha256: str
    pinned: bool | None
    engine: str = ""


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """An epoch's keys, told by their public check (hex), which reveals nothing of them."""

    epoch: int
    check: str


@dataclass(frozen=True, slots=True)
class PooledTest:
    """Exact test of one channel over all distinct windows of the corpus.

    `form` says how the text was read: "normalised", or as "words". `log10_p` is not
    corrected; `green_share` is None without windows.
    """

    epoch: int
    form: str
    channel: Channel
    windows: int
    hits: int
    gamma: float
    green_share: float | None
    log10_p: float

    @classmethod
    def of(
        cls, epoch: int, form: str, channel: Channel, *, windows: int, hits: int, gamma: float
    ) -> "PooledTest":
        """Test `hits` among `windows`; raises ValueError unless 0 <= hits <= windows."""
        share = hits / windows if windows else None
        return cls(
            epoch, form, channel, windows, hits, gamma, share, log10_tail(hits, windows, gamma)
        )


@dataclass(frozen=True, slots=True)
class Correction:
    """A factor by which the smallest pooled p was multiplied, and what it counts."""

    counted: str
    factor: int


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate between two bounds."""

    point: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ShareEstimate:
    """How much is marked.

    `windows` is the marked share of distinct windows, if marked text shows `green_share`: that of
    the marked spans found (`observed`), or a cautious guess from the mark's strength. `documents`
    is Storey's estimate of the share of documents whose p-values are not chance, with the p
    beyond `storey_lambda` taken for chance (None: too few documents). `confidence` is that of
    both intervals.
    """

    windows: Interval
    green_share: float
    observed: bool
    documents: Interval | None = None
    storey_lambda: float = 0.5
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """The documents' own tests.

    `histogram` counts the `tested` documents by p in 20 bins of equal width from 0 to 1;
    `significant` of them are marked by Benjamini-Hochberg at `fdr_level`, those with p up to
    10^`log10_threshold` (None: no document).
    """

    tested: int
    significant: int
    fdr_level: float
    log10_threshold: float | None
    histogram: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise ValueError if the histogram does not hold the documents."""
        if len(self.histogram) != BINS or sum(self.histogram) != self.tested:
            raise ValueError(f"a histogram of {BINS} bins over {self.tested} documents is needed")


@dataclass(frozen=True, slots=True)
class DecoyCheck:
    """The pooled statistic under keys that were never used.

    `values` are the decoys' z, `true_z` is the true key's in the same test (of `epoch`); `rank`
    1 says that no decoy reaches it. Under chance z has mean 0 and spread 1, whatever the
    text: `mean_bound` and `spread_low` to `spread_high` are what chance allows.
    """

    epoch: int
    count: int
    mean_z: float
    sd_z: float
    true_z: float
    rank: int
    mean_bound: float
    spread_low: float
    spread_high: float
    ok: bool
    values: tuple[float, ...]

    @classmethod
    def of(cls, epoch: int, values: Sequence[float], true_z: float) -> "DecoyCheck":
        """Judge the decoys' z; raises ValueError unless there are two or more, all finite."""
        count = len(values)
        if count < 2 or not all(map(math.isfinite, [*values, true_z])):
            raise ValueError(f"{count} decoy keys: at least two, with finite z, are needed")
        mean = math.fsum(values) / count
        spread = math.sqrt(math.fsum((z - mean) ** 2 for z in values) / (count - 1))
        mean_bound = DECOY_TOLERANCE / math.sqrt(count)
        # The standard error of the spread of normal values is 1/sqrt(2 (n - 1)).
        slack = DECOY_TOLERANCE / math.sqrt(2 * (count - 1))
        low, high = max(1 - slack, 0.0), 1 + slack
        ok = abs(mean) <= mean_bound and low <= spread <= high
        rank = 1 + sum(z >= true_z for z in values)
        return cls(
            epoch, count, mean, spread, true_z, rank, mean_bound, low, high, ok, tuple(values)
        )


@dataclass(frozen=True, slots=True)
class AccountFinding:
    """An account whose mark was found: `documents` name it.

    `windows` and `hits` are of its channel, pooled; `log10_family_p` is corrected for all
    candidates that were searched.
    """

    number: int
    name: str
    epoch: int
    documents: int
    windows: int
    hits: int
    gamma: float
    log10_family_p: float


@dataclass(frozen=True, slots=True)
class SpanFinding:
    """A marked part of a document: characters `start` to `end`, family-wise p."""

    start: int
    end: int
    log10_p: float


@dataclass(frozen=True, slots=True)
class StrongDocument:
    """One of the documents with the smallest p.

    `log10_q` is the Benjamini-Hochberg q-value. `pieces` join to the document's text (empty
    if token ids were tested); the JSON summary leaves them out. `account` says whom the document
    names.
    """

    name: str
    log10_p: float
    log10_q: float
    windows: int
    hits: int
    spans: tuple[SpanFinding, ...] = ()
    account: str = ""
    pieces: "tuple[Segment, ...]" = dataclasses.field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class FilterFacts:
    """The common-n-gram filter: where it is from, its SHA-256, and the share of windows dropped.

    `dropped_share` is that of the sample that the decoy keys are tried on.
    """

    source: str
    sha256: str
    dropped_share: float


@dataclass(frozen=True, slots=True)
class BadItem:
    """A record or file that could not be read, and why."""

    kind: Literal["record", "file"]
    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScanSummary:
    """All that a scan has to say.

    `log10_p` is twice the smaller of two (None: nothing was tested): the smallest p of the
    pooled site tests times the `corrections`, and the smallest p of a document, `best_document`
    (decimal logarithm, corrected for epochs, forms and spans), times the number of documents.
    "marked" is said at `level` or below. `power` is the probability that these
    windows, marked from end to end, would have been called marked. `created` is a time (RFC
    3339), `options` are all settings with their values, `bad` the first of the bad items.
    `account_candidates` accounts were searched (0: none), each named with a family-wise
    error of at most `family_level`. `decoys` is None if they were not asked for, or if there
    was no window to test.
    """

    version: str
    created: str
    command: str
    options: tuple[tuple[str, str], ...]
    verdict: ScanVerdict
    log10_p: float | None
    best_document: float | None
    level: float
    power: float | None
    corrections: tuple[Correction, ...]
    corpus: CorpusFacts
    tokenizer: TokenizerFacts | None
    keys: tuple[KeyFacts, ...]
    manifest_digest: str
    pooled: tuple[PooledTest, ...]
    share: ShareEstimate | None
    documents: DocumentFacts
    decoys: DecoyCheck | None = None
    account_candidates: int = 0
    family_level: float = 1e-3
    accounts: tuple[AccountFinding, ...] = ()
    strongest: tuple[StrongDocument, ...] = ()
    filter: FilterFacts | None = None
    bad: tuple[BadItem, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError if decoys that are off come with any verdict but "invalid"."""
        off = self.decoys is not None and not self.decoys.ok
        if off != (self.verdict == "invalid"):
            raise ValueError("a scan is invalid if, and only if, its decoy keys are off")

    def to_json(self) -> dict[str, Any]:
        """Plain objects for `json`: no NaN or infinity (null instead), and no suspect text."""
        plain: dict[str, Any] = {"format": FORMAT, **_plain(self)}
        plain["options"] = dict(self.options)
        return plain


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        names = (field.name for field in dataclasses.fields(value))
        return {name: _plain(getattr(value, name)) for name in names if name != "pieces"}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
