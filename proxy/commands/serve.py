"""azeotrope serve."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from proxy import logs
from proxy.commands.options import config_option
from proxy.reload import watched_accounts
from proxy.server import new_metrics
from proxy.workers.supervisor import Plan, Supervisor


@click.command()
@config_option("Configuration file.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that serve; overrides the configuration's `workers`.",
)
@click.option("--check", is_flag=True, help="Check configuration, keys and accounts, then exit.")
def serve(file: Path, workers: int | None, check: bool) -> None:
    """Run the gateway.

    Clients reach it with any OpenAI client library; operators find /metrics, /healthz
    and /readyz on the admin port. SIGTERM and Ctrl-C let running answers end first; a
    second one cuts them. SIGHUP reads the configuration again, and no call notices.

    \b
    Examples:
      azeotrope serve
      azeotrope serve --workers 4
      azeotrope serve --config /etc/azeotrope/azeotrope.yaml
      azeotrope serve --check
      AZEOTROPE_LISTEN__PORT=8081 azeotrope serve
    """
    plan = Plan.load(file, workers)
    if check:
        asyncio.run(watched_accounts(plan.config, new_metrics(plan.config)))
        click.echo(f"{file}: good")
        return
    supervisor = Supervisor(plan, workers)
    log = plan.config.log
    stop_log = logs.start(log.level, log.format, supervisor.log_lost)
    try:
        asyncio.run(supervisor.run())
    finally:
        stop_log()
