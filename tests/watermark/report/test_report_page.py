"""Page and terminal of a scan: complete, self-contained, and deaf to what a suspect text says."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from report_samples import (
    document,
    everything,
    invalid,
    marked,
    no_accounts,
    not_marked,
    nothing,
    tiny,
)
from rich.console import Console

from watermark.detect.report import ScanSummary, print_summary, render_report
from watermark.detect.report.summary import AccountFinding, BadItem
from watermark.detect.segments import Segment

SAMPLES = everything()
VOID = {"meta"}
ATTACK = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7 * 7 }}</section></div>"
HIDDEN = "\u202eevil\u2066\u200b\ufeff\x1b[2J\x07\u061c\U000e0041\ud800"


class Page(HTMLParser):
    """Tags, attributes and visible text of a page; fails on tags that do not match."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(content)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.attributes |= set(values)
        self.ids += [str(values["id"])] if "id" in values else []
        self.links += [str(values["href"])] if "href" in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= set(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += "" if self.open[-1:] == ["style"] else data


def terminal(summary: ScanSummary) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    print_summary(console, summary)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def one_line(shown: str) -> str:
    return " ".join(shown.replace("│", " ").split())


@pytest.mark.parametrize("name", SAMPLES)
def test_every_page_has_all_sections_in_order_and_is_well_formed(name: str) -> None:
    page = Page(render_report(SAMPLES[name]))
    assert page.ids == [f"s{n}" for n in range(1, 12)]
    assert page.links == [f"#s{n}" for n in range(1, 12)]
    assert not re.search(r"\b(None|nan|inf|Undefined)\b(?! of)", page.text)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_page_stands_alone(name: str) -> None:
    content = render_report(SAMPLES[name])
    for foreign in ("http:", "https:", "//", "<script", "src=", "url(", "@import", "<link"):
        assert foreign not in content
    assert "default-src 'none'" in content
    assert "prefers-color-scheme: dark" in content
    assert "@media print" in content


@pytest.mark.parametrize(
    ("summary", "sentences"),
    [
        (marked(), ["These texts contain our mark.", "with probability 4.5e-281 at most",
                    "less than one in 10²⁸⁰",
                    "pooled site tests: 1.1e-281 times 2 (epochs). Smallest p of a document: "
                    "2.0e-32 times 9,000 (documents). Twice the smaller of the two: p = 4.5e-281",
                    "About 3.0 % of the distinct windows are marked", "1,034 of 9,000 documents",
                    "on average at most 10.3 of these would be wrong", "rank 1 of 201"]),
        (not_marked(), ["No mark of ours was found in these texts (p = 1.000)",
                        "with probability 0.999 or more", "A small marked part is not excluded",
                        "0 of 9,000 documents can be called marked", "rank 140 of 201"]),
        (invalid(), ["This run is invalid and gives no verdict", "The run is invalid."]),
        (tiny(), ["It stays open whether", "with probability 0.069 at most",
                  "The decoy check was not made"]),
        (nothing(), ["Nothing was tested", "4 records and 2 files could not be read"]),
        (no_accounts(), ["None of 24,000 accounts is named"]),
    ],
)  # fmt: skip
def test_page_and_terminal_say_the_same(summary: ScanSummary, sentences: list[str]) -> None:
    page, shown = Page(render_report(summary)).text, terminal(summary)
    for sentence in sentences:
        assert sentence in one_line(page)
        assert sentence in one_line(shown)


def test_the_page_shows_what_was_tested_and_how_to_do_it_again() -> None:
    summary = marked()
    text = Page(render_report(summary)).text
    assert summary.tokenizer is not None
    assert summary.filter is not None
    known = [summary.manifest_digest, summary.tokenizer.sha256, summary.filter.sha256]
    known += [key.check for key in summary.keys] + [summary.created, summary.version]
    assert all(value in text for value in [*known, "3,402,118", "level = 1e-05"])
    assert text.count(summary.command) == 2


def test_an_invalid_run_is_stamped_everywhere_and_names_nobody_in_the_terminal() -> None:
    content = render_report(invalid())
    assert content.count('class="banner"') == 2
    assert content.count('class="stamp"') == 6
    assert 'class="stamp"' not in render_report(marked())
    assert "ACME" not in terminal(invalid())
    assert "ACME" in terminal(marked())


def test_a_vocabulary_that_is_not_the_manifests_is_pointed_out() -> None:
    tokenizer = marked().tokenizer
    assert tokenizer is not None
    other = replace(marked(), tokenizer=replace(tokenizer, pinned=False))
    assert "NOT the vocabulary of the manifest" in render_report(other)
    assert "NOT the vocabulary" not in render_report(marked())


def test_spans_are_marked_in_the_text_and_listed() -> None:
    found = document("a.txt", -31.7)
    content = render_report(replace(marked(), strongest=(found,)))
    span = found.spans[0]
    assert f"{span.start} to {span.end} (p = 2.0e-30)" in one_line(Page(content).text)
    inside = re.search("<mark title.*?</mark>", content, re.DOTALL)
    assert inside is not None
    text = "".join(piece.text for piece in found.pieces)
    assert Page(inside[0]).text == text[span.start : span.end]
    ids = replace(found, pieces=(), spans=())
    shown = render_report(replace(marked(), strongest=(ids,)))
    assert "Token ids were tested" in shown
    assert "No span stands out" in shown


def hostile(text: str) -> ScanSummary:
    """A summary with `text` wherever something comes from outside."""
    summary = marked()
    assert summary.tokenizer is not None
    strong = replace(
        summary.strongest[0], name=text, account=text, spans=(), pieces=(Segment(text, "green"),)
    )
    return replace(
        summary,
        command=text,
        options=((text, text),),
        tokenizer=replace(summary.tokenizer, name=text),
        accounts=(AccountFinding(1, text, 1, 1, 10, 9, 0.25, -4.0),),
        strongest=(strong,),
        bad=(BadItem("file", text, text),),
    )


def test_nothing_from_outside_becomes_markup() -> None:
    clean, attacked = Page(render_report(marked())), Page(render_report(hostile(ATTACK)))
    assert attacked.tags <= clean.tags
    assert attacked.attributes <= clean.attributes
    assert attacked.text.count(ATTACK) == 11


@pytest.mark.parametrize("show", [render_report, terminal])
def test_what_is_hidden_in_a_text_is_shown_and_steers_nothing(show: object) -> None:
    assert callable(show)
    shown = show(hostile(HIDDEN))
    shown.encode("utf-8")
    assert not set(HIDDEN.replace("evil", "").replace("[2J", "")) & set(shown)
    assert "⟨U+202E⟩evil⟨U+2066⟩⟨U+200B⟩⟨U+FEFF⟩␛[2J␇⟨U+061C⟩⟨U+E0041⟩\ufffd" in shown


def test_a_name_cannot_forge_a_line_in_the_terminal() -> None:
    shown = terminal(hostile("a\nMARKED\tby b [bold]"))
    assert "a␊MARKED␉by b [bold]" in shown
    assert not re.search(r"^│ MARKED", shown, re.MULTILINE)


def test_only_the_first_hundred_accounts_are_drawn() -> None:
    account = marked().accounts[0]
    many = tuple(replace(account, number=n, name=f"holder {n}") for n in range(1000, 1120))
    content = render_report(replace(marked(), accounts=many))
    assert content.count("holder 1") == 100
    assert "20 more are in the JSON summary" in content
