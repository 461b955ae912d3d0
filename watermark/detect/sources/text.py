"""A text file: one document."""

from collections.abc import Iterator

from watermark.detect.sources.files import opened
from watermark.detect.sources.gather import Piece
from watermark.detect.sources.sampling import Sampler
from watermark.detect.sources.shard import MAX_RECORD, TOO_LONG, Fields, Report, Shard
from watermark.errors import InputError


def read_text(shard: Shard, fields: Fields, report: Report) -> Iterator[Piece]:
    """Yield the file's text at position 0; raises InputError if it is too long or not UTF-8."""
    if fields.ids_field is not None:
        raise InputError(f"{shard.url}: a text file holds no token ids (leave --ids-field out)")
    if not Sampler(shard.url, fields.sample).chooses(0):
        yield Piece((), (), 1)
        return
    with opened(shard) as stream:
        data = stream.read(MAX_RECORD + 1)
    if len(data) > MAX_RECORD:
        raise InputError(f"{shard.url}: {TOO_LONG} (split it, a document a file or a line)")
    try:
        yield Piece((0,), (data.decode("utf-8-sig"),), 1)
    except UnicodeDecodeError as error:
        raise InputError(f"{shard.url}: not UTF-8 text (byte {error.start})") from error
