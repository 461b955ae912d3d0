"""Several tokenizers tried on the same texts: the right one wins, and the tries are paid for."""

import io
import math
from pathlib import Path
from typing import Any

import pytest
from detect_texts import Texts, invoke, records, refused
from rich.console import Console

from watermark.detect.detector import Detector
from watermark.detect.tokenizer import TextTokenizer
from watermark.detect.try_tokenizers import choose_tokenizer, trial_table
from watermark.errors import InputError
from watermark.keys import KeySet
from watermark.manifest import TokenizerPin


@pytest.fixture
def shuffled(byte_tokenizer: Path, tmp_path: Path) -> Path:
    """The byte tokenizer with other ids."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet(), reverse=True)
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    path = tmp_path / "shuffled.json"
    tokenizer.save(str(path))
    return path


def test_the_right_tokenizer_wins_and_pays_for_the_tries(
    texts: Texts, byte_tokenizer: Path, shuffled: Path
) -> None:
    keys = KeySet.load(texts.options[1])
    detector = Detector(keys, keys.manifest(texts.options[3]))
    marked = [texts.text(), texts.text(seed=2)]
    trials = choose_tokenizer(marked, [shuffled, byte_tokenizer], detector)
    assert [trial.tokenizer.path for trial in trials] == [byte_tokenizer, shuffled]
    best, other = trials
    assert best.log10_p < -5 < other.log10_p
    assert best.log10_tried_p == pytest.approx(best.log10_p + math.log10(2))
    assert other.log10_tried_p == min(0.0, other.log10_p + math.log10(2))
    assert best.tokens == other.tokens == sum(map(len, marked))
    screen = Console(width=250, file=io.StringIO(), record=True)
    screen.print(trial_table(trials))
    rows = [line for line in screen.export_text().splitlines() if ".json" in line]
    assert [("tokenizer.json" in row, "shuffled.json" in row) for row in rows] == [
        (True, False),
        (False, True),
    ]
    assert f"{best.windows:,}" in rows[0]
    assert f"10^{best.log10_tried_p:.1f}" in rows[0]


def test_a_manifest_that_names_its_tokenizer_leaves_no_choice(
    home: Any, byte_tokenizer: Path, shuffled: Path
) -> None:
    detector, told = Detector(home.keyring, home.manifest), list[str]()
    pin = TextTokenizer(byte_tokenizer).pin()
    (only,) = choose_tokenizer(["abc"], [shuffled, byte_tokenizer], detector, pin, told.append)
    assert only.tokenizer.path == byte_tokenizer
    assert only.log10_tried_p == only.log10_p
    assert told == [f"{shuffled}: not the tokenizer that the manifest names; not tried"]
    with pytest.raises(InputError, match="none of the 1 given is it"):
        choose_tokenizer(["abc"], [byte_tokenizer], detector, TokenizerPin(9, "0" * 64))


def test_nothing_to_try_is_an_input_error(home: Any) -> None:
    with pytest.raises(InputError, match="no tokenizer to try"):
        choose_tokenizer(["abc"], [], Detector(home.keyring, home.manifest))


def test_the_command_judges_with_the_best(
    texts: Texts, byte_tokenizer: Path, shuffled: Path
) -> None:
    *options, _, _ = texts.options
    tries = ["--try-tokenizers", shuffled, "--try-tokenizers", byte_tokenizer]
    text = texts.text()
    path = texts.file("a.txt", text)
    plain = invoke(path, *texts.options, "--json")
    result = invoke(path, *options, *tries, "--json", env={"AZEOTROPE_TOKENIZER": "nowhere"})
    assert result.exit_code == 0
    assert "2 tokenizers tried" in result.stderr
    assert records(result) == records(plain)
    piped = invoke("-", *options, *tries, "--json", stdin=text.encode())
    assert [record["verdict"] for record in records(piped)] == ["marked"]


def test_the_level_is_divided_by_the_number_tried(
    texts: Texts, byte_tokenizer: Path, shuffled: Path
) -> None:
    *options, _, _ = texts.options
    path = texts.file("a.txt", texts.text())
    (record,) = records(invoke(path, *texts.options, "--json"))
    between = 10 ** record["log10_p"] * 1.5
    assert invoke(path, *texts.options, "--level", between).exit_code == 0
    tries = ["--try-tokenizers", shuffled, "--try-tokenizers", byte_tokenizer]
    assert invoke(path, *options, *tries, "--level", between).exit_code == 3


def test_both_ways_or_none_to_name_a_tokenizer_are_usage_errors(
    texts: Texts, byte_tokenizer: Path
) -> None:
    path = texts.file("a.txt", "text")
    both = invoke(path, *texts.options, "--try-tokenizers", byte_tokenizer)
    assert both.exit_code == 2
    assert "instead of --tokenizer" in both.stderr
    message = refused(
        InputError, path, *texts.options[:-2], "--try-tokenizers", path, "--try-tokenizers", path
    )
    assert "not a Hugging Face tokenizer" in message
