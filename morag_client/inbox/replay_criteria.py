"""Which records are to be handled again, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Final

from morag_client.errors import ConfigurationError
from morag_client.events.payloads import as_text
from morag_client.inbox.asking import checked_state, checked_text
from morag_client.inbox.rows import STORED
from morag_client.inbox.settling import RETRYING

STATES: Final = (STORED, RETRYING, "handled", "failed")


@dataclass(frozen=True, slots=True)
class ReplayCriteria:
    """Which records, all of what is given having to hold, and for which handler.

    `name` is a pattern as `@on` takes it; `*` means every record. `since` is inclusive, `until` is not; both are of
    the receipt. Raises ConfigurationError where nothing is given that chooses records, or a state or time that cannot
    be.
    """

    record_ids: Sequence[int] | None = None
    task_id: str | None = None
    name: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    state: str | None = None
    handler: str | None = None

    def __post_init__(self) -> None:
        if all(getattr(self, one.name) is None for one in fields(self) if one.name != "handler"):
            raise ConfigurationError("say which records: by id, task, name, time or state; name='*' means every one")
        for of in ("task_id", "name", "handler"):
            if (text := getattr(self, of)) is not None:
                checked_text(text, of=of)
        if self.state is not None:
            checked_state(self.state, STATES)
        if any(moment is not None and moment.tzinfo is None for moment in (self.since, self.until)):
            raise ConfigurationError("a time without a time zone could mean several; give an aware datetime")

    def described(self) -> dict[str, Any]:
        """What was given, as JSON can say it."""
        given = {key: value for key, value in asdict(self).items() if value is not None}
        return {key: as_text(value) if isinstance(value, datetime) else value for key, value in given.items()}


@dataclass(frozen=True, slots=True)
class Replay:
    """What became of the records that were meant, or would become of them where it was a dry run.

    `replayed` wait for handlers again; `brought_forward` waited for another attempt, which is made now; `waiting` have
    not been handled at all yet and are left alone; `pruned` have no body any more and cannot be replayed. `handlers`
    are the names of those that run again, where a single record was meant.
    """

    replayed: int = 0
    brought_forward: int = 0
    waiting: int = 0
    pruned: int = 0
    handlers: Sequence[str] = field(default=(), kw_only=True)

    def plus(self, other: Replay) -> Replay:
        """Both together, without names."""
        return Replay(
            self.replayed + other.replayed,
            self.brought_forward + other.brought_forward,
            self.waiting + other.waiting,
            self.pruned + other.pruned,
        )

    @property
    def total(self) -> int:
        """How many records were meant."""
        return self.replayed + self.brought_forward + self.waiting + self.pruned
