"""Fixtures of the tests of scanning."""

import pytest
from detect_texts import Texts
from scan_corpus import Corpus, write_corpus


@pytest.fixture
def corpus(texts: Texts) -> Corpus:
    """A small corpus and the options to scan it with: see `Corpus`."""
    return write_corpus(texts)
