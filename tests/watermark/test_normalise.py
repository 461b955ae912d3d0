"""Unicode tricks are undone, and what people and models write is left alone."""
# ruff: noqa: RUF001 - letters that look alike are the subject.

from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watermark.detect.homoglyphs import LOOKALIKES
from watermark.detect.normalise import normalise

TRICKY = (
    "aeoXY1 -\r\n\t\x00\x0b\x85\u00ad\u200b\u200c\u200d\u2060\ufeff\ufe0f\ufe00\u034f\u115f"
    "\u1160\u1112\u1161\u0301\u0302\u0303\u0336\u20e3\u00a0\u3000\u2800⠁Ａｶﾞﬁ𝐀\u210e"
    "\u2102\u212bаеошАαοΑωɑօ❤👩"
    "🏴\U000e0067\U000e007f\u0645क\u094dก一क़\ud800ᠠ\u180b"
)
texts = st.text(st.sampled_from(TRICKY), max_size=30) | st.text(max_size=30)

# What nobody meant to hide: left exactly as it is.
UNTOUCHED = {
    "English": "Plain text,\twith “quotes” — don’t…\n\n1½ x² ™ № 5 µm.",
    "French": "À la façon d’un naïf œuvre, déjà vu.",
    "Russian": ("Хорошо, сказала она. Сахар и сор у реки; а в USBа и SMSке — оса."),
    "Ukrainian": ("І в селі є сірі коти, їх шість."),
    "Greek": ("Το νερό και ο άνθρωπος. Η Αθήνα είναι όμορφη."),
    "a Russian word in English": ("The word хорошо means good, сахар и соль sugar and salt."),
    "formulas": ("E = hν, ρgh, sinα, Δx·Δp, αβγ, the α particle, ν, 2πr, f: ℝ → ℝ, ℏω, 7 ≠ 8"),
    "phonetics": "good is /ɡʊd/, get is [ɡet], father /ˈfɑːðə/",
    "Persian": "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \u0628\u0631\u0648\u0645",
    "Hindi": "ह\u093fन\u094dद\u0940 क\u094d\u200dष क\u094d\u200cष",
    "Thai": "สว\u0e31สด\u0e35\u200bคร\u0e31บ",
    "Chinese": "你好，世界（GPT）：一、二。",
    "Korean": "한국어 문장",
    "emoji": (
        "❤\ufe0f 1\ufe0f\u20e3 👩\u200d👩\u200d👧 🏳\ufe0f\u200d🌈"
        " 👍🏽 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
    ),
    "Vietnamese": "Tiếng Việt",
    "Lithuanian": "i\u0307\u0303",
}
UNDONE = {
    "line ends": ("a\r\nb\rc\u2028d", "a\nb\nc\nd", 3),
    "invisible characters": (
        "a\u200bb\u200cc\u200dd\u2060e\ufefff\u00adg\ufe0fh\U000e0061i\u202ej\u034fk\u3164l\x00m1\ufe0f",
        "abcdefghijklm1",
        13,
    ),
    "odd spaces": ("a\u00a0b\u2009c\u3000d\u202fe\u2800f", "a b c d e f", 5),
    "compatibility letters": (
        "Ｆｕｌｌ１ 𝐁𝐨𝐥𝐝 \u210bt ﬁne ﬃ",
        "Full1 Bold Ht fine ffi",
        12,
    ),
    "decomposed accents": (
        "cafe\u0301 nai\u0308ve \u1112\u1161\u11ab",
        "café naïve 한",
        3,
    ),
    "stacked marks": ("s\u0336t\u0336ruck z\u0300\u0301\u0302\u0303\u0304", "struck z", 3),
    "homoglyphs": (
        "thе quiсk Αpple аnd а САМЕ; I’m sаd, grεat cαse",
        "the quick Apple and a CAME; I’m sad, grεat case",
        8,
    ),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_genuine_text_is_left_alone(name: str) -> None:
    text = UNTOUCHED[name]
    assert normalise(text).text == text
    # Also beside much English, where look-alikes are judged more strictly.
    mixed = f"The quick brown fox jumps over the lazy dog. {text} And so on, and so on."
    assert normalise(mixed).changes == {}


@pytest.mark.parametrize("kind", UNDONE)
def test_a_trick_is_undone_and_counted(kind: str) -> None:
    text, expected, places = UNDONE[kind]
    result = normalise(text)
    assert result.text == expected
    if kind == "stacked marks":
        assert result.changes[kind] == places
    else:
        assert result.changes == {kind: places}


def test_a_text_under_attack_comes_back_whole() -> None:
    text = (
        "Some people say that copying is easy; a happy space explorer proves it. I agree, ok?\n" * 5
    )
    turned = {letter: lookalike for lookalike, letter in LOOKALIKES.items() if lookalike > "\u0400"}
    swapped = "".join(turned.get(letter, letter) for letter in text)
    hidden = "\u200b".join(swapped).replace(" ", "\u00a0")
    result = normalise(hidden)
    assert result.text == text
    assert hidden[result.origin[5]] == swapped[5]
    assert normalise(text).changes == {}


def test_origins_are_places_in_the_original() -> None:
    text = "\u200ba\u00adb ﬃx cafe\u0301\r\n"
    result = normalise(text)
    assert result.text == "ab ffix café\n"
    assert result.origin.tolist() == [1, 3, 4, 5, 5, 5, 6, 7, 8, 9, 10, 11, 13, 15]
    assert result.origin.dtype == np.int32
    assert len(text) == 15


def test_a_clean_text_comes_back_as_it_is() -> None:
    for text in ("", "plain\tASCII\n", "café — 日本"):
        result = normalise(text)
        assert result.text is text
        assert result.origin.tolist() == list(range(len(text) + 1))


@given(texts)
@settings(max_examples=2000)
def test_normalising_again_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert (once.changes == {}) == (once.text == text)
    again = normalise(once.text)
    assert again.text == once.text
    assert again.changes == {}


@given(texts)
@settings(max_examples=1000)
def test_origins_never_fall_and_end_at_the_end(text: str) -> None:
    result = normalise(text)
    assert result.origin.dtype == np.int32
    assert len(result.origin) == len(result.text) + 1
    assert result.origin[-1] == len(text)
    assert (np.diff(result.origin) >= 0).all()
    assert (result.origin[:-1] < len(text)).all()


@given(texts)
@settings(max_examples=1000)
def test_plain_letters_are_found_where_they_were(text: str) -> None:
    result = normalise(text)
    for place, origin in enumerate(result.origin[:-1].tolist()):
        if text[origin].isascii() and text[origin].isalnum():
            assert normalize("NFD", result.text[place])[0] == text[origin]
