"""Tasks at work: each in a thread of its own, from its document to its last webhook."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from morag_client.testing.emitter import as_submitted
from morag_client.testing.faults.shipment import Shipment
from morag_client.testing.mock.shipping import Shipper, Webhook
from morag_client.testing.mock.tasks import Tasks
from morag_client.testing.moments import Moment
from morag_client.testing.pipeline.document import Document, StepFailure
from morag_client.testing.pipeline.durations import realistic_seconds, realistic_total
from morag_client.testing.pipeline.running import Plan, run
from morag_client.testing.pipeline.steps import Work

_STOP_SECONDS: Final = 10.0
_FETCHING: Final = "markdown_conversion"
"""The step in which a document that cannot be had fails."""

Carry = Callable[[str, Callable[[str], Iterator[Shipment]], int], object]
"""Delivers all that is sent of a task: its id, what makes its shipments, and its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A document and where to tell of it. With `fetch` the document's bytes are had when the task runs.

    `fetch` raises StepFailure for what cannot be had.
    """

    document: Document
    webhook: Webhook | None = None
    fetch: Callable[[], Document] | None = None


class Workers:
    """Runs tasks, any number at once. `speed` 0 takes no time, 1 as long as a real server."""

    def __init__(self, *, tasks: Tasks, shipper: Shipper, carry: Carry, speed: float, plan: Plan) -> None:
        self._tasks = tasks
        self._shipper = shipper
        self._carry = carry
        self._speed = speed
        self._plan = plan
        self._threads: dict[str, threading.Thread] = {}
        self._halts: dict[str, threading.Event] = {}
        self._stopped = threading.Event()

    def start(self, submission: Submission) -> str:
        """Starts a task; its id."""
        task_id = str(uuid4())
        document = _as_echoed(submission.document, submission)
        work = self._add(document, task_id)
        thread = threading.Thread(
            target=self._run, args=(work, submission, len(self._threads)), name=f"mock task {task_id}", daemon=True
        )
        self._threads[task_id] = thread
        thread.start()
        return task_id

    def expected_seconds(self, document: Document) -> float:
        """How long a task takes for this document."""
        return self._speed * realistic_total(size_bytes=len(document.content))

    def cancel(self, task_id: str) -> None:
        """Ends a task where it is; nothing more is sent of it."""
        self._tasks.cancel(task_id)
        if task_id in self._halts:
            self._halts[task_id].set()

    def wait(self, task_id: str, *, timeout_seconds: float | None = None) -> bool:
        """Waits until a task has ended and its webhooks are through; KeyError for one that is not known."""
        thread = self._threads[task_id]
        thread.join(timeout_seconds)
        return not thread.is_alive()

    def halt(self) -> None:
        """Lets no task go on to what would happen next."""
        self._stopped.set()
        for event in tuple(self._halts.values()):
            event.set()

    def join(self) -> None:
        """Waits for the tasks that were halted."""
        ends_at = time.monotonic() + _STOP_SECONDS
        for thread in tuple(self._threads.values()):
            thread.join(max(0.0, ends_at - time.monotonic()))

    def _add(self, document: Document, task_id: str) -> Work:
        work = Work(document, task_id)
        self._halts[task_id] = threading.Event()
        self._tasks.add(task_id, expected_seconds=self.expected_seconds(document), artefacts=work.artefacts)
        return work

    def _run(self, work: Work, submission: Submission, number: int) -> None:
        webhook = submission.webhook
        if webhook is None:
            deque(self._moments(work, submission), maxlen=0)
            return

        def ship(task_id: str) -> Iterator[Shipment]:
            # A twin of the task, which some faults ask for, is one that the server knows too.
            this = work if task_id == work.task_id else self._add(work.document, task_id)
            for moment in self._moments(this, submission):
                yield from self._shipper.shipments(moment, webhook)

        self._carry(work.task_id, ship, number)

    def _moments(self, work: Work, submission: Submission) -> Iterator[Moment]:
        """What happens to the work, in the time that it takes, until it is halted."""
        halt = self._halts[work.task_id]
        for moment in self._story(work, submission):
            if self._stopped.is_set() or not self._tasks.take(moment):
                return
            yield moment
            if moment.step is not None and moment.status == "started":
                size = len(work.document.content)
                halt.wait(self._speed * realistic_seconds(moment.step, size_bytes=size))

    def _story(self, work: Work, submission: Submission) -> Iterable[Moment]:
        if submission.fetch is not None:
            try:
                fetched = submission.fetch()
            except StepFailure as failure:
                return _failed_fetch(work, failure)
            work.document = _as_echoed(fetched, submission)
        return run(work, clock=time.perf_counter, plan=self._plan)


def _as_echoed(document: Document, submission: Submission) -> Document:
    url = None if submission.webhook is None else submission.webhook.url
    return as_submitted(document, webhook_url=url, metadata={})


def _failed_fetch(work: Work, failure: StepFailure) -> Iterator[Moment]:
    """What happens to a task whose document cannot be had."""
    document, step = work.document, _FETCHING

    def moment(name: str, **said: object) -> Moment:
        known = {"task_id": work.task_id, "document_id": document.document_id, "source": document.filename}
        return Moment(name=name, **known, **said)  # type: ignore[arg-type]  # as the calls below have them

    yield moment("task.started", message="Task processing started", metadata=document.metadata)
    yield moment(f"{step}.started", step=step)
    failed = moment(f"{step}.failed", step=step, error=str(failure), data=failure.details)
    yield failed
    yield moment(
        "task.failed",
        message=f"Task failed during {step}",
        error=str(failure),
        error_details={"stage": step, "step": step, "error_code": failure.details["error_code"]},
        metadata=document.metadata,
        story=(failed,),
    )
