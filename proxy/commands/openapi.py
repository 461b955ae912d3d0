"""azeotrope openapi."""

from __future__ import annotations

import click

from proxy.openapi import render


@click.command()
def openapi() -> None:
    """Print the OpenAPI document of the gateway's paths (docs/openapi.json).

    \b
    Example:
      azeotrope openapi > openapi.json
    """
    click.echo(render(), nl=False)
