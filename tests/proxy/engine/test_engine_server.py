"""OpenAI's protocol as its own client sees it, and as raw bytes."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import torch
from engine_bench import NAME, post, typed_events

from proxy.engine.model import LanguageModel
from proxy.engine.server import MAX_BODY, EngineServer

HELLO: Any = [{"role": "user", "content": "Say hello to the crew of a ship."}]


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


def _post(url: str, path: str, body: bytes | dict[str, Any]) -> tuple[int, dict[str, Any]]:
    status, text = post(url, path, body)
    return status, json.loads(text)


def _events(url: str, path: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a stream, which must be exact: data lines, empty lines, [DONE] at the end."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("POST", path, json.dumps({**body, "stream": True, "model": NAME}))
    response = connection.getresponse()
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    blocks = response.read().decode().split("\n\n")
    connection.close()
    assert blocks[-2:] == ["data: [DONE]", ""]
    assert all(block.startswith("data: {") and "\n" not in block for block in blocks[:-2])
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]


def test_a_streamed_answer_is_the_whole_answer_of_the_same_seed(client: openai.OpenAI) -> None:
    arguments: Any = {"model": NAME, "messages": HELLO, "max_tokens": 20, "seed": 5}
    whole = client.chat.completions.create(**arguments)
    chunks = list(
        client.chat.completions.create(
            **arguments, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert len(text) > 20
    assert chunks[-1].usage == whole.usage


def test_a_chat_stream_names_the_role_first_and_the_end_last(url: str) -> None:
    events = _events(url, "/v1/chat/completions", {"messages": HELLO, "max_tokens": 4})
    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    assert len({event["id"] for event in events}) == 1
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert events[-1]["choices"][0]["delta"] == {}
    assert events[-1]["choices"][0]["finish_reason"] == "length"
    assert all(event["choices"][0]["finish_reason"] is None for event in events[:-1])
    assert not any("usage" in event for event in events)


def test_usage_is_null_in_every_chunk_but_the_last(url: str, model: LanguageModel) -> None:
    body = {"prompt": "The sea", "max_tokens": 4, "stream_options": {"include_usage": True}}
    events = _events(url, "/v1/completions", body)
    assert [event["usage"] for event in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1]["choices"] == []
    read = len(model.encode("The sea"))
    assert events[-1]["usage"] == {
        "prompt_tokens": read,
        "completion_tokens": 4,
        "total_tokens": read + 4,
    }


def test_completions_answer_each_prompt_n_times_in_order(
    client: openai.OpenAI, model: LanguageModel
) -> None:
    prompts = ["Red, green and", "Monday, Tuesday and"]
    both = client.completions.create(model=NAME, prompt=prompts, n=2, max_tokens=5, temperature=0)
    assert [choice.index for choice in both.choices] == [0, 1, 2, 3]
    alone = [
        client.completions.create(
            model=NAME, prompt=model.encode(prompt), max_tokens=5, temperature=0
        )
        for prompt in prompts
    ]
    first, second = (answer.choices[0].text for answer in alone)
    assert [choice.text for choice in both.choices] == [first, first, second, second]
    assert both.usage is not None
    assert both.usage.prompt_tokens == sum(len(model.encode(prompt)) for prompt in prompts)
    assert both.usage.completion_tokens == 20


def test_several_streamed_choices_each_come_whole(url: str) -> None:
    body = {"messages": HELLO, "max_tokens": 5, "n": 3, "seed": 1}
    status, whole = _post(url, "/v1/chat/completions", {**body, "model": NAME})
    assert status == 200
    texts = ["", "", ""]
    for event in _events(url, "/v1/chat/completions", body):
        choice = event["choices"][0]
        texts[choice["index"]] += choice["delta"].get("content", "")
    assert texts == [choice["message"]["content"] for choice in whole["choices"]]
    assert len(set(texts)) == 3


def test_chat_logprobs_are_those_of_the_model(client: openai.OpenAI, model: LanguageModel) -> None:
    answer = client.chat.completions.create(
        model=NAME, messages=HELLO, max_tokens=6, seed=2, logprobs=True, top_logprobs=3
    )
    shown = answer.choices[0].logprobs
    assert shown is not None
    assert shown.content is not None
    assert answer.usage is not None
    assert len(shown.content) == answer.usage.completion_tokens == 6
    prompt = model.encode_chat(HELLO)
    text = b"".join(bytes(entry.bytes or ()) for entry in shown.content)
    assert text.decode() == answer.choices[0].message.content
    made = [model.encode(entry.token)[0] for entry in shown.content]
    with torch.inference_mode():
        logits = model.network(torch.tensor([prompt + made])).logits[0, len(prompt) - 1 : -1]
    table = logits.log_softmax(-1)
    for entry, token, line in zip(shown.content, made, table, strict=True):
        assert entry.logprob == pytest.approx(line[token].item(), abs=1e-3)
        best = line.topk(3).values.tolist()
        assert [item.logprob for item in entry.top_logprobs] == pytest.approx(best, abs=1e-3)


def test_completion_logprobs_have_offsets_into_the_text(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=NAME, prompt="One, two,", max_tokens=5, logprobs=2)
    choice = answer.choices[0]
    assert choice.logprobs is not None
    assert choice.logprobs.tokens is not None
    assert choice.logprobs.text_offset is not None
    for token, offset in zip(choice.logprobs.tokens, choice.logprobs.text_offset, strict=True):
        assert choice.text[offset : offset + len(token)] == token
    assert all(len(top) == 2 for top in choice.logprobs.top_logprobs or ())


def test_a_stream_carries_every_token_logprob_even_when_text_is_held_back(url: str) -> None:
    body = {"messages": HELLO, "max_tokens": 6, "temperature": 0, "logprobs": True}
    whole = _events(url, "/v1/chat/completions", body)
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in whole)
    held = _events(url, "/v1/chat/completions", {**body, "stop": [text + "never"]})
    tokens = [
        entry["token"]
        for event in held
        for entry in (event["choices"][0]["logprobs"] or {"content": []})["content"]
    ]
    assert "".join(tokens) == text
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in held) == text


def test_a_stop_string_ends_the_answer_and_is_not_shown(client: openai.OpenAI) -> None:
    arguments: Any = {"model": NAME, "prompt": "The sea is", "max_tokens": 20, "temperature": 0}
    text = client.completions.create(**arguments).choices[0].text
    stopped = client.completions.create(**arguments, stop=[text[10:16]]).choices[0]
    assert (stopped.text, stopped.finish_reason) == (text[: text.index(text[10:16])], "stop")


def test_content_parts_and_the_developer_role_are_read_as_text(
    client: openai.OpenAI, model: LanguageModel
) -> None:
    plain: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi!"}]
    parts: Any = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "!"}],
        },
    ]
    answers = [
        client.chat.completions.create(model=NAME, messages=m, max_completion_tokens=5, seed=1)
        for m in (plain, parts)
    ]
    assert answers[0].choices[0].message.content == answers[1].choices[0].message.content
    assert answers[0].usage == answers[1].usage


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [entry.id for entry in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).object == "model"


CHAT: dict[str, Any] = {"model": NAME, "messages": HELLO, "max_tokens": 2}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"temperature": 2.5}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "pirate", "content": "Arr"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"stop": ""}, "stop"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"tools": [{"type": "function"}]}, "tools"),
    ],
)
def test_a_wrong_field_is_named_in_openai_s_error_shape(
    url: str, change: dict[str, Any], param: str
) -> None:
    status, answer = _post(url, "/v1/chat/completions", {**CHAT, **change})
    assert status == 400
    assert answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["param"] == param
    assert set(answer["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [49152]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": ["a"] * 100, "n": 2}, "prompt"),
        ({"echo": True}, "echo"),
        ({"best_of": 3}, "best_of"),
    ],
)
def test_a_wrong_prompt_is_refused(url: str, change: dict[str, Any], param: str) -> None:
    status, answer = _post(url, "/v1/completions", {"model": NAME, "prompt": "a", **change})
    assert (status, answer["error"]["param"]) == (400, param)


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 50_000, b'{"model": "\xff"}', b"null"])
def test_a_body_that_is_no_request_is_a_400_and_the_engine_goes_on(url: str, body: bytes) -> None:
    status, answer = _post(url, "/v1/chat/completions", body)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert _post(url, "/v1/chat/completions", CHAT)[0] == 200


def test_a_prompt_beyond_the_context_is_told_with_openai_s_code(
    client: openai.OpenAI, model: LanguageModel
) -> None:
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=NAME, prompt=[5] * model.context, max_tokens=1)
    with pytest.raises(openai.BadRequestError) as wide:
        client.chat.completions.create(model=NAME, messages=HELLO, max_tokens=model.context)
    assert long.value.code == wide.value.code == "context_length_exceeded"
    assert (long.value.param, wide.value.param) == ("prompt", "messages")


def test_an_unknown_model_is_a_404(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        client.chat.completions.create(model="gpt-5", messages=HELLO)
    assert error.value.code == "model_not_found"


def test_a_body_that_is_too_large_is_a_413(url: str) -> None:
    status, answer = _post(url, "/v1/chat/completions", b" " * (MAX_BODY + 1))
    assert (status, answer["error"]["type"]) == (413, "invalid_request_error")


def test_more_choices_than_the_queue_holds_are_a_503(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as error:
        client.completions.create(model=NAME, prompt="a", n=17, max_tokens=1)
    assert (error.value.status_code, error.value.code) == (503, "engine_overloaded")
    assert error.value.response.headers["retry-after"] == "1"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_frees_its_row(url: str, server: EngineServer, stream: bool) -> None:
    body = json.dumps({**CHAT, "max_tokens": 900, "ignore_eos": True, "stream": stream})
    host = urlsplit(url)
    before = _cancelled(server)
    with socket.create_connection((host.hostname, host.port)) as connection:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
        connection.sendall(f"{head}\r\n\r\n{body}".encode())
        if stream:
            assert b"200 OK" in connection.recv(100)
        _ask_until(url, lambda: server.batcher.running == 1)
    _ask_until(url, lambda: _cancelled(server) == before + 1)
    _ask_until(url, lambda: server.batcher.running == 0)


def _ask_until(url: str, condition: Callable[[], bool]) -> None:
    """Let other, short requests be the clock; they are served all the while."""
    for _ in range(50):
        assert _post(url, "/v1/chat/completions", CHAT)[0] == 200
        if condition():
            return
    raise AssertionError("the condition never held")


def _cancelled(server: EngineServer) -> float:
    name, labels = "azeotrope_engine_sequences_total", {"reason": "cancelled"}
    return server.metrics.registry.get_sample_value(name, labels) or 0


def test_a_fault_of_ours_is_a_500_that_tells_nothing_of_the_request(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(self: LanguageModel, text: str) -> list[int]:
        raise ValueError(f"cannot digest {text}")

    monkeypatch.setattr(LanguageModel, "encode", faulty)
    status, answer = _post(url, "/v1/completions", {"model": NAME, "prompt": "xylophone"})
    assert (status, answer["error"]["type"]) == (500, "server_error")
    assert "xylophone" not in answer["error"]["message"] + caplog.text
    assert "ValueError" in caplog.text


@pytest.mark.parametrize(
    ("path", "body", "last"),
    [
        ("/v1/messages", {"messages": HELLO, "max_tokens": 20}, "api_error"),
        ("/v1/responses", {"input": HELLO, "max_output_tokens": 20}, "server_error"),
    ],
)
def test_a_stream_that_cannot_go_on_ends_with_an_error_event(
    *,
    url: str,
    server: EngineServer,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: dict[str, Any],
    last: str,
) -> None:
    decode, steps = server.batcher._decode, iter(range(3))

    def failing(rows: Any) -> torch.Tensor:
        if next(steps, None) is None:
            raise ValueError("no more")
        return decode(rows)

    monkeypatch.setattr(server.batcher, "_decode", failing)
    events = typed_events(url, path, {**body, "model": NAME})
    assert events[-1]["type"] == "error"
    assert last in json.dumps(events[-1])
    assert "delta" in events[-2]["type"]


def test_health_and_metrics_are_there_and_hold_no_text(url: str) -> None:
    _post(url, "/v1/completions", {"model": NAME, "prompt": "xylophone", "max_tokens": 1})
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("GET", "/health")
    assert json.loads(connection.getresponse().read()) == {"status": "ok"}
    connection.request("GET", "/metrics")
    metrics = connection.getresponse().read().decode()
    connection.close()
    for name in (
        'azeotrope_engine_tokens_total{kind="completion"}',
        'azeotrope_engine_requests_total{endpoint="/v1/completions",status="200"}',
        "azeotrope_engine_batch_rows_bucket",
        "azeotrope_engine_running_sequences",
    ):
        assert name in metrics
    assert "xylophone" not in metrics
