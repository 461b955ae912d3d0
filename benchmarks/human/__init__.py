"""Human-written text: what is installed beside Python, and pinned packages in four domains."""

from benchmarks.human.documents import DOMAINS, Document, Domain, domain_documents
from benchmarks.human.installed import human_documents

__all__ = ["DOMAINS", "Document", "Domain", "domain_documents", "human_documents"]
