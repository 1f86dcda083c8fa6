"""Taking lanes: their records are numbered and their tasks' states projected in the same transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, case, or_, select, update
from sqlalchemy.engine import Connection

from morag_client.inbox.clock import database_clock
from morag_client.inbox.database import Database
from morag_client.inbox.lanes import Claimable, EarlierRun, Grant, Granted, Project
from morag_client.inbox.rows import STORED
from morag_client.inbox.settling import RETRYING
from morag_client.inbox.statements import Among, ManyRows, Row

_LANE: Final = ("key", "tenant", "task_id", "record_id", "first_record_id", "owner", "epoch", "sequence")
_OWNERSHIP: Final = (frozenset(_LANE) | {"deaths"}) - {"sequence"}


class Claiming:
    """The statements of one worker, made once; `lives()` tells of a row of `webhook_workers` whether it is alive."""

    def __init__(self, database: Database, *, worker_id: str, lives: Callable[[], ColumnElement[bool]]) -> None:
        self._tables = database.tables
        self._worker_id = worker_id
        self._take_lane = ManyRows(self._taking(database, lives()), _LANE)
        events, tasks = self._tables.events, self._tables.tasks
        numbering = (
            update(events)
            .where(events.c.id == bindparam("record"))
            .values(sequence=bindparam("number"), is_late=bindparam("late"))
        )
        self._number = ManyRows(numbering, ("number", "late", "record"))
        telling = update(events).where(events.c.id == bindparam("record"))
        telling = telling.values(state="handled", belongs_to=bindparam("told_by"))
        self._tell = ManyRows(telling, ("told_by", "record"))
        projected = [column.name for column in tasks.c if column.name not in _OWNERSHIP]
        projecting = (
            update(tasks)
            .where(tasks.c.key == bindparam("lane"))
            .values({name: bindparam(f"new_{name}") for name in projected})
        )
        self._project = ManyRows(projecting, (*(f"new_{name}" for name in projected), "lane"))
        self._projected = itemgetter(*projected)
        self._nothing: Mapping[str, Any] = dict.fromkeys(projected) | {"sequence": 0}
        clock = database_clock(database)
        runs = self._tables.runs
        mine = tasks.c.key.in_(bindparam("lanes", expanding=True)), tasks.c.owner == worker_id
        self._taken = select(tasks.c.key, tasks.c.epoch, tasks.c.sequence, tasks.c.deaths).where(*mine)
        self._columns = select(tasks).where(tasks.c.key.in_(bindparam("lanes", expanding=True)))
        waits = or_(events.c.state == STORED, events.c.state == RETRYING)
        self._wanted = Among("records", is_sqlite=database.is_sqlite)
        self._waits = select(events.c.id, events.c.sequence, events.c.is_late, events.c.task_key, events.c.state).where(
            self._wanted.condition(events.c.id), waits
        )
        self._runs = select(
            runs.c.record_id,
            runs.c.handler,
            runs.c.state,
            runs.c.attempts,
            (runs.c.next_attempt_at <= clock).label("due"),
        )

    def claim(
        self, connection: Connection, records: Sequence[Claimable], project: Project, known: Mapping[bytes, int]
    ) -> list[Grant]:
        """Takes the lanes of these records where they are free, ours, or their owner is dead.

        The records of a lane are numbered in their order, and with those its task's state changes. Left out are lanes
        that a living worker owns, and of the others those records that were settled since they were read. What is
        `known` is not read: see `Ownership.turn`.
        """
        lanes: dict[bytes, list[Claimable]] = {}
        for record in records:
            lanes.setdefault(record.lane, []).append(record)
        if not lanes:
            return []
        taken = self._take(connection, lanes)
        waiting = self._waiting(connection, [record for lane in taken for record in lanes[lane]])
        # What was numbered was in a lane before, and may have runs; what has no task is never numbered.
        seen = [row.id for row in waiting.values() if row.sequence is not None or row.task_key is None]
        runs = self._earlier_runs(connection, seen)
        batch = _Batch(project, waiting, runs, self._columns_of(connection, taken.values(), lanes, known))
        grants = [batch.grant(row, lanes[lane]) for lane, row in taken.items()]
        self._number.run(connection, batch.numbers)
        self._tell.run(connection, batch.told)
        self._project.run(connection, [(*self._projected(values), lane) for lane, values in batch.projections])
        return grants

    def _taking(self, database: Database, lives: ColumnElement[bool]) -> Any:
        tasks, workers = self._tables.tasks, self._tables.workers
        alive = select(workers.c.id).where(lives)
        free, ours = tasks.c.owner.is_(None), tasks.c.owner == self._worker_id
        # Not VALUES of many rows, which SQLAlchemy would compile anew for every number of them.
        return database.insert(tasks).on_conflict_do_update(
            index_elements=[tasks.c.key],
            set_={
                "owner": self._worker_id,
                "epoch": case((ours, tasks.c.epoch), else_=tasks.c.epoch + 1),
                # Whoever else has it did not give it back.
                "deaths": case((or_(free, ours), tasks.c.deaths), else_=tasks.c.deaths + 1),
            },
            where=or_(free, ours, tasks.c.owner.not_in(alive)),
        )

    def _take(self, connection: Connection, lanes: Mapping[bytes, Sequence[Claimable]]) -> dict[bytes, Any]:
        # In one order for everybody, or two workers would wait for each other.
        self._take_lane.run(connection, [self._lane_values(lane, lanes[lane][0]) for lane in sorted(lanes)])
        return {row.key: row for row in connection.execute(self._taken, {"lanes": list(lanes)}).all()}

    def _columns_of(
        self,
        connection: Connection,
        taken: Iterable[Any],
        lanes: Mapping[bytes, Sequence[Claimable]],
        known: Mapping[bytes, int],
    ) -> dict[bytes, Mapping[str, Any]]:
        """The columns that a task's state is made of; only how far it is where that says everything."""
        columns: dict[bytes, Mapping[str, Any]] = {}
        unknown: list[bytes] = []
        for row in taken:
            if not row.sequence:
                first = lanes[row.key][0]
                columns[row.key] = {**self._nothing, "key": row.key, "tenant": first.tenant, "task_id": first.task_id}
            elif known.get(row.key) == row.sequence:
                columns[row.key] = {"key": row.key, "sequence": row.sequence}
            else:
                unknown.append(row.key)
        if unknown:
            found = connection.execute(self._columns, {"lanes": unknown}).mappings()
            columns |= {row["key"]: dict(row) for row in found}
        return columns

    def _lane_values(self, lane: bytes, first: Claimable) -> Row:
        single, of_task = (None, first.record_id) if first.task_key is not None else (first.record_id, None)
        return lane, first.tenant, first.task_id, single, of_task, self._worker_id, 1, 0

    def _waiting(self, connection: Connection, records: Sequence[Claimable]) -> dict[int, Any]:
        """Those of the records that wait, with the numbers they have: they were read before their lane was ours."""
        if not records:
            return {}
        wanted = self._wanted.parameters([record.record_id for record in records])
        return {row.id: row for row in connection.execute(self._waits, wanted)}

    def _earlier_runs(self, connection: Connection, record_ids: Sequence[int]) -> dict[int, list[EarlierRun]]:
        found: dict[int, list[EarlierRun]] = {}
        if record_ids:
            statement = self._runs.where(self._tables.runs.c.record_id.in_(record_ids))
            for row in connection.execute(statement):
                run = EarlierRun(row.handler, row.state, row.attempts, is_due=bool(row.due))
                found.setdefault(row.record_id, []).append(run)
        return found


