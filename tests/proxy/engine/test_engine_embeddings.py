"""Embeddings: what they are, as the official client sees them, and beside running answers."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import torch
from engine_bench import NAME, Bench, post

from proxy.engine.model import LanguageModel
from proxy.engine.sampling import Sampling
from proxy.engine.server import EngineServer
from proxy.engine.tasks import EmbeddingTask, Failure, QueueFullError, Vectors

LONG = "the sea and the land " * 80  # several pieces


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as made:
        yield made


def _direct(model: LanguageModel, text: str) -> torch.Tensor:
    """By the definition: one forward pass, the mean of the last hidden states, normalised."""
    with torch.inference_mode():
        output = model.network.base_model(torch.tensor([model.encode(text)]), use_cache=False)
    mean = output.last_hidden_state[0].float().mean(0)
    return mean / mean.norm()


@pytest.mark.parametrize("text", ["sea", "the deep blue sea", LONG])
def test_an_embedding_is_the_normalised_mean_of_the_last_hidden_states(
    client: openai.OpenAI, model: LanguageModel, text: str
) -> None:
    (item,) = client.embeddings.create(model=NAME, input=text).data
    assert len(item.embedding) == model.network.config.hidden_size
    torch.testing.assert_close(
        torch.tensor(item.embedding), _direct(model, text), atol=1e-4, rtol=0
    )


def test_several_inputs_come_in_order_and_each_as_if_alone(
    client: openai.OpenAI, model: LanguageModel
) -> None:
    texts = ["the sea", LONG, "a river"]
    together = client.embeddings.create(model=NAME, input=texts)
    assert [item.index for item in together.data] == [0, 1, 2]
    for text, item in zip(texts, together.data, strict=True):
        assert item.embedding == client.embeddings.create(model=NAME, input=text).data[0].embedding
    assert together.usage.prompt_tokens == sum(len(model.encode(text)) for text in texts)


def test_token_ids_embed_like_their_text(client: openai.OpenAI, model: LanguageModel) -> None:
    create = client.embeddings.create
    by_ids = create(model=NAME, input=model.encode("the sea")).data
    assert by_ids == create(model=NAME, input="the sea").data


def test_floats_and_base64_are_the_same_numbers(client: openai.OpenAI) -> None:
    create = client.embeddings.create
    # The client decodes base64 itself, unless floats are asked for by name.
    floats = create(model=NAME, input="the sea", encoding_format="float").data[0].embedding
    assert floats == create(model=NAME, input="the sea").data[0].embedding


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": [1, "a"]}, "input"),
        ({"input": [49152]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": LONG * 20}, "input"),
        ({"input": [[5] * 1000] * 301}, "input"),
        ({"dimensions": 10}, "dimensions"),
        ({"encoding_format": "int8"}, "encoding_format"),
    ],
)
def test_what_cannot_be_embedded_is_a_400_that_names_the_field(
    url: str, change: dict[str, Any], param: str
) -> None:
    body = {"model": NAME, "input": "a", **change}
    status, text = post(url, "/v1/embeddings", body)
    assert (status, json.loads(text)["error"]["param"]) == (400, param)


def test_a_client_that_hangs_up_stops_its_embeddings(url: str, server: EngineServer) -> None:
    def value(name: str, **labels: str) -> float:
        return server.metrics.registry.get_sample_value(f"azeotrope_engine_{name}", labels) or 0

    cancelled = value("sequences_total", reason="cancelled")
    read = value("tokens_total", kind="prompt")
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    many = {"model": NAME, "input": [[5] * 1000] * 250}  # for a minute or more
    connection.request("POST", "/v1/embeddings", json.dumps(many))
    deadline = time.monotonic() + 60
    while value("tokens_total", kind="prompt") == read:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    connection.close()
    assert post(url, "/v1/embeddings", {"model": NAME, "input": "a"})[0] == 200  # waits behind it
    assert value("sequences_total", reason="cancelled") == cancelled + 1


class _Heard:
    """A submitted embedding task and what it emitted."""

    def __init__(self, *prompts: list[int]) -> None:
        self.events: list[Vectors | Failure] = []
        self.task = EmbeddingTask(prompts, self.events.append)


def test_an_answer_goes_on_while_a_long_text_is_embedded(
    bench: Callable[..., Bench], model: LanguageModel
) -> None:
    loop = bench()
    alone = loop.submit(model.encode("The sea"), Sampling(max_tokens=12, temperature=0))
    loop.run(alone)
    beside = loop.submit(model.encode("The sea"), Sampling(max_tokens=12, temperature=0))
    heard = _Heard([5] * 1000, [6] * 1000)
    loop.batcher.embed(heard.task)
    loop.batcher.step()
    loop.batcher.step()
    assert not heard.events
    assert len(beside.events) == 2
    loop.run(beside)
    assert beside.text == alone.text
    (vectors,) = heard.events
    assert isinstance(vectors, list)
    assert len(vectors) == 2


def test_the_queue_of_embeddings_is_bounded(bench: Callable[..., Bench]) -> None:
    loop = bench(max_waiting=2)
    for _ in range(2):
        loop.batcher.embed(_Heard([5]).task)
    with pytest.raises(QueueFullError):
        loop.batcher.embed(_Heard([5]).task)


def test_a_fault_in_the_model_fails_the_embedding_and_the_next_one_is_served(
    bench: Callable[..., Bench], model: LanguageModel
) -> None:
    loop = bench()
    done = threading.Event()
    failed, served = _Heard([model.vocabulary + 1]), _Heard([5])
    for heard in (failed, served):
        heard.task.emit = lambda event, heard=heard: (heard.events.append(event), done.set())
    loop.batcher.start()
    for heard in (failed, served):
        loop.batcher.embed(heard.task)
        assert done.wait(60)
        done.clear()
    loop.batcher.stop()
    assert isinstance(failed.events[0], Failure)
    assert isinstance(served.events[0], list)
