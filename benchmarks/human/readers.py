"""Files of a package as plain text, as a person would read it. Pure: bytes in, text out."""

import gzip
import html
import io
import re
import zipfile
from collections.abc import Iterator

_DROPPED = re.compile(r"<(script|style|head|nav)\b.*?</\1\s*>|<!--.*?-->", re.DOTALL | re.I)
_BLOCKS = re.compile(r"</(p|li|dd|dt|tr|div|h\d|pre|title|item|section)\s*>|<br\s*/?>", re.I)
_TAG = re.compile(r"<[^>]*>")
_BLANKS = re.compile(r"[ \t]+(?=\n)|\n{3,}")
_ROFF_DROPPED = re.compile(r"^(?:[.']\\\"|\.(?:if|ie|el|de|ds|nr|so|ft|ta|hy|ad|\.)\b).*\n", re.M)
_ROFF_MACRO = re.compile(r"^[.'][A-Za-z]+ ?", re.M)
_ROFF_FONT = re.compile(r"\\f(?:\([A-Z]{2}|\[[A-Z]*\]|.)|\\[&|^c/,]|\\s[+-]?\d")
_ROFF_SIGNS = {"\\-": "-", "\\e": "\\", "\\(aq": "'", "\\(bu": "*", "\\(em": "-", "\\ ": " "}
_HEADER = re.compile(r"\A(?:#!.*\n)?(/\*.*?\*/|(?:[ \t]*(?://|#|;)[^\n]*\n|\n)+)", re.DOTALL)
_MARGIN = re.compile(r"^[ \t]*(?:/\*+|\*+/|\*|//+|#+|;+)[ \t]?|[ \t]*\*/$", re.M)
# A dictionary is one file; its entries are many documents.
_DICTIONARY_PART = 20_000


def decoded(raw: bytes, name: str) -> str:
    """Text of a file, unpacked if its name ends in .gz or .dz; undecodable bytes are dropped."""
    if name.endswith((".gz", ".dz")):
        raw = gzip.decompress(raw)
    return raw.decode("utf-8", errors="ignore").replace("\r\n", "\n")


def plain(raw: bytes, name: str) -> Iterator[str]:
    """The file as it is."""
    yield decoded(raw, name)


def markup(raw: bytes, name: str) -> Iterator[str]:
    """HTML or XML without its tags."""
    text = _BLOCKS.sub("\n", _DROPPED.sub("", decoded(raw, name)))
    yield _BLANKS.sub("\n\n", html.unescape(_TAG.sub("", text)))


def manual(raw: bytes, name: str) -> Iterator[str]:
    """A manual page without its macros."""
    text = _ROFF_FONT.sub("", _ROFF_MACRO.sub("", _ROFF_DROPPED.sub("", decoded(raw, name))))
    for sign, character in _ROFF_SIGNS.items():
        text = text.replace(sign, character)
    yield text


def dictionary(raw: bytes, name: str) -> Iterator[str]:
    """A dictd database, cut at entries into documents of some 20,000 characters."""
    text, start = decoded(raw, name), 0
    while start < len(text):
        cut = re.compile(r"\n(?=\S)").search(text, start + _DICTIONARY_PART)
        end = cut.end() if cut else len(text)
        yield text[start:end]
        start = end


def fortunes(raw: bytes, name: str) -> Iterator[str]:
    """Sayings, without the lines between them."""
    yield decoded(raw, name).replace("\n%\n", "\n\n")


def rule(raw: bytes, name: str) -> Iterator[str]:
    """A licence text of ScanCode without its YAML header."""
    yield decoded(raw, name).split("\n---\n", 1)[-1].strip()


def header(raw: bytes, name: str) -> Iterator[str]:
    """The licence notice at the head of a source file, without the comment's signs."""
    match = _HEADER.match(decoded(raw[:20_000], name)) if not name.endswith(".gz") else None
    if match and "icense" in match[1]:
        yield _MARGIN.sub("", match[1]).strip() + "\n"


def archive(raw: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files in a zip archive."""
    del name
    with zipfile.ZipFile(io.BytesIO(raw)) as file:
        for member in sorted(file.namelist()):
            yield member, file.read(member)
