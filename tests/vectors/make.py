"""Make the public test vectors of az1, az1.json, from the plain reference alone.

    python -m tests.vectors.make

No array code takes part, and the p-values come from exact integers, so that the file can
judge the implementations that it is compared with. Everything in it is fixed: the same
bytes on every machine. The keys are public and mark nothing.
"""

import json
from base64 import urlsafe_b64encode
from decimal import Decimal, localcontext
from hashlib import sha256
from math import comb
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from watermark.keys import SUBKEYS, EpochKeys
from watermark.manifest import CHANNELS, Channel, Manifest, ManifestEpoch, Parameters, TokenizerPin
from watermark.prf import siphash24, splitmix64
from watermark.reference import channel_of, context_hash, count, is_green, word_id, words
from watermark.ticket import Ticket, sign

PATH = Path(__file__).with_name("az1.json")
CREATED = "2026-01-01T00:00:00Z"
MASTERS = (bytes(range(32)), sha256(b"azeotrope az1 test vector, epoch 2").digest())
SIGNING_KEY = sha256(b"azeotrope az1 test vector, signing key").digest()
# Written out, so that new defaults leave the vectors as they are.
PARAMETERS = (
    Parameters(
        gamma_bits=2,
        selector_width=2,
        site_width=2,
        account_width=4,
        call_width=4,
        site_share=45875,
        account_share=13107,
        call_share=6554,
        delta_millinats=2000,
        repeat_cap=4,
    ),
    Parameters(
        gamma_bits=1,
        selector_width=1,
        site_width=1,
        account_width=3,
        call_width=2,
        site_share=20000,
        account_share=20000,
        call_share=20000,
        delta_millinats=1500,
        repeat_cap=2,
    ),
)
EPOCHS = tuple(EpochKeys.derive(i, CREATED, master) for i, master in enumerate(MASTERS, 1))
ACCOUNT, CALL = 7, 7 << 40 | 123_456_789
NUMBERS = (0, 1, ACCOUNT, 2**24 - 1, CALL, 2**64 - 1)
VOCABULARIES = (100, 49_152, 151_936, 256_000)
TAILS = ((0, 0), (0, 10), (1, 10), (5, 10), (10, 10), (60, 100), (250, 1000), (600, 1000))
FAR_TAILS = ((1000, 1000), (9000, 10_000))
FOLDING = (
    "Don\u2019t stop: it's rock'n'roll, 'tis' \u201cnow\u201d \u2014 in the '90s!",
    "x\u00b2 + \u00bd; No. 7/8, 3.14 and 1_000, A4\u2019s",
    "soft\u00adware, zero\u200bwidth, \ufeffa\u034fb, \u2764\ufe0f, e\u200b\u0301t\u00e9",
    "STRASSE Stra\u00dfe \u0130stanbul \ufb01ne \uff26\uff55\uff4c\uff4c \u212bngstr\u00f6m",
    "na\u00efve nai\u0308ve \u0301alone q\u0307\u0323 q\u0323\u0307 Z\u20dd",
    "\u0425\u043e\u0440\u043e\u0448\u043e, \u0391\u03b8\u03ae\u03bd\u03b1\u03c2 \u1f68\u03b4\u03ae",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3001GPT\u304c\u3000\uff76\uff9e\uff0e",
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0939\u093f\u0928\u094d\u0926\u0940",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \ud55c\uad6d\uc5b4 \u1112\u1161\u11ab",
    "\U0001d400\U0001d41b \U00020000\U0002a6d6 \U0001f600ok \U0001f1e9\U0001f1ea",
    "l\u02bcami O\u02bcNeil rock\u2019\u2019n \u2019\u2019 a'\u0301b a'\u4e00",
    "",
)
VOCABULARY = tuple(
    words(
        "the of and to in is it that for was on as with be by at this have from or an they which"
        " one you were all her she there would their we him been has when who will no more if out"
        " so what up said about than its into them can only other time new some could these two may"
        " first then do like any my now over such our man me even most made after also well don't"
        " it's caf\u00e9 na\u00efve"
    )
)


def word(value: int) -> str:
    """A 64-bit word as 16 hexadecimal digits: in other languages JSON numbers are doubles."""
    return f"{value:016x}"


def draws(seed: int, length: int, below: int) -> list[int]:
    """`length` numbers below `below`, from SplitMix64: no library's generator is involved."""
    return [splitmix64(seed, i) % below for i in range(length)]


