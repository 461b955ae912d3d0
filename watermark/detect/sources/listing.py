"""Files behind a path, a folder, a pattern or a URL."""

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG
from typing import Any

from watermark.detect.sources.files import STDIN, file_system, foreign_errors, is_remote, naming
from watermark.errors import InputError


@dataclass(frozen=True, slots=True)
class Found:
    """A file. `size` is 0 for pipes and where it is not known; `version` is its time or tag.

    `listed` says that a folder was named and not the file, `hidden` that it or a folder on the
    way to it begins with a dot.
    """

    url: str
    size: int = 0
    version: str = ""
    listed: bool = False
    hidden: bool = False


def find(path: str, *, recursive: bool) -> list[Found]:
    """Return the files that a path, pattern or URL stands for; folders need `recursive`.

    Raises InputError if nothing is there, nothing matches or it cannot be listed.
    """
    if path == STDIN:
        return [Found(path)]
    with naming(path):
        found = _remote(path, recursive) if is_remote(path) else _local(path, recursive)
    if not found:
        raise InputError(f"{path}: no file there")
    return found


def stat(url: str) -> Found:
    """Return size and version of one file; raises InputError if it is not there."""
    if url == STDIN:
        return Found(url)
    with naming(url):
        if not is_remote(url):
            return _local_file(url)
        system, path = file_system(url)
        with foreign_errors():
            return _remote_file(url, system.info(path))


def _local(path: str, recursive: bool) -> list[Found]:
    if os.path.exists(path) or not glob.has_magic(path):
        if S_ISDIR(os.stat(path).st_mode) and not recursive:
            raise InputError(f"{path}: a folder (--recursive reads the files in it)")
        return list(_expand(path))
    matches = sorted(glob.glob(path, recursive=True))
    files = [match for match in matches if recursive or not os.path.isdir(match)]
    return [found for file in files for found in _expand(file)]


def _expand(path: str) -> Iterator[Found]:
    if not os.path.isdir(path):
        yield _local_file(path)
        return
    for folder, _, names in os.walk(path):
        for name in names:
            file = Path(folder, name)
            if file.is_file():  # no pipe or device, which would never end, and no broken link
                inside = file.relative_to(path).parts
                yield _local_file(str(file), listed=True, hidden=_is_hidden(inside))


def _local_file(path: str, *, listed: bool = False, hidden: bool = False) -> Found:
    status = os.stat(path)
    if not S_ISREG(status.st_mode):
        return Found(path)
    return Found(path, status.st_size, str(status.st_mtime_ns), listed, hidden)


def _remote(url: str, recursive: bool) -> list[Found]:
    system, path = file_system(url)
    with foreign_errors():
        try:
            info = system.info(path)
        except FileNotFoundError:
            if not glob.has_magic(path):
                raise
            matches = system.glob(path, detail=True)
            return [
                _remote_file(system.unstrip_protocol(name), info)
                for name, info in sorted(matches.items())
                if info["type"] == "file"
            ]
        if info["type"] != "directory":
            return [_remote_file(url, info)]
        if not recursive:
            raise InputError(f"{url}: a folder (--recursive reads the files in it)")
        return [
            _remote_file(
                system.unstrip_protocol(name), info, listed=True, hidden=_inside(name, path)
            )
            for name, info in sorted(system.find(path, detail=True).items())
        ]


def _inside(name: str, folder: str) -> bool:
    return _is_hidden(PurePosixPath(name.removeprefix(folder)).parts)


def _is_hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith(".") for part in parts)


def _remote_file(
    url: str, info: dict[str, Any], *, listed: bool = False, hidden: bool = False
) -> Found:
    tags = (info.get(name) for name in ("ETag", "etag", "mtime", "LastModified", "created"))
    version = next((str(tag) for tag in tags if tag), "")
    return Found(url, int(info.get("size") or 0), version, listed, hidden)
