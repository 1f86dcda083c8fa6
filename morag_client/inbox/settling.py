"""Writing down what became of records, behind a fence: only where owner and epoch of their lane still are ours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, case, delete, exists, or_, select, update
from sqlalchemy.engine import Connection

from morag_client.inbox.clock import database_clock
from morag_client.inbox.database import Database
from morag_client.inbox.lanes import RunRow, Settlement
from morag_client.inbox.rows import STORED
from morag_client.inbox.statements import ManyRows, Row
from morag_client.inbox.tables import Tables

RETRYING: Final = "retrying"
ORPHANED: Final = "orphaned"
_CHANGED = ("state", "attempts", "error", "traceback", "started_at", "finished_at", "next_attempt_at", "scheduled_at")


class Settling:
    """The statements of one worker, made once."""

    def __init__(self, database: Database, *, worker_id: str) -> None:
        self._tables = database.tables
        self._worker_id = worker_id
        tasks = self._tables.tasks
        mine = tasks.c.owner == worker_id, tasks.c.key.in_(bindparam("lanes", expanding=True))
        # In one order for everybody, or two workers would wait for each other.
        self._lock = select(tasks.c.key, tasks.c.epoch).where(*mine).order_by(tasks.c.key).with_for_update()
        self._drop_singles = delete(tasks).where(*mine, tasks.c.record_id.is_not(None))
        self._give_back = update(tasks).where(*mine).values(owner=None, deaths=0)
        self._clock = select(database_clock(database))
        self._begin_run = _beginning(database)
        self._write_run = ManyRows(_upsert(database), ("record_id", "handler", *_CHANGED))
        events = self._tables.events
        waiting = (events.c.id == bindparam("record"), or_(events.c.state == STORED, events.c.state == RETRYING))
        becoming = update(events).where(*waiting).values(state=bindparam("becomes"))
        self._write_state = ManyRows(becoming, ("becomes", "record"))
        runs = self._tables.runs
        self._orphan_run = (
            update(runs)
            .where(runs.c.record_id == bindparam("record"), runs.c.handler == bindparam("name"))
            .values(state=ORPHANED, next_attempt_at=None, scheduled_at=None)
        )
        by_runs = state_by_runs(self._tables)
        self._derive_state = update(events).where(*waiting).values(state=by_runs)
        retrying = events.c.id == bindparam("record"), events.c.state == RETRYING
        self._derive_retrying = update(events).where(*retrying).values(state=by_runs)

    def settle(
        self, connection: Connection, settlements: Sequence[Settlement], release: Sequence[bytes]
    ) -> set[tuple[bytes, int]]:
        """Writes outcomes and gives back idle lanes; nothing is written for the lanes and epochs that were lost."""
        handled = {(settlement.lane, settlement.epoch) for settlement in settlements}
        mine = self._mine(connection, {lane for lane, _ in handled}.union(release))
        lost = handled - mine
        kept = [settlement for settlement in settlements if (settlement.lane, settlement.epoch) not in lost]
        self._write_runs(connection, [(settlement.record_id, run) for settlement in kept for run in settlement.runs])
        self._orphan(connection, kept)
        self._write_states(connection, kept)
        lanes = {lane for lane, _ in mine} - ({lane for lane, _ in lost} - {settlement.lane for settlement in kept})
        self.release(connection, [lane for lane in release if lane in lanes])
        return lost

    def write_run(self, connection: Connection, record_id: int, run: RunRow) -> None:
        """Writes a handler's outcome before its record is settled, which may never come to be."""
        self._write_runs(connection, [(record_id, run)])
        self._derive_unfinished(connection, [record_id])

    def begin_run(self, connection: Connection, record_id: int, handler: str, *, attempt: int, at: datetime) -> None:
        """Writes down that a handler is about to be called, so that it is known if the process dies of it."""
        values = {"record_id": record_id, "handler": handler, "attempts": attempt, "started_at": at}
        connection.execute(self._begin_run, values)

    def _write_runs(self, connection: Connection, runs: Sequence[tuple[int, RunRow]]) -> None:
        """Writes each handler's outcome for a record in the place of its earlier one."""
        if not runs:
            return
        is_timed = any(run.delay is not None for _, run in runs)
        now = connection.execute(self._clock).scalar_one() if is_timed else 0.0
        self._write_run.run(connection, [_run_values(record_id, run, now=now) for record_id, run in runs])

    def is_mine(self, connection: Connection, lane: bytes, epoch: int) -> bool:
        """Whether the fence holds; it then does until the end of the transaction."""
        return (lane, epoch) in self._mine(connection, [lane])

    def release(self, connection: Connection, lanes: Sequence[bytes]) -> None:
        """Gives lanes back."""
        if not lanes:
            return
        connection.execute(self._drop_singles, {"lanes": lanes})
        connection.execute(self._give_back, {"lanes": lanes})

    def _mine(self, connection: Connection, lanes: Iterable[bytes]) -> set[tuple[bytes, int]]:
        wanted = list(lanes)
        if not wanted:
            return set()
        return {(row.key, row.epoch) for row in connection.execute(self._lock, {"lanes": wanted})}

    def _orphan(self, connection: Connection, settlements: Sequence[Settlement]) -> None:
        orphaned = [{"record": one.record_id, "name": name} for one in settlements for name in one.orphaned]
        if orphaned:
            connection.execute(self._orphan_run, orphaned)

    def _write_states(self, connection: Connection, settlements: Sequence[Settlement]) -> None:
        known = [(one.outcome, one.record_id) for one in settlements if one.outcome in {"handled", "failed"}]
        self._write_state.run(connection, known)
        derived = [one for one in settlements if one.outcome == "as_runs"]
        if derived:
            connection.execute(self._derive_state, [{"record": one.record_id} for one in derived])
        self._derive_unfinished(connection, [one.record_id for one in settlements if one.outcome == "unfinished"])

    def _derive_unfinished(self, connection: Connection, record_ids: Sequence[int]) -> None:
        """A record that is `retrying` is found by its runs: where none waits it would stay so for ever."""
        if record_ids:
            connection.execute(self._derive_retrying, [{"record": record_id} for record_id in record_ids])


