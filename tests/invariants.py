"""What holds of an inbox, whatever has happened to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import databases
import deliveries
import inboxes
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from stepping import EFFECTS, OPEN, WAITING, Key, Stored

from morag_client.inbox.inbox import Inbox
from morag_client.progress.state import TaskState, as_values, fresh, from_values
from morag_client.progress.telling import take
from morag_client.wire.decoding import decode_object
from morag_client.wire.parsing import read_payload

RANK = {None: -1, "pending": 0, "running": 0, "lost": 1, "failed": 2, "cancelled": 3, "completed": 4}


@dataclass(frozen=True)
class World:
    """One inbox for all examples: to make its tables takes longer than an example."""

    do: Callable[[Coroutine[Any, Any, Any]], Any]
    inbox: Inbox


@contextlib.contextmanager
def opened_world(database: databases.TestDatabase, **options: Any) -> Iterator[World]:
    with asyncio.Runner() as runner:
        opened = inboxes.opened(database.url, **options)
        inbox = runner.run(opened.__aenter__())
        runner.run(inboxes.run_sql(inbox, EFFECTS))
        yield World(runner.run, inbox)
        runner.run(opened.__aexit__(None, None, None))


def draw(machine: Callable[[], RuleBasedStateMachine], *, examples: int | None, otherwise: int, steps: int) -> None:
    """Lets the machine take so many steps so many times: the same each time, or others where a number was asked for."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples or otherwise,
            stateful_step_count=steps,
            derandomize=not examples,
            database=None,
            deadline=None,
            print_blob=True,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )


class Promises:
    """Looks at all that is stored, now and as it was before, knowing what was sent and what was replayed."""

    now: Stored
    before: Stored

    def __init__(self) -> None:
        super().__init__()
        self.sent: dict[tuple[str, bytes], int] = {}
        """The record of each identity, by tenant and body."""
        self.counted = Counter[int]()
        """How often the money of a record was rightly counted before: each time that a success was replayed."""
        self.met = Counter[int]()
        """How often such a replay came while its success was not settled yet, which may then stand for it."""
        self._projected: dict[bytes, TaskState] = {}

    def assert_kept(self) -> None:
        self.assert_one_record_for_each_identity()
        self.assert_numbers_in_order_without_gaps()
        self.assert_tasks_are_what_their_events_make_of_them()
        self.assert_states_agree_with_runs()
        self.assert_money_is_counted_once()

    def assert_one_record_for_each_identity(self) -> None:
        found = {(row.tenant, row.body): row.id for row in self.now.events.values()}
        assert found == {(tenant, body): record_id for (tenant, body), record_id in self.sent.items()}
        assert len(self.now.events) == len(found)

    def assert_numbers_in_order_without_gaps(self) -> None:
        numbers = defaultdict(list)
        for row in self.now.events.values():
            if row.task_key is None:
                assert row.sequence is None
            else:
                numbers[row.task_key].append(row.sequence)
        for key, found in numbers.items():
            count = len([number for number in found if number is not None])
            assert found == [*range(1, count + 1), *[None] * (len(found) - count)]
            assert count == (self.now.tasks[key].sequence if key in self.now.tasks else 0)

    def assert_tasks_are_what_their_events_make_of_them(self) -> None:
        for key, row in self.now.tasks.items():
            earlier = self.before.tasks.get(key)
            if row.record_id is None and (earlier is None or earlier.sequence != row.sequence):
                if earlier is not None:
                    assert RANK[row.state] >= RANK[earlier.state]
                    assert row.progress >= (earlier.progress or 0)
                    assert row.sequence > earlier.sequence
                state = self._projection(key, row)
                assert as_values(from_values(row._mapping)) == as_values(state)

    def assert_states_agree_with_runs(self) -> None:
        for record_id, row in self.now.events.items():
            runs = {run.state for run in self.now.runs_of(record_id)}
            assert row.state in _states_by(runs), (row.state, runs)
            for run in self.now.runs_of(record_id):
                assert (run.next_attempt_at is not None) == (run.state in OPEN)

    def assert_money_is_counted_once(self) -> None:
        done = succeeded(self.now)
        for record_id in self.now.events:
            right = self.counted[record_id] + ((record_id, "money") in done)
            assert right - self.met[record_id] <= self.now.effects.get(record_id, 0) <= right

    def _projection(self, key: bytes, row: Any) -> TaskState:
        state = self._projected.get(key) or fresh(row.task_id, row.tenant)
        events = [one for one in self.now.events.values() if one.task_key == key and one.sequence is not None]
        for event in events[state.sequence :]:
            reading = read_payload(decode_object(event.body))
            state, is_late, belongs_to = take(state, reading.fields, record_id=event.id, received_at=event.received_at)
            assert bool(event.is_late) is is_late
            assert event.belongs_to == belongs_to
        self._projected[key] = state
        return state


def succeeded(now: Stored) -> set[Key]:
    return {key for key, run in now.runs.items() if run.state == "succeeded"}


def _states_by(runs: set[str]) -> set[str]:
    """What a record can be with runs in these states; until all have been made, it may be `stored`."""
    if runs & set(WAITING):
        return {"stored", "retrying"}
    return {"stored", "failed" if "failed" in runs else "handled"}


def body_of(task: int, status: str, progress: int) -> bytes:
    """A new delivery of one of two tasks, or of none."""
    if task == 2:
        return deliveries.unknown_body()
    name, made = f"task-{task}", deliveries.task_body
    if status == "chunking":
        return deliveries.step_body(name, "chunking", "started" if progress % 2 else "completed")
    if status == "unknown":
        return deliveries.unknown_body(task_id=name)
    return made(name, status, progress_percent=float(progress))
