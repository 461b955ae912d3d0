"""The attacks of the scorecard: every function yields the rows of one kind of attack."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.random import Generator as Random

from benchmarks.attacks import edits, generated, tools
from benchmarks.attacks.edits import Edit
from benchmarks.attacks.generated import Load, Tokens
from benchmarks.attacks.rewriting import inverted, paraphrased
from benchmarks.attacks.scoring import Judge, Row, scored
from benchmarks.attacks.texts import decoded, human_tokens

SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
SYNONYM_SHARES = (0.1, 0.3, 0.5)
CUTS = (50, 100, 200)
PARAPHRASED = 32


@dataclass(frozen=True, slots=True)
class Marked:
    """The texts under attack: token ids [n, length], their texts, and their judge."""

    tokens: Tokens
    texts: list[str]
    judge: Judge

    @classmethod
    def of(cls, tokens: Tokens) -> "Marked":
        return cls(tokens, decoded(tokens), Judge())

    def edited(self, attack: str, strength: str, edit: Edit, *, normalised: bool = True) -> Row:
        """Edit every text with its own random numbers, and score."""
        after = [
            edit(text, _random(attack, strength, place)) for place, text in enumerate(self.texts)
        ]
        return self.scored(attack, strength, after, normalised=normalised)

    def scored(
        self, attack: str, strength: str, after: Sequence[str], *, normalised: bool = True
    ) -> Row:
        """Score what became of the first texts."""
        before = self.texts[: len(after)]
        return scored(attack, strength, before, after, self.judge, normalised=normalised)

    def alone(self, attack: str, strength: str, texts: Sequence[str]) -> Row:
        """Score texts that no other text is compared with."""
        return Row(attack, strength, np.array([self.judge.look(text).log10_p for text in texts]))


def _random(attack: str, strength: str, place: int) -> Random:
    """Random numbers that depend on the attack and the text's place alone."""
    digest = hashlib.sha256(f"{attack}\0{strength}\0{place}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little"))


def controls(marked: Marked) -> Iterator[Row]:
    """Yield the untouched texts, and human texts of the same length."""
    yield marked.scored("none", "decoded and encoded again", marked.texts)
    count, length = marked.tokens.shape
    human = human_tokens(count * length).reshape(count, length)
    yield marked.alone("human text", "no mark", decoded(human))


def word_edits(marked: Marked) -> Iterator[Row]:
    """Yield edits of words at every share."""
    kinds: dict[str, Callable[..., str]] = {
        "word deletion": edits.delete_words,
        "word insertion": edits.insert_words,
        "word swap": edits.swap_words,
        "random word edits": edits.edit_words,
    }
    for attack, edit in kinds.items():
        for share in SHARES:
            yield marked.edited(attack, f"{share:.0%}", partial(edit, share=share))


def synonyms(marked: Marked) -> Iterator[Row]:
    """Yield replacements by synonyms of WordNet."""
    net = tools.wordnet()
    for share in SYNONYM_SHARES:
        edit = partial(edits.replace_words, share=share, alternatives=net.synonyms)
        yield marked.edited("synonyms", f"{share:.0%}", edit)


def order_and_length(marked: Marked) -> Iterator[Row]:
    """Yield the sentences shuffled, and the beginnings of the texts."""
    yield marked.edited("sentence shuffle", "all", edits.shuffle_sentences)
    for cut in CUTS:
        begun = decoded(marked.tokens[:, :cut])
        yield marked.alone("truncation", f"{cut} tokens left", begun)


def characters(marked: Marked) -> Iterator[Row]:
    """Yield tricks with characters, judged as given only and as the detector does it."""
    kinds: dict[str, Edit] = {
        "zero-width space in every word": edits.zero_width,
        "homoglyphs in 10% of words": partial(edits.homoglyphs, share=0.1),
        "homoglyphs in every word": partial(edits.homoglyphs, share=1.0),
        "no-break spaces": lambda text, _: edits.no_break_spaces(text),
        "full-width letters": lambda text, _: edits.full_width(text),
    }
    for name, edit in kinds.items():
        yield marked.edited("Unicode, as given", name, edit, normalised=False)
        yield marked.edited("Unicode, normalised", name, edit)


def dilution(marked: Marked) -> Iterator[Row]:
    """Yield the texts in the middle of as much human text."""
    count, length = marked.tokens.shape
    human = decoded(human_tokens(count * length).reshape(count, length))
    mixed = [edits.dilute(text, other) for text, other in zip(marked.texts, human, strict=True)]
    yield marked.alone("dilution", f"{length:,} in {length:,} of human text", mixed)


def splices(marked: Marked) -> list[str]:
    """Return halves of the answers of two accounts each, joined."""
    others = [*marked.texts[1:], marked.texts[0]]
    return [edits.splice(*pair) for pair in zip(marked.texts, others, strict=True)]


def rewriting(marked: Marked, load: Load) -> Iterator[Row]:
    """Yield what models and translators make of the texts."""
    some = marked.texts[:PARAPHRASED]
    yield marked.scored("paraphrase", "by SmolLM2-135M", paraphrased(some, load))
    strength = "the same, surprising tokens demoted"
    yield marked.scored("paraphrase", strength, inverted(some, load))
    again = tools.back_translated(marked.texts)
    yield marked.scored("back-translation", "Spanish, apertium", again)


def asking(marked: Marked, load: Load) -> Iterator[Row]:
    """Yield what a client can ask of the endpoint, and splice or continue elsewhere."""
    for every, tokens in generated.symbols_stripped(load).items():
        strength = f"after {every} tokens each"
        yield marked.alone("symbols asked for, stripped", strength, decoded(tokens))
    half = generated.KEPT_PREFIX
    strength = f"{half} tokens kept, {half} unmarked"
    yield marked.alone("continuation", strength, decoded(generated.regenerated(load)))
    yield marked.alone("splice", "halves of two accounts' answers", splices(marked))


def published(marked: Marked) -> Iterator[Row]:
    """Yield what published removers do offline, and a reader with another tokenizer."""
    for tool in ("dewatermark", "antiwatermark"):
        yield marked.scored("published remover", tool, tools.cleaned(tool, marked.texts))
    judge = marked.judge.detector.judge
    ps = np.array([judge(ids).log10_p for ids in tools.other_ids(marked.texts)])
    yield Row("other tokenizer", "o200k_base", ps)
