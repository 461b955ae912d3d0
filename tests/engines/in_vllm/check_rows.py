"""Rows of the plugin under vLLM's own batch: adding, removing, moving, preempting, resuming."""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
import torch
from conftest import NewProcessor
from marks import Keys
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessors, MoveDirectionality
from vllm.v1.worker.gpu_input_batch import CachedRequestState, InputBatch

from watermark.embed.vllm import AzeotropeLogitsProcessor

ROWS = 8
VOCABULARY = 300
# Few different tokens, so that contexts repeat and the cap on repeats has something to do.
TOKENS = range(100, 110)


@dataclass
class Request:
    """What the oracle knows of a request: its ticket, and its tokens so far."""

    name: str
    state: str
    account: int
    ticket: str | None
    cached: CachedRequestState
    outputs: list[int] = field(default_factory=list)


def new_batch(processor: AzeotropeLogitsProcessor) -> InputBatch:
    return InputBatch(
        max_num_reqs=ROWS,
        max_model_len=512,
        max_num_batched_tokens=512,
        device=torch.device("cpu"),
        vocab_size=VOCABULARY,
        block_sizes=[32],
        max_num_blocks_per_req=[16],
        logitsprocs=LogitsProcessors([processor]),
        logitsprocs_need_output_token_ids=True,
    )


def new_request(number: int, keys: Keys, rng: random.Random) -> Request:
    account = rng.randrange(1, 5)
    state, ticket = rng.choice(
        [
            ("valid", keys.ticket(account)),
            ("valid", keys.ticket(account)),
            ("absent", None),
            ("expired", keys.ticket(account, seconds=-10)),
            ("forged", keys.ticket(account, forged=True)),
            ("malformed", "?"),
        ]
    )
    params = SamplingParams(
        temperature=rng.choice([0.0, 1.0]),
        extra_args=None if ticket is None else {"azeotrope": ticket},
    )
    cached = CachedRequestState(
        req_id=f"request {number}",
        # Tokens that would be contexts, if the prompt were looked at.
        prompt_token_ids=[rng.choice(TOKENS) for _ in range(6)],
        mm_features=[],
        sampling_params=params,
        generator=None,
        block_ids=([],),
        num_computed_tokens=0,
        output_token_ids=[],
    )
    return Request(cached.req_id, state, account, ticket, cached)


def biased(processor: AzeotropeLogitsProcessor, request: Request, width: int) -> torch.Tensor:
    """The bias that a request's next token must get, by a marker's row that saw nothing before."""
    marker = processor.marker
    counted = Counter(marker.ticket_states)
    row = marker.admit(request.ticket)
    marker.ticket_states = counted
    return marker.apply(torch.zeros(1, width), [row], [list(request.outputs)])[0]


def step(
    batch: InputBatch, processor: AzeotropeLogitsProcessor, live: dict[str, Request]
) -> torch.Tensor:
    """Hand the batch's changes to the plugin, as the runner does, and check each row."""
    batch.refresh_metadata()
    # Wider than the vocabulary at times: models pad theirs.
    width = VOCABULARY + random.Random(batch.num_reqs).choice([0, 84])
    logits = processor.apply(torch.zeros(batch.num_reqs, width))
    assert set(batch.req_ids) == set(live)
    for index, name in enumerate(batch.req_ids):
        torch.testing.assert_close(logits[index], biased(processor, live[name], width))
    return logits


