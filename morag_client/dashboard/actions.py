"""What a person can let happen from the page, each with who and why in the audit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from morag_client.dashboard import views
from morag_client.dashboard.desk import Desk
from morag_client.dashboard.guard import Guard, Refused, asked

_MOST_IDS: Final = 1000
_WHY_LENGTH: Final = 1000

Do = Callable[[Mapping[str, Any], Mapping[str, Any]], Awaitable[Any]]


def action_routes(desk: Desk, guard: Guard) -> list[Route]:
    """The routes of all actions that the receiver can do."""
    done: dict[str, Do] = {
        "replay": lambda wanted, note: desk.replay(*_ids(wanted), handler=_text(wanted, "handler"), **note),
        "retry-dead-letters": lambda wanted, note: desk.retry_dead_letters(*_letters(wanted), **_all(wanted), **note),
        "discard-dead-letters": lambda wanted, note: desk.discard_dead_letters(
            *_letters(wanted), **_all(wanted), **note
        ),
        "retry-quarantine": lambda wanted, note: desk.retry_quarantine(
            *([] if wanted.get("all") is True else _ids(wanted)), everything=wanted.get("all") is True, **note
        ),
        "discard-quarantine": lambda wanted, note: desk.discard_quarantine(*_ids(wanted), **note),
    }
    if desk.reconcile is not None:
        reconcile = desk.reconcile
        done["reconcile"] = lambda _, note: reconcile(**note)
    return [
        Route(f"/dashboard/api/actions/{name}", guard.acting(_endpoint(do, guard)), methods=["POST"])
        for name, do in done.items()
    ]


def _endpoint(do: Do, guard: Guard) -> Callable[[Request], Awaitable[Response]]:
    async def act(request: Request) -> Response:
        wanted = await asked(request)
        await guard.inbox()  # whose trouble is another one than what an action is refused for
        why = _text(wanted, "why")
        note = {"who": guard.who(request), "why": why and why[:_WHY_LENGTH]}
        outcome = await do(wanted, note)
        return JSONResponse({"done": views.described(outcome)})

    return act


def _ids(wanted: Mapping[str, Any]) -> list[int]:
    """The ids that are meant, at least one. Raises Refused."""
    ids = wanted.get("ids")
    if not isinstance(ids, list) or not all(type(one) is int and one > 0 for one in ids):
        raise Refused(422, "ids= is a list of ids")
    if not 0 < len(ids) <= _MOST_IDS:
        raise Refused(422, f"say which are meant, {_MOST_IDS} at most")
    return ids


def _letters(wanted: Mapping[str, Any]) -> list[int]:
    return [] if wanted.get("all") is True else _ids(wanted)


def _all(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What chooses all dead letters, or all of a handler or of a task; nothing where ids do."""
    if wanted.get("all") is not True:
        return {}
    handler = _text(wanted, "handler")
    return {"name": None if handler else "*", "handler": handler, "orphaned": wanted.get("orphaned") is True}


def _text(wanted: Mapping[str, Any], key: str) -> str | None:
    text = wanted.get(key)
    if text is not None and not isinstance(text, str):
        raise Refused(422, f"{key}= is a text")
    return text or None
