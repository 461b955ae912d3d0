"""Print how much human text there is: `python -m benchmarks.human`."""

import sys
from collections.abc import Iterable

from benchmarks.human import DOMAINS, domain_documents, human_documents


def _report(name: str, texts: Iterable[str]) -> None:
    sizes = [len(text) for text in texts]
    sys.stdout.write(f"{name}: {len(sizes):,} documents, {sum(sizes) / 1e6:.1f} M characters\n")


if __name__ == "__main__":
    _report("installed Python", (text for _, text in human_documents()))
    for domain in DOMAINS:
        _report(domain, (document.text for document in domain_documents(domain)))
