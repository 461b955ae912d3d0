"""Texts on which a fast tokenizer must agree with the reference before it is trusted."""

from collections.abc import Iterable
from itertools import product

# What pre-tokenizers, Unicode tables and byte-level vocabularies treat in a way of their own.
_FRAGMENTS = (
    *(
        "a",
        "The",
        "HELLO",
        "naïve",
        "don't",
        "I'LL",
        "'s",
        "\u2019re",
        "snake_case",
        "x=1;",
    ),
    *(
        "e\u0301",
        " ",
        "  ",
        "\t",
        "\n",
        "\r\n",
        "\n\n  ",
        " \t\n",
        "\u00a0",
        "\u2003",
        "\u3000",
        "\x85",
    ),
    *("1", "12", "2026", "1,234.5", "٣٤", "Ⅷ", "½", "²"),
    *(
        "中文字",
        "ひらがな",
        "カナ",
        "한국어",
        "हिन्दी",
        "ไทย",
        "עברית",
        "العربية",
        "ß",
        "ŉ",
        "İ",
        "ǅ",
    ),
    *("😀", "👩‍👩‍👧", "🇩🇪", "👍🏽", "\u200b", "\u200d", "\ufeff", "\u202e", "\ufffd", "\U0001d400"),
    *(
        ".",
        "...",
        "!?",
        "—",
        "«»",
        "<",
        ">",
        "<|",
        "|>",
        "{}[]",
        "\\",
        "/",
        "#",
        "$",
        "+",
        "^",
        "`",
    ),
    *("\x00", "\x06", "\x1b", "\x7f", "\U000e0041", "\U0010ffff", "\u0378"),
)


def plain_texts() -> list[str]:
    """Texts without special tokens: pairs of fragments, runs, and a sweep over Unicode."""
    pairs = [left + right for left, right in product(_FRAGMENTS, repeat=2)]
    runs = [f"x{letter * n}y" for letter in " \n\ta9.é中" for n in (*range(1, 20), 100, 1000)]
    planes = (*range(0x20, 0xD800, 61), *range(0xE000, 0x30000, 251))
    sweep = [f"a{chr(code)} {chr(code)}{chr(code)}1" for code in (*range(0x250), *planes)]
    return [*_FRAGMENTS, *pairs, *runs, *sweep]


def literal_texts(tokens: Iterable[str]) -> list[str]:
    """Texts that spell out added tokens (at most 300 of them), whole, cut and among others."""
    return [
        form
        for token in list(tokens)[:300]
        for form in (token, token[:-1], f"a {token}b", f" {token} {token}{token}\n", f"1{token}1")
    ]
