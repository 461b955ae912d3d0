"""Corpora in: files of many formats read as batches of texts or of token ids, memory flat.

formats.py      the dictionary of readers, a suffix each; read()
plan.py         paths, folders, globs and URLs → shards; listing.py finds the files
shard.py        what is read: Shard, Fields, RecordBatch
files.py        bytes of a path, of a URL or of standard input; compression.py unpacks them
lines.py        whole lines of a range of bytes
json_field.py   a field of JSON records; arrow_column.py: a column of Arrow data
gather.py       small pieces → batches; sampling.py: a share of the records
text, jsonl, json_array, csv, parquet, arrow, npy   one reader each
"""

from watermark.detect.sources.formats import READERS, read
from watermark.detect.sources.plan import Plan, plan, whole_file
from watermark.detect.sources.shard import Fields, RecordBatch, Shard

__all__ = ["READERS", "Fields", "Plan", "RecordBatch", "Shard", "plan", "read", "whole_file"]
