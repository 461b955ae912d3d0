"""Does a document that is there twice change its p-value?"""

from collections.abc import Sequence

import numpy as np

from watermark.detect.counts import Batch, EpochScheme
from watermark.keys import EpochKeys
from watermark.manifest import MAX_WIDTH, Parameters


def print_doubling(batches: Sequence[Batch], keys: EpochKeys, parameters: Parameters) -> None:
    """Double each document, as a second document and within one text; print what changed."""
    scheme = EpochScheme(keys, parameters)
    beside = within = most = 0
    documents = [batch.document(index) for batch in batches for index in range(len(batch))]
    for ids in documents:
        twice = Batch.of([ids, ids])
        once, (_, coins) = scheme.count(Batch.of([ids])), scheme.coins(twice)
        site = coins.of("site")
        _, first = np.unique(site.digest, return_index=True)
        totals = len(first), int(site.green[first].sum())
        beside += totals != (once.windows[0, 0], once.hits[0, 0])
        joined = scheme.count(Batch.of([np.concatenate([ids, ids])]))
        added = int(joined.windows[0].sum() - once.windows[0].sum())
        within, most = within + (added > MAX_WIDTH), max(most, added)
    print(
        f"\n### Doubled documents\n\nOf {len(documents):,} documents counted with a copy beside "
        f"them, {beside} got other integers, hence another p. With the copy appended within the "
        f"same text, {within} gained more windows than the {MAX_WIDTH} that "
        f"the seam can make (at most {most})."
    )
