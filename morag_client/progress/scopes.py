"""Which tasks somebody may follow, or does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

from morag_client.errors import ConfigurationError
from morag_client.inbox.rows import clean
from morag_client.inbox.tables import ID_LENGTH
from morag_client.progress.state import TaskState
from morag_client.wire.identity import task_key
from morag_client.wire.signed_url import TENANT

Kind = Literal["all", "task", "document", "correlation"]

_MOST_IDS: Final = 16
_LONGEST_ID: Final = 255


@dataclass(frozen=True, slots=True)
class Scope:
    """All tasks, one, those of a document, or those whose signed URLs carry some ids.

    `tenant` is whose they are: "" where the receiver knows no tenants, None where that does not count.
    """

    kind: Kind
    tenant: str | None = ""
    id: str = ""
    ids: tuple[tuple[str, str], ...] = ()
    """The ids of a correlation, sorted."""

    def matches(self, key: bytes, state: TaskState) -> bool:
        """Whether a task is among those that are meant; `key` is that of its row."""
        if self.tenant is not None and state.tenant != self.tenant:
            return False
        if self.kind == "task":
            return key == self.key  # not the id that is shown, which may be of an unsigned query
        if self.kind == "document":
            return state.document_id == self.id
        # Of `all` there are no ids that could differ.
        return all(state.correlation.get(name) == value for name, value in self.ids)

    def covers(self, other: Scope) -> bool:
        """Whether every task that the other means is surely among those of this one."""
        if self.tenant is not None and other.tenant != self.tenant:
            return False
        if self.kind == "correlation" and other.kind == "correlation":
            return set(self.ids) <= set(other.ids)
        return self.kind == "all" or (self.kind == other.kind and self.id == other.id)

    @property
    def key(self) -> bytes | None:
        """The key of the one task that is meant."""
        return task_key(tenant=self.tenant or "", task_id=self.id) if self.kind == "task" else None

    def as_object(self) -> dict[str, Any]:
        """The scope as JSON says it; `scope_of` reads it."""
        value: Any = {"all": True, "correlation": dict(self.ids)}.get(self.kind, self.id)
        return {self.kind: value} | ({} if self.tenant == "" else {"tenant": self.tenant})


def make_scope(
    *,
    task: Any = None,
    document: Any = None,
    correlation: Any = None,
    all: Any = False,  # noqa: A002  # the word of the public interface
    tenant: Any = None,
) -> Scope:
    """The scope that exactly one of these says. Raises ConfigurationError for none or several, and for what is no id.

    Without `tenant`, `all` means everybody's tasks, and the others those without a tenant, unless the ids of a
    correlation say whose they are.
    """
    given = [("task", task), ("document", document), ("correlation", correlation), ("all", all or None)]
    kinds = [cast("Kind", kind) for kind, value in given if value is not None]
    if len(kinds) != 1 or not isinstance(all, bool):
        raise ConfigurationError("say whose progress is meant by one of task=, document=, correlation= and all=True")
    (kind,) = kinds
    if tenant is not None and (not isinstance(tenant, str) or len(tenant) > _LONGEST_ID):
        raise ConfigurationError("tenant= is the name of one, a string")
    if kind == "all":
        return Scope("all", tenant)
    if kind == "correlation":
        ids = _ids(correlation)
        # Beside tenants, a signed `tenant` says whose a task is; without them it is an id like any other.
        says_whose = tenant is None and TENANT in dict(ids)
        return Scope("correlation", None if says_whose else tenant or "", ids=ids)
    return Scope(kind, tenant or "", _text(task if kind == "task" else document, kind))


def scope_of(said: Any) -> Scope:
    """The scope that a JSON object says: `{"task": "42"}`. Raises ConfigurationError for any other value."""
    if not isinstance(said, dict) or not said.keys() <= {"task", "document", "correlation", "all", "tenant"}:
        raise ConfigurationError('expected {"task": …}, {"document": …}, {"correlation": {…}} or {"all": true}')
    return make_scope(**said)


def covered(scope: Scope, by: Iterable[Scope]) -> bool:
    """Whether one of these covers it."""
    return any(one.covers(scope) for one in by)


def matching(by: Sequence[Scope], key: bytes, state: TaskState) -> bool:
    """Whether a task is among those of one of these."""
    return any(one.matches(key, state) for one in by)


def _ids(correlation: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(correlation, Mapping) or not 0 < len(correlation) <= _MOST_IDS:
        raise ConfigurationError(f"correlation= takes 1 to {_MOST_IDS} ids, as they were signed into webhook URLs")
    return tuple(sorted((_text(key, "correlation"), _text(value, str(key))) for key, value in correlation.items()))


def _text(value: object, what: str) -> str:
    # As it is signed and stored: a number means its text.
    text = "" if value is None or isinstance(value, bool | dict | list) else str(value)
    if not 0 < len(text) <= _LONGEST_ID:
        raise ConfigurationError(f"{what} is no id of 1 to {_LONGEST_ID} characters")
    return clean(text, ID_LENGTH) or text
