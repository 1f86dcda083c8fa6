"""How much came over time, without an index on times: ids are given in the order of receipt.

The id that a moment falls on is found by halving, for all moments at once, and remembered. Between two ids, counting
has an index, or is their difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import DateTime, Integer, TextClause, TextualSelect, func, select, text
from sqlalchemy.engine import Connection

from morag_client.inbox.database import Database

MOST_BUCKETS: Final = 120

_MOST_KNOWN: Final = 5000
_SETTLED: Final = timedelta(seconds=30)
"""After so long nothing is committed any more that was received before."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """What came from a moment to the next: `received` events, of which the handlers of so many gave up (`given_up`).

    `begun` are tasks whose first event came then; of these have `completed` and `failed` so many by now. Where a
    database leaves out ids (PostgreSQL does for what it refused), those count as received.
    """

    since: datetime
    received: int
    given_up: int
    begun: int
    completed: int
    failed: int


class Activity:
    """What came into one inbox over time. It remembers which ids moments fall on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[datetime, int] = {}

    async def between(self, moments: Sequence[datetime], *, now: datetime, patience: float) -> list[Bucket]:
        """What came between each of these moments and the next, the last one being open at its end.

        `moments` are in order, at most 120. A record that was taken out of quarantine has its old time and a new id: it
        counts where its neighbours do. Raises InboxUnavailable.
        """
        assert 0 < len(moments) <= MOST_BUCKETS  # noqa: S101
        known = {moment: self._known[moment] for moment in moments if moment in self._known}
        firsts, buckets = await self._database.read(
            lambda connection: _activity(connection, self._database, moments, known), patience=patience
        )
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        self._known |= {moment: first for moment, first in firsts.items() if moment < now - _SETTLED}
        return buckets


def _activity(
    connection: Connection, database: Database, moments: Sequence[datetime], known: Mapping[datetime, int]
) -> tuple[dict[datetime, int], list[Bucket]]:
    beyond = int(connection.execute(select(func.coalesce(func.max(database.tables.events.c.id), 0))).scalar_one()) + 1
    firsts = {**known, **_first_ids(connection, database, [one for one in moments if one not in known], beyond)}
    # Clocks may be set back, ids are not.
    starts = [max(firsts[earlier] for earlier in moments[: place + 1]) for place in range(len(moments))]
    ends = [*starts[1:], max(starts[-1], beyond)]
    asked = counting(database).bindparams(starts=_numbers(database, starts), ends=_numbers(database, ends))
    counted = {row.start: row for row in connection.execute(asked)}
    buckets = [
        Bucket(
            since=moment,
            received=end - start,
            given_up=counted[start].given_up if end > start else 0,
            begun=counted[start].begun if end > start else 0,
            completed=counted[start].completed if end > start else 0,
            failed=counted[start].failed if end > start else 0,
        )
        for moment, start, end in zip(moments, starts, ends, strict=True)
    ]
    return firsts, buckets


def _first_ids(
    connection: Connection, database: Database, moments: Sequence[datetime], beyond: int
) -> dict[datetime, int]:
    """For each moment the id of the first record that was received at it or later, or the one beyond the last."""
    low, high = dict.fromkeys(moments, 1), dict.fromkeys(moments, beyond)
    statement = finding(database)
    while middles := {moment: (low[moment] + high[moment]) // 2 for moment in moments if low[moment] < high[moment]}:
        asked = statement.bindparams(ids=_numbers(database, sorted(set(middles.values()))))
        found = {row.asked: row for row in connection.execute(asked)}
        for moment, middle in middles.items():
            row = found.get(middle)
            if row is None or row.received_at.replace(tzinfo=UTC) >= moment:
                high[moment] = middle
            else:
                low[moment] = row.id + 1
    return low


def finding(database: Database) -> TextualSelect:
    """For each of many ids the first record that is not below it, and when that was received. Text: compiled once."""
    events = database.tables.events.name
    return text(
        f"""
        SELECT asked.value AS asked, event.id, event.received_at
        FROM {_given(database, "ids")} AS asked
        JOIN "{events}" AS event ON event.id = (SELECT min(id) FROM "{events}" WHERE id >= asked.value)
        """  # noqa: S608
    ).columns(asked=Integer, id=Integer, received_at=DateTime)


def counting(database: Database) -> TextClause:
    """What there is from each of many ids to another one; those where the two are the same are left out.

    The conditions of the indexes stand in it as they stand there, since SQLite knows them only then.
    """
    events, tasks = database.tables.events.name, database.tables.tasks.name
    begun = (
        f'SELECT count(*) FROM "{tasks}" WHERE first_record_id IS NOT NULL'  # noqa: S608
        " AND first_record_id >= bucket.start AND first_record_id < bucket.finish"
    )
    return text(
        f"""
        SELECT bucket.start,
            (SELECT count(*) FROM "{events}" WHERE state IN ('retrying', 'failed') AND state = 'failed'
                AND id >= bucket.start AND id < bucket.finish) AS given_up,
            ({begun}) AS begun,
            ({begun} AND state = 'completed') AS completed,
            ({begun} AND state = 'failed') AS failed
        FROM ({_pairs(database)}) AS bucket WHERE bucket.start < bucket.finish
        """  # noqa: S608
    )


def _given(database: Database, name: str) -> str:
    return f"json_each(:{name})" if database.is_sqlite else f"(SELECT unnest(CAST(:{name} AS bigint[])) AS value)"


def _pairs(database: Database) -> str:
    if database.is_sqlite:
        return (
            "SELECT first.value AS start, last.value AS finish FROM json_each(:starts) AS first"
            " JOIN json_each(:ends) AS last ON last.key = first.key"
        )
    return "SELECT * FROM unnest(CAST(:starts AS bigint[]), CAST(:ends AS bigint[])) AS pair (start, finish)"


def _numbers(database: Database, numbers: Sequence[int]) -> Any:
    """Many numbers as one parameter."""
    return str(list(numbers)) if database.is_sqlite else list(numbers)