def subkeys(keys: EpochKeys, master: bytes) -> dict[str, Any]:
    """Everything derived from one master key."""
    return {
        "epoch": keys.epoch,
        "master": master.hex(),
        "check": keys.check,
        "subkeys": {name: getattr(keys, name).hex() for name in SUBKEYS},
        "account_keys": {str(number): word(keys.account_key(number)) for number in NUMBERS},
        "call_keys": {str(number): word(keys.call_key(number)) for number in NUMBERS},
    }


def parameters_of(parameters: Parameters) -> dict[str, int]:
    """The parameters under the names that they have in a manifest."""
    return {name: getattr(parameters, name) for name in Parameters.__dataclass_fields__}


def primitives() -> dict[str, Any]:
    """SipHash-2-4 (published vector) and SplitMix64 (published outputs)."""
    return {
        "siphash": [
            {
                "key": bytes(range(16)).hex(),
                "message": bytes(range(n)).hex(),
                "hash": word(siphash24(bytes(range(16)), bytes(range(n)))),
            }
            for n in (0, 8, 15, 16)
        ],
        "splitmix64": [
            {"seed": word(seed), "outputs": [word(splitmix64(seed, i)) for i in range(5)]}
            for seed in (0, 1_234_567, 2**64 - 1)
        ],
    }


def contexts(keys: EpochKeys, parameters: Parameters) -> list[dict[str, Any]]:
    """Hashes of contexts of every width, with large and small ids, and the channel they pick."""
    tokens = [0, 1, 65_535, 65_536, 151_935, 2**32 - 2, *draws(keys.epoch, 12, 151_936)]
    return [_context(keys, parameters, tokens[end - 4 : end]) for end in range(4, len(tokens) + 1)]


def _context(keys: EpochKeys, parameters: Parameters, before: list[int]) -> dict[str, Any]:
    extra = {"site": 0, "account": keys.account_key(ACCOUNT), "call": keys.call_key(CALL)}
    hashes = {
        channel: context_hash(getattr(keys, channel), before[-parameters.width(channel) :])
        for channel in CHANNELS
    }
    draw = context_hash(keys.channel, before[-parameters.selector_width :]) & 0xFFFF
    return {
        "before": before,
        "draw": draw,
        "channel": channel_of(keys, parameters, before),
        "hashes": {channel: word(value) for channel, value in hashes.items()},
        "seeds": {channel: word(value ^ extra[channel]) for channel, value in hashes.items()},
    }


def green_lists() -> list[dict[str, Any]]:
    """Green lists of whole vocabularies: a few in full, the others by count and digest."""
    return [
        _green_list(seed, gamma_bits)
        for seed in (0, 1, 0x0123456789ABCDEF, 2**64 - 1)
        for gamma_bits in (1, 2)
    ]


def _green_list(seed: int, gamma_bits: int) -> dict[str, Any]:
    green = [is_green(seed, token, gamma_bits) for token in range(max(VOCABULARIES))]
    return {
        "seed": word(seed),
        "gamma_bits": gamma_bits,
        "words": [word(splitmix64(seed, block)) for block in range(4)],
        "green_below_100": [token for token in range(100) if green[token]],
        "vocabularies": {
            str(size): {
                "green": sum(green[:size]),
                "sha256": sha256(bytes(map(int, green[:size]))).hexdigest(),
            }
            for size in VOCABULARIES
        },
    }


def answer(keys: EpochKeys, parameters: Parameters) -> list[int]:
    """An answer with a strong mark, a passage that occurs twice and a loop.

    At each position three of four times the first green one of some drawn tokens is taken.
    """
    tokens: list[int] = []
    for position in range(240):
        ids = draws(keys.epoch << 32 | position, 13, 49_152)
        seed = _seed(keys, parameters, tokens)
        if seed is not None and ids[-1] % 4:
            ids = [t for t in ids if is_green(seed, t, parameters.gamma_bits)] or ids
        tokens.append(ids[0])
    return [*tokens, *tokens[40:90], *tokens[:7] * 6]


def _seed(keys: EpochKeys, parameters: Parameters, before: list[int]) -> int | None:
    channel = channel_of(keys, parameters, before)
    if channel is None:
        return None
    extra = {"site": 0, "account": keys.account_key(ACCOUNT), "call": keys.call_key(CALL)}
    context = before[-parameters.width(channel) :]
    return context_hash(getattr(keys, channel), context) ^ extra[channel]


