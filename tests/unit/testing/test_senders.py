"""How each sender behaves: MoRAG's table of timeouts, attempts, waits and what counts as success."""

from __future__ import annotations

from typing import Any

import pytest
from recording import Recorder

from morag_client.errors import ConfigurationError
from morag_client.events.types import Dialect
from morag_client.testing import DeliveryResult, Emitter
from morag_client.testing.delivering import Answer, Attempt, Pause, compose, deliver
from morag_client.testing.senders import Manners, Sender, sender_of
from morag_client.testing.wording import SENDABLE
from morag_client.testing.wording.words import Words


def sender(dialect: Dialect, environ: dict[str, str] | None = None, **fixed: Any) -> Sender:
    return sender_of(dialect, as_guide=False, manners=Manners(**fixed), environ=environ or {})


@pytest.mark.parametrize(
    ("dialect", "timeout", "waits"),
    [
        ("envelope", 30, [5, 10]),
        ("flat_step", 10, [1, 2, 4]),
        ("ingest_result", 10, []),
        ("stage_completed", 30, [1, 2, 4]),
        ("pipeline_completed", 30, [1, 2, 4]),
        ("stage_result", 30, []),
        ("stage_chain", 30, []),
    ],
)
def test_each_sender_waits_as_its_release_does(dialect: Dialect, timeout: float, waits: list[float]) -> None:
    found = sender(dialect)

    assert found.timeout_seconds == timeout
    assert [found.wait_before(retry) for retry in range(found.max_retries)] == waits


@pytest.mark.parametrize(
    ("dialect", "accepted", "refused"),
    [
        ("envelope", [200, 204, 302], [400, 500]),
        ("flat_step", [200, 201, 202], [203, 204, 302, 500]),
        ("ingest_result", [200], [201, 202, 204, 302]),
        ("stage_completed", [200, 204, 399], [400, 503]),
        ("stage_result", [200, 204, 299], [302, 401]),
    ],
)
def test_each_sender_has_its_own_success(dialect: Dialect, accepted: list[int], refused: list[int]) -> None:
    assert all(status in sender(dialect).accepts for status in accepted)
    assert not any(status in sender(dialect).accepts for status in refused)


def test_a_204_is_a_failure_to_two_of_the_senders() -> None:
    failed = []
    for dialect in SENDABLE:
        with Recorder(204, answer=b"") as recorder, Emitter(dialect=dialect, max_retries=0) as emitter:
            results = emitter.run_pipeline(webhook_url=recorder.url)
        failed += [dialect for result in results if result.dialect == dialect and not result.ok]

    assert set(failed) == {"flat_step", "ingest_result"}


def test_the_guides_variables_set_up_the_guides_service() -> None:
    environ = {"WEBHOOK_TIMEOUT": "2.5", "WEBHOOK_MAX_RETRIES": "7", "WEBHOOK_RETRY_DELAY": "0.5"}

    guide = sender_of("flat_step", as_guide=True, manners=Manners(), environ=environ)
    assert (guide.timeout_seconds, guide.max_retries, guide.retry_delay) == (2.5, 7, 0.5)
    assert sender("envelope", environ).max_retries == 7
    assert sender("ingest_result", environ).max_retries == 0
    assert sender("flat_step", environ).timeout_seconds == 10


def test_what_is_fixed_comes_first() -> None:
    found = sender("envelope", {"WEBHOOK_MAX_RETRIES": "7"}, max_retries=0, timeout_seconds=1.5)

    assert (found.attempts, found.timeout_seconds, found.retry_delay) == (1, 1.5, 5.0)


def test_an_empty_variable_is_none() -> None:
    assert sender("envelope", {"WEBHOOK_TIMEOUT": ""}).timeout_seconds == 30


@pytest.mark.parametrize(
    ("name", "value"), [("WEBHOOK_MAX_RETRIES", "2.5"), ("WEBHOOK_RETRY_DELAY", "x"), ("WEBHOOK_TIMEOUT", "-1")]
)
def test_variables_that_cannot_work(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError):
        sender("envelope", {name: value})


def test_who_sends_is_told_by_the_user_agent() -> None:
    agents = {}
    for dialect in SENDABLE:
        with Recorder() as recorder, Emitter(webhook_url=recorder.url, dialect=dialect) as emitter:
            emitter.run_pipeline()
            agents[dialect] = recorder.arrivals[-2 if dialect == "flat_step" else -1].headers["user-agent"]

    assert agents["envelope"] == "MoRAG-Webhook/1.0"
    assert agents["flat_step"] == "MoRAG-Webhook-Service/1.0"
    assert agents["stage_completed"] == agents["pipeline_completed"] == "MoRAG-Stages/0.1.0"
    assert agents["ingest_result"] == agents["stage_chain"] != ""
    assert "MoRAG" not in agents["ingest_result"]


def test_a_delivery_needs_no_network() -> None:
    message = compose(Words("task.started", "envelope", {"a": 1}), url="http://x/", sender=sender("envelope"))
    delivering = deliver(message, sender=sender("envelope"))

    steps = [next(delivering)]
    for status in (500, 503):
        steps.append(delivering.send(Answer(seconds=0.1, status_code=status)))
        steps.append(delivering.send(None))
    with pytest.raises(StopIteration) as ended:
        delivering.send(Answer(seconds=0.5, status_code=200))

    assert [type(step) for step in steps] == [Attempt, Pause, Attempt, Pause, Attempt]
    pauses = [step for step in steps if isinstance(step, Pause)]
    assert [(pause.seconds, pause.so_far.status_code) for pause in pauses] == [(5, 500), (10, 503)]
    assert {step.message.body for step in steps if isinstance(step, Attempt)} == {b'{"a":1}'}
    result: DeliveryResult = ended.value.value
    assert (result.ok, result.attempts, result.status_code, result.seconds) == (True, 3, 200, 0.5)