@pytest.mark.parametrize("seed", range(12))
def check_rows_follow_any_sequence_of_batch_updates(
    new_processor: NewProcessor, keys: Keys, seed: int
) -> None:
    rng = random.Random(seed)
    processor = new_processor()
    batch = new_batch(processor)
    live: dict[str, Request] = {}
    waiting: list[Request] = []
    seen: list[Request] = []
    preemptions = marked = 0
    for _ in range(150):
        for name in rng.sample(sorted(live), rng.randint(0, min(3, len(live)))):
            batch.remove_request(name)
            request = live.pop(name)
            if rng.random() < 0.4:
                waiting.append(request)
                preemptions += 1
        while len(live) < ROWS and rng.random() < 0.7:
            if waiting:
                # vLLM resumes whom it preempted before it admits anyone new.
                request = waiting.pop()
                if request.outputs and rng.random() < 0.5:
                    # As under asynchronous scheduling: the same tokens in another list.
                    request.outputs = list(request.outputs)
                    request.cached.output_token_ids = request.outputs
            else:
                request = new_request(len(seen), keys, rng)
                request.cached.output_token_ids = request.outputs
                seen.append(request)
            batch.add_request(request.cached)
            live[request.name] = request
        batch.condense()
        if len(live) > 1 and rng.random() < 0.4:
            batch.swap_states(*rng.sample(range(len(live)), 2))
        marked += int(step(batch, processor, live).any(dim=1).sum())
        for request in live.values():
            # A row in the middle of its prefill is in the batch, but gets no token.
            if rng.random() < 0.8:
                request.outputs.append(rng.choice(TOKENS))
    assert preemptions > 20
    assert marked > 200
    counted = {state: n for state, n in processor.marker.ticket_states.items() if n}
    assert counted == Counter(request.state for request in seen)


