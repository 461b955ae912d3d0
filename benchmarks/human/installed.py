"""Human-written text that is on every machine with Python: documentation strings and files."""

import ast
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

_LEAST_CHARACTERS = 200
_SUFFIXES = {".rst", ".md", ".txt"}


def human_documents() -> Iterator[tuple[str, str]]:
    """Yield (source, text): docstrings of all installed Python code, and its text files.

    The sources are "standard library" and "installed packages".
    """
    roots = {
        "standard library": Path(sysconfig.get_path("stdlib")),
        "installed packages": Path(sysconfig.get_path("purelib")),
    }
    for source, root in roots.items():
        for path in sorted(root.rglob("*")):
            inner = path.relative_to(root).parts
            if source == "standard library" and "site-packages" in inner:
                continue
            for text in _texts(path):
                if len(text) >= _LEAST_CHARACTERS:
                    yield source, text


def _texts(path: Path) -> Iterator[str]:
    if path.suffix in _SUFFIXES and path.is_file():
        yield _read(path)
    elif path.suffix == ".py" and path.is_file():
        yield from _docstrings(_read(path))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="ignore")


def _docstrings(source: str) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield text
