"""`/api/v1/status`: how tasks stand, and what happened to them."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from morag_client.testing.mock.asking import Invalid
from morag_client.testing.mock.tasks import Tasks

_HOURS: Final = 24


class Statuses:
    """The calls that tell of tasks."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def routes(self) -> list[Route]:
        """The routes, those with fixed words before those with an id."""
        return [
            Route("/api/v1/status/", self.active),
            Route("/api/v1/status/stats/queues", self.queues),
            Route("/api/v1/status/events/recent", self.recent),
            Route("/api/v1/status/{task_id}", self.status),
            Route("/api/v1/status/{task_id}/history", self.history),
        ]

    async def active(self, _request: Request) -> Response:
        """The tasks that workers are at."""
        return JSONResponse(self._tasks.active())

    async def queues(self, _request: Request) -> Response:
        """How much there is to do."""
        return JSONResponse(self._tasks.queues())

    async def recent(self, request: Request) -> Response:
        """What happened lately."""
        return JSONResponse(self._tasks.recent(_hours(request.query_params.get("hours"))))

    async def status(self, request: Request) -> Response:
        """How a task stands."""
        return JSONResponse(self._tasks.status(request.path_params["task_id"]))

    async def history(self, request: Request) -> Response:
        """What happened to a task."""
        return JSONResponse(self._tasks.history(request.path_params["task_id"]))


def _hours(stated: str | None) -> int:
    if stated is None:
        return _HOURS
    digits = stated.isascii() and stated.isdigit() and len(stated) <= 9  # noqa: PLR2004  # int() has a limit of its own
    if not digits or int(stated) < 1:
        message = "Input should be a valid integer, 1 or more"
        raise Invalid([{"type": "int_parsing", "loc": ["query", "hours"], "msg": message}])
    return int(stated)
