"""Requests made from our own OpenAPI document, good and bad: the answers are documented ones."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
import schemathesis
from asking import GOOD, assert_goes_on
from fake_upstream import FakeUpstream
from hypothesis import HealthCheck, Phase, given, settings
from running import Start
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from proxy.openapi import document

EXAMPLES = 60
DOCUMENT = document()
OPERATIONS = {
    operation.ok().label: operation.ok()
    for operation in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
}
OBEYED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)


def ask(operation: Any, mode: GenerationMode, url: str, headers: dict[str, str]) -> list[int]:
    """Make many requests, check every answer, return the statuses."""
    statuses = []

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        response = case.call(base_url=url, headers=headers, timeout=20)
        case.validate_response(response, checks=OBEYED)
        assert str(response.status_code) in operation.definition.raw["responses"]
        statuses.append(response.status_code)

    one()
    return statuses


# In a GET without parameters nothing can be wrong.
CASES = [
    (label, mode)
    for label in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or not label.startswith("GET") or "{" in label
]


@pytest.mark.parametrize(("label", "mode"), CASES)
async def test_answers_are_as_documented(
    start: Start,
    upstream: FakeUpstream,
    caplog: pytest.LogCaptureFixture,
    label: str,
    mode: GenerationMode,
) -> None:
    operation = OPERATIONS[label]
    caplog.set_level(logging.INFO, "proxy")
    gateway = await start()
    upstream.answers_whole(GOOD)

    statuses = await asyncio.to_thread(ask, operation, mode, gateway.url, gateway.headers())

    assert statuses
    if mode is GenerationMode.NEGATIVE:
        assert any(400 <= status < 500 for status in statuses)
    assert "internal_error" not in [record.message for record in caplog.records]
    await assert_goes_on(gateway, upstream)
