"""The import names proxy, watermark and perturb must be ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proxy import identity
from proxy.errors import IdentityError


def install(site: Path, distribution: str, package: str) -> None:
    """Install a distribution with one package, as pip leaves it."""
    metadata = site / f"{distribution}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
    (metadata / "RECORD").write_text(f"{package}/__init__.py,,\n")
    (site / package).mkdir()
    (site / package / "__init__.py").write_text("")


def test_our_packages_pass() -> None:
    identity.check()


@pytest.mark.parametrize(
    ("distribution", "package"),
    [("proxy.py", "proxy"), ("watermark", "watermark"), ("perturb", "perturb")],
)
def test_another_distribution_of_the_same_name_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distribution: str, package: str
) -> None:
    install(tmp_path, distribution, package)
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(IdentityError, match=f"{package!r} belongs to {distribution}"):
        identity.check()


def test_our_own_installed_distribution_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "azeotrope", "other_package")
    (tmp_path / "azeotrope-1.0.dist-info" / "RECORD").write_text("proxy/__init__.py,,\n")
    monkeypatch.syspath_prepend(tmp_path)

    identity.check()


def test_a_package_that_shadows_ours_without_metadata_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "perturb").mkdir()
    (tmp_path / "perturb" / "__init__.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from proxy.cli import main; main()"

    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert result.returncode == 2
    assert result.stderr.startswith("azeotrope: error: the import name 'perturb' belongs to")
