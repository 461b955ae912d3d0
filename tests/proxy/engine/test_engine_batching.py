"""The batch loop on the real model: what one answer may depend on, and what frees a row."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from engine_bench import Bench

from proxy.engine.model import LanguageModel
from proxy.engine.sampling import Sampling
from proxy.engine.tasks import Failure, QueueFullError

MakeBench = Callable[..., Bench]
PROMPTS = ["The sea is", "Once upon a time there was", "def fibonacci(n):\n", "My favourite food"]


def _greedy(tokens: int = 12) -> Sampling:
    return Sampling(max_tokens=tokens, temperature=0)


def test_greedy_equals_transformers_generate(bench: MakeBench, model: LanguageModel) -> None:
    loop = bench()
    runs = [loop.submit(model.encode(prompt), _greedy()) for prompt in PROMPTS]
    loop.run(*runs)
    for prompt, run in zip(PROMPTS, runs, strict=True):
        ids = torch.tensor([model.encode(prompt)])
        made = model.network.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
        )
        assert run.text == model.decode(made[0, ids.shape[1] :].tolist())


def test_a_seeded_answer_is_bit_for_bit_the_same_alone_and_in_a_changing_batch(
    bench: MakeBench, model: LanguageModel
) -> None:
    sampling = Sampling(max_tokens=16, seed=7, top_p=0.95, logprobs=1)
    prompt = model.encode("The history of the lighthouse begins")
    crowd = bench(max_batch=3)
    before = [crowd.submit(model.encode(text), _greedy(4 + i)) for i, text in enumerate(PROMPTS)]
    crowded = crowd.submit(prompt, sampling)
    after = crowd.submit(model.encode("Later comes"), _greedy(3))
    crowd.run(crowded, after, *before)
    quiet = bench()
    alone = quiet.submit(prompt, sampling)
    quiet.run(alone)
    assert crowded.text == alone.text
    assert crowded.logprobs == alone.logprobs


def test_choices_of_a_seed_differ_and_the_prompt_is_read_once(
    bench: MakeBench, model: LanguageModel
) -> None:
    loop = bench()
    prompt = model.encode("A list of colours that I like very much: ")
    sampling = Sampling(max_tokens=8, seed=3, logprobs=1)
    runs = [loop.submit(prompt, sampling, choice=choice) for choice in range(3)]
    loop.run(*runs)
    assert len({run.text for run in runs}) == 3
    assert loop.value("azeotrope_engine_tokens_total", kind="prompt") == len(prompt) + 2
    other = bench()
    again = other.submit(list(prompt), sampling, choice=2)
    other.run(again)
    assert again.text == runs[2].text
    assert again.logprobs == runs[2].logprobs


def test_a_prompt_longer_than_one_piece_is_read_in_pieces_and_gives_the_same_answer(
    bench: MakeBench, model: LanguageModel
) -> None:
    prompt = (model.encode("All work and no play makes Jack a dull boy. ") * 60)[:600]
    loop = bench()
    short = loop.submit(model.encode("One two three"), _greedy(6))
    long = loop.submit(prompt, _greedy(4))
    loop.batcher.step()
    assert short.events
    assert not long.events
    loop.run(short, long)
    made = model.network.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt)),
        max_new_tokens=4,
        do_sample=False,
    )
    assert long.text == model.decode(made[0, len(prompt) :].tolist())


def test_a_cancelled_sequence_gives_its_row_to_the_next_and_the_others_are_unharmed(
    bench: MakeBench, model: LanguageModel
) -> None:
    loop = bench(max_batch=2)
    leaving = loop.submit(model.encode(PROMPTS[0]), _greedy(200))
    staying = loop.submit(model.encode(PROMPTS[1]), _greedy(12))
    waiting = loop.submit(model.encode(PROMPTS[2]), _greedy(5))
    loop.batcher.step()
    assert loop.batcher.running == 2
    assert not waiting.events
    leaving.task.cancel()
    heard = len(leaving.events)
    loop.batcher.step()
    assert waiting.events
    loop.run(staying, waiting)
    assert len(leaving.events) == heard
    reference = bench()
    alone = reference.submit(model.encode(PROMPTS[1]), _greedy(12))
    reference.run(alone)
    assert staying.text == alone.text


def test_a_sequence_cancelled_while_it_waits_is_never_run(
    bench: MakeBench, model: LanguageModel
) -> None:
    loop = bench(max_batch=1)
    first = loop.submit(model.encode(PROMPTS[0]), _greedy(4))
    second = loop.submit(model.encode(PROMPTS[1]), _greedy(4))
    loop.batcher.step()
    second.task.cancel()
    loop.run(first)
    loop.batcher.step()
    assert not second.events
    assert loop.batcher.running == 0


def test_a_stop_string_across_tokens_ends_the_answer_before_it(
    bench: MakeBench, model: LanguageModel
) -> None:
    whole = bench()
    free = whole.submit(model.encode("The sea is"), _greedy(20))
    whole.run(free)
    text = free.text
    middle = len(text) // 2
    stop = text[middle - 3 : middle + 4]  # begins and ends within words
    loop = bench()
    stopped = loop.submit(
        model.encode("The sea is"), Sampling(max_tokens=20, temperature=0, stop=("§§", stop))
    )
    loop.run(stopped)
    assert stopped.text == text[: text.index(stop)]
    assert stopped.finish == "stop"


def test_an_end_token_stops_unless_it_is_to_be_ignored(
    bench: MakeBench, model: LanguageModel
) -> None:
    prompt = model.encode_chat([{"role": "user", "content": "Reply with the word yes."}])
    loop = bench()
    ending = loop.submit(prompt, _greedy(60))
    going_on = loop.submit(prompt, Sampling(max_tokens=60, temperature=0, ignore_end=True))
    loop.run(ending, going_on)
    assert ending.finish == "stop"
    assert going_on.finish == "length"
    assert going_on.text.startswith(ending.text)


def test_a_request_that_finds_no_room_in_the_queue_is_refused_whole(
    bench: MakeBench, model: LanguageModel
) -> None:
    loop = bench(max_batch=1, max_waiting=2)
    first = loop.submit(model.encode("a"), _greedy(2))
    second = loop.submit(model.encode("b"), _greedy(2))
    with pytest.raises(QueueFullError):
        loop.submit(model.encode("c"), _greedy(2))
    loop.run(first, second)


def test_a_step_that_fails_ends_its_sequences_and_the_next_request_is_served(
    bench: MakeBench, model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = bench()
    forward = type(model.network).forward

    def out_of_memory(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(type(model.network), "forward", out_of_memory)
    failing = loop.submit(model.encode("The sea"), _greedy(3))
    loop.batcher.start()
    try:
        assert failing.done.wait(60)
        assert isinstance(failing.events[0], Failure)
        monkeypatch.setattr(type(model.network), "forward", forward)
        good = loop.submit(model.encode("The sea"), _greedy(3))
        assert good.done.wait(60)
        assert good.finish == "length"
    finally:
        loop.batcher.stop()
