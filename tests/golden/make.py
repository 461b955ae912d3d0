"""Add marked texts with their integers to tests/golden/texts, from the plain reference alone.

    python -m tests.golden.make

Kept for ever: a text that is there is never written again, whatever this file says today. If a
release reads one of them otherwise, the release is wrong. Answers of the real model come from
the cache of `python -m benchmarks.quality.run`; without it they are left out, with a message.
The keys are public and mark nothing.
"""

import json
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.vectors.make import log10_tail
from watermark.keys import EpochKeys
from watermark.manifest import Channel, Parameters
from watermark.reference import channel_of, context_hash, is_green, word_id, words

FOLDER = Path(__file__).with_name("texts")
CREATED = "2026-01-01T00:00:00Z"
ACCOUNTS = range(1, 1001)
COINS = 64
# Written out, so that new defaults leave the texts as they are.
QUARTER = Parameters(2, 2, 2, 4, 4, 43909, 15073, 6554, 2000, 4)
HALF = Parameters(1, 1, 1, 3, 2, 20000, 20000, 20000, 1500, 2)
ENGLISH = (
    "the of and to in is it that for was on as with be by at this have from or an they which one"
    " you were all her she there would their we him been has when who will no more if out so what"
    " up said about than its into them can only other time new some could these two may first then"
    " do like any my now over such our man me even most made after also well don't it's they're"
)
OTHERS = (
    "caf\u00e9 na\u00efve Stra\u00dfe \u0445\u043e\u0440\u043e\u0448\u043e \u0433\u043e\u0434"
    " \u03bb\u03cc\u03b3\u03bf\u03c2 \u65e5 \u672c \u8a9e l\u2019ami soft\u00adware \ufb01ne"
    " x\u00b2 \u0939\u093f\u0928\u094d\u0926\u0940 \ud55c\uad6d\uc5b4 3.14"
    " O\u2019Neil \u212bngstr\u00f6m"
)


@dataclass(frozen=True)
class Golden:
    """A text before it is counted: token ids, or a text with its token or word ids."""

    about: str
    master: bytes
    parameters: Parameters
    ids: Sequence[int]
    account: int
    call: int
    reads: str = "tokens"
    text: str | None = None
    tokenizer: dict[str, Any] | None = None

    @property
    def keys(self) -> EpochKeys:
        return EpochKeys.derive(1, CREATED, self.master)


def call_of(account: int) -> int:
    """A call of an account, as the gateway numbers them."""
    return account << 40 | 1000 + account


def coins(golden: Golden) -> list[tuple[int, Channel, int, int]]:
    """Position, channel, seed (without account or call key) and token of each distinct window."""
    keys, parameters, ids = golden.keys, golden.parameters, list(golden.ids)
    seen, found = set(), []
    for position, token in enumerate(ids):
        channel = channel_of(keys, parameters, ids[:position])
        if channel is None:
            continue
        context = ids[position - parameters.width(channel) : position]
        if (channel, *context, token) not in seen:
            seen.add((channel, *context, token))
            seed = context_hash(getattr(keys, channel), context)
            found.append((position, channel, seed, token))
    return found


def integers(golden: Golden) -> dict[str, Any]:
    """Everything that a detector must find."""
    keys, bits, found = golden.keys, golden.parameters.gamma_bits, coins(golden)
    key = {
        "site": 0,
        "account": keys.account_key(golden.account),
        "call": keys.call_key(golden.call),
    }
    green = [is_green(seed ^ key[channel], token, bits) for _, channel, seed, token in found]
    channels = {}
    for channel in key:
        hits = [hit for hit, coin in zip(green, found, strict=True) if coin[1] == channel]
        log10_p = log10_tail(sum(hits), len(hits), bits)
        channels[channel] = {
            "windows": len(hits),
            "hits": sum(hits),
            "log10_p": f"{float(log10_p) + 0:.9f}",
        }
    return {
        "ids": len(golden.ids),
        "ids_sha256": sha256(struct.pack(f"<{len(golden.ids)}I", *golden.ids)).hexdigest(),
        "channels": channels,
        "first_coins": [
            f"{position} {channel} {int(hit)}"
            for (position, channel, _, _), hit in zip(found[:COINS], green, strict=False)
        ],
        "best_account": _best(keys, bits, [(s, t) for _, c, s, t in found if c == "account"]),
    }


def _best(keys: EpochKeys, bits: int, windows: Sequence[tuple[int, int]]) -> dict[str, int]:
    """Account of 1 to 1000 with most hits (the least of equals), and the second best count."""
    hits = []
    for number in ACCOUNTS:
        key = keys.account_key(number)
        hits.append((sum(is_green(seed ^ key, token, bits) for seed, token in windows), -number))
    hits.sort(reverse=True)
    return {"number": -hits[0][1], "hits": hits[0][0], "runner_up_hits": hits[1][0]}


def plant(golden: Golden, choices: Sequence[int], length: int, share: float) -> Golden:
    """Fill in ids: a share of the positions with a channel is drawn until green."""
    keys, parameters = golden.keys, golden.parameters
    rng = random.Random(golden.about)
    extra = {
        "site": 0,
        "account": keys.account_key(golden.account),
        "call": keys.call_key(golden.call),
    }
    ids: list[int] = []
    while len(ids) < length:
        channel, token = channel_of(keys, parameters, ids), rng.choice(choices)
        if channel is not None and rng.random() < share:
            context = ids[-parameters.width(channel) :]
            seed = context_hash(getattr(keys, channel), context) ^ extra[channel]
            token = _green(rng, seed, choices, parameters.gamma_bits)
        ids.append(token)
    return replace(golden, ids=ids)


