"""Whole corpora: `azeotrope scan`.

job.py        what is to be scanned, with what: the options, and what a worker makes of them
plan.py       shards put together into units of work
reading.py    the documents of a unit, in batches
tokens.py     their token ids, from the cache where it has them
forms.py      a text normalised and as it came, both tested
judging.py    p-values of a batch of documents, over epochs and over the forms of a text
documents.py  a document that looks marked, more closely
unit.py       one unit: read, tokenise, judge, keep what the summary needs
parts.py      the files that a finished unit leaves behind, from which a scan resumes
local.py      units over the processes of this machine
on_ray.py     units over a Ray cluster; shipping.py: what its workers are sent
merging.py    parts → one table of documents and the figures of the whole corpus
summarise.py  figures → the summary that the reports are drawn from
cli.py        the command
"""
