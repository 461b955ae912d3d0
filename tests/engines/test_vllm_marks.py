"""The plugin in the real vLLM on the CPU: who gets which mark, and what is counted."""

import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from calls import Answer, Call, answers
from marks import Keys
from places import HERE
from server_process import Server, StartVllm

from watermark.detect.tokenizer import TextTokenizer

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]

ACCOUNTS = range(1, 9)
PREFILL_BUDGET = 256
# So few that 32 requests do not fit and some must wait for others, preempted.
KV_BLOCKS = 110
# Wide apart on both sides: an account's own answers come out near 1e-12, and among the 160
# comparisons with somebody else's the least is expected near 1e-2.
OWN, STRANGE = 1e-7, 1e-6

SUBJECTS = (
    "a fox that learns to read",
    "the harbour of a small town in winter",
    "how bread is made in the mountains",
    "two brothers who build a boat",
    "a long journey by night train",
    "the garden behind the old school",
    "why people keep bees",
    "a lighthouse keeper and her dog",
)


@pytest.fixture(scope="module", params=["synchronous", "asynchronous"])
def engine(request: pytest.FixtureRequest, start_vllm: StartVllm, keys: Keys) -> Iterator[Server]:
    """vLLM with a small KV cache and prefill in pieces, with either scheduler."""
    environment, scheduling = keys.environment(), "--no-async-scheduling"
    if request.param == "asynchronous":
        environment |= {"PYTHONPATH": str(HERE / "async_on_cpu")}
        scheduling = "--async-scheduling"
    options = [
        *("--block-size", "32", "--num-gpu-blocks-override", str(KV_BLOCKS)),
        *("--max-num-batched-tokens", str(PREFILL_BUDGET), "--max-num-seqs", "32"),
        *("--shutdown-timeout", "30", scheduling),
    ]
    with start_vllm(environment, *options) as server:
        yield server
        # The placeholders of asynchronous scheduling were there, and only there.
        met = "the batch met a placeholder" in server.log.read_text()
        assert met == (request.param == "asynchronous")


@dataclass(frozen=True)
class Load:
    """32 calls made at once, their answers, and the counters before and after."""

    answers: list[Answer]
    before: dict[str, int]
    after: dict[str, int]

    def of(self, state: str) -> list[Answer]:
        return [answer for answer in self.answers if answer.call.ticket_state == state]

    def complete(self) -> list[Answer]:
        return [answer for answer in self.of("valid") if answer.call.cancel_after is None]


@pytest.fixture(scope="module")
def load(engine: Server, keys: Keys) -> Load:
    calls = concurrent_calls(keys)
    before = requests(engine)
    made = answers(engine.url, calls)
    return Load(made, before, settled(lambda: requests(engine), sum(before.values()) + len(calls)))


def concurrent_calls(keys: Keys) -> list[Call]:
    """20 complete calls of eight accounts, 4 hung up, 8 without a good ticket."""

    def story(i: int) -> str:
        return f"Tell me in detail about {SUBJECTS[i % len(SUBJECTS)]}, part {i}."

    def valid(i: int, prompt: str, length: int, cancel_after: int | None = None) -> Call:
        account = ACCOUNTS[i % len(ACCOUNTS)]
        return Call(prompt, length, "valid", account, keys.ticket(account), cancel_after)

    # Longer than the budget of a step: their prefill goes over several, beside others' decoding.
    long_prompt = "Continue this list: " + ", ".join(str(n) for n in range(1000, 1100)) + ". "
    account = ACCOUNTS[0]
    bad = [
        *[("absent", None)] * 3,
        *[("expired", keys.ticket(account, seconds=-60))] * 2,
        *[("forged", keys.ticket(account, forged=True))] * 2,
        ("malformed", "not a ticket"),
    ]
    return [
        *(valid(i, story(i), 150 + 5 * i) for i in range(16)),
        *(valid(i, long_prompt + story(i), 150 + 5 * i) for i in range(16, 20)),
        *(valid(i, story(i), 200, cancel_after=30 + 10 * (i - 20)) for i in range(20, 24)),
        *(Call(story(i), 160, state, 0, ticket) for i, (state, ticket) in enumerate(bad)),
    ]


