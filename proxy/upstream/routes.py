"""Which upstreams serve a model, and which of them gets a call."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from proxy import config
from proxy.accounts import Account
from proxy.dialects.contract import Dialect, Question
from proxy.errors import CallError, Kind
from proxy.upstream.answer import Answer
from proxy.upstream.endpoint import Endpoint
from proxy.upstream.faults import overloaded, unreachable


@dataclass(frozen=True, slots=True)
class Target:
    """An upstream, and the model's name there."""

    endpoint: Endpoint
    model: str


class Balance:
    """Picks the least busy of several upstreams; of equally busy ones each in turn."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self._targets = tuple(targets)
        self._turn = 0

    def pick(self, dialect: str | None, tried: Sequence[Target] = ()) -> Target | None:
        """Return who gets a call; None if nobody may, or all have been tried.

        An unhealthy upstream is picked only if no other one may have the call: a look can
        err, and then it is better to try than to refuse.
        """
        best, least = None, (True, math.inf)
        count = len(self._targets)
        if not tried:
            self._turn = (self._turn + 1) % count
        for place in range(count):
            target = self._targets[(self._turn + place) % count]
            endpoint = target.endpoint
            if endpoint.full or not endpoint.breaker.lets_through:
                continue
            if target in tried or not (dialect is None or endpoint.speaks(dialect)):
                continue
            rank = (not endpoint.healthy, endpoint.outstanding)
            if best is None or rank < least:
                best, least = target, rank
        return best

    def refusal(self, dialect: str | None) -> CallError:
        """Return why nobody may have a call."""
        able = [
            target.endpoint
            for target in self._targets
            if dialect is None or target.endpoint.speaks(dialect)
        ]
        if not able:
            return CallError(
                Kind.UNKNOWN_MODEL, "The model is not available at this URL.", param="model"
            )
        if any(endpoint.full for endpoint in able):
            return overloaded("max_outstanding")
        error = unreachable("the breaker is open")
        wait_s = min(endpoint.breaker.wait_s for endpoint in able)
        error.headers["retry-after"] = str(max(1, math.ceil(wait_s)))
        return error


class Route:
    """Where a served model is found."""

    def __init__(self, served: str, settings: config.Model, targets: Sequence[Target]) -> None:
        self.served = served
        self.settings = settings
        self._balance = Balance(targets)

    @classmethod
    def untouched(cls, path: str, endpoint: Endpoint) -> Route:
        """Return the route of a path that is passed on to one upstream."""
        return cls(path, config.Model(embedder="none"), [Target(endpoint, "")])

    def check(self, question: Question, body_bytes: int) -> None:
        """Refuse a request that is beyond the model's own limits; raises CallError."""
        largest, most = self.settings.max_body_bytes, self.settings.max_output_tokens
        if largest is not None and body_bytes > largest:
            raise CallError(Kind.BODY_TOO_LARGE, f"The request body has more than {largest} bytes.")
        if most is not None and (question.max_output_tokens or 0) > most:
            raise CallError(
                Kind.BAD_FIELD,
                f"This model gives at most {most} output tokens, "
                f"but {question.max_output_tokens} were asked for.",
                param="max_tokens",
            )

    async def post(
        self,
        dialect: Dialect,
        render: Callable[[str], bytes],
        headers: Mapping[str, str],
        traceparent: str | None = None,
    ) -> Answer:
        """Send a call and wait for the head of its answer; raises CallError.

        `render` gives the body for an upstream from the model's name there; of the client's
        `headers` those go on that the dialect forwards; `traceparent` is ours.
        """
        tried: list[Target] = []
        error: CallError | None = None
        while target := self._balance.pick(dialect.name, tried):
            if error is not None:
                tried[-1].endpoint.series.retries.inc()
            try:
                return await target.endpoint.post(
                    dialect.path, render(target.model), headers, dialect.forwarded, traceparent
                )
            except CallError as failure:
                if failure.kind is not Kind.UPSTREAM_UNREACHABLE:
                    raise
                error = failure
                tried.append(target)
        raise error or self._balance.refusal(dialect.name)

    async def pass_on(
        self, dialect: Dialect, method: str, target: str, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        """Send a request of any kind as it came, to the first upstream; raises CallError."""
        picked = self._balance.pick(None)
        if picked is None:
            raise self._balance.refusal(None)
        return await picked.endpoint.pass_on(method, target, body, headers, dialect.forwarded)


class Routes:
    """All served models."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes = {route.served: route for route in routes}

    def find(self, model: str, account: Account) -> Route:
        """Return the route of a model; raises CallError (UNKNOWN_MODEL).

        A model that the account may not use looks like one that does not exist.
        """
        route = self._routes.get(model)
        if route is None or not account.may_use(model):
            raise CallError(
                Kind.UNKNOWN_MODEL,
                "The model does not exist or you do not have access to it.",
                param="model",
            )
        return route

    def models(self, account: Account) -> list[str]:
        """Return the served models that an account may use, in the configuration's order."""
        return [model for model in self._routes if account.may_use(model)]


def routes_of(settings: config.Config, endpoints: Mapping[str, Endpoint]) -> Routes:
    """Return the routes of a configuration."""
    targets: dict[str, list[Target]] = {}
    for upstream in settings.upstreams:
        for served, model in upstream.models.items():
            targets.setdefault(served, []).append(Target(endpoints[upstream.name], model))
    default = config.Model()
    return Routes(
        Route(served, settings.models.get(served, default), found)
        for served, found in targets.items()
    )
