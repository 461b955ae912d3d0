"""azeotrope verify-headers."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click

from proxy.provenance.verify import Finding, SavedResponse, verify
from watermark.keys import KeySet

_FILE = click.Path(path_type=Path, dir_okay=False)
_BODIES = {
    "covered": "the body is the one that was signed",
    "not given": "the body was signed, but is not here: give it with --body",
    "not covered": "the signature does not cover the body (a stream's cannot)",
}


@click.command("verify-headers")
@click.argument("response", type=click.File("rb"), metavar="RESPONSE|-")
@click.option("--public-key", "public_key", metavar="HEX", help="Public key of the gateway.")
@click.option(
    "--keys", "keys_path", type=_FILE, help="Instead of it: a keyring or any export, which has it."
)
@click.option("--body", "body_path", type=_FILE, help="The body, if RESPONSE is a head alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def verify_headers(
    response: BinaryIO,
    public_key: str | None,
    keys_path: Path | None,
    body_path: Path | None,
    as_json: bool,
) -> None:
    """Tell whether a saved response was signed by a gateway, and what it says of its mark.

    RESPONSE is what `curl -i` printed. The exit status is 0 if the signature is valid, 1 if
    it is not or there is none, 2 on an error. The public key is what `azeotrope keys public`
    prints; the gateway shows it at /.well-known/azeotrope.

    \b
    Examples:
      curl -si https://gateway/v1/chat/completions … > answer.txt
      azeotrope verify-headers answer.txt --public-key 5f2d…
      azeotrope verify-headers head.txt --body answer.json --keys keyring.json --json
    """
    key = _public_key(public_key, keys_path)
    saved = SavedResponse.parse(response.read())
    if body_path is not None:
        saved = replace(saved, body=body_path.read_bytes())
    finding = verify(saved, key)
    if as_json:
        click.echo(json.dumps(asdict(finding)))
    else:
        _show(finding)
    sys.exit(0 if finding.valid else 1)


def _public_key(text: str | None, keys_path: Path | None) -> bytes:
    if (text is None) == (keys_path is None):
        raise click.UsageError("give --public-key HEX or --keys FILE, one of them")
    if keys_path is not None:
        return KeySet.load(keys_path).public_key
    try:
        key = bytes.fromhex(text or "")
    except ValueError:
        key = b""
    if len(key) != 32:
        raise click.BadParameter("expected 64 hexadecimal digits", param_hint="--public-key")
    return key


def _show(finding: Finding) -> None:
    if not finding.valid:
        click.echo(f"INVALID  {finding.reason}")
        return
    click.echo("VALID")
    click.echo(f"mark     {finding.mark}")
    if finding.created is not None:
        moment = datetime.fromtimestamp(finding.created, UTC).isoformat().replace("+00:00", "Z")
        click.echo(f"signed   {moment}")
    click.echo(f"request  {finding.request_id or 'not covered'}")
    click.echo(f"body     {_BODIES[finding.body]}")
