"""The demo model asked to rewrite marked texts, piece by piece, without any mark."""

from collections.abc import Callable, Iterator, Sequence

import torch
from rich.console import Console
from rich.progress import track

from benchmarks.attacks.edits import sentences, words
from benchmarks.attacks.kept import kept
from benchmarks.generation import Generator

# milkwashy, a published remover, works alike: pieces of a few sentences, one request each.
_REQUEST = "Rewrite this text in your own words. Keep its meaning and its length.\n\n{}"
_PIECE_WORDS = 100
_MOST_TOKENS = 192
_BATCH = 64
_SEED = 20261125


def paraphrased(texts: Sequence[str], load: Callable[[], Generator]) -> list[str]:
    """Return texts rewritten by the model, from the cache or now."""
    return kept("paraphrased", [_REQUEST, *texts], lambda: _rewritten(texts, load()))


def _rewritten(texts: Sequence[str], generator: Generator) -> list[str]:
    pieces = [(place, piece) for place, text in enumerate(texts) for piece in _pieces(text)]
    # Rows of like length together: a batch runs until its longest row ends.
    order = sorted(range(len(pieces)), key=lambda index: len(pieces[index][1]))
    answers = [""] * len(pieces)
    torch.manual_seed(_SEED)
    groups = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
    for group in track(groups, "paraphrased", console=Console(stderr=True)):
        made = _answers([pieces[index][1] for index in group], generator)
        for index, answer in zip(group, made, strict=True):
            answers[index] = answer
    whole: list[list[str]] = [[] for _ in texts]
    for (place, _), answer in zip(pieces, answers, strict=True):
        whole[place].append(answer)
    return ["\n\n".join(parts) for parts in whole]


@torch.inference_mode()
def _answers(pieces: Sequence[str], generator: Generator) -> list[str]:
    ids, mask = generator.prompt_ids([_REQUEST.format(piece) for piece in pieces])
    output = generator.model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=True,
        temperature=0.7,
        top_p=0.9,
        top_k=0,
        max_new_tokens=_MOST_TOKENS,
        pad_token_id=generator.tokenizer.eos_token_id,
    )
    made = generator.tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True)
    return [answer.strip() for answer in made]


def _pieces(text: str) -> Iterator[str]:
    """Whole sentences of about a hundred words together."""
    piece: list[str] = []
    for sentence in sentences(text):
        piece.append(sentence)
        if len(words(" ".join(piece))) >= _PIECE_WORDS:
            yield " ".join(piece)
            piece = []
    if piece:
        yield " ".join(piece)
