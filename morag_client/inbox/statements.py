"""Statements about many rows at once, without SQLAlchemy's work on each of them.

SQLAlchemy looks at every parameter of every row, which took half of the time of an engine's turn. Here a statement is
compiled once, and its rows are handed to the driver nearly as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import ARRAY, BigInteger, ClauseElement, ColumnElement, Text, any_, bindparam, func, select
from sqlalchemy.engine import Connection, Dialect

from morag_client.inbox.tables import UtcTime

Row = tuple[Any, ...]

_TEXT_LENGTH: Final = len("2024-01-15 10:34:00.000000")


class ManyRows:
    """One statement, run for rows that hold the values of its parameters `names`, in this order.

    Moments are in UTC; every other value is one that the driver takes.
    """

    def __init__(self, statement: ClauseElement, names: Sequence[str]) -> None:
        self._statement = statement
        self._names = names
        self._sql = ""
        self._constants: Row = ()
        self._moments: list[int] = []
        self._in_order: Callable[[Row], Row] = tuple
        self._moment: Callable[[datetime], Any] = moment_as_text

    def run(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Runs it for each of the rows, in their order."""
        if not rows:
            return
        if not self._sql:
            self._compile(connection.dialect)
        connection.exec_driver_sql(self._sql, [self._bound(row) for row in rows])

    def _bound(self, row: Row) -> Row:
        if self._moments:
            values = list(row)
            for place in self._moments:
                if values[place] is not None:
                    values[place] = self._moment(values[place])
            row = tuple(values)
        return self._in_order(row + self._constants)

    def _compile(self, dialect: Dialect) -> None:
        compiled: Any = self._statement.compile(dialect=dialect, column_keys=list(self._names))
        constants = [name for name in compiled.params if name not in self._names]
        self._constants = tuple(compiled.params[name] for name in constants)
        places = {name: place for place, name in enumerate([*self._names, *constants])}
        order = [places[name] for name in compiled.positiontup]
        if order != list(range(len(places))):
            self._in_order = itemgetter(*order)
        self._moments = [places[name] for name in self._names if isinstance(compiled.binds[name].type, UtcTime)]
        self._moment = moment_as_text if dialect.name == "sqlite" else _naive
        self._sql = str(compiled)


class Among:
    """The condition that a number is one of many, as one parameter however many they are."""

    def __init__(self, name: str, *, is_sqlite: bool) -> None:
        self._name = name
        self._is_sqlite = is_sqlite

    def condition(self, column: ColumnElement[int]) -> ColumnElement[bool]:
        if self._is_sqlite:
            numbers = func.json_each(bindparam(self._name, type_=Text)).table_valued("value")
            return column.in_(select(numbers.c.value))
        return column == any_(bindparam(self._name, type_=ARRAY(BigInteger)))

    def parameters(self, numbers: Sequence[int]) -> dict[str, Any]:
        return {self._name: str(list(numbers)) if self._is_sqlite else list(numbers)}


def moment_as_text(moment: datetime) -> str:
    """A moment in UTC as SQLAlchemy writes and reads it in SQLite."""
    return moment.isoformat(" ", "microseconds")[:_TEXT_LENGTH]


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)
