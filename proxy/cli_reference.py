"""docs/reference-cli.md: the help of every command, as the commands print it.

`python -m proxy.cli_reference > docs/reference-cli.md`
"""

from __future__ import annotations

from collections.abc import Iterator

import click

from proxy.cli import azeotrope

_HEAD = """# Command line

Made by `python -m proxy.cli_reference`; a test keeps it true. Every command ends with status 2
and one line `azeotrope: error: …` when it was used wrongly or cannot do its work.
`azeotrope detect` gives its verdict as its status: 0 marked, 1 not marked, 3 inconclusive.
"""
_WIDTH = 100


def cli_reference() -> str:
    """Return the page."""
    root = click.Context(azeotrope, info_name="azeotrope", max_content_width=_WIDTH)
    return _HEAD + "".join(_sections(azeotrope, root, 2))


def _sections(command: click.Command, context: click.Context, depth: int) -> Iterator[str]:
    with context:
        context.terminal_width = _WIDTH
        heading = f"{'#' * depth} {context.command_path}"
        yield f"\n{heading}\n\n```text\n{command.get_help(context)}\n```\n"
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                child = click.Context(inner, parent=context, info_name=name)
                yield from _sections(inner, child, depth + 1)


if __name__ == "__main__":
    click.echo(cli_reference(), nl=False)
