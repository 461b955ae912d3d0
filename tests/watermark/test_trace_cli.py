"""The command `azeotrope trace`: what goes in, what comes out, and with which status."""

import json
import math
import random
import string
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from detect_texts import ACCOUNT, CALL, Texts, records

from watermark.detect.candidates import Candidates
from watermark.detect.trace_cli import trace
from watermark.errors import AzeotropeError, InputError
from watermark.words import word_id
from watermark.words import words as words_of

WORDS = " ".join(
    f"{first}{second}" for first in "bdfgklmnprst" for second in string.ascii_lowercase
)


def invoke(*arguments: object, stdin: bytes | None = None, **options: Any) -> Result:
    return CliRunner().invoke(trace, list(map(str, arguments)), input=stdin, **options)


def refused(*arguments: object) -> str:
    """The message of the error that ends a run."""
    result = invoke(*arguments)
    assert isinstance(result.exception, AzeotropeError), result.output
    assert result.stdout == ""
    assert "\n" not in str(result.exception)
    return str(result.exception)


@pytest.fixture
def chance() -> str:
    rng = random.Random(1)
    return "".join(rng.choice(string.ascii_letters) for _ in range(600))


# ---- who is named


def test_account_and_call_are_named_from_a_registry(texts: Texts) -> None:
    path = texts.file("a.txt", texts.text())
    result = invoke(path, *texts.options, "--registry", texts.registry(), env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    shown = result.stdout
    assert str(path) in shown
    assert f"NAMED   account {ACCOUNT} (ACME), call {CALL}" in shown
    assert "account: 3 searched; family-wise p is p times 6" in shown
    assert "call: 6 searched; family-wise p is p times 6" in shown
    assert "named: 2026-03-01T10:00:00Z, m" in shown
    assert shown.count("runner-up") == 2
    assert " behind" in shown


def test_numbers_are_searched_without_any_registry(texts: Texts) -> None:
    path = texts.file("a.txt", texts.text())
    low = CALL - 1000
    result = invoke(
        path, *texts.options, "--accounts", "1-2000", "--calls", f"{low}-{CALL + 50_000}", "--json"
    )
    (found,) = records(result)
    assert result.exit_code == 0
    assert (found["account"]["winner"]["number"], found["account"]["named"]) == (ACCOUNT, True)
    assert (found["call"]["winner"]["number"], found["call"]["named"]) == (CALL, True)
    assert (found["call"]["searched"], found["call"]["record"]) == (51_001, None)


def test_the_json_form_has_the_documented_fields(texts: Texts) -> None:
    path = texts.file("a.txt", texts.text())
    options = [*texts.options, "--registry", texts.registry(), "--json"]
    (found,) = records(invoke(path, *options))
    assert set(found) == {
        "document", "named", "tokens", "epochs_searched", "forms_searched", "account", "call",
        "pieces", "copies",
    }  # fmt: skip
    for channel in ("account", "call"):
        assert set(found[channel]) == {
            "winner", "runner_up", "searched", "factor", "log10_family_p", "named", "possible",
            "record", "margin_hits", "margin_log10_p",
        }  # fmt: skip
        for suspect in ("winner", "runner_up"):
            assert set(found[channel][suspect]) == {"number", "name", "epoch", "test"}
    assert found["call"]["record"]["time"] == "2026-03-01T10:00:00Z"
    (piece,) = found["pieces"]
    assert set(piece) == {
        "account", "name", "epoch", "first", "last", "start", "end", "windows", "hits", "log10_p",
        "log10_family_p",
    }  # fmt: skip
    assert (piece["account"], piece["name"]) == (ACCOUNT, "ACME")


def test_two_accounts_of_one_text_are_told_apart_by_characters(
    texts: Texts, letters: list[int], plant: Any, chance: str
) -> None:
    parts = [
        plant(random.Random(n), texts.keys, texts.parameters, letters, 300, account=n)
        for n in (5, 9)
    ]
    marked = texts._tokenizer._tokenizer.decode([*chain(*parts)])
    # A character of two bytes in front: offsets are characters and not tokens.
    path = texts.file("a.txt", "é" * 10 + marked)
    (found,) = records(invoke(path, *texts.options, "--accounts", "1-500", "--json"))
    assert [piece["account"] for piece in found["pieces"]] == [5, 9]
    left, right = found["pieces"]
    assert abs(left["start"] - 10) < 20
    assert abs(left["end"] - 310) < 20
    assert abs(right["start"] - 310) < 20
    assert abs(right["end"] - 610) < 20
    assert left["first"] == left["start"] + 10
    shown = invoke(
        path, *texts.options, "--accounts", "1-500", env={"COLUMNS": "160"}
    ).stdout  # fmt: skip
    assert "NAMED   account 5, account 9" in shown
    assert f"{left['start']}-{left['end']}" in shown


def test_invisible_characters_hide_nobody(texts: Texts) -> None:
    marked = texts.text()
    path = texts.file("a.txt", "\u200b".join(marked))
    options = [*texts.options, "--registry", texts.registry(), "--json"]
    (found,) = records(invoke(path, *options))
    (plain,) = records(invoke(texts.file("b.txt", marked), *options))
    assert (found["forms_searched"], plain["forms_searched"]) == (2, 1)
    for channel in ("account", "call"):
        assert found[channel]["named"]
        assert found[channel]["winner"] == plain[channel]["winner"]
        assert found[channel]["factor"] == 2 * plain[channel]["factor"]
    # Places are those of the text as given, in which every other character is invisible.
    (piece,), (other,) = found["pieces"], plain["pieces"]
    assert piece["start"] == 2 * other["start"]
    assert piece["log10_family_p"] == pytest.approx(other["log10_family_p"] + math.log10(2))


def test_words_are_traced_without_a_tokenizer(texts: Texts, plant: Any) -> None:
    vocabulary = {word_id(word, texts.keys.words): word for word in words_of(WORDS)}
    ids = plant(
        random.Random(3), texts.keys, texts.parameters, sorted(vocabulary), 500, account=ACCOUNT
    )
    path = texts.file("a.txt", " ".join(vocabulary[number] for number in ids))
    result = invoke(path, *texts.options[:4], "--words", "--accounts", "1-500", "--json")
    assert result.exit_code == 0, result.output
    (found,) = records(result)
    assert (found["account"]["winner"]["number"], found["account"]["named"]) == (ACCOUNT, True)


# ---- status


def test_the_status_says_whether_anybody_is_named_or_could_be(texts: Texts, chance: str) -> None:
    contents = {"marked": texts.text(), "chance": chance, "short": "short"}
    paths = {name: texts.file(f"{name}.txt", content) for name, content in contents.items()}
    for names, status in (
        (["marked"], 0),
        (["chance"], 1),
        (["short"], 3),
        (["short", "chance"], 1),
        (["short", "chance", "marked"], 0),
        (["marked", "none"], 2),
    ):
        files = [paths.get(name, texts.folder / name) for name in names]
        result = invoke(*files, *texts.options, "--accounts", "1-500")
        assert result.exit_code == status, result.output


def test_nobody_and_too_short_are_shown_as_such(texts: Texts, chance: str) -> None:
    long, short = texts.file("a.txt", chance), texts.file("b.txt", "short")
    shown = invoke(long, short, *texts.options, "--accounts", "1-500").stdout
    assert "NOBODY NAMED" in shown
    assert "TOO SHORT to name anybody" in shown
    assert "not named" in shown


def test_the_family_level_decides(texts: Texts) -> None:
    path = texts.file("a.txt", texts.text(120, share=0.7))
    options = [*texts.options, "--accounts", "1-50", "--json"]
    (found,) = records(invoke(path, *options))
    log10_p = found["account"]["log10_family_p"]
    assert -12 < log10_p < -1
    for level, named in ((10 ** (log10_p + 0.1), True), (10 ** (log10_p - 0.1), False)):
        (found,) = records(invoke(path, *options, "--family-level", level))
        assert found["account"]["named"] is named


# ---- what is missing or wrong is named


def test_somebody_must_be_searched(texts: Texts) -> None:
    message = refused(texts.file("a.txt", "text"), *texts.options)
    assert "nobody to search: give --registry, --accounts or --calls LOW-HIGH" in message


def test_an_export_that_can_name_nobody_is_refused(texts: Texts, make_home: Any) -> None:
    home = make_home("other")
    path = texts.folder / "site.json"
    home.keyring.export("site-detector", path)
    manifest = ["--manifest", home.manifest_path, *texts.options[4:]]
    message = refused(texts.file("a.txt", "t"), "--keys", path, *manifest, "--accounts", "1-9")
    assert "no account keys in this export" in message


@pytest.mark.parametrize(
    "options",
    [
        ["--accounts", "9-3"],
        ["--accounts", "1-16777216"],
        ["--calls", "5"],
        ["--calls", "everything"],
        ["--calls", f"1-{2**64}"],
        ["--calls", f"0-{2**64 - 1}"],
        ["--calls", f"1-{2**40 + 1}"],
        ["--device", "abacus"],
        ["--registry", "none.jsonl"],
        ["--family-level", "nan"],
    ],
)
def test_an_option_that_cannot_be_used_is_named(texts: Texts, options: list[str]) -> None:
    assert options[1] in refused(texts.file("a.txt", "text"), *texts.options, *options)


@pytest.mark.parametrize("options", [["--threads", "0"], ["--family-level", "0.9"]])
def test_an_option_outside_its_range_is_a_usage_error(texts: Texts, options: list[str]) -> None:
    result = invoke(texts.file("a.txt", "text"), *texts.options, *options)
    assert result.exit_code == 2
    assert options[0] in result.stderr


def test_a_way_to_read_texts_must_be_given(texts: Texts) -> None:
    result = invoke(texts.file("a.txt", "text"), *texts.options[:4], "--accounts", "1-9")
    assert result.exit_code == 2
    assert "--tokenizer" in result.stderr


def test_a_bad_file_does_not_lose_the_results_of_the_others(texts: Texts) -> None:
    good, missing = texts.file("good.txt", texts.text()), texts.folder / "missing.txt"
    result = invoke(missing, good, *texts.options, "--accounts", "1-50", "--json")
    assert [r["document"] for r in records(result)] == [str(good)]
    assert result.exit_code == 2
    assert str(missing) in result.stderr


def test_records_without_any_text_are_an_error(texts: Texts) -> None:
    path = texts.file("empty.jsonl", "\n")
    assert "no text to trace" in refused(path, *texts.options, "--accounts", "1-5")


def test_names_cannot_steer_the_terminal(texts: Texts) -> None:
    path = texts.file("a[bold].txt", texts.text())
    registry = texts.registry("ACME [prod]\x1b[2J\n")
    shown = invoke(path, *texts.options, "--registry", registry, env={"COLUMNS": "250"}).stdout
    assert "\x1b" not in shown
    assert "ACME [prod]\u241b[2J\u240a" in shown
    assert "a[bold].txt" in shown


# ---- registries


def test_a_large_registry_is_read_in_blocks(tmp_path: Path, monkeypatch: Any) -> None:
    from watermark.detect import registries as module

    lines = [
        json.dumps(
            {"call": n, "account": n % 7, "time": f"time {n}", "model": "m", "name": f"é{n}"}
        )
        for n in range(500)
    ]
    lines[100], lines[300] = "{", ""
    path = tmp_path / "calls.jsonl"
    path.write_text("\n".join(lines) + "\n" + lines[0][:20])
    found, complaints = [], []
    for size in (97, 4096, 1 << 22):
        monkeypatch.setattr(module, "_BLOCK", size)
        some: list[str] = []
        candidates = Candidates()
        candidates.add_registry(path, some.append)
        found.append(candidates)
        complaints.append(some)
    for candidates, some in zip(found, complaints, strict=True):
        assert some == [
            f"{path}:{n}: not a registry entry; line left out" for n in (101, 301)
        ]  # fmt: skip
        assert candidates.calls.numbers.tolist() == sorted({*range(500)} - {100, 300})
        assert candidates.calls.of(3).tolist() == [n for n in range(3, 500, 7) if n != 304 - 4]
        assert candidates.accounts.tolist() == list(range(7))
        record = candidates.record(499)
        assert record is not None
        assert (record.account, record.time) == (499 % 7, "time 499")
        assert candidates.record(100) is None
        assert candidates.name(499 % 7) == "é499"


def test_of_a_call_that_occurs_twice_the_last_line_counts(tmp_path: Path) -> None:
    line = {"call": 1, "account": 2, "time": "early", "model": "m"}
    candidates = Candidates()
    for name, entries in (
        ("a.jsonl", [line, line | {"time": "late"}]),
        ("b.jsonl", [line | {"call": 5}, line | {"account": 3, "time": "latest"}]),
    ):
        path = tmp_path / name
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        candidates.add_registry(path, pytest.fail)
        record = candidates.record(1)
        assert record is not None
        assert record.time == ("late" if name == "a.jsonl" else "latest")
    assert candidates.calls.numbers.tolist() == [1, 5]
    assert candidates.calls.of(3).tolist() == [1]


def test_a_registry_that_changed_while_it_was_in_use_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text('{"call": 1, "account": 2, "time": "t", "model": "m"}\n')
    candidates = Candidates()
    candidates.add_registry(path, pytest.fail)
    path.write_text("something else\n")
    with pytest.raises(InputError, match=r"calls\.jsonl: the call registry changed"):
        candidates.record(1)