def embedding(
    keys: EpochKeys, parameters: Parameters, tokens: list[int]
) -> list[tuple[Channel, int] | None]:
    """Channel and seed of the bias before each token; None where no bias is added."""
    width, cap = parameters.selector_width, parameters.repeat_cap
    met: dict[tuple[int, ...], int] = {}
    steps: list[tuple[Channel, int] | None] = []
    for position in range(len(tokens)):
        before = tokens[:position]
        seed, channel = _seed(keys, parameters, before), channel_of(keys, parameters, before)
        selector = tuple(before[-width:])
        repeats = met.get(selector, 0)
        if position >= width:
            met[selector] = repeats + 1
        biased = seed is not None and channel is not None and (cap == 0 or repeats < cap)
        steps.append((channel, seed) if biased else None)  # type: ignore[arg-type]
    return steps


def scored(keys: EpochKeys, parameters: Parameters) -> dict[str, Any]:
    """An answer with the embedder's steps and the detector's counts under several numbers."""
    tokens = answer(keys, parameters)
    steps = embedding(keys, parameters, tokens)
    suspects = ((None, None), (ACCOUNT, CALL), (ACCOUNT + 1, CALL + 1), (0, 2**64 - 1))
    return {
        "epoch": keys.epoch,
        "account": ACCOUNT,
        "call": CALL,
        "tokens": tokens,
        "embedding": [step and [step[0], word(step[1])] for step in steps],
        "scores": [_score(keys, parameters, tokens, *suspect) for suspect in suspects],
    }


def _score(
    keys: EpochKeys,
    parameters: Parameters,
    tokens: list[int],
    account: int | None,
    call: int | None,
) -> dict[str, Any]:
    counts = count(tokens, keys, parameters, account=account, call=call)
    return {
        "account": account,
        "call": call,
        "channels": {
            channel: {
                "windows": c.windows,
                "hits": c.hits,
                "log10_p": log10_tail(c.hits, c.windows, parameters.gamma_bits),
            }
            for channel, c in counts.items()
        },
    }


def log10_tail(hits: int, windows: int, gamma_bits: int) -> str:
    """Decimal logarithm of P(X >= hits), X ~ Binomial(windows, 2^-gamma_bits), to 12 places.

    The sum is exact, in integers: the terms' common denominator is 2^(gamma_bits * windows).
    """
    other = (1 << gamma_bits) - 1
    total = sum(comb(windows, k) * other ** (windows - k) for k in range(hits, windows + 1))
    with localcontext() as exact:
        exact.prec = 60
        value = Decimal(total).log10() - Decimal(1 << gamma_bits * windows).log10()
        return format(value.quantize(Decimal("1e-12")) + 0, "f")


def tails() -> list[dict[str, Any]]:
    """Exact binomial tails, some of them far below what a double can hold."""
    return [
        {
            "hits": hits,
            "windows": windows,
            "gamma_bits": gamma_bits,
            "log10_p": log10_tail(hits, windows, gamma_bits),
        }
        for hits, windows in (*TAILS, *FAR_TAILS)
        for gamma_bits in (1, 2)
    ]


def tickets(keys: EpochKeys) -> dict[str, Any]:
    """A ticket, and texts that are to be refused, at the time `now`."""
    now = 1_790_000_000
    ticket = Ticket(keys.epoch, ACCOUNT, CALL, 2000, 1, now + 600)
    text = sign(ticket, keys.ticket)
    expired = sign(Ticket(keys.epoch, ACCOUNT, CALL, 2000, 1, now - 1), keys.ticket)
    unknown = sign(Ticket(9, ACCOUNT, CALL, 2000, 1, now + 600), keys.ticket)
    fields = {name: getattr(ticket, name) for name in Ticket.__dataclass_fields__}
    return {
        "key": keys.ticket.hex(),
        "now": now,
        "fields": fields,
        "text": text,
        "refused": {
            "expired": [expired],
            "unknown_epoch": [unknown],
            "forged": [sign(ticket, bytes(32)), text[:8] + _next_digit(text[8]) + text[9:]],
            "malformed": [
                "",
                text[:-1],
                text + "=",
                "A" * 86,
                text[:-1] + "*",
                # The same 64 bytes, but spare bits of the last digit are set.
                text[:-1] + _next_digit(text[-1]),
            ],
        },
    }


def _next_digit(digit: str) -> str:
    """The next digit of base64url's alphabet."""
    alphabet = urlsafe_b64encode(int("".join(f"{i:06b}" for i in range(64)), 2).to_bytes(48))
    return chr(alphabet[(alphabet.index(digit.encode()) + 1) % 64])