def state_by_runs(tables: Tables) -> ColumnElement[str]:
    """The state that a record of `webhook_events` has by what is written of its runs, as an expression."""
    runs, events = tables.runs, tables.events

    def some(*states: str) -> ColumnElement[bool]:
        # Not IN, which cannot be used where a statement is run for many rows.
        among = or_(*(runs.c.state == state for state in states))
        return exists().where(runs.c.record_id == events.c.id, among).correlate(events)

    return case(
        (some(RETRYING, "stuck", "running", "died", ORPHANED), RETRYING), (some("failed"), "failed"), else_="handled"
    )


def _upsert(database: Database) -> Any:
    runs = database.tables.runs
    statement = database.insert(runs)
    return statement.on_conflict_do_update(
        index_elements=[runs.c.record_id, runs.c.handler],
        set_={name: statement.excluded[name] for name in _CHANGED},
        # A transactional handler may have committed its success where we only saw that the connection broke.
        where=runs.c.state != "succeeded",
    )


def _beginning(database: Database) -> Any:
    """What was said of the attempt before stays until this one has an end."""
    runs, clock = database.tables.runs, database_clock(database)
    # Due at once: it is found as soon as its lane can be taken over.
    statement = database.insert(runs).values(
        record_id=bindparam("record_id"),
        handler=bindparam("handler"),
        attempts=bindparam("attempts"),
        started_at=bindparam("started_at"),
        state="running",
        next_attempt_at=clock,
        scheduled_at=clock,
    )
    names = ("state", "attempts", "started_at", "next_attempt_at", "scheduled_at")
    return statement.on_conflict_do_update(
        index_elements=[runs.c.record_id, runs.c.handler],
        set_={name: statement.excluded[name] for name in names},
        where=runs.c.state != "succeeded",
    )


def _run_values(record_id: int, run: RunRow, *, now: float) -> Row:
    """As the columns are listed above."""
    return (
        record_id,
        run.handler,
        run.state,
        run.attempts,
        run.error,
        run.traceback,
        run.started_at,
        run.finished_at,
        None if run.delay is None else now + run.delay,
        None if run.delay is None else now,
    )
