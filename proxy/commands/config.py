"""azeotrope config."""

from __future__ import annotations

import json
from importlib import resources

import click

from proxy.config import Config
from proxy.config.reference import reference

EXAMPLE = "azeotrope.example.yaml"


@click.group()
def config() -> None:
    """Show what a configuration file may say."""


@config.command()
def example() -> None:
    """Print a commented configuration file to begin with.

    \b
    Example:
      azeotrope config example > azeotrope.yaml
    """
    click.echo(resources.files("proxy").joinpath(EXAMPLE).read_text("utf-8"), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON Schema of the configuration, for editors.

    \b
    Example:
      azeotrope config schema > azeotrope.schema.json
    """
    click.echo(json.dumps(Config.model_json_schema(), indent=2))


@config.command(name="reference")
def print_reference() -> None:
    """Print the reference page of all keys (docs/reference-config.md).

    \b
    Example:
      azeotrope config reference > docs/reference-config.md
    """
    click.echo(reference(), nl=False)
