"""What `azeotrope detect` shows: terminal, JSON and page, whatever a text holds."""

import re

import pytest
from detect_texts import CALL, Texts, invoke, records

from watermark.errors import InputError


def test_the_terminal_shows_verdict_channels_writer_and_the_whole_text(texts: Texts) -> None:
    text = texts.text()
    path = texts.file("a.txt", text)
    options = [*texts.options, "--registry", texts.registry()]
    shown = invoke(path, *options, env={"COLUMNS": "200"}).stdout
    assert str(path) in shown
    assert "MARKED   p = " in shown
    assert "400 tokens, epoch 1" in shown
    assert "ACME (number 7) of 3; runner-up " in shown
    assert f"(number {CALL}, 2026-03-01T10:00:00Z, m) of 2; runner-up " in shown
    rows = [line.split()[1] for line in shown.splitlines()[3:6]]
    assert rows == ["site", "account", "call"]
    assert text in re.sub("[│\\s]", "", shown)


def test_the_terminal_says_if_nobody_is_named(texts: Texts) -> None:
    path = texts.file("a.txt", texts.text(share=0.0))
    options = [*texts.options, "--accounts", "1-50"]
    assert "nobody of 50 (the best has " in invoke(path, *options, env={"COLUMNS": "200"}).stdout


def test_colours_are_used_if_they_are_asked_for(texts: Texts) -> None:
    path = texts.file("a.txt", texts.text())
    assert "\x1b[" in invoke(path, *texts.options, "--color").stdout
    assert "\x1b" not in invoke(path, *texts.options).stdout


@pytest.mark.parametrize("colour", ["--color", "--no-color"])
def test_a_suspect_text_cannot_steer_the_terminal(texts: Texts, colour: str) -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07 \x9b31m \x08\x08 \r" + texts.text()
    path = texts.file("a.txt", hostile)
    shown = invoke(path, *texts.options, colour).stdout
    assert not re.search("[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]", shown)
    assert "\x1b[2J" not in shown
    assert "\x1b]" not in shown
    assert "\u241b[2J" in shown.replace("\n", "")


def test_names_are_shown_as_they_are_and_not_as_markup(texts: Texts) -> None:
    path = texts.file("a[bold].txt", texts.text())
    registry = texts.registry("ACME [prod] [/x]")
    result = invoke(path, *texts.options, "--registry", registry, env={"COLUMNS": "250"})
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "a[bold].txt" in result.stdout
    assert "ACME [prod] [/x]" in result.stdout


def test_the_json_form_has_the_documented_fields(texts: Texts) -> None:
    path = texts.file("a.txt", texts.text())
    (found,) = records(invoke(path, *texts.options, "--registry", texts.registry(), "--json"))
    assert set(found) == {
        "document", "tokens", "verdict", "epoch", "epochs_tested", "site", "log10_p",
        "account", "call", "coins", "decoys", "form", "forms_tested", "log10_span_p", "spans",
    }  # fmt: skip
    assert set(found["site"]) == {"windows", "hits", "gamma", "log10_p"}
    assert set(found["account"]) == {
        "number", "name", "test", "candidates", "log10_family_p", "runner_up_hits", "named",
        "record",
    }  # fmt: skip
    channels = (found["site"], found["account"]["test"], found["call"]["test"])
    assert found["coins"] == sum(channel["windows"] for channel in channels)


def test_the_page_stands_alone(texts: Texts) -> None:
    path, page = texts.file("a.txt", texts.text()), texts.folder / "report.html"
    result = invoke(path, *texts.options, "--registry", texts.registry(), "--html", page)
    assert result.exit_code == 0
    content = page.read_text("utf-8")
    for foreign in (
        "http:",
        "https:",
        "//",
        "<script",
        "src=",
        "href=",
        "url(",
        "@import",
        "<link",
    ):
        assert foreign not in content
    assert "default-src 'none'" in content
    assert content.count("<article>") == content.count("</article>") == 1
    assert "ACME (number 7" in content
    assert 'class="green"' in content


def test_nothing_in_a_text_a_name_or_a_path_becomes_markup(texts: Texts) -> None:
    attack = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}{% raw %}"
    path = texts.file("<b onclick=x>.txt", attack + texts.text() + "</p></article>")
    page, registry = texts.folder / "report.html", texts.registry(attack)
    assert invoke(path, *texts.options, "--registry", registry, "--html", page).exit_code == 0
    content = page.read_text("utf-8")
    allowed = "!doctype|html|head|meta|title|style|body|main|h1|h2|p|i|article|header|span|div"
    tags = re.findall(r"<\s*/?\s*([^\s>]+)", content)
    assert set(tags) <= {*allowed.split("|"), "table", "tr", "th", "td"}
    assert content.count("</article>") == 1
    assert "{{ 7 * 7 }}" in re.sub("<[^>]*>", "", content)
    assert "onclick" in content
    assert "<b onclick" not in content


def test_the_page_holds_every_text_that_was_judged(texts: Texts) -> None:
    paths = [texts.file(f"{n}.txt", texts.text(seed=n)) for n in range(3)]
    page = texts.folder / "report.html"
    result = invoke(*paths, texts.folder / "none", *texts.options, "--html", page)
    assert result.exit_code == 2
    assert page.read_text("utf-8").count("<article>") == 3


def test_a_page_that_cannot_be_written_is_an_error(texts: Texts) -> None:
    path, page = texts.file("a.txt", texts.text()), texts.folder / "none" / "report.html"
    result = invoke(path, *texts.options, "--html", page, "--json")
    assert isinstance(result.exception, InputError)
    assert "report.html: cannot be written" in str(result.exception)
    assert len(records(result)) == 1
