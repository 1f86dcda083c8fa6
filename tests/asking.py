"""A MoRAG to be asked: a real client of a real mock, and answers that a test decides on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from morag_client.api.models import TaskHistory, TaskStatus
from morag_client.events.payloads import Payload, UtcDatetime


class Listed(Payload):
    task_id: str | None = None
    timestamp: UtcDatetime | None = None
    status: str | None = None
    metadata: dict[str, Any] | None = None


class Listing(Payload):
    events: tuple[Listed, ...] = ()


class Answers:
    """Answers as a test says, by task; what it says nothing of is `pending`, without a history.

    A status may be an exception. `asked` lists the tasks that were asked about, in their order.
    """

    def __init__(self, **statuses: Any) -> None:
        self.statuses: dict[str, Any] = dict(statuses)
        self.histories: dict[str, list[dict[str, Any]]] = {}
        self.recent: list[dict[str, Any]] = []
        self.trouble: Exception | None = None
        self.asked: list[str] = []
        self.before: Callable[[], Any] | None = None

    async def status(self, task_id: str) -> TaskStatus:
        self.asked.append(task_id)
        if self.before is not None:
            await self.before()
        said = self.trouble or self.statuses.get(task_id, {"status": "pending"})
        if isinstance(said, Exception):
            raise said
        return TaskStatus.model_validate({"task_id": task_id, **said})

    async def history(self, task_id: str) -> TaskHistory:
        return TaskHistory.model_validate({"task_id": task_id, "history": self.histories.get(task_id, [])})

    async def recent_events(self, *, hours: int = 24) -> Listing:
        assert hours >= 1
        if self.trouble is not None:
            raise self.trouble
        return Listing.model_validate({"events": self.recent})


DONE = {"status": "success", "progress": 1.0, "result": {"chunks_created": 3}}
FAILED = {"status": "failure", "error": "no text in it"}
RUNNING = {"status": "progress", "progress": 0.5}