class _Batch:
    """What a claim grants, and what is to be written for it."""

    def __init__(
        self,
        project: Project,
        waiting: Mapping[int, Any],
        runs: Mapping[int, Sequence[EarlierRun]],
        columns: Mapping[bytes, Mapping[str, Any]],
    ) -> None:
        self._make = project
        self._waiting = waiting
        self._runs = runs
        self._columns = columns
        self.numbers: list[Row] = []
        self.told: list[Row] = []
        self.projections: list[tuple[bytes, Mapping[str, Any]]] = []

    def grant(self, lane: Any, wanted: Sequence[Claimable]) -> Grant:
        records = [record for record in wanted if record.record_id in self._waiting]
        # Without a task there is nothing to number; a number says that its event is in the task's state already.
        unnumbered = [
            record.record_id
            for record in records
            if record.task_key is not None and self._waiting[record.record_id].sequence is None
        ]
        if not records or records[0].task_key is None:
            return Grant(lane.key, lane.epoch, [self._known(one.record_id, None) for one in records], lane.deaths)
        projection = self._make(self._columns[lane.key], unnumbered)
        new: dict[int, Granted] = {}
        for record_id, (number, is_late, task) in zip(unnumbered, projection.events, strict=True):
            is_told = record_id in projection.belongings
            new[record_id] = Granted(record_id, number, is_late, task, is_new=True, is_told=is_told)
            self.numbers.append((number, is_late, record_id))
        self.told += [(told_by, record_id) for record_id, told_by in projection.belongings.items()]
        if unnumbered:
            self.projections.append((lane.key, projection.values))
        granted = [new.get(record.record_id) or self._known(record.record_id, projection.task) for record in records]
        return Grant(lane.key, lane.epoch, granted, lane.deaths)

    def _known(self, record_id: int, task: Any) -> Granted:
        row = self._waiting[record_id]
        runs = self._runs.get(record_id, ())
        return Granted(record_id, row.sequence, bool(row.is_late), task, runs, is_retry=row.state == RETRYING)
