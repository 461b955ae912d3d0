"""Signed headers: what is signed is what RFC 9421 says, and nothing else verifies."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from proxy.commands.verify_headers import verify_headers
from proxy.provenance.signatures import signature_base
from proxy.provenance.signer import Provenance
from proxy.provenance.verify import SavedResponse, verify
from watermark.cli import keys as keys_command
from watermark.errors import InputError
from watermark.keys import Keyring, create_keyring

BODY = b'{"choices":[]}'
ID = ("x-request-id", "req_0123")


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    folder = tmp_path_factory.mktemp("keys")
    return create_keyring(folder / "keyring.json", folder / "manifest.json")


@pytest.fixture
async def answer(keyring: Keyring) -> bytes:
    """A whole answer as `curl -i` prints it."""
    headers = await Provenance(keyring, sign=True).headers("engine", 200, ID, BODY)
    return saved(dict([ID]) | dict(headers), BODY)


def saved(headers: dict[str, str], body: bytes = b"", status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def reason(content: bytes, key: bytes) -> str:
    finding = verify(SavedResponse.parse(content), key)
    assert finding.valid == (not finding.reason)
    return finding.reason


# ---- the format


def test_the_base_is_that_of_rfc_9421_appendix_b_2_6() -> None:
    components = [
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("@method", "POST"),
        ("@path", "/foo"),
        ("@authority", "example.com"),
        ("content-type", "application/json"),
        ("content-length", "18"),
    ]
    parameters = (
        '("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"'
    )
    key = base64.urlsafe_b64decode("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU=")
    signature = Ed25519PrivateKey.from_private_bytes(key).sign(
        signature_base(components, parameters)
    )
    assert base64.b64encode(signature).decode() == (
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
    )


async def test_a_whole_answer_is_signed_as_a_stranger_would_verify_it(keyring: Keyring) -> None:
    headers = await Provenance(keyring, sign=True).headers("engine", 200, ID, BODY)
    assert list(headers) == ["azeotrope-mark", "content-digest", "signature-input", "signature"]
    assert headers["azeotrope-mark"] == "az1;epoch=1;by=engine"
    digest = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    assert headers["content-digest"] == f"sha-256=:{digest}:"
    parameters = headers["signature-input"].removeprefix("azeotrope=")
    keyid = hashlib.sha256(keyring.public_key).hexdigest()[:16]
    assert parameters.startswith('("@status" "azeotrope-mark" "x-request-id" "content-digest");')
    assert parameters.endswith(f';keyid="{keyid}";alg="ed25519"')
    base = (
        '"@status": 200\n'
        '"azeotrope-mark": az1;epoch=1;by=engine\n'
        '"x-request-id": req_0123\n'
        f'"content-digest": sha-256=:{digest}:\n'
        f'"@signature-params": {parameters}'
    )
    signature = base64.b64decode(headers["signature"].removeprefix("azeotrope=:")[:-1])
    Ed25519PublicKey.from_public_bytes(keyring.public_key).verify(signature, base.encode())


# ---- verification


def test_a_true_answer_is_valid(answer: bytes, keyring: Keyring) -> None:
    finding = verify(SavedResponse.parse(answer), keyring.public_key)
    assert finding.valid
    assert (finding.mark, finding.request_id, finding.body) == (
        "az1;epoch=1;by=engine",
        "req_0123",
        "covered",
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"epoch=1;by", b"epoch=2;by", "does not fit"),
        (b"az1;epoch=1;by=engine", b"none", "does not fit"),
        (b"req_0123", b"req_0124", "does not fit"),
        (b"200 OK", b"201 Created", "does not fit"),
        (b";created=1", b";created=2", "does not fit"),
        (b'alg="ed25519"', b'alg="rsa-v1_5-sha256"', "not by Ed25519"),
        (b'"azeotrope-mark" ', b"", "does not cover azeotrope-mark"),
        (b'("@status" ', b"(", "does not cover @status"),
        (b'("@status" ', b'("@status" "@status" ', "twice"),
        (b'"x-request-id"', b'"x-request-id";sf', "not known"),
        (b'{"choices":[]}', b'{"choices":[1]}', "body"),
        (b"signature: azeotrope=:", b"signature: azeotrope=:AAAA", "does not fit"),
        (b"signature: azeotrope=", b"signature: other=", "does not fit"),
        (b"signature-input: azeotrope=", b"signature-input: other=", "no signature of the name"),
        (b"\r\nsignature-input", b"\r\nx-signature-input", "not signed"),
        (b"\r\nx-request-id", b"\r\nx-other-id", "missing"),
        (b"\r\nazeotrope-mark", b"\r\nazeotrope-mark: none\r\nazeotrope-mark", "does not fit"),
    ],
)
def test_whatever_is_changed_is_found(
    answer: bytes, keyring: Keyring, old: bytes, new: bytes, expected: str
) -> None:
    assert old in answer
    assert expected in reason(answer.replace(old, new, 1), keyring.public_key)


def test_the_signature_of_another_gateway_is_not_valid(answer: bytes, tmp_path: Path) -> None:
    other = create_keyring(tmp_path / "keyring.json", tmp_path / "manifest.json")
    assert "another key" in reason(answer, other.public_key)


def test_a_proxy_may_add_its_own_signature_and_heads(answer: bytes, keyring: Keyring) -> None:
    more = answer.replace(b"signature-input: ", b'signature-input: p=("date");created=1, ')
    more = more.replace(b"signature: ", b"signature: p=:AAAA:, ")
    heads = b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    assert reason(heads + more, keyring.public_key) == ""
    assert reason(answer.replace(b"\r\n", b"\n"), keyring.public_key) == ""


async def test_a_stream_is_signed_without_its_body(keyring: Keyring) -> None:
    headers = await Provenance(keyring, sign=True).headers("engine", 200, ID)
    assert "content-digest" not in headers
    content = saved(dict([ID]) | dict(headers), b"data: anything at all\n\n")
    finding = verify(SavedResponse.parse(content), keyring.public_key)
    assert (finding.valid, finding.body) == (True, "not covered")


async def test_a_request_id_of_another_name_is_covered_as_well(keyring: Keyring) -> None:
    headers = await Provenance(keyring, sign=True).headers("engine", 200, ("request-id", "req_9"))
    content = saved({"request-id": "req_9"} | dict(headers))
    finding = verify(SavedResponse.parse(content), keyring.public_key)
    assert (finding.valid, finding.request_id) == (True, "req_9")


async def test_an_answer_without_a_mark_says_so(keyring: Keyring) -> None:
    headers = await Provenance(keyring, sign=True).headers("none", 200, ID)
    assert headers["azeotrope-mark"] == "none"
    assert list(await Provenance(keyring, sign=False).headers("none", 200, ID)) == [
        "azeotrope-mark"
    ]


def test_what_is_no_response_is_an_error() -> None:
    for content in (b"", b"{}", b"HTTP/1.1 nothing\r\n\r\n"):
        with pytest.raises(InputError, match="no HTTP response"):
            SavedResponse.parse(content)


# ---- the command


def run(content: bytes, *arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(verify_headers, ["-", *map(str, arguments)], input=content)
    return result.exit_code, result.output


def test_the_command_says_what_holds_and_exits_with_it(
    answer: bytes, keyring: Keyring, tmp_path: Path
) -> None:
    public = CliRunner().invoke(keys_command, ["public", "--keys", str(keyring.path)]).output
    status, shown = run(answer, "--public-key", public.strip())
    assert status == 0
    assert shown.startswith("VALID\nmark     az1;epoch=1;by=engine\nsigned   20")
    assert "the body is the one that was signed" in shown
    status, shown = run(answer + b" ", "--keys", keyring.path)
    assert (status, shown) == (1, "INVALID  the body is not the one that was signed\n")
    head = answer[: -len(BODY)]
    assert "give it with --body" in run(head, "--keys", keyring.path)[1]
    body = tmp_path / "body.json"
    for content, expected in ((BODY, 0), (b"other", 1)):
        body.write_bytes(content)
        assert run(head, "--keys", keyring.path, "--body", body)[0] == expected
    status, shown = run(answer, "--keys", keyring.path, "--json")
    assert (status, json.loads(shown)["valid"]) == (0, True)


@pytest.mark.parametrize("arguments", [(), ("--public-key", "zz"), ("--public-key", "00" * 31)])
def test_the_command_needs_one_key(answer: bytes, arguments: tuple[str, ...]) -> None:
    assert run(answer, *arguments)[0] == 2
