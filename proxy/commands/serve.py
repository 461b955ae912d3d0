"""azeotrope serve."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import uvloop

from proxy import logs
from proxy.config import load
from proxy.errors import ConfigError
from proxy.reload import watched_accounts
from proxy.server import load_material, new_metrics
from proxy.server import serve as run_server


@click.command()
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    default=Path("azeotrope.yaml"),
    show_default=True,
    help="Configuration file.",
)
@click.option("--check", is_flag=True, help="Check configuration, keys and accounts, then exit.")
def serve(file: Path, check: bool) -> None:
    """Run the gateway.

    Clients reach it with any OpenAI client library; operators find /metrics, /healthz
    and /readyz on the admin port. SIGTERM and Ctrl-C let running answers end first; a
    second one cuts them.

    \b
    Examples:
      azeotrope serve
      azeotrope serve --config /etc/azeotrope/azeotrope.yaml
      azeotrope serve --check
      AZEOTROPE_LISTEN__PORT=8081 azeotrope serve
    """
    config = load(file)
    try:
        load_material(config)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    metrics = new_metrics(config)
    if check:
        asyncio.run(watched_accounts(config, metrics))
        click.echo(f"{file}: good")
        return
    stop_log = logs.start(config.log.level, config.log.format, metrics.log_lost.inc)
    try:
        uvloop.run(run_server(config, metrics))
    finally:
        stop_log()
