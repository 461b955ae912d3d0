"""The demo model asked to rewrite marked texts, piece by piece, without any mark."""

from collections.abc import Callable, Iterator, Sequence

import torch
from rich.console import Console
from rich.progress import track

from benchmarks.attacks.edits import sentences, words
from benchmarks.attacks.kept import kept
from benchmarks.generation import Generator

Load = Callable[[], Generator]
Demoted = Callable[[Sequence[str]], torch.Tensor]

# milkwashy, a published remover, works alike: pieces of a few sentences, one request each.
_REQUEST = "Rewrite this text in your own words. Keep its meaning and its length.\n\n{}"
_PIECE_WORDS = 100
_MOST_TOKENS = 192
_BATCH = 64
_SEED = 20261125
# As dewatermark's mode "bias_inversion" has them by default.
_DEMOTED_SHARE = 0.3
_DEMOTION = 6.0


def paraphrased(texts: Sequence[str], load: Load) -> list[str]:
    """Return texts rewritten by the model, from the cache or now."""
    return kept("paraphrased", [_REQUEST, *texts], lambda: _rewritten(texts, load(), None))


def inverted(texts: Sequence[str], load: Load) -> list[str]:
    """Return texts rewritten while what surprised the model in them is demoted.

    After BIRA (arXiv 2509.23019): a mark is likeliest in the tokens that the model did not
    expect; every token among the most surprising 30 % of a piece loses 6 nats.
    """

    def make() -> list[str]:
        generator = load()
        return _rewritten(texts, generator, lambda group: _surprising(group, generator))

    return kept("inverted", [_REQUEST, *texts], make)


def _rewritten(texts: Sequence[str], generator: Generator, demoted: Demoted | None) -> list[str]:
    pieces = [(place, piece) for place, text in enumerate(texts) for piece in _pieces(text)]
    # Rows of like length together: a batch runs until its longest row ends.
    order = sorted(range(len(pieces)), key=lambda index: len(pieces[index][1]))
    answers = [""] * len(pieces)
    torch.manual_seed(_SEED)
    groups = [order[start : start + _BATCH] for start in range(0, len(order), _BATCH)]
    for group in track(groups, "rewriting", console=Console(stderr=True)):
        chosen = [pieces[index][1] for index in group]
        bias = None if demoted is None else -_DEMOTION * demoted(chosen)
        for index, answer in zip(group, _answers(chosen, generator, bias), strict=True):
            answers[index] = answer
    whole: list[list[str]] = [[] for _ in texts]
    for (place, _), answer in zip(pieces, answers, strict=True):
        whole[place].append(answer)
    return ["\n\n".join(parts) for parts in whole]


@torch.inference_mode()
def _answers(pieces: Sequence[str], generator: Generator, bias: torch.Tensor | None) -> list[str]:
    """Answers to the request, `bias` [B, V] added to the logits."""
    ids, mask = generator.prompt_ids([_REQUEST.format(piece) for piece in pieces])
    processors = [] if bias is None else [lambda _, logits: logits + bias]
    output = generator.model.generate(
        input_ids=ids,
        attention_mask=mask,
        logits_processor=processors,
        do_sample=True,
        temperature=0.7,
        top_p=0.9,
        top_k=0,
        max_new_tokens=_MOST_TOKENS,
        pad_token_id=generator.tokenizer.eos_token_id,
    )
    made = generator.tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True)
    return [answer.strip() for answer in made]


@torch.inference_mode()
def _surprising(pieces: Sequence[str], generator: Generator) -> torch.Tensor:
    """Ones [B, V] where a token is among those that surprise the model most in a piece."""
    marks = torch.zeros(len(pieces), generator.model.config.vocab_size)
    for row, piece in enumerate(pieces):
        ids = generator.tokenizer(piece, return_tensors="pt")["input_ids"]
        natural = generator.model(ids).logits[0, :-1].float().log_softmax(-1)
        surprise = -natural.gather(1, ids[0, 1:, None])[:, 0]
        count = max(round(_DEMOTED_SHARE * len(surprise)), 1)
        marks[row, ids[0, 1:][surprise.topk(count).indices]] = 1
    return marks


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
