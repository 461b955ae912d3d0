"""Check that the import names proxy, watermark and perturb are ours.

Other distributions install packages of these names (proxy.py, watermark, perturb). In
a shared environment one would overwrite parts of the other, and a gateway made of two
projects must not start.
"""

from __future__ import annotations

import importlib
from importlib.metadata import packages_distributions

from proxy.errors import IdentityError

DISTRIBUTION = "azeotrope"
NAMES = ("proxy", "watermark", "perturb")


def check() -> None:
    """Raise IdentityError if another distribution owns one of our import names.

    Two looks are needed: the metadata sees two distributions that claim one name, and
    the packages' own attribute sees one that shadows an editable install, which the
    metadata does not list.
    """
    owners = packages_distributions()
    for name in NAMES:
        others = sorted(set(owners.get(name, ())) - {DISTRIBUTION})
        found = getattr(importlib.import_module(name), "__distribution__", None)
        if others or found != DISTRIBUTION:
            owner = ", ".join(others) or "an unknown distribution"
            raise IdentityError(
                f"the import name {name!r} belongs to {owner}, not to Azeotrope: install Azeotrope "
                "in a virtual environment of its own, or uninstall the other one there"
            )
