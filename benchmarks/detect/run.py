"""Speed of the detector, beside published detectors and the tokenizer alone.

`python -m benchmarks.detect.run [--quick]` prints the section of docs/results.md.
"""

import click

from benchmarks.detect.ids import print_ids


@click.command()
@click.option("--quick", is_flag=True, help="Small runs; noisier.")
def main(*, quick: bool) -> None:
    """Print the section."""
    print_ids(quick=quick)


if __name__ == "__main__":
    main()
