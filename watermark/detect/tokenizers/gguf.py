"""The tokenizer of a GGUF file, built for the `tokenizers` library from the file's metadata.

A file names its vocabulary, its merges (or scores) and the family of its pre-tokenizer. It names
no Unicode normaliser: a text is tokenised as the engines that serve the file do it, without one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from watermark.detect.tokenizers.pretokenizers import PRE_TOKENIZERS, WHOLE_WORDS
from watermark.errors import InputError

_CONTROL, _USER_DEFINED = 3, 4  # gguf.TokenType
_ADVICE = "give the model's Hugging Face directory or its tokenizer.json"


def build_tokenizer(metadata: Mapping[str, Any], path: Path) -> Any:
    """Make the `tokenizers.Tokenizer` of a file's metadata; `path` is for messages.

    Raises InputError for a file without vocabulary and a family that is not known here.
    """
    kind = _field(metadata, "model", path)
    if kind not in _BUILDERS:
        raise InputError(f"{path}: has a tokenizer of the kind {kind!r}; {_ADVICE}")
    tokens = _field(metadata, "tokens", path)
    vocabulary = _vocabulary(tokens)
    try:
        tokenizer = _BUILDERS[kind](metadata, vocabulary, path)
    except InputError:
        raise
    except Exception as error:  # the library raises bare Exception for merges of unknown tokens
        raise InputError(f"{path}: its vocabulary and merges do not fit ({error})") from error
    _add_tokens(tokenizer, tokens, metadata.get("tokenizer.ggml.token_type") or [], vocabulary)
    return tokenizer


def _field(metadata: Mapping[str, Any], name: str, path: Path) -> Any:
    try:
        return metadata[f"tokenizer.ggml.{name}"]
    except KeyError as error:
        raise InputError(f"{path}: has no field tokenizer.ggml.{name}; {_ADVICE}") from error


def _vocabulary(tokens: list[str]) -> dict[str, int]:
    """Ids by token, without the fillers that converters add to reach the embedding's size.

    The tokenizer.json of the same model has none, and the pin must be the same.
    """
    return {token: i for i, token in enumerate(tokens) if token != f"[PAD{i}]"}


def _byte_level(metadata: Mapping[str, Any], vocabulary: dict[str, int], path: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    family = metadata.get("tokenizer.ggml.pre")
    if family not in PRE_TOKENIZERS:
        raise InputError(f"{path}: has the pre-tokenizer {family!r}, not known here; {_ADVICE}")
    merges = [tuple(merge.split(" ", 1)) for merge in _field(metadata, "merges", path)]
    tokenizer: Any = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=family in WHOLE_WORDS))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(PRE_TOKENIZERS[family]())
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentence_piece(metadata: Mapping[str, Any], vocabulary: dict[str, int], path: Path) -> Any:
    """SentencePiece's BPE: pieces join by score, and bytes stand in for what has no piece."""
    from tokenizers import normalizers

    scores = _field(metadata, "scores", path)
    tokenizer = _with_bytes(metadata, vocabulary, merges_of_scores(vocabulary, scores))
    steps: list[Any] = [normalizers.Replace(" ", "▁")]
    if metadata.get("tokenizer.ggml.add_space_prefix", True):
        steps.insert(0, normalizers.Prepend("▁"))
    tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer


def _gemma(metadata: Mapping[str, Any], vocabulary: dict[str, int], path: Path) -> Any:
    from tokenizers import Regex, normalizers, pre_tokenizers

    merges = [_halves(merge) for merge in _field(metadata, "merges", path)]
    tokenizer = _with_bytes(metadata, vocabulary, merges)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n+"), "isolated")
    return tokenizer


def _halves(merge: str) -> tuple[str, str]:
    """Cut a merge at its space; the first character may be one itself."""
    left, right = merge[:1], merge[1:]
    head, _, tail = right.partition(" ")
    return left + head, tail


def _with_bytes(
    metadata: Mapping[str, Any], vocabulary: dict[str, int], merges: list[tuple[str, str]]
) -> Any:
    from tokenizers import Tokenizer, models

    names = {index: token for token, index in vocabulary.items()}
    unknown = names.get(metadata.get("tokenizer.ggml.unknown_token_id", 0))
    return Tokenizer(
        models.BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )


def merges_of_scores(vocabulary: Mapping[str, int], scores: list[float]) -> list[tuple[str, str]]:
    """Every pair of pieces that joins to a piece, the best score first.

    SentencePiece joins by the score of the result; a list of merges in that order does the same.
    """
    ranked = []
    for piece, index in vocabulary.items():
        for cut in range(1, len(piece)):
            left, right = vocabulary.get(piece[:cut]), vocabulary.get(piece[cut:])
            if left is not None and right is not None:
                ranked.append((-scores[index], index, left, right, piece[:cut], piece[cut:]))
    return [(left, right) for *_, left, right in sorted(ranked)]


def _add_tokens(
    tokenizer: Any, tokens: list[str], types: list[int], vocabulary: Mapping[str, int]
) -> None:
    """Mark the control tokens, and those that are matched in a text before it is cut."""
    from tokenizers import AddedToken

    for kind, add in (
        (_CONTROL, tokenizer.add_special_tokens),
        (_USER_DEFINED, tokenizer.add_tokens),
    ):
        found = (t for t, own in zip(tokens, types, strict=False) if own == kind)
        add(
            [
                AddedToken(token, special=kind == _CONTROL, normalized=False)
                for token in found
                if token in vocabulary
            ]
        )


_BUILDERS = {"gpt2": _byte_level, "llama": _sentence_piece, "gemma4": _gemma}
