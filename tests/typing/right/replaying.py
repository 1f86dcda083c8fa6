"""Handling again what is stored, with names for annotations."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import assert_type

from morag_client import AuditEntry, DeadLetter, Receiver, Replay, Retried


async def repair(receiver: Receiver) -> int:
    assert_type((await receiver.replay(17)).handlers, Sequence[str])
    assert_type(await receiver.replay(17, 18, handler="index", who="anna", why="repaired"), Replay)
    since = datetime.now(UTC) - timedelta(hours=2)
    would = await receiver.replay(
        name="*.failed", task_id="task-1", since=since, until=None, state="failed", dry_run=True
    )
    letters = await receiver.dead_letters.list(limit=5, handler="index", name="chunking", task_id="task-1")
    letter: DeadLetter = await receiver.dead_letters.get(letters[0].id)
    assert_type(letter.traceback, str | None)
    retried: Retried = await receiver.dead_letters.retry(letter.id, who="anna", why="repaired")
    assert_type(await receiver.dead_letters.discard(name="*"), int)
    entries: Sequence[AuditEntry] = await receiver.audit.list(limit=5)
    return numbers(would) + retried.retried + len(entries)


def numbers(replay: Replay) -> int:
    return replay.replayed + replay.brought_forward + replay.waiting + replay.pruned
