"""The real model writes with a mark, and its text, tokenised again, names the writer."""

from pathlib import Path
from typing import Any

import pytest
import torch

from watermark.detect.candidates import Candidates
from watermark.detect.detector import Detector
from watermark.detect.tokenizer import TextTokenizer
from watermark.embed.huggingface import WatermarkLogitsProcessor
from watermark.embed.marker import Marker
from watermark.manifest import Parameters
from watermark.ticket import Ticket, sign

WRITERS = (12, 873)
# Strong and rich in account positions, so that 120 tokens name a writer whatever is sampled.
PARAMETERS = Parameters(site_share=30_000, account_share=30_000, call_share=5_536)
DELTA = 5_000
PROMPTS = ("Tell me about the sea in a few sentences.", "Why do people like to cook at home?")


@pytest.fixture(scope="module")
def model(model_dir: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)


def prompt_ids(model_dir: Path) -> dict[str, torch.Tensor]:
    """Both prompts as one batch, padded on the left."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dir, padding_side="left")
    chats = [[{"role": "user", "content": text}] for text in PROMPTS]
    batch = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


@pytest.mark.parametrize(
    "options",
    [{"do_sample": True, "temperature": 1.0}, {"do_sample": False}],
    ids=["sampled", "greedy"],
)
def test_two_accounts_in_one_batch_are_told_apart_in_their_texts(
    make_home: Any, model: Any, model_dir: Path, options: dict[str, Any]
) -> None:
    home = make_home(parameters=PARAMETERS)
    marker = Marker.load(home.keys_path, home.manifest_path)
    tickets = [
        sign(Ticket(1, account, account << 40, DELTA, 0, 2**40), home.keyring.current.ticket)
        for account in WRITERS
    ]
    batch = prompt_ids(model_dir)
    length = batch["input_ids"].shape[1]
    processor = WatermarkLogitsProcessor(marker, [marker.admit(t) for t in tickets], length)
    torch.manual_seed(1)
    written = model.generate(
        **batch, **options, logits_processor=[processor], max_new_tokens=120, min_new_tokens=120
    )
    encoder = TextTokenizer(model_dir)
    judge = Detector(home.keyring, home.manifest)
    among = Candidates(dict.fromkeys(range(1, 1001), ""))
    for account, row in zip(WRITERS, written[:, length:].tolist(), strict=True):
        text = encoder._tokenizer.decode(row)
        found = judge.judge(encoder.encode(text).ids, among)
        assert found.verdict == "marked", text
        assert found.account is not None
        assert (found.account.number, found.account.named) == (account, True), text


def test_the_scores_that_generate_holds_are_not_changed_in_place(home: Any) -> None:
    # transformers gives the same tensor to what returns raw logits.
    marker = Marker.load(home.keys_path, home.manifest_path)
    ids = torch.tensor([[900, 901, 1, 2, 3, 4, 5], [900, 901, 6, 7, 8, 9, 10]])
    scores = torch.zeros(2, 500)
    marks = [marker.admit(None), marker.admit(None)]
    processor = WatermarkLogitsProcessor(marker, marks, prompt_length=2)
    biased = processor(ids, scores)
    assert not scores.any()
    assert biased.shape == scores.shape


def test_the_prompt_plays_no_part(home: Any) -> None:
    marker = Marker.load(home.keys_path, home.manifest_path)
    generator = torch.Generator().manual_seed(2)
    for length in (0, 1, 2, 3, 6):
        answers = torch.randint(0, 500, (30, length), generator=generator)
        marks = [marker.admit(None) for _ in answers]
        expected = marker.apply(torch.zeros(30, 500), marks, answers.tolist())
        assert bool(expected.any()) == (length >= 2)
        for prompt_length in (1, 5, 40):
            prompts = torch.randint(0, 500, (30, prompt_length), generator=generator)
            marks = [marker.admit(None) for _ in answers]
            processor = WatermarkLogitsProcessor(marker, marks, prompt_length)
            found = processor(torch.cat([prompts, answers], 1), torch.zeros(30, 500))
            assert torch.equal(found, expected)
