"""Run the benchmarks and write what they print into docs/results.md.

Each benchmark owns the text between its two marker comments; everything else there is
written by hand.
"""

import platform
import re
import subprocess
import sys
from pathlib import Path

import click

RESULTS = Path(__file__).parent.parent / "docs" / "results.md"
BENCHMARKS = (
    "attacks",
    "detect",
    "embed",
    "engine",
    "gateway",
    "null",
    "power",
    "quality",
    "registry",
    "shares",
    "soak",
    "store",
)


def _machine() -> str:
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{platform.machine()}, {torch.get_num_threads()} threads, {gpu}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def insert(document: str, name: str, text: str) -> str:
    """Replace the text between the markers of benchmark `name`; raises ValueError without them."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"{RESULTS}: no markers {begin} … {end}")
    return pattern.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", document)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(BENCHMARKS))
@click.option("--quick", is_flag=True, help="Small runs; prints only, docs/results.md stays.")
def main(*, names: tuple[str, ...], quick: bool) -> None:
    """Run NAMES (default: all), print the figures and keep them in docs/results.md."""
    for name in names or BENCHMARKS:
        module = f"benchmarks.{name}.run"
        command = [sys.executable, "-m", module, *(["--quick"] if quick else [])]
        result = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        print(f"## {name}\n\n{result.stdout}", flush=True)
        if not quick:
            figures = f"`python -m {module}` ({_machine()}):\n\n{result.stdout}"
            RESULTS.write_text(insert(RESULTS.read_text("utf-8"), name, figures), "utf-8")


if __name__ == "__main__":
    main()
