"""How the byte-level BPE families cut a text before merging, by the GGUF field tokenizer.ggml.pre.

Each family is the pre-tokenizer of the tokenizer.json that its models were published with, in the
terms of the `tokenizers` library. The names are those that llama.cpp's converter writes.
"""

from collections.abc import Callable
from typing import Any

# Pieces of the published regular expressions.
_SHORT = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_OTHER = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s"
_OTHER_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
_CJK = "[一-龥\u0800-一가-\ud7ff]+"
# DeepSeek LLM lists its letters: those with case, of the scripts below, as of Unicode 11.
_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅ"
    "ὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-\u2113\u2115\u2119-\u211d"
    "\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139ℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-"
    "ﬆﬓ-ﬗＡ-\uff3a\uff41-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)


def _split(*patterns: str) -> list[Any]:
    from tokenizers import Regex, pre_tokenizers

    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
    return [*cuts, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]


def _gpt2() -> list[Any]:
    from tokenizers import pre_tokenizers

    return [pre_tokenizers.ByteLevel(add_prefix_space=False)]


def _gpt2_digits() -> list[Any]:
    from tokenizers import pre_tokenizers

    return [pre_tokenizers.Digits(individual_digits=True), *_gpt2()]


def _falcon() -> list[Any]:
    from tokenizers import Regex, pre_tokenizers

    # The published step "Punctuation" spelled out, because fastokens knows only expressions.
    marks = pre_tokenizers.Split(Regex(r"[\p{P}$+<=>^`|~]+"), "isolated")
    triples = pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")
    return [marks, *_gpt2(), triples]


def _llama3() -> list[Any]:
    return _split(rf"{_SHORT}|{_WORD}|\p{{N}}{{1,3}}|{_OTHER}|{_SPACE}")


def _qwen2() -> list[Any]:
    return _split(rf"{_SHORT}|{_WORD}|\p{{N}}|{_OTHER}|{_SPACE}")


def _qwen35() -> list[Any]:
    word, other = r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+", r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    return _split(rf"{_SHORT}|{word}|\p{{N}}|{other}|{_SPACE}")


def _tekken() -> list[Any]:
    return _split(rf"{_CASED % ('', '')}|\p{{N}}|{_OTHER_SLASH}|{_SPACE}")


def _gpt4o() -> list[Any]:
    ends = f"{_SHORT}?"
    return _split(rf"{_CASED % (ends, ends)}|\p{{N}}{{1,3}}|{_OTHER_SLASH}|{_SPACE}")


def _seed_coder() -> list[Any]:
    return _split(rf"{_SHORT}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACE}")


def _deepseek_llm() -> list[Any]:
    from tokenizers import pre_tokenizers

    marks = r"\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-‟\u3000-。]+"
    *cuts, level = _split(r"[\r\n]", rf"\s?[{_LETTERS}]+", marks, r"\s+$", _CJK)
    return [*cuts, pre_tokenizers.Digits(individual_digits=True), level]


def _deepseek_coder() -> list[Any]:
    from tokenizers import pre_tokenizers

    *cuts, level = _split(r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK)
    return [*cuts, pre_tokenizers.Digits(individual_digits=True), level]


def _deepseek3() -> list[Any]:
    return _split(
        r"\p{N}{1,3}",
        "[一-龥\u3040-ゟ\u30a0-ヿ]+",
        r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"""
        rf"|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACE}",
    )


_FAMILIES: dict[Callable[[], list[Any]], str] = {
    _gpt2: "gpt-2 phi-2 mpt olmo jais trillion gigachat a.x-4.0 mellum exaone4 granite-docling "
    "modern-bert jina-v2-code roberta-bpe",
    _gpt2_digits: "smollm starcoder refact command-r codeshell exaone minerva-7b mellum2",
    _llama3: "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 dbrx smaug-bpe "
    "glm4 chatglm-bpe",
    _qwen2: "qwen2 deepseek-r1-qwen stablelm2 hunyuan megrez grok-2 solar-open kormo",
    _qwen35: "qwen35",
    _tekken: "tekken",
    _gpt4o: "gpt-4o llama4 kanana2 minimax-m2",
    _seed_coder: "seed-coder",
    _deepseek_llm: "deepseek-llm",
    _deepseek_coder: "deepseek-coder",
    _deepseek3: "deepseek-v3 hunyuan-dense joyai-llm",
    _falcon: "falcon",
}
PRE_TOKENIZERS = {name: make for make, names in _FAMILIES.items() for name in names.split()}
"""The name in the file -> a function that returns the steps."""

WHOLE_WORDS = frozenset(
    ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2")
) | {"tekken"}
"""Families whose words are looked up whole before merging (`ignore_merges`)."""
