"""r3's stages at work: they run while the caller waits, and so do their webhooks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

from morag_client.events.types import Dialect
from morag_client.testing.bodies import Json
from morag_client.testing.delivering import DeliveryResult
from morag_client.testing.faults.shipment import Shipment
from morag_client.testing.mock.shipping import Shipper, Webhook
from morag_client.testing.mock.stage_jobs import Job, Jobs, Outcome
from morag_client.testing.moments import Moment
from morag_client.testing.pipeline.document import Document
from morag_client.testing.wording import say
from morag_client.testing.wording.words import Words

Carry = Callable[[str, Callable[[str], Iterator[Shipment]], int], list[DeliveryResult]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What shall be done. The stage API tells too, beside the notifier, where `tells_itself`."""

    stages: Sequence[str]
    is_chain: bool
    config: Json
    webhook: Webhook | None
    tells_itself: bool
    is_upload: bool
    stop_on_failure: bool = True
    skip_existing: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What was done; `seconds` of all of it, `is_told` if the stage API's own webhook was accepted."""

    outcomes: Sequence[Outcome]
    seconds: float
    is_told: bool


class StageRuns:
    """Runs orders in the threads of their callers."""

    def __init__(self, *, jobs: Jobs, shipper: Shipper, carry: Carry, speed: float) -> None:
        self._jobs = jobs
        self._shipper = shipper
        self._carry = carry
        self._speed = speed
        self._halted = threading.Event()
        self._numbers = iter(range(2**62))

    def begin(self, document: Document) -> Job:
        """A job for a document that was uploaded."""
        job = Job(uuid4().hex[:8], document)
        self._jobs.add(job)
        return job

    def halt(self) -> None:
        """Lets nothing take time any more."""
        self._halted.set()

    def run(self, job: Job, order: Order) -> Done:
        """Runs the stages of an order and tells of them."""
        outcomes: list[Outcome] = []
        began = time.perf_counter()

        def ship(task_id: str) -> Iterator[Shipment]:
            # A twin of the job, which some faults ask for, is one that the server knows too.
            this, ended = (job, outcomes) if task_id == job.job_id else (self._twin(job, task_id), [])
            ended.clear()  # a producer that starts again begins anew
            for words in self._told(this, order, ended):
                if order.webhook is not None:
                    yield self._shipper.shipment(words, order.webhook)

        if order.webhook is None:
            results = []
            list(ship(job.job_id))
        else:
            results = self._carry(job.job_id, ship, next(self._numbers))
        own = [result.ok for result in results if result.dialect in {"stage_result", "stage_chain"}]
        return Done(outcomes=outcomes, seconds=time.perf_counter() - began, is_told=any(own))

    def _told(self, job: Job, order: Order, ended: list[Outcome]) -> Iterator[Words]:
        began = time.perf_counter()
        for stage in order.stages:
            outcome = job.run(stage, skip_existing=order.skip_existing, speed=self._speed, wait=self._wait)
            ended.append(outcome)
            yield from _of_stage(outcome.moment, order)
            if outcome.status == "failed" and order.stop_on_failure:
                break
        if order.is_chain:
            yield from _of_end(job, ended, order, seconds=round(time.perf_counter() - began, 6))

    def _wait(self, seconds: float) -> None:
        self._halted.wait(seconds)

    def _twin(self, job: Job, job_id: str) -> Job:
        twin = self._jobs.get(job_id) or Job(job_id, job.document)
        self._jobs.add(twin)
        return twin


def _of_stage(moment: Moment, order: Order) -> Iterator[Words]:
    for words in _said(moment, "stage_completed"):
        metadata = {**words.body["metadata"], "config_used": order.config}
        yield replace(words, body={**words.body, "metadata": metadata})
    if order.tells_itself and not order.is_chain:
        for words in _said(moment, "stage_result"):
            # r3 takes the job's id from the uploaded file; where there is none it says null.
            job_id = words.body["job_id"] if order.is_upload else None
            success = moment.status != "failed"
            body = {**words.body, "job_id": job_id, "success": success, "status": moment.status}
            del body["error_message"]
            yield replace(words, body=body)


def _of_end(job: Job, ended: Sequence[Outcome], order: Order, *, seconds: float) -> Iterator[Words]:
    failed = next((outcome.moment for outcome in ended if outcome.status == "failed"), None)
    skipped = sum(outcome.status == "skipped" for outcome in ended)
    moment = Moment(
        name="task.completed" if failed is None else "task.failed",
        task_id=job.job_id,
        progress=100.0,
        error=None if failed is None else failed.error,
        seconds=seconds,
        source=job.document.filename,
        story=tuple(outcome.moment for outcome in ended),
    )
    for words in _said(moment, "pipeline_completed"):
        pipeline = {**words.body["pipeline"], "stages_skipped": skipped}
        yield replace(words, body={**words.body, "pipeline": pipeline})
    if order.tells_itself:
        for words in _said(moment, "stage_chain"):
            succeeded = words.body["stages_successful"] + skipped
            yield replace(words, body={**words.body, "stages_successful": succeeded})


def _said(moment: Moment, dialect: Dialect) -> Iterator[Words]:
    words = say(moment, dialect=dialect, now=datetime.now(UTC))
    if words is not None:
        yield words