def requests(engine: Server) -> dict[str, int]:
    return engine.counters("azeotrope_engine_requests_total", "ticket")


def settled(read: Callable[[], dict[str, int]], total: int) -> dict[str, int]:
    """Read counters until they have reached `total`; the plugin writes them every second."""
    deadline = time.monotonic() + 20
    while sum((counts := read()).values()) < total and time.monotonic() < deadline:
        time.sleep(0.2)
    return counts


def post(engine: Server, path: str, body: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps({"model": "smol"} | body).encode()
    request = urllib.request.Request(engine.url + path, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=240) as response:
        return dict(json.loads(response.read()))


def joined(made: list[Answer]) -> list[int]:
    """Tokens of several answers as of one; the windows across a joint are a few fair coins."""
    return [token for answer in made for token in answer.tokens]


def test_each_answer_carries_its_own_accounts_mark(load: Load, keys: Keys) -> None:
    for answer in load.complete():
        assert len(answer.tokens) == answer.call.max_tokens
        assert keys.p_value(answer.tokens, "account", answer.call.account) < OWN


def test_no_answer_carries_another_accounts_mark(load: Load, keys: Keys) -> None:
    for answer in load.answers:
        for account in ACCOUNTS:
            if account != answer.call.account:
                assert keys.p_value(answer.tokens, "account", account) > STRANGE


def test_each_call_is_told_from_the_others(load: Load, keys: Keys) -> None:
    for account in ACCOUNTS:
        # An answer has few windows of the call channel: those of an account share a number.
        tokens = joined([a for a in load.complete() if a.call.account == account])
        assert keys.p_value(tokens, "call", account) < 1e-5
        assert keys.p_value(tokens, "call", account + 1000) > STRANGE


def test_every_answer_carries_the_site_mark_whatever_its_ticket(load: Load, keys: Keys) -> None:
    for answer in load.answers:
        if answer.call.cancel_after is None:
            assert keys.p_value(answer.tokens, "site") < 1e-9


def test_what_was_sent_before_the_client_hung_up_is_marked(load: Load, keys: Keys) -> None:
    cancelled = [answer for answer in load.answers if answer.call.cancel_after is not None]
    assert len(cancelled) == 4
    for answer in cancelled:
        assert len(answer.tokens) < answer.call.max_tokens
        assert keys.p_value(answer.tokens, "site") < 1e-3


def test_a_refused_ticket_names_no_account(load: Load, keys: Keys) -> None:
    for state in ("expired", "forged"):
        for answer in load.of(state):
            assert keys.p_value(answer.tokens, "account", ACCOUNTS[0]) > STRANGE


def test_requests_are_counted_exactly_by_ticket_state(load: Load) -> None:
    sent = Counter(answer.call.ticket_state for answer in load.answers)
    counted = {state: load.after[state] - load.before[state] for state in load.after}
    assert counted == {**dict.fromkeys(load.after, 0), **sent}


def test_requests_were_really_preempted_and_resumed(load: Load, engine: Server) -> None:
    assert load.answers
    preempted = engine.metric("vllm:num_preemptions_total")
    resumed = engine.counters("azeotrope_engine_resumed_total")[""]
    assert preempted > 0
    # A preempted request may have been hung up before it was resumed.
    assert 0 < resumed <= preempted


def test_prompts_were_really_prefilled_in_pieces(load: Load, engine: Server) -> None:
    long = [answer for answer in load.complete() if "Continue this list" in answer.call.prompt]
    for answer in long[:1]:
        body = answer.call.body() | {"stream": False, "max_tokens": 1, "min_tokens": 1}
        usage = post(engine, "/v1/chat/completions", body)["usage"]
        assert usage["prompt_tokens"] > PREFILL_BUDGET


def test_no_row_was_left_unmarked_for_an_unknown_context(load: Load, engine: Server) -> None:
    assert load.answers
    assert engine.counters("azeotrope_engine_unknown_contexts_total") == {"": 0}


def test_refused_tickets_are_reported_without_showing_them(load: Load, engine: Server) -> None:
    log = engine.log.read_text()
    assert "tickets refused so far" in log
    for answer in load.answers:
        assert answer.call.ticket is None or answer.call.ticket not in log


def test_greedy_chat_completions_are_marked(engine: Server, keys: Keys) -> None:
    calls = [
        Call(f"Tell me about {subject}.", 120, "valid", 3, keys.ticket(3), temperature=0.0)
        for subject in SUBJECTS[:4]
    ]
    tokens = joined(answers(engine.url, calls))
    assert keys.p_value(tokens, "site") < 1e-9
    assert keys.p_value(tokens, "account", 3) < OWN
    assert keys.p_value(tokens, "account", 4) > STRANGE


def test_greedy_completions_are_marked(engine: Server, keys: Keys) -> None:
    body = {
        "prompt": [f"This is the story of {subject}." for subject in SUBJECTS[:4]],
        "max_tokens": 120,
        "min_tokens": 120,
        "temperature": 0,
        "return_token_ids": True,
        "vllm_xargs": {"azeotrope": keys.ticket(3)},
    }
    choices = post(engine, "/v1/completions", body)["choices"]
    tokens = [token for choice in choices for token in choice["token_ids"]]
    assert keys.p_value(tokens, "site") < 1e-9
    assert keys.p_value(tokens, "account", 3) < OWN
    assert keys.p_value(tokens, "account", 4) > STRANGE


def test_anthropic_messages_are_marked(engine: Server, keys: Keys, model: Path) -> None:
    def ask(subject: str) -> str:
        body = {
            "max_tokens": 160,
            "messages": [{"role": "user", "content": f"Write at length about {subject}."}],
            "vllm_xargs": {"azeotrope": keys.ticket(5)},
        }
        return str(post(engine, "/v1/messages", body)["content"][0]["text"])

    with ThreadPoolExecutor() as pool:
        texts = list(pool.map(ask, SUBJECTS[:4]))
    encoder = TextTokenizer(model)
    tokens = [token for text in texts for token in encoder.encode(text).ids]
    assert keys.p_value(tokens, "site") < 1e-9
    assert keys.p_value(tokens, "account", 5) < OWN


def test_returned_logprobs_are_those_of_the_unmarked_model(engine: Server, keys: Keys) -> None:
    asked = {
        "temperature": 0,
        "logprobs": 10,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }
    prompt = {"prompt": "The old bridge over the river", "max_tokens": 24, "min_tokens": 24}
    marked = post(
        engine, "/v1/completions", asked | prompt | {"vllm_xargs": {"azeotrope": keys.ticket(2)}}
    )["choices"][0]
    shown = marked["logprobs"]["top_logprobs"]
    # As a prompt the same tokens are no context: the next token's logits are bare.
    for length in (0, 8, 16, 23):
        prefix = marked["prompt_token_ids"] + marked["token_ids"][:length]
        bare = post(engine, "/v1/completions", asked | {"prompt": prefix, "max_tokens": 1})
        bare_top = bare["choices"][0]["logprobs"]["top_logprobs"][0]
        common = bare_top.keys() & shown[length].keys()
        assert len(common) >= 10
        assert all(abs(bare_top[t] - shown[length][t]) < 0.01 for t in common)
    # The mark did act: greedy picks would otherwise be the most likely tokens throughout.
    picked = marked["logprobs"]["tokens"]
    assert any(max(top, key=top.get) != token for top, token in zip(shown, picked, strict=True))


def test_beam_search_which_cannot_be_marked_is_refused(engine: Server) -> None:
    body = {"prompt": "Once", "use_beam_search": True, "n": 2, "temperature": 0, "max_tokens": 8}
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(engine, "/v1/completions", body)
    assert refused.value.code == 400
    assert b"cannot be marked" in refused.value.read()


def test_last_counts_are_written_when_the_engine_stops(engine: Server, keys: Keys) -> None:
    before = requests(engine)
    body = {"prompt": "Hello", "max_tokens": 2, "vllm_xargs": {"azeotrope": keys.ticket(1)}}
    post(engine, "/v1/completions", body)
    engine.stop()
    assert requests(engine)["valid"] == before["valid"] + 1
