"""The command `azeotrope detect`: what goes in, what comes out, and with which status."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from detect_texts import ACCOUNT, CALL, Plant, Texts, invoke, records, refused

from watermark.detect.tokenizer import TextTokenizer
from watermark.errors import InputError, KeyringError, ManifestError

# ---- the real tokenizer


@pytest.fixture
def real_texts(home: Any, model_dir: Path, plant: Plant) -> Texts:
    """English words under the real tokenizer and the default parameters."""
    vocabulary = TextTokenizer(model_dir)._tokenizer.get_vocab()
    words = [i for token, i in vocabulary.items() if re.fullmatch("Ġ[a-z]{2,}", token)]
    return Texts(home, model_dir, plant, sorted(words))


def test_files_and_records_are_judged_and_their_writer_is_named(real_texts: Texts) -> None:
    marked, chance = real_texts.text(), real_texts.text(share=0.0, seed=2)
    first = real_texts.file("marked.txt", marked)
    second = real_texts.file(
        "set.jsonl", "".join(json.dumps({"n": 1, "text": t}) + "\n" for t in (chance, marked))
    )
    result = invoke(
        first, second, *real_texts.options, "--registry", real_texts.registry(),
        "--accounts", "1-3000", "--json",
    )  # fmt: skip
    found = records(result)
    assert result.exit_code == 0, result.output
    assert [r["document"] for r in found] == [str(first), f"{second}:1", f"{second}:2"]
    assert [r["verdict"] == "marked" for r in found] == [True, False, True]
    assert found[0] == found[2] | {"document": str(first)}
    account, call = found[0]["account"], found[0]["call"]
    assert (account["number"], account["name"], account["named"]) == (ACCOUNT, "ACME", True)
    assert (account["candidates"], call["number"], call["named"]) == (3000, CALL, True)
    assert call["record"]["time"] == "2026-03-01T10:00:00Z"
    assert not found[1]["account"]["named"]
    assert found[1]["call"] is None


def test_the_tokenizer_of_the_manifest_is_required(
    make_home: Callable[..., Any], model_dir: Path, byte_tokenizer: Path, plant: Plant
) -> None:
    pin = TextTokenizer(model_dir).pin()
    assert pin.vocabulary_size == 49_152
    pinned = Texts(make_home(tokenizer=pin), byte_tokenizer, plant, [])
    path = pinned.file("a.txt", "some text")
    message = refused(InputError, path, *pinned.options)
    assert "not the tokenizer that the marks were made with" in message
    assert "49152 tokens" in message
    assert str(byte_tokenizer) in message
    assert invoke(path, *pinned.options[:4], "--tokenizer", model_dir).exit_code == 3


# ---- input


def test_standard_input_is_a_text_by_default(texts: Texts) -> None:
    for sources in ([], ["-"]):
        result = invoke(*sources, *texts.options, "--json", stdin=texts.text().encode())
        assert [r["document"] for r in records(result)] == ["-"]
        assert result.exit_code == 0


def test_standard_input_may_hold_records(texts: Texts) -> None:
    lines = [json.dumps({"answer": texts.text(seed=n)}) for n in range(3)]
    result = invoke(
        "-", *texts.options, "--format", "jsonl", "--text-field", "answer", "--json",
        stdin="\n\n".join(lines).encode(),
    )  # fmt: skip
    assert [r["document"] for r in records(result)] == ["-:1", "-:3", "-:5"]


def test_a_suffix_tells_records_from_text_unless_the_format_is_given(texts: Texts) -> None:
    line = json.dumps({"text": texts.text()}) + "\n"
    for name in ("a.jsonl", "a.ndjson"):
        assert records(invoke(texts.file(name, line), *texts.options, "--json"))[0][
            "document"
        ].endswith(f"{name}:1")
    plain = texts.file("a.json", line)
    assert records(invoke(plain, *texts.options, "--json"))[0]["document"] == str(plain)
    as_records = invoke(plain, *texts.options, "--json", "--format", "jsonl")
    assert records(as_records)[0]["document"] == f"{plain}:1"
    as_text = invoke(texts.file("a.jsonl", line), *texts.options, "--json", "--format", "text")
    assert records(as_text)[0]["tokens"] > records(as_records)[0]["tokens"]


def test_a_line_separator_inside_a_record_does_not_cut_it(texts: Texts) -> None:
    text = "one\u2028two\u0085three\x0bfour"
    path = texts.file("a.jsonl", json.dumps({"text": text}, ensure_ascii=False))
    found = records(invoke(path, *texts.options, "--json"))
    assert [r["tokens"] for r in found] == [len(text.encode())]


def test_a_byte_order_mark_is_no_part_of_the_text(texts: Texts) -> None:
    text = texts.text()
    paths = [texts.file("a.txt", text), texts.file("b.txt", text.encode("utf-8-sig"))]
    first, second = records(invoke(*paths, *texts.options, "--json"))
    assert first | {"document": ""} == second | {"document": ""}


def test_bad_records_are_named_counted_and_left_out(texts: Texts) -> None:
    good = json.dumps({"text": texts.text()})
    bad = [
        "{",
        "7",
        "null",
        '{"other": "text"}',
        '{"text": 7}',
        '{"text": null}',
        '{"text": "half a pair: \\ud800"}',
        "[" * 200_000,
        "9" * 5000,
    ]
    path = texts.file("set.jsonl", "\n".join([good, *bad, good, ""]))
    result = invoke(path, *texts.options, "--json")
    assert result.exit_code == 0, result.output
    assert [r["document"] for r in records(result)] == [f"{path}:1", f"{path}:{len(bad) + 2}"]
    complaints = result.stderr.splitlines()
    assert len(complaints) == len(bad) + 1
    for number, complaint in enumerate(complaints[:-1], 2):
        assert complaint.startswith(f"azeotrope: {path}:{number}: ")
        assert complaint.endswith("; record left out")
    assert complaints[-1] == f"azeotrope: {path}: {len(bad)} of {len(bad) + 2} records left out"


def test_a_bad_file_does_not_lose_the_results_of_the_others(texts: Texts) -> None:
    good = texts.file("good.txt", texts.text())
    missing, binary = texts.folder / "missing.txt", texts.file("binary.txt", b"\xff\xfe\x00")
    result = invoke(missing, good, binary, texts.folder, good, *texts.options, "--json")
    assert [r["document"] for r in records(result)] == [str(good)] * 2
    assert result.exit_code == 2
    first, second, third = result.stderr.splitlines()
    assert first == f"azeotrope: error: {missing}: cannot be read (No such file or directory)"
    assert second == f"azeotrope: error: {binary}: not UTF-8 text (byte 0)"
    assert third == f"azeotrope: error: {texts.folder}: cannot be read (Is a directory)"


@pytest.mark.parametrize("content", ["", "\n \n", "{\n"])
def test_records_without_any_text_are_an_error(texts: Texts, content: str) -> None:
    message = refused(InputError, texts.file("empty.jsonl", content), *texts.options)
    assert "no text to judge" in message


# ---- status


@pytest.mark.parametrize(
    ("shares", "status"),
    [
        (["marked"], 0),
        (["chance"], 1),
        (["short"], 3),
        (["chance", "short"], 3),
        (["chance", "marked", "short"], 0),
    ],
)
def test_the_status_is_that_of_the_most_telling_text(
    texts: Texts, shares: list[str], status: int
) -> None:
    content = {
        "marked": texts.text(),
        "chance": texts.text(900, share=0.0, seed=6),
        "short": "short",
    }
    paths = [texts.file(f"{name}.txt", content[name]) for name in shares]
    result = invoke(*paths, *texts.options)
    assert result.exit_code == status, result.output


def test_the_level_decides(texts: Texts) -> None:
    path = texts.file("a.txt", texts.text(120, share=0.5))
    log10_p = records(invoke(path, *texts.options, "--json"))[0]["log10_p"]
    assert -9 < log10_p < -2
    for level, status in ((10 ** (log10_p + 0.1), 0), (10 ** (log10_p - 0.1), 3)):
        assert invoke(path, *texts.options, "--level", level).exit_code == status


# ---- what is missing or wrong is named


def test_missing_files_are_named(texts: Texts, make_home: Callable[..., Any]) -> None:
    text = texts.file("a.txt", "text")
    keys, manifest, tokenizer = texts.options[1::2]
    none = texts.folder / "none"

    def with_paths(keys: Path, manifest: Path, tokenizer: Path) -> list[object]:
        return [text, "--keys", keys, "--manifest", manifest, "--tokenizer", tokenizer]

    assert f"{none}: no such key file" in refused(
        KeyringError, *with_paths(none, manifest, tokenizer)
    )
    assert f"{none}: no such manifest" in refused(ManifestError, *with_paths(keys, none, tokenizer))
    assert f"{none}: no tokenizer.json there" in refused(
        InputError, *with_paths(keys, manifest, none)
    )
    assert "not a Hugging Face tokenizer" in refused(InputError, *with_paths(keys, manifest, text))
    other = make_home("other").manifest_path
    assert "not by this keyring" in refused(ManifestError, *with_paths(keys, other, tokenizer))


def test_a_tokenizer_must_be_given_by_option_or_by_environment(texts: Texts) -> None:
    path = texts.file("a.txt", texts.text())
    *options, _, tokenizer = texts.options
    result = invoke(path, *options)
    assert result.exit_code == 2
    assert "--tokenizer" in result.stderr
    assert "AZEOTROPE_TOKENIZER" in result.stderr
    assert invoke(path, *options, env={"AZEOTROPE_TOKENIZER": str(tokenizer)}).exit_code == 0


@pytest.mark.parametrize(
    "options",
    [
        ["--accounts", "9-3"],
        ["--device", "cuda:99"],
        ["--device", "abacus"],
        ["--registry", "none.jsonl"],
        ["--level", "nan"],
    ],
)
def test_an_option_that_cannot_be_used_is_named(texts: Texts, options: list[str]) -> None:
    message = refused(InputError, texts.file("a.txt", "text"), *texts.options, *options)
    assert options[1] in message
    assert "\n" not in message


@pytest.mark.parametrize("level", ["0", "1", "-1", "much"])
def test_a_level_outside_its_range_is_a_usage_error(texts: Texts, level: str) -> None:
    result = invoke(texts.file("a.txt", "text"), *texts.options, "--level", level)
    assert result.exit_code == 2
    assert "--level" in result.stderr


def test_torn_lines_of_a_registry_are_named_and_left_out(texts: Texts) -> None:
    good = {"call": CALL, "account": ACCOUNT, "time": "t", "model": "m", "name": "ACME"}
    bad = [
        "{",
        "[]",
        "7",
        json.dumps({"call": 1}),
        *(
            json.dumps(good | {"call": number})
            for number in (-1, 2**64, 1.5, "1", None, float("inf"), True)
        ),
        json.dumps(good | {"account": -1}),
        "[" * 200_000,
    ]
    in_progress = json.dumps(good | {"name": "being written"})
    path = texts.file("calls.jsonl", "\n".join([json.dumps(good), *bad, in_progress]))
    text = texts.file("a.txt", texts.text())
    result = invoke(text, *texts.options, "--registry", path, "--json")
    assert result.exit_code == 0, result.output
    assert records(result)[0]["account"]["name"] == "ACME"
    assert result.stderr.splitlines() == [
        f"azeotrope: {path}:{number}: not a registry entry; line left out"
        for number in range(2, len(bad) + 2)
    ]
