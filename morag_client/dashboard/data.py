"""What the page's scripts ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from morag_client.dashboard import views
from morag_client.dashboard.desk import Desk
from morag_client.dashboard.guard import Guard, Refused
from morag_client.dashboard.overview import RANGES, STALLED, durations, over_time, overview
from morag_client.dashboard.snapshots import Snapshots
from morag_client.inbox import audit, dead_letters, event_listing, quarantine, task_listing
from morag_client.inbox.activity import Activity
from morag_client.inbox.dead_letters import DeadLetterFilter
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.queries import Queries
from morag_client.inbox.replay_criteria import STATES

_PAGE: Final = 50
_MOST: Final = 200
_EVENTS_OF_A_TASK: Final = 500
_LARGEST_ID: Final = 2**63 - 1
_OVERVIEW_AGE: Final = 0.4
_SLOW_AGE: Final = 10.0

Find = Callable[[Inbox, Request], Awaitable[Mapping[str, Any]]]


class Data:
    """The routes that tell what is stored; each answers with a JSON object."""

    def __init__(self, desk: Desk, guard: Guard) -> None:
        self._desk = desk
        self._guard = guard
        self._snapshots = Snapshots()
        self._activity: tuple[Inbox, Activity] | None = None

    def routes(self) -> list[Route]:
        found: dict[str, Find] = {
            "overview": self._overview,
            "activity": self._over_time,
            "steps": self._durations,
            "tasks": _tasks,
            "tasks/{key}": _task,
            "events": _events,
            "events/{id:int}": _event,
            "dead-letters": _dead_letters,
            "dead-letters/{id:int}": _dead_letter,
            "quarantine": _quarantine,
            "quarantine/{id:int}": _quarantined,
            "audit": _audit,
        }
        return [
            Route(f"/dashboard/api/{path}", self._guard.reading(self._endpoint(find)), methods=["GET"])
            for path, find in found.items()
        ]

    def _endpoint(self, find: Find) -> Callable[[Request], Awaitable[Response]]:
        async def found(request: Request) -> Response:
            return JSONResponse(await find(await self._guard.inbox(), request))

        return found

    async def _overview(self, inbox: Inbox, _: Request) -> Mapping[str, Any]:
        look = partial(overview, inbox, now=datetime.now(UTC))
        found = await self._snapshots.get("overview", look, max_age=_OVERVIEW_AGE)
        return {**found, "duplicates": self._desk.duplicates()}

    async def _over_time(self, inbox: Inbox, request: Request) -> Mapping[str, Any]:
        of = request.query_params.get("range", "1h")
        if of not in RANGES:
            raise Refused(422, f"range is none of {', '.join(RANGES)}")
        if self._activity is None or self._activity[0] is not inbox:
            self._activity = inbox, Activity(inbox.database)
        look = partial(over_time, inbox, self._activity[1], of=of, now=datetime.now(UTC))
        found: Mapping[str, Any] = await self._snapshots.get(("activity", of), look, max_age=_OVERVIEW_AGE)
        return found

    async def _durations(self, inbox: Inbox, _: Request) -> Mapping[str, Any]:
        found: Mapping[str, Any] = await self._snapshots.get("steps", partial(durations, inbox), max_age=_SLOW_AGE)
        return found


async def _tasks(inbox: Inbox, request: Request) -> Mapping[str, Any]:
    """By `q` (what somebody knows of a task), or by `state`, `document` and `before`."""
    wanted, limit = request.query_params, _limit(request)
    if text := wanted.get("q", "").strip():
        rows = await task_listing.search(inbox.database, text, limit=limit, patience=inbox.patience)
        return {"tasks": [views.task(row) for row in rows], "next": None, "window": task_listing.SEARCH_WINDOW}
    state = wanted.get("state", "")
    is_stalled = state == "stalled"
    rows = await task_listing.page(
        inbox.database,
        limit=limit,
        states=() if is_stalled else _states(state),
        document_id=wanted.get("document") or None,
        before=_before(request),
        silent_since=datetime.now(UTC) - STALLED if is_stalled else None,
        patience=inbox.patience,
    )
    more = rows[-1].number if len(rows) == limit and not is_stalled else None
    return {"tasks": [views.task(row) for row in rows], "next": more}


async def _task(inbox: Inbox, request: Request) -> Mapping[str, Any]:
    key = _key(request.path_params["key"])
    row = await task_listing.get(inbox.database, key, patience=inbox.patience)
    if row is None:
        raise Refused(404, "there is no such task, or nobody has looked at its events yet")
    records = await Queries(inbox).of_task(key, limit=_EVENTS_OF_A_TASK)
    return {
        "task": views.task(row),
        "events": [views.record(one) for one in records],
        "is_complete": len(records) < _EVENTS_OF_A_TASK,
    }


async def _events(inbox: Inbox, request: Request) -> Mapping[str, Any]:
    state = request.query_params.get("state") or None
    if state is not None and state not in STATES:
        raise Refused(422, f"state is none of {', '.join(STATES)}")
    page = await event_listing.page(
        inbox.database,
        limit=_limit(request),
        state=state,
        name=request.query_params.get("name") or None,
        before=_before(request),
        patience=inbox.patience,
    )
    return {"events": [views.event(one) for one in page.events], "next": page.next, "window": event_listing.WINDOW}


async def _event(inbox: Inbox, request: Request) -> Mapping[str, Any]:
    stored = await Queries(inbox).get(_id(request))
    # A large body takes a while to be laid out, and the event loop has deliveries to answer.
    payload = await asyncio.to_thread(views.payload, stored.body)
    return {"event": views.record(stored), "payload": payload}


async def _dead_letters(inbox: Inbox, request: Request) -> Mapping[str, Any]:
    wanted = DeadLetterFilter(
        handler=request.query_params.get("handler") or None, orphaned=request.query_params.get("orphaned") == "1"
    )
    letters = await dead_letters.newest(inbox.database, wanted, limit=_limit(request))
    return {"letters": [views.described(asdict(letter)) for letter in letters]}


async def _dead_letter(inbox: Inbox, request: Request) -> Mapping[str, Any]:
    return {"letter": views.described(asdict(await dead_letters.get(inbox.database, _id(request))))}


async def _quarantine(inbox: Inbox, request: Request) -> Mapping[str, Any]:
    deliveries = await quarantine.newest(inbox.database, limit=_limit(request))
    return {"deliveries": [views.quarantined(one) for one in deliveries]}


async def _quarantined(inbox: Inbox, request: Request) -> Mapping[str, Any]:
    delivery = await quarantine.get(inbox.database, _id(request))
    return {
        "delivery": {**views.quarantined(delivery), "payload": await asyncio.to_thread(views.payload, delivery.body)}
    }


async def _audit(inbox: Inbox, request: Request) -> Mapping[str, Any]:
    newest = partial(audit.newest, tables=inbox.database.tables, limit=_limit(request))
    entries = await inbox.database.read(newest, patience=inbox.patience)
    return {"entries": [views.described(asdict(entry)) for entry in entries]}


def _states(state: str) -> tuple[str, ...]:
    known = {"": (), "open": task_listing.OPEN, "ended": task_listing.ENDED}
    if state in known:
        return known[state]
    if state not in task_listing.STATES:
        raise Refused(422, f"state is none of open, ended, stalled, {', '.join(task_listing.STATES)}")
    return (state,)


def _key(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise Refused(404, "that is no task's key") from None


def _id(request: Request) -> int:
    number: int = request.path_params["id"]
    if not 0 < number <= _LARGEST_ID:
        raise Refused(404, f"there is nothing of the id {number}")
    return number


def _before(request: Request) -> int | None:
    return _number(request, "before", most=_LARGEST_ID) if "before" in request.query_params else None


def _limit(request: Request) -> int:
    return _number(request, "limit", most=_MOST) if "limit" in request.query_params else _PAGE


def _number(request: Request, name: str, *, most: int) -> int:
    text = request.query_params[name]
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and 1 <= int(text) <= most):
        raise Refused(422, f"{name} is no number from 1 to {most}")
    return int(text)