def manifest() -> dict[str, Any]:
    """A signed manifest of two epochs."""
    entries = tuple(
        ManifestEpoch(keys.epoch, CREATED, keys.check, parameters)
        for keys, parameters in zip(EPOCHS, PARAMETERS, strict=True)
    )
    pin = TokenizerPin(49_152, sha256(b"a vocabulary").hexdigest())
    made = Manifest(CREATED, entries, pin)
    private_key = Ed25519PrivateKey.from_private_bytes(SIGNING_KEY)
    return {
        "public_key": private_key.public_key().public_bytes_raw().hex(),
        "canonical": made.canonical().decode("ascii"),
        "digest": made.digest,
        "file": made.signed(private_key.sign),
    }


def word_vectors() -> dict[str, Any]:
    """The format on words: folding, ids, and a marked text for each epoch."""
    cut = [words(text) for text in FOLDING]
    known = sorted({word for found in cut for word in found})
    return {
        "folding": [{"text": t, "words": found} for t, found in zip(FOLDING, cut, strict=True)],
        "ids": {word: word_id(EPOCHS[0].words, word) for word in known},
        "texts": [
            _scored_text(keys, parameters)
            for keys, parameters in zip(EPOCHS, PARAMETERS, strict=True)
        ],
    }


def _scored_text(keys: EpochKeys, parameters: Parameters) -> dict[str, Any]:
    text = marked_text(keys, parameters)
    ids = [word_id(keys.words, word) for word in words(text)]
    suspects = ((None, None), (ACCOUNT, CALL), (ACCOUNT + 1, CALL + 1))
    return {
        "epoch": keys.epoch,
        "account": ACCOUNT,
        "call": CALL,
        "text": text,
        "ids": ids,
        "scores": [_score(keys, parameters, ids, *suspect) for suspect in suspects],
    }


def marked_text(keys: EpochKeys, parameters: Parameters) -> str:
    """Words, the first green one of 13 drawn three times of four; some capitals and commas."""
    text, ids = "", list[int]()
    for position in range(200):
        drawn = draws(keys.epoch << 40 | position, 13, len(VOCABULARY))
        candidates = [(word_id(keys.words, VOCABULARY[i]), VOCABULARY[i]) for i in drawn]
        seed = _seed(keys, parameters, ids)
        if seed is not None and drawn[-1] % 4:
            bits = parameters.gamma_bits
            candidates = [c for c in candidates if is_green(seed, c[0], bits)] or candidates
        ids.append(candidates[0][0])
        chosen = candidates[0][1]
        text += (", ", " ", " ")[drawn[1] % 3] + (chosen.title() if drawn[2] % 9 == 0 else chosen)
    return text[1:].strip() + "."


def vectors() -> dict[str, Any]:
    """The whole file."""
    pairs = list(zip(EPOCHS, PARAMETERS, strict=True))
    return {
        "format": "az1",
        "version": 1,
        "about": "Test vectors of docs/format.md. 64-bit words are 16 hexadecimal digits, most "
        "significant first; byte strings are hexadecimal in their order; ids and counts are "
        "numbers. The keys are public: never use them.",
        "primitives": primitives(),
        "epochs": [
            subkeys(keys, master) | {"parameters": parameters_of(parameters)}
            for (keys, parameters), master in zip(pairs, MASTERS, strict=True)
        ],
        "contexts": [
            {"epoch": keys.epoch, "account": ACCOUNT, "call": CALL, "rows": contexts(keys, p)}
            for keys, p in pairs
        ],
        "green_lists": green_lists(),
        "answers": [scored(keys, parameters) for keys, parameters in pairs],
        "tails": tails(),
        "ticket": tickets(EPOCHS[0]),
        "manifest": manifest(),
        "words": word_vectors(),
    }


def text() -> str:
    """The file as text: one line a row, so that a change shows up as a small difference."""
    return _lines(vectors(), 3) + "\n"


def _lines(value: Any, depth: int, indent: str = "") -> str:
    """JSON, broken into lines down to `depth` levels."""
    inner = indent + " "
    if depth and isinstance(value, dict) and value:
        rows = [f"{json.dumps(k)}: {_lines(v, depth - 1, inner)}" for k, v in value.items()]
        return "{\n" + ",\n".join(inner + row for row in rows) + "\n" + indent + "}"
    if depth and isinstance(value, list) and value and isinstance(value[0], dict):
        rows = [_lines(v, depth - 1, inner) for v in value]
        return "[\n" + ",\n".join(inner + row for row in rows) + "\n" + indent + "]"
    return json.dumps(value)


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
    print(f"{PATH.name}: written")
