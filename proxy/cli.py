"""The command line: one table of subcommands, each imported when it is called.

`azeotrope keys` must not wait for aiohttp, nor `azeotrope serve` for torch.
"""

from __future__ import annotations

import importlib
import os
import sys
from importlib.metadata import PackageNotFoundError, version

import click

from proxy import identity
from watermark.errors import AzeotropeError

_EXIT_ERROR = 2
_EXIT_INTERRUPTED = 130

# name: (module:command, help)
COMMANDS: dict[str, tuple[str, str]] = {
    "serve": ("proxy.commands.serve:serve", "Run the gateway."),
    "accounts": ("proxy.commands.accounts:accounts", "Add, list and change accounts."),
    "config": ("proxy.commands.config:config", "Show an example, the schema, the reference."),
    "openapi": ("proxy.commands.openapi:openapi", "Print the OpenAPI document of the gateway."),
    "verify-headers": (
        "proxy.commands.verify_headers:verify_headers",
        "Check what a saved response says of its mark.",
    ),
    "keys": ("watermark.cli:keys", "Make, rotate and export keys."),
    "detect": ("watermark.detect.cli:detect", "Find marks in texts and name account and call."),
    "scan": ("watermark.detect.scan.cli:scan", "Test whole corpora, and report."),
    "trace": ("watermark.detect.trace_cli:trace", "Search all accounts and calls for a writer."),
    "build-filter": (
        "watermark.detect.filter_cli:build_filter",
        "Collect the common n-grams of reference texts.",
    ),
    "calibrate": (
        "watermark.detect.filter_cli:calibrate_command",
        "Measure this key's false-positive rate on clean texts.",
    ),
    "engine": ("proxy.engine.cli:engine", "Run the built-in engine (for trial and tests)."),
    "demo": ("proxy.demo:demo", "Show it all on a real model."),
}

# Packages of the extras: the gateway runs without them.
OPTIONAL = frozenset(
    {
        "accelerate",
        "fastokens",
        "fsspec",
        "gguf",
        "jinja2",
        "numba",
        "openai",
        "pyarrow",
        "tokenizers",
        "torch",
        "transformers",
        "zstandard",
    }
)


class LazyGroup(click.Group):
    """A group whose commands are imported only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _version() -> str:
    try:
        return version(identity.DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown (not installed)"


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="azeotrope")
def azeotrope() -> None:
    """Watermark, trace and guard the answers of a language model.

    \b
    Begin with:
      azeotrope keys new
      azeotrope config example > azeotrope.yaml
      azeotrope accounts add alice
      azeotrope serve
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0, a command's own verdict, 2 for a user's error."""
    try:
        identity.check()
        result = azeotrope.main(arguments, prog_name="azeotrope", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(_EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except AzeotropeError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in OPTIONAL:
            raise
        _fail(
            f"{missing} is not installed: run `pip install 'azeotrope[demo]'` for detect, scan, "
            "trace, engine and demo ([detect] or [engine] for one of them)"
        )
    except BrokenPipeError:
        # The reader of our output is gone (`| head`). Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    sys.exit(result if isinstance(result, int) else 0)


def _fail(message: str) -> None:
    click.echo(f"azeotrope: error: {message}", err=True)
    sys.exit(_EXIT_ERROR)
