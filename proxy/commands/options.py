"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def config_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --config, the `file` that names accounts, tiers and models."""
    return click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        default=Path("azeotrope.yaml"),
        show_default=True,
        help="Configuration file; it says where the accounts are, and has the tiers.",
    )(command)
