"""Real engines' answers through the gateway: every byte, the right tokens, texts and ends."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import pytest
from fake_upstream import Conversation, FakeUpstream
from hypothesis import given, settings
from hypothesis import strategies as st
from recordings import RECORDINGS, STREAMS, Recording, content_of, is_usage_record, usage_in
from running import Running, Start

from proxy.dialects import DIALECTS
from proxy.dialects.contract import Reading
from proxy.sse import Splitter

DROPPING = [recording for recording in STREAMS if recording.seen != recording.answer]
# Through real sockets a byte at a time is slow; the splitter alone is tried on all.
SMALL = 3000


def named(recording: Recording) -> str:
    return recording.name


def cut(answer: bytes, places: Iterable[int]) -> list[bytes]:
    bounds = [0, *sorted(places), len(answer)]
    return [answer[a:b] for a, b in itertools.pairwise(bounds) if a < b]


def chunkings(recording: Recording) -> list[list[bytes]]:
    """The answer in pieces: whole, by event, anywhere, byte by byte."""
    answer, source = recording.answer, random.Random(recording.name)
    anywhere = cut(answer, source.choices(range(len(answer)), k=9))
    single = cut(answer, range(1, len(answer))) if len(answer) < SMALL else [answer]
    by_event = recording.events if recording.streams else [answer]
    return [[answer], by_event, anywhere, single]


def replay(upstream: FakeUpstream, recording: Recording, chunks: list[bytes]) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head(
            f"{recording.status} x",
            content_type=recording.content_type,
            transfer_encoding="chunked",
        )
        for chunk in chunks:
            await conversation.chunk(chunk)
        await conversation.end_stream()

    upstream.answers(script)


async def ask(gateway: Running, recording: Recording) -> tuple[int, str, bytes]:
    headers = {"content-type": "application/json", **gateway.headers()}
    async with gateway.http.post(
        gateway.url + recording.path, data=recording.request, headers=headers
    ) as response:
        return response.status, response.headers["content-type"], await response.read()


@pytest.mark.parametrize("recording", RECORDINGS, ids=named)
async def test_the_client_gets_every_byte_and_the_registry_the_tokens(
    start: Start, upstream: FakeUpstream, recording: Recording
) -> None:
    gateway = await start()

    for chunks in chunkings(recording):
        replay(upstream, recording, chunks)
        answer = await ask(gateway, recording)
        assert answer == (recording.status, recording.content_type, recording.seen)

    lines = await gateway.stop()
    assert [line["end"] for line in lines] == ["complete"] * 4
    assert {line["status"] for line in lines} == {recording.status}
    assert {(line["prompt_tokens"], line["completion_tokens"]) for line in lines} == {
        recording.usage
    }


def read(recording: Recording, pieces: list[bytes]) -> tuple[bytes, Reading]:
    """Feed a stream to splitter and reading; bytes for the client and the reading."""
    dialect = DIALECTS[recording.path]
    question = dialect.parse(recording.request)
    reading = dialect.reading(question, texts=True)
    splitter = Splitter(reading, drops=question.added_usage)
    passed = b"".join(splitter.feed(piece) for piece in pieces)
    return passed + splitter.flush(), reading


@pytest.mark.parametrize("recording", RECORDINGS, ids=named)
def test_the_texts_are_those_in_the_answer(recording: Recording) -> None:
    dialect = DIALECTS[recording.path]
    if recording.streams:
        _, reading = read(recording, [recording.answer])
        assert reading.done
    else:
        reading = dialect.reading(dialect.parse(recording.request), texts=True)
        reading.whole(recording.answer)

    assert reading.text() == (recording.texts if dialect.marked else [])


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_no_chunking_changes_anything(data: st.DataObject) -> None:
    recording = data.draw(st.sampled_from(STREAMS))
    places = data.draw(st.sets(st.integers(0, len(recording.answer)), max_size=30))

    passed, reading = read(recording, cut(recording.answer, places))

    assert passed == recording.seen
    assert reading.usage is not None
    assert (reading.usage.prompt_tokens, reading.usage.completion_tokens) == recording.usage
    assert reading.usage.source == "engine"
    assert reading.text() == recording.texts
    assert reading.done


def ends(event: bytes) -> bool:
    """Whether an event tells what the answer has spent."""
    content = content_of(event) or {}
    return content.get("type") != "message_start" and bool(usage_in(content))


@pytest.mark.parametrize("recording", STREAMS, ids=named)
def test_a_stream_cut_before_its_last_event_is_not_done_and_is_counted(
    recording: Recording,
) -> None:
    begun = itertools.takewhile(lambda event: not ends(event), recording.events)
    _, reading = read(recording, list(begun))

    assert not reading.done
    assert reading.usage is not None
    assert reading.usage.source == "counted"
    completion = recording.usage[1]
    assert completion is not None
    counted = reading.usage.completion_tokens
    assert counted is not None
    # An engine may put several tokens into one event, a whole tool call for example.
    assert counted <= completion
    # llama.cpp tells of one choice while another goes on.
    assert counted > completion // 2 or "tools" in recording.name or "choices" in recording.name


@pytest.mark.parametrize("recording", DROPPING, ids=named)
def test_what_is_left_out_are_usage_records(recording: Recording) -> None:
    records = [event for event in recording.events if is_usage_record(event)]
    left = recording.answer
    for record in records:
        left = left.replace(record, b"")

    assert recording.seen == left
    assert len(records) == (recording.body.get("n", 1) if "llamacpp" in recording.name else 1)


def test_every_dialect_is_recorded_from_a_real_engine() -> None:
    recorded = {(recording.path, recording.streams) for recording in RECORDINGS}
    one_way = {"/v1/embeddings", "/v1/messages/count_tokens"}

    assert recorded == {(path, streams) for path in DIALECTS for streams in (False, True)} - {
        (path, True) for path in one_way
    }
