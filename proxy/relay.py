"""An engine's answer on its way to the client, byte for byte."""

from __future__ import annotations

from proxy.call import Call
from proxy.dialects.contract import Reading, Reply
from proxy.downstream.exchange import Exchange
from proxy.errors import CallError, StreamCutError
from proxy.metrics import Metrics
from proxy.provenance import Provenance
from proxy.settle import Settlement
from proxy.sse import Splitter
from proxy.upstream import Answer


class Relay:
    """Passes answers on: whole ones when they are whole, streams as they come."""

    def __init__(
        self, max_answer_bytes: int, metrics: Metrics, provenance: Provenance | None
    ) -> None:
        self._max_answer_bytes = max_answer_bytes
        self._metrics = metrics
        self._provenance = provenance

    async def run(
        self,
        answer: Answer,
        call: Call,
        exchange: Exchange,
        settlement: Settlement,
        ticket: str | None = None,
    ) -> None:
        """Pass an answer on; raises CallError before and StreamCutError after its head."""
        reading = call.dialect.reading(call.question, texts=settlement.wants_texts)
        settlement.reading = reading
        if answer.streams:
            with self._metrics.open_streams.track_inprogress():
                await self._stream(answer, call, exchange, reading)
        else:
            await self._whole(answer, call, exchange, reading, ticket)

    async def _whole(
        self,
        answer: Answer,
        call: Call,
        exchange: Exchange,
        reading: Reading,
        ticket: str | None,
    ) -> None:
        # Read to its end first: an engine that dies halfway gives a clean 502.
        body = await answer.read(self._max_answer_bytes)
        reading.whole(body)
        if ticket is not None and answer.status >= 400:
            # vLLM's errors quote the request, in which the client would find its ticket.
            body = body.replace(ticket.encode(), b"*" * len(ticket))
        await self._tell_mark(answer, call, exchange, body)
        await exchange.reply(Reply(answer.status, answer.headers, body))

    async def _stream(
        self, answer: Answer, call: Call, exchange: Exchange, reading: Reading
    ) -> None:
        splitter = Splitter(reading, drops=call.question.added_usage)
        await self._tell_mark(answer, call, exchange)
        exchange.start(answer.status, answer.headers)
        try:
            await _pump(answer, splitter, reading, exchange)
        except CallError as error:
            # An event inside an unfinished one would be read as part of it.
            if splitter.at_boundary:
                await exchange.write(reading.error_event(error))
            exchange.cut()
            raise StreamCutError(error.kind, error.message, detail=error.detail) from error
        await exchange.finish()

    async def _tell_mark(
        self, answer: Answer, call: Call, exchange: Exchange, body: bytes | None = None
    ) -> None:
        """Say what mark the answer carries if it is text of a model: an engine's error is not."""
        if self._provenance is None or not (call.dialect.marked and 200 <= answer.status < 300):
            return
        request_id = call.dialect.speaker.id_header, call.request_id
        exchange.tell(
            await self._provenance.headers(call.embedder, answer.status, request_id, body)
        )


async def _pump(answer: Answer, splitter: Splitter, reading: Reading, exchange: Exchange) -> None:
    while chunk := await answer.next_chunk():
        passed = splitter.feed(chunk)
        if passed:
            await exchange.write(passed)
    # A well-framed end proves nothing: an engine's own proxy ends a stream well that broke off.
    if not reading.done:
        raise answer.broken_off()
    rest = splitter.flush()
    if rest:
        await exchange.write(rest)
