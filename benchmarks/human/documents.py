"""The documents of a domain, in an order that never changes."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import zstandard

from benchmarks.human.fetch import kept
from benchmarks.human.packages import DOMAINS, PACKAGES, Domain

__all__ = ["DOMAINS", "Document", "Domain", "domain_documents"]


@dataclass(frozen=True, slots=True)
class Document:
    """A text with the package and the file that it comes from."""

    package: str
    name: str
    text: str

    @property
    def reference(self) -> bool:
        """Whether filters are built of it (a third, by a hash of its name) or judged with it."""
        return hashlib.sha256(f"{self.package}/{self.name}".encode()).digest()[0] % 3 == 0


def domain_documents(domain: Domain) -> Iterator[Document]:
    """Documents of a domain, package by package; fetches what is missing."""
    for package in PACKAGES:
        if all(rule.domain != domain for rule in package.rules):
            continue
        with zstandard.open(kept(package), "rt", encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                if record["domain"] == domain:
                    yield Document(package.name, record["name"], record["text"])
