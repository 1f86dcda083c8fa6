"""What becomes of a record when its handlers run: each outcome for itself."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Never

import deliveries
import inboxes
import pytest
import receiving

from morag_client import Context, Event, Receiver, Registry, TaskCompleted


@pytest.fixture
def registry() -> Registry:
    return Registry()


@dataclass(frozen=True)
class Frozen(Exception):
    code: int = 3


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("even its message fails")


def raising(error: BaseException) -> Never:
    raise error


async def test_all_matching_handlers_run_plain_and_async(tmp_path: Path, registry: Registry) -> None:
    seen: dict[str, Any] = {}

    @registry.on("task.completed", name="plain")
    def plain(event: TaskCompleted) -> None:
        seen["plain"] = (event.task_id, threading.current_thread() is threading.main_thread())

    @registry.on(TaskCompleted, name="async")
    async def later(event: TaskCompleted, context: Context, receiver: Receiver) -> None:
        await asyncio.sleep(0)
        seen["async"] = (context, receiver)

    @registry.on("task.failed", name="other")
    def other(event: Event) -> None:
        seen["other"] = True

    body = deliveries.task_body("task-7", "completed")
    async with receiving.working(tmp_path, registry) as receiver:
        [record_id] = await receiving.send(receiver, body)
        await receiver.idle()
        record = await receiver.events.get(record_id)

    context, given = seen["async"]
    assert seen.keys() == {"plain", "async"}
    assert seen["plain"] == ("task-7", False)
    assert given is context.receiver is receiver
    assert (context.record_id, context.attempt, context.sequence, context.body) == (record_id, 1, 1, body)
    assert (context.event.name, context.received_at) == ("task.completed", record.received_at)
    assert (record.state, record.sequence) == ("handled", 1)
    assert {run.handler: (run.state, run.attempts) for run in record.runs} == {
        "plain": ("succeeded", 1),
        "async": ("succeeded", 1),
    }
    assert all(record.received_at <= run.started_at <= run.finished_at <= datetime.now(UTC) for run in record.runs)


async def test_a_record_that_nobody_wants_is_handled(tmp_path: Path, registry: Registry) -> None:
    registry.on("task.failed", name="other")(lambda event: None)
    registry.on("task.started", name="not this one", where=lambda event: event.task_id == "x")(lambda event: None)

    async with receiving.working(tmp_path, registry) as receiver:
        [record_id] = await receiving.send(receiver, deliveries.task_body("task-1"))
        await receiver.idle()

        record = await receiver.events.get(record_id)
    assert (record.state, list(record.runs)) == ("handled", [])


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("no such chunk"), "ValueError: no such chunk"),
        (ValueError("a\0b\ud800"), "ValueError: ab?"),
        (SystemExit(3), "SystemExit: 3"),
        (asyncio.CancelledError("not ours"), "CancelledError: not ours"),
        (pytest.fail.Exception("asserted"), "Failed: asserted"),
        (ExceptionGroup("two", [ValueError(), KeyError()]), "ExceptionGroup: two"),
        (Frozen(), "Frozen"),
        (Unprintable(), "Unprintable"),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_one_handler_failing_stops_no_other(
    tmp_path: Path,
    registry: Registry,
    error: BaseException,
    says: str,
    is_async: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # A lone surrogate in the captured log could not be sent between the processes of a parallel run.
    caplog.set_level("CRITICAL", "morag_client.processing")

    async def later(event: Event) -> None:
        await asyncio.sleep(0)
        raising(error)

    registry.on("*", name="1")(lambda event: None)
    registry.on("*", name="2")(later if is_async else lambda event: raising(error))
    registry.on("*", name="3")(lambda event: None)

    async with receiving.working(tmp_path, registry) as receiver:
        [first, second] = await receiving.send(receiver, deliveries.task_body(), deliveries.task_body())
        await receiver.idle()
        records = [await receiver.events.get(record_id) for record_id in (first, second)]

    for record in records:
        assert record.state == "failed"
        runs = {run.handler: run for run in record.runs}
        assert {name: run.state for name, run in runs.items()} == {"1": "succeeded", "2": "failed", "3": "succeeded"}
        assert says in runs["2"].error
        assert "raising" in runs["2"].traceback
        assert "morag_client" not in runs["2"].traceback.partition("During")[0]
        assert (runs["1"].error, runs["1"].traceback) == (None, None)


@pytest.mark.parametrize("is_async", [True, False])
async def test_stop_iteration_is_an_outcome_like_any_other(tmp_path: Path, registry: Registry, is_async: bool) -> None:
    async def later(event: Event) -> None:
        raising(StopIteration(3))

    registry.on("*", name="1")(later if is_async else lambda event: raising(StopIteration(3)))

    async with receiving.working(tmp_path, registry) as receiver:
        [record_id] = await receiving.send(receiver, deliveries.task_body())
        await receiver.idle()
        [run] = (await receiver.events.get(record_id)).runs

    assert run.error.startswith("RuntimeError")
    assert "raising" in run.traceback


async def test_what_ends_the_event_loop_is_a_plain_handlers_outcome(tmp_path: Path, registry: Registry) -> None:
    registry.on("*", name="1")(lambda event: raising(KeyboardInterrupt()))

    async with receiving.working(tmp_path, registry) as receiver:
        [record_id] = await receiving.send(receiver, deliveries.task_body())
        await receiver.idle()

        assert "KeyboardInterrupt" in (await receiver.events.get(record_id)).runs[0].error


async def test_errors_and_tracebacks_are_bounded(tmp_path: Path, registry: Registry) -> None:
    registry.on("*", name="1")(lambda event: raising(ValueError("x" * 1_000_000 + "the end")))

    async with receiving.working(tmp_path, registry) as receiver:
        [record_id] = await receiving.send(receiver, deliveries.task_body())
        await receiver.idle()
        [run] = (await receiver.events.get(record_id)).runs

    assert len(run.error) < 1100
    assert len(run.traceback) < 8100
    assert run.error.startswith("ValueError: xxx")
    assert run.error.endswith("the end")


async def test_a_condition_that_raises_is_a_failed_run(tmp_path: Path, registry: Registry) -> None:
    registry.on("*", name="1", where=lambda event: event.data["missing"])(lambda event: None)
    registry.on("*", name="2")(lambda event: None)

    async with receiving.working(tmp_path, registry) as receiver:
        [record_id] = await receiving.send(receiver, deliveries.task_body())
        await receiver.idle()

        assert await receiving.runs_of(receiver, record_id) == {"1": "failed", "2": "succeeded"}


async def test_hooks_are_told_of_errors_even_if_others_of_them_fail(tmp_path: Path, registry: Registry) -> None:
    told: list[Any] = []
    registry.on("*", name="1")(lambda event: raising(ValueError("x")))
    registry.on("*", name="2")(lambda event: None)

    class Later:
        async def __call__(self, error: Exception, context: Context) -> None:
            told.append(("object", type(error), context.event.name))

    @registry.on_error
    async def later(error: Exception, context: Context) -> None:
        told.append(("async", type(error), context.event.name))

    registry.on_error(lambda error, context: raising(SystemExit(3)))
    registry.on_error(lambda error, context: raising(ValueError("y")))
    registry.on_error(Later())

    @registry.on_error
    def plain(error: Exception, context: Context) -> None:
        told.append(("plain", type(error), context.event.name))

    async with receiving.working(tmp_path, registry) as receiver:
        [record_id] = await receiving.send(receiver, deliveries.task_body())
        await receiver.idle()

        assert await receiving.runs_of(receiver, record_id) == {"1": "failed", "2": "succeeded"}
    assert told == [(how, ValueError, "task.started") for how in ("async", "object", "plain")]


async def test_a_plain_function_that_hands_on_a_coroutine_is_awaited(tmp_path: Path, registry: Registry) -> None:
    done: list[int] = []

    async def later(event: Event) -> None:
        done.append(1)

    registry.on("*", name="1")(lambda event: later(event))  # noqa: PLW0108  # this is the plain function

    async with receiving.working(tmp_path, registry) as receiver:
        await receiving.send(receiver, deliveries.task_body())
        await receiver.idle()

    assert done == [1]


async def test_events_without_a_task_are_handled_too(tmp_path: Path, registry: Registry) -> None:
    sequences: list[int | None] = []

    @registry.on("*", name="2")
    def look(event: Event, context: Context) -> None:
        sequences.append(context.sequence)

    async with receiving.working(tmp_path, registry) as receiver:
        ids = await receiving.send_at_once(receiver, *(deliveries.unknown_body() for _ in range(20)))
        await receiver.idle()

        assert {(await receiver.events.get(record_id)).state for record_id in ids} == {"handled"}
    assert sequences == [None] * 20


async def test_a_body_that_cannot_be_read_any_more_is_a_failed_record(tmp_path: Path, registry: Registry) -> None:
    async with receiving.working(tmp_path) as receiver:  # without handlers: stored only
        [record_id] = await receiving.send(receiver, deliveries.task_body())
        await inboxes.run_sql(receiver._lifecycle._runtime.inbox, "UPDATE webhook_events SET body = x'00'")
        assert (await receiver.events.get(record_id)).state == "stored"

    registry.on("*", name="1")(lambda event: None)
    async with receiving.working(tmp_path, registry) as receiver:
        await receiver.idle()
        record = await receiver.events.get(record_id)

    assert (record.state, list(record.runs)) == ("failed", [])


async def test_handlers_registered_after_the_receiver_was_built_but_not_started(
    tmp_path: Path, registry: Registry
) -> None:
    receiver = receiving.receiver_of(tmp_path, registry)
    registry.on("*", name="late")(lambda event: None)

    async with receiver.lifespan():
        [record_id] = await receiving.send(receiver, deliveries.task_body())
        await receiver.idle()

        assert await receiving.runs_of(receiver, record_id) == {"late": "succeeded"}
