"""What is stored, as the page's scripts read it: JSON of words, numbers and moments, never HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from pydantic_core import to_jsonable_python

from morag_client.inbox.event_listing import EventSummary
from morag_client.inbox.quarantine import Quarantined
from morag_client.inbox.queries import HandlerRun, Record
from morag_client.inbox.task_listing import TaskRow
from morag_client.progress.state import from_values
from morag_client.wire.redaction import redacted_bytes

_MOST_ARTEFACTS: Final = 50
_DEEPEST: Final = 40
_ARTEFACT_KEYS: Final = ("_url", "_path", "_file")


def described(value: Any) -> Any:
    """Values as JSON can say them."""
    return to_jsonable_python(value, bytes_mode="utf8")


def task(row: TaskRow) -> dict[str, Any]:
    """A task with its key, and `number`, by which tasks are in order."""
    state = from_values(row.values)
    shown: dict[str, Any] = described(asdict(state))
    shown["steps"] = [
        {"name": name, **described(asdict(step)), "seconds": step.seconds} for name, step in state.steps.items()
    ]
    return {**shown, "key": row.key.hex(), "number": row.number, "seconds": state.seconds}


def event(summary: EventSummary) -> dict[str, Any]:
    """A record of a listing."""
    fields: dict[str, Any] = described({**asdict(summary), "task_key": None})
    return {**fields, "task_key": _hex(summary.task_key)}


def record(stored: Record) -> dict[str, Any]:
    """A record with its runs, and its payload where that was read too."""
    fields = {**asdict(stored), "runs": None, "task_key": None, "body": None}
    shown: dict[str, Any] = described(fields)
    shown |= {"runs": [run(one) for one in stored.runs], "task_key": _hex(stored.task_key)}
    del shown["body"]
    return shown


def run(one: HandlerRun) -> dict[str, Any]:
    """What one handler made of a record."""
    shown: dict[str, Any] = described(asdict(one))
    return shown


def payload(body: bytes | None) -> dict[str, Any]:
    """A body to be read: `text`, over several lines where it is JSON, and the artefacts that it names; None: pruned."""
    if body is None:
        return {"text": None, "is_json": False, "size": 0, "artefacts": []}
    clean = redacted_bytes(body)
    try:
        decoded = json.loads(clean)
        text = json.dumps(decoded, ensure_ascii=False, indent=2)
        return {"text": _sound(text), "is_json": True, "size": len(body), "artefacts": artefacts(decoded)}
    except (ValueError, RecursionError):
        return {"text": clean.decode(errors="replace"), "is_json": False, "size": len(body), "artefacts": []}


def quarantined(delivery: Quarantined) -> dict[str, Any]:
    """A delivery in quarantine."""
    fields = {**asdict(delivery), "identity": None, "body": None}
    shown: dict[str, Any] = described(fields)
    del shown["identity"], shown["body"]
    return shown


def artefacts(decoded: Any) -> list[dict[str, str]]:
    """The files that a payload names, each with the key under which it stands, without repetitions."""
    found: dict[str, str] = {}
    for key, text in _texts(decoded):
        if len(found) < _MOST_ARTEFACTS and _is_artefact(key, text):
            found.setdefault(text, key)
    return [{"key": key, "where": _sound(text)} for text, key in found.items()]


def _texts(value: Any, key: str = "", depth: int = 0) -> list[tuple[str, str]]:
    """Each string with the last key above it."""
    if isinstance(value, str):
        return [(key, value)]
    if depth > _DEEPEST:
        return []
    if isinstance(value, Mapping):
        return [found for name, inside in value.items() for found in _texts(inside, name, depth + 1)]
    if isinstance(value, Sequence):
        return [found for inside in value for found in _texts(inside, key, depth + 1)]
    return []


def _is_artefact(key: str, text: str) -> bool:
    if not 0 < len(text) <= 2048 or key == "webhook_url":  # noqa: PLR2004  # longer than any address that works
        return False
    return key.endswith(_ARTEFACT_KEYS) or key in {"output_files", "intermediate_files"}


def _sound(text: str) -> str:
    """The text without halves of characters, which JSON can name and no answer can carry."""
    return text.encode("utf-8", "replace").decode()


def _hex(key: bytes | None) -> str | None:
    return None if key is None else key.hex()
