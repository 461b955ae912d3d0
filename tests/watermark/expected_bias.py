"""The bias that a step must get, token by token, from the plain reference."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from watermark import reference
from watermark.keys import EpochKeys
from watermark.manifest import Parameters
from watermark.ticket import Ticket, sign

NOW = 1_000.0
VOCABULARY = 300
DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def step_seed(
    keys: EpochKeys,
    parameters: Parameters,
    output: Sequence[int],
    account: int | None,
    call: int | None,
) -> int | None:
    """Seed of the bias after `output`, by docs/format.md; None for none."""
    channel = reference.channel_of(keys, parameters, output)
    extra: dict[Any, int] = {"site": 0}
    if account is not None and call is not None:
        extra |= {"account": keys.account_key(account), "call": keys.call_key(call)}
    if channel not in extra:
        return None
    width, cap = parameters.selector_width, parameters.repeat_cap
    selectors = [tuple(output[i - width : i]) for i in range(width, len(output) + 1)]
    if cap and selectors[:-1].count(selectors[-1]) >= cap:
        return None
    context = output[len(output) - parameters.width(channel) :]
    return reference.context_hash(getattr(keys, channel), context) ^ extra[channel]


def biased(
    logits: torch.Tensor, seed: int | None, parameters: Parameters, delta: float
) -> torch.Tensor:
    """One row with the bias added token by token."""
    if seed is None:
        return logits
    strength = torch.tensor(delta).to(logits.dtype)
    green = [reference.is_green(seed, t, parameters.gamma_bits) for t in range(len(logits))]
    return torch.where(torch.tensor(green), logits + strength, logits)


def random_logits(rows: int, vocabulary: int = VOCABULARY, seed: int = 1) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 5


def signer(epochs: Sequence[EpochKeys]) -> Callable[..., str]:
    def make(account: int, call: int = 77, epoch: int = 1, delta: int = 1300, **fields: int) -> str:
        ticket = Ticket(
            epoch, account, call, delta, fields.get("level", 0), fields.get("end", 2000)
        )
        return sign(ticket, epochs[epoch - 1].ticket)

    return make
