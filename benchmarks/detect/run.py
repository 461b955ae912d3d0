"""Speed of the detector, beside published detectors and the tokenizer alone.

`python -m benchmarks.detect.run [--quick]` prints the section of docs/results.md.
"""

import click

from benchmarks.detect.gpu import print_gpu
from benchmarks.detect.ids import print_ids
from benchmarks.detect.raw import print_raw
from benchmarks.detect.trace import print_trace
from benchmarks.detect.windows import print_windows

_SECTIONS = {
    "ids": print_ids,
    "raw": print_raw,
    "windows": print_windows,
    "trace": print_trace,
    "gpu": print_gpu,
}


@click.command()
@click.argument("sections", nargs=-1, type=click.Choice(tuple(_SECTIONS)))
@click.option("--quick", is_flag=True, help="Small runs; noisier.")
def main(*, sections: tuple[str, ...], quick: bool) -> None:
    """Print SECTIONS (default: all)."""
    for name in sections or _SECTIONS:
        _SECTIONS[name](quick=quick)


if __name__ == "__main__":
    main()