def _green(rng: random.Random, seed: int, choices: Sequence[int], bits: int) -> int:
    """A green one of a hundred choices, if there is one."""
    drawn = [rng.choice(choices) for _ in range(100)]
    return next((token for token in drawn if is_green(seed, token, bits)), drawn[0])


def planted() -> Iterator[tuple[str, Golden]]:
    """Token ids without a tokenizer."""
    kinds = {
        "tokens": (QUARTER, range(49_152), 300, 0.6),
        "tokens-weak": (QUARTER, range(49_152), 800, 0.15),
        "tokens-half": (HALF, range(151_936), 400, 0.8),
        "tokens-wide-ids": (QUARTER, range(2**31 - 4096, 2**31), 250, 0.8),
        "tokens-narrow": (HALF, range(12), 400, 0.8),
        "tokens-unmarked": (QUARTER, range(49_152), 400, 0.0),
    }
    for account, (name, (parameters, choices, length, share)) in enumerate(kinds.items(), 101):
        yield name, plant(_bare(name, parameters, account), choices, length, share)
    for length in (0, 1, 3):
        base = _bare(f"tokens-{length}", QUARTER, 7)
        yield base.about, plant(base, range(49_152), length, 1.0)
    once = plant(_bare("tokens-twice", QUARTER, 8), range(49_152), 200, 0.7)
    yield "tokens-twice", replace(once, ids=[*once.ids, *once.ids])


def _bare(about: str, parameters: Parameters, account: int) -> Golden:
    master = sha256(f"azeotrope golden {about}".encode()).digest()
    return Golden(about, master, parameters, (), account, call_of(account))


def spoken() -> Iterator[tuple[str, Golden]]:
    """Texts whose words carry the mark."""
    kinds = {
        "words": (QUARTER, ENGLISH, 300, 0.7),
        "words-half": (HALF, ENGLISH, 400, 0.8),
        "words-of-many-scripts": (QUARTER, f"{ENGLISH} {OTHERS}", 300, 0.8),
        "words-unmarked": (QUARTER, ENGLISH, 300, 0.0),
    }
    for account, (name, (parameters, vocabulary, length, share)) in enumerate(kinds.items(), 201):
        golden = replace(_bare(name, parameters, account), reads="words")
        written = {word_id(golden.keys.words, words(w)[0]): w for w in vocabulary.split()}
        chosen = plant(golden, list(written), length, share).ids
        text = "".join(
            (". " if i % 11 == 10 else " ") + written[number] for i, number in enumerate(chosen)
        )
        yield name, _in_words(golden, text.strip() + ".")
    text = "Too short, isn't it?"
    yield "words-short", _in_words(replace(_bare("words-short", HALF, 9), reads="words"), text)


def _in_words(golden: Golden, text: str) -> Golden:
    ids = [word_id(golden.keys.words, word) for word in words(text)]
    return replace(golden, text=text, ids=ids)


def answered() -> Iterator[tuple[str, Golden]]:
    """English of SmolLM2-135M-Instruct under the default mark, as text."""
    from benchmarks.generation import Answers
    from benchmarks.quality.conditions import account_of, call_of
    from proxy.engine.weights import demo_model
    from watermark.detect.tokenizer import TextTokenizer

    root = FOLDER.parents[2] / ".cache"
    files = sorted((root / "benchmarks" / "quality").glob("az1-default-*-0.npz"))
    if not files:
        print("no answers cached: run python -m benchmarks.quality.run first")
        return
    tokens = Answers.load(files[0]).tokens.tolist()
    tokenizer = TextTokenizer(demo_model(root))
    rows = [row for row in range(len(tokens)) if account_of(row) in ACCOUNTS]
    texts = {row: str(tokenizer._tokenizer.decode(tokens[row])) for row in range(len(tokens))}
    licence = (FOLDER.parents[2] / "LICENSE").read_text("utf-8")
    other = next(row for row in range(len(tokens)) if row not in rows)
    made = [
        *((f"answer-{row}", texts[row], row) for row in rows[:3]),
        ("answer-100-tokens", str(tokenizer._tokenizer.decode(tokens[rows[0]][:100])), rows[0]),
        ("answer-twice", f"{texts[rows[1]]}\n\n{texts[rows[1]]}", rows[1]),
        ("answers-of-two-accounts", f"{texts[rows[2]]}\n\n{texts[other]}", rows[2]),
        ("answer-within-a-licence", licence[:1500] + texts[rows[0]] + licence[1500:3000], rows[0]),
        ("licence", licence[:4000], rows[0]),
    ]
    master = sha256(b"azeotrope benchmark quality").digest()
    for name, text, row in made:
        golden = Golden(name, master, QUARTER, (), account_of(row), call_of(row), "text", text)
        ids = tokenizer.encode(text).ids
        yield name, replace(golden, ids=ids, tokenizer=asdict(tokenizer.pin()))


def entry(golden: Golden) -> dict[str, Any]:
    """The file of a text."""
    return {
        "reads": golden.reads,
        "master": golden.master.hex(),
        "parameters": asdict(golden.parameters),
        "account": golden.account,
        "call": golden.call,
        "text": golden.text,
        "tokenizer": golden.tokenizer,
        "ids": None if golden.reads == "words" else list(golden.ids),
        "expected": integers(golden),
    }


def add(folder: Path, name: str, golden: Golden) -> bool:
    """Write a text unless it is there; False if it is."""
    path = folder / f"{name}.json"
    if path.exists():
        return False
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in entry(golden).items())
    with path.open("x", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(lines) + "\n}\n")
    return True


def main() -> None:
    """Add what is missing."""
    for source in (planted, spoken, answered):
        for name, golden in source():
            added = add(FOLDER, name, golden)
            print(f"{name}: {'added' if added else 'kept as it is'}")


if __name__ == "__main__":
    main()
