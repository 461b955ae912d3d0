"""Marks through the whole engine: each answer carries its own account's and call's, no other's."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from engine_bench import NAME, Bench, Keys, post, served

from proxy.engine.model import LanguageModel
from proxy.engine.sampling import Sampling
from proxy.engine.server import EngineServer
from watermark.detect.pvalues import log10_tail
from watermark.embed.marker import Marker

ACCOUNTS = {101: (101 << 40) + 1, 202: (202 << 40) + 2}
PROMPT = "Write a long story about a lighthouse keeper who finds a map."


@pytest.fixture(scope="module")
def marker(keys: Keys) -> Marker:
    return keys.marker()


@pytest.fixture(scope="module")
def marked(model: LanguageModel, marker: Marker) -> Iterator[str]:
    with served(EngineServer(model, NAME, marker, max_batch=8)) as url:
        yield url


def _ask(url: str, ticket: str | None, seed: int, tokens: int) -> str:
    body: dict[str, Any] = {
        "model": NAME,
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": tokens,
        "seed": seed,
        "ignore_eos": True,
    }
    if ticket is not None:
        body["vllm_xargs"] = {"azeotrope": ticket}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request) as response:
        answer = json.loads(response.read())["choices"][0]["message"]["content"]
    return str(answer)


def _log10_p(keys: Keys, tokens: list[int], channel: str, account: int, call: int) -> float:
    found = keys.count(tokens, channel, account, call)
    return log10_tail(found.hits, found.windows, keys.manifest.gamma)


def test_answers_of_one_batch_carry_their_own_account_and_call_and_no_other(
    marked: str, keys: Keys, model: LanguageModel
) -> None:
    answers: dict[int, str] = {}

    def ask(account: int, call: int) -> None:
        answers[account] = _ask(marked, keys.ticket(account, call), account, tokens=120)

    threads = [threading.Thread(target=ask, args=entry) for entry in ACCOUNTS.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for account, text in answers.items():
        tokens = model.encode(text)
        other = next(number for number in ACCOUNTS if number != account)
        own = {"account": account, "call": ACCOUNTS[account]}
        wrong = {"account": other, "call": ACCOUNTS[other]}
        for channel in ("site", "account", "call"):
            assert _log10_p(keys, tokens, channel, **own) < -6
        for channel in ("account", "call"):
            assert _log10_p(keys, tokens, channel, **wrong) > -3


@pytest.mark.parametrize(
    ("path", "prompt", "limit"),
    [("/v1/responses", "input", "max_output_tokens"), ("/v1/messages", "messages", "max_tokens")],
)
def test_other_dialects_mark_like_chat(
    marked: str, keys: Keys, path: str, prompt: str, limit: str
) -> None:
    ticket = keys.ticket(101, 1)
    body = {
        "model": NAME,
        prompt: [{"role": "user", "content": PROMPT}],
        limit: 20,
        "seed": 3,
        "ignore_eos": True,
        "vllm_xargs": {"azeotrope": ticket},
    }
    status, text = post(marked, path, body)
    answer = json.loads(text)
    content = (answer["output"][0] if "output" in answer else answer)["content"]
    assert (status, content[0]["text"]) == (200, _ask(marked, ticket, seed=3, tokens=20))
    assert content[0]["text"] != _ask(marked, None, seed=3, tokens=20)


@pytest.mark.parametrize("ticket", ["absent", "expired", "forged"])
def test_an_answer_without_a_good_ticket_still_carries_the_site_mark(
    marked: str, keys: Keys, model: LanguageModel, marker: Marker, ticket: str
) -> None:
    good = keys.ticket(101, 1)
    sent = {
        "absent": None,
        "expired": keys.ticket(101, 1, seconds=-60),
        "forged": good[:-8] + ("AAAAAAAA" if not good.endswith("AAAAAAAA") else "BBBBBBBB"),
    }[ticket]
    before = marker.ticket_states[ticket]
    tokens = model.encode(_ask(marked, sent, seed=9, tokens=120))
    assert marker.ticket_states[ticket] == before + 1
    assert _log10_p(keys, tokens, "site", 101, 1) < -5
    assert _log10_p(keys, tokens, "account", 101, 1) > -3
    with urllib.request.urlopen(f"{marked}/metrics") as response:
        assert f'azeotrope_engine_tickets_total{{state="{ticket}"}}' in response.read().decode()


def test_greedy_answers_are_marked_too(
    bench: Any, keys: Keys, model: LanguageModel, marker: Marker
) -> None:
    loop: Bench = bench(marker=marker)
    sampling = Sampling(max_tokens=120, temperature=0, ignore_end=True)
    run = loop.submit(model.encode(PROMPT), sampling, ticket=keys.ticket(101, 1))
    loop.run(run)
    assert _log10_p(keys, model.encode(run.text), "site", 101, 1) < -5


def test_logprobs_are_those_before_the_mark(
    bench: Any, keys: Keys, model: LanguageModel, marker: Marker
) -> None:
    prompt = model.encode(PROMPT)
    sampling = Sampling(max_tokens=8, seed=4, logprobs=1)
    marked_loop: Bench = bench(marker=marker)
    shown = marked_loop.submit(prompt, sampling, ticket=keys.ticket(101, 1))
    quiet = marked_loop.submit(prompt, replace(sampling, logprobs=None), ticket=keys.ticket(101, 1))
    marked_loop.run(shown, quiet)
    assert shown.text == quiet.text  # asking for log-probabilities changes nothing
    tokens = [entry.token for entry in shown.logprobs]
    plain: Bench = bench()
    for place, entry in enumerate(shown.logprobs):
        one = plain.submit(prompt + tokens[:place], replace(sampling, max_tokens=1))
        plain.run(one)
        raw = one.logprobs[0].top[0]
        assert entry.top[0][0] == raw[0]
        assert entry.top[0][1] == pytest.approx(raw[1], abs=1e-3)


def test_without_a_marker_nothing_is_marked(bench: Any, keys: Keys, model: LanguageModel) -> None:
    loop: Bench = bench()
    sampling = Sampling(max_tokens=60, seed=1, ignore_end=True)
    run = loop.submit(model.encode(PROMPT), sampling, ticket=keys.ticket(101, 1))
    loop.run(run)
    assert _log10_p(keys, model.encode(run.text), "site", 101, 1) > -3