@pytest.mark.parametrize("seed", range(20))
def check_rows_follow_updates_that_overwrite_as_the_interface_allows(
    new_processor: NewProcessor, seed: int
) -> None:
    """Stranger updates than vLLM's batch makes, against the interface's words as a dictionary."""
    rng, processor = random.Random(seed), new_processor()
    oracle: dict[int, list[int]] = {}
    for _ in range(60):
        removed = rng.sample(sorted(oracle), rng.randint(0, len(oracle) // 2))
        for index in removed:
            del oracle[index]
        added = []
        for index in rng.sample(range(ROWS), rng.randint(1, 4)):
            oracle[index] = []
            added.append((index, SamplingParams(), None, oracle[index]))
        moved = []
        for _ in range(rng.randint(0, 4)):
            if len(oracle) > 1:
                source, target = rng.sample(sorted(oracle), 2)
                moved.append((source, target, rng.choice(list(MoveDirectionality))))
                move(oracle, *moved[-1])
        while sorted(oracle) != list(range(len(oracle))):
            hole = next(index for index in range(ROWS) if index not in oracle)
            moved.append((max(oracle), hole, MoveDirectionality.UNIDIRECTIONAL))
            move(oracle, *moved[-1])
        processor.update_state(BatchUpdate(len(oracle), removed, added, moved))
        assert len(processor._outputs) == len(oracle)
        assert all(processor._outputs[index] is outputs for index, outputs in oracle.items())


def move(
    oracle: dict[int, list[int]], source: int, target: int, direction: MoveDirectionality
) -> None:
    there = oracle.pop(target, None)
    oracle[target] = oracle.pop(source)
    if direction == MoveDirectionality.SWAP and there is not None:
        oracle[source] = there


def check_a_resumed_request_keeps_its_mark_though_its_ticket_has_expired(
    new_processor: NewProcessor, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor, rng = new_processor(), random.Random(1)
    batch = new_batch(processor)
    request = new_request(0, keys, rng)
    request.ticket = keys.ticket(3, seconds=30)
    assert request.cached.sampling_params is not None
    request.cached.sampling_params.extra_args = {"azeotrope": request.ticket}
    request.cached.output_token_ids = request.outputs
    batch.add_request(request.cached)
    batch.refresh_metadata()
    request.outputs += [TOKENS[i % 10] for i in range(8)]
    batch.remove_request(request.name)
    batch.condense()
    batch.refresh_metadata()
    monkeypatch.setattr("time.time", lambda: 4e9)
    batch.add_request(request.cached)
    batch.refresh_metadata()
    assert processor.marker.ticket_states == {"valid": 1}
    (row,) = processor._marks
    assert row.keys[1] is not None


def check_sequences_that_share_their_parameters_are_kept_apart(
    new_processor: NewProcessor, keys: Keys
) -> None:
    """As when vLLM runs in the caller's process and one request asks for several answers."""
    processor, rng = new_processor(), random.Random(5)
    batch = new_batch(processor)
    pair = [new_request(number, keys, rng) for number in range(2)]
    pair[1].cached.sampling_params = pair[0].cached.sampling_params
    pair[1].ticket = pair[0].ticket

    def run(request: Request) -> None:
        request.cached.output_token_ids = request.outputs
        batch.add_request(request.cached)
        step(batch, processor, {request.name: request})

    def leave(request: Request) -> None:
        batch.remove_request(request.name)
        batch.condense()
        batch.refresh_metadata()

    first, second = pair
    run(first)
    first.outputs += [TOKENS[0], TOKENS[1], TOKENS[2], TOKENS[3]]
    leave(first)  # preempted
    run(second)
    assert sum(processor.marker.ticket_states.values()) == 2
    # So many of one context that it is biased no more, in this sequence.
    second.outputs += [TOKENS[2], TOKENS[3]] * 10
    step(batch, processor, {second.name: second})
    leave(second)  # finished
    run(first)
    assert sum(processor.marker.ticket_states.values()) == 2


def check_no_context_holds_a_token_of_the_prompt(new_processor: NewProcessor, keys: Keys) -> None:
    processor, rng = new_processor(), random.Random(2)
    batch = new_batch(processor)
    request = new_request(0, keys, rng)
    request.cached.output_token_ids = request.outputs
    batch.add_request(request.cached)
    batch.refresh_metadata()
    width = keys.manifest.current.parameters.selector_width
    for _ in range(width):
        assert not processor.apply(torch.zeros(1, VOCABULARY)).any()
        request.outputs.append(TOKENS[0])


def check_placeholders_of_async_scheduling_are_replaced_before_the_mark(
    new_processor: NewProcessor, keys: Keys
) -> None:
    processor, rng = new_processor(), random.Random(3)
    batch = new_batch(processor)
    live = {}
    for number in range(4):
        request = new_request(number, keys, rng)
        request.outputs += [rng.choice(TOKENS) for _ in range(10)]
        request.cached.output_token_ids = [*request.outputs, -1]
        request.outputs.append(rng.choice(TOKENS))
        batch.add_request(request.cached)
        live[request.name] = request
    batch.refresh_metadata()
    batch.prev_req_id_to_index = {name: i for i, name in enumerate(batch.req_ids)}
    sampled = torch.tensor([[live[name].outputs[-1]] for name in batch.req_ids])
    batch.set_async_sampled_token_ids(sampled, torch.Event("cpu"))

    untouched = processor.apply(torch.zeros(4, VOCABULARY))
    assert not untouched.any()
    assert processor._unknown_contexts == 4

    batch.async_copy_ready_event = _Ready()  # type: ignore[assignment]
    batch.update_async_output_token_ids()
    logits = step(batch, processor, live)
    assert logits.any()
    assert processor._unknown_contexts == 4


class _Ready:
    """The event of a copy that is done: the CPU has no stream to wait for."""

    def synchronize(self) -> None: ...


def check_a_batch_of_another_size_is_an_error_not_a_wrong_mark(
    new_processor: NewProcessor, keys: Keys
) -> None:
    processor, rng = new_processor(), random.Random(4)
    batch = new_batch(processor)
    batch.add_request(new_request(0, keys, rng).cached)
    batch.refresh_metadata()
    with pytest.raises(RuntimeError, match="samples 3 rows, but 1 requests"):
        processor.apply(torch.zeros(3, VOCABULARY))


def check_greedy_requests_reach_the_plugin(new_processor: NewProcessor) -> None:
    processors = LogitsProcessors([new_processor()])
    assert len(processors.non_argmax_invariant) == 1
