"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def config_option(meaning: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what adds --config, the argument `file`; `meaning` is its help."""
    return click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        default=Path("azeotrope.yaml"),
        show_default=True,
        help=meaning,
    )


of_accounts = config_option(
    "Configuration file; it says where the accounts are, and has the tiers."
)
