"""The human text as token ids, tokenised once and kept in .cache/benchmarks/human."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from benchmarks.human.documents import Document, Domain, domain_documents
from benchmarks.human.fetch import CACHE
from proxy.engine.weights import demo_model
from watermark.detect.counts import Batch
from watermark.detect.tokenizer import TextTokenizer

PIECE = 100
_DOCUMENTS_AT_ONCE = 512


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents of a domain as token ids; `reference` [d] tells which filters are built of."""

    batch: Batch
    reference: npt.NDArray[np.bool_]

    def part(self, *, reference: bool) -> Batch:
        """The documents that filters are built of, or those that are judged."""
        return self.batch.chosen(np.flatnonzero(self.reference == reference))


def pieces(batch: Batch) -> Batch:
    """Cut documents into consecutive pieces of 100 tokens; what is left over is dropped."""
    lengths = np.diff(batch.offsets) // PIECE * PIECE
    kept = [batch.document(i)[:length] for i, length in enumerate(lengths) if length]
    ids = np.concatenate(kept) if kept else np.empty(0, np.uint32)
    return Batch(ids, np.arange(0, len(ids) + 1, PIECE, dtype=np.int64))


def corpus(domain: Domain) -> Corpus:
    """The token ids of a domain under the demo model's tokenizer."""
    file = CACHE / f"{domain}.npz"
    if not file.exists():
        _tokenise(domain)
    with np.load(file) as kept:
        return Corpus(Batch(kept["ids"], kept["offsets"]), kept["reference"])


def _tokenise(domain: Domain) -> None:
    ids, lengths, reference = [], [], []
    encoder = TextTokenizer(demo_model())
    for documents in _batches(domain):
        batch = encoder.encode_batch([document.text for document in documents])
        ids.append(batch.ids)
        lengths.append(np.diff(batch.offsets))
        reference += [document.reference for document in documents]
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    np.savez(
        CACHE / f"{domain}.npz",
        ids=np.concatenate(ids),
        offsets=offsets,
        reference=np.array(reference),
    )


def _batches(domain: Domain) -> Iterator[tuple[Document, ...]]:
    documents = domain_documents(domain)
    while group := tuple(islice(documents, _DOCUMENTS_AT_ONCE)):
        yield group
