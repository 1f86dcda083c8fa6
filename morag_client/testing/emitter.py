"""The producer of webhooks for tests: MoRAG's calls, retries and bodies, over real HTTP."""

from __future__ import annotations

import asyncio
import functools
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self
from uuid import uuid4

from morag_client.api.transport import require_token, require_url
from morag_client.errors import ConfigurationError
from morag_client.events.types import Dialect
from morag_client.testing import calls
from morag_client.testing.calls import Call
from morag_client.testing.carrying import Line
from morag_client.testing.composing import Composer, Moments
from morag_client.testing.delivering import DeliveryResult, deliver
from morag_client.testing.faults.plan import FaultPlan, require_plan
from morag_client.testing.load.recording import Recording
from morag_client.testing.load.report import LoadReport
from morag_client.testing.load.running import Load
from morag_client.testing.moments import Moment
from morag_client.testing.pipeline.document import Document
from morag_client.testing.pipeline.running import Plan, run
from morag_client.testing.pipeline.steps import Work
from morag_client.testing.posting import Mounts, OnRetry, Poster
from morag_client.testing.sample import sample_document
from morag_client.testing.senders import Manners
from morag_client.testing.wording import failing_step
from morag_client.wire.signature import Secret, secret_keys

P = ParamSpec("P")


def _sends(call: Callable[P, Call]) -> Callable[Concatenate[Emitter, P], bool]:
    def send(emitter: Emitter, /, *args: P.args, **kwargs: P.kwargs) -> bool:
        return emitter.carry_out(call(*args, **kwargs))

    functools.update_wrapper(send, call)
    send.__name__ = f"send_{call.__name__}"
    send.__qualname__ = f"Emitter.{send.__name__}"
    return send


class Emitter:
    """Sends webhooks as MoRAG's service does: each `send_…` tells whether the receiver accepted.

    `dialect` None is the guide: tasks in the envelope, steps flat. With a dialect, its sender's manners are kept too
    (what counts as success, timeout, retries). `timeout_seconds`, `max_retries` (2 means three attempts) and
    `retry_delay` (seconds, doubled each time) come before MoRAG's `WEBHOOK_*` variables, and these before the
    sender's own. `on_delivery` hears of each delivery, `on_retry` of each failed attempt and the wait after it. With
    `mounts`, what goes to these URLs is carried by transports of httpx2's; faults need the network.
    Safe to share between threads. Raises ConfigurationError for what cannot work.
    """

    def __init__(
        self,
        *,
        webhook_url: str | None = None,
        secret: Secret | None = None,
        bearer_token: str | None = None,
        dialect: Dialect | None = None,
        timeout_seconds: float | None = None,
        max_retries: int | None = None,
        retry_delay: float | None = None,
        on_delivery: Callable[[DeliveryResult], None] | None = None,
        on_retry: OnRetry | None = None,
        mounts: Mounts | None = None,
    ) -> None:
        if secret is not None:
            secret_keys([secret])
        if bearer_token is not None:
            require_token(bearer_token, name="bearer token")
        self._webhook_url = None if webhook_url is None else _checked(webhook_url)
        manners = Manners(timeout_seconds=timeout_seconds, max_retries=max_retries, retry_delay=retry_delay)
        manners.check()
        self._dialect = dialect
        self._composer = Composer(dialect=dialect, manners=manners, secret=secret, bearer_token=bearer_token)
        self._on_delivery, self._on_retry = on_delivery, on_retry
        self._poster = Poster(mounts=mounts)
        self._lines: set[Line] = set()
        self._is_closed = threading.Event()

    send_task_started = _sends(calls.task_started)
    send_task_progress = _sends(calls.task_progress)
    send_task_completed = _sends(calls.task_completed)
    send_task_failed = _sends(calls.task_failed)
    send_step_started = _sends(calls.step_started)
    send_step_completed = _sends(calls.step_completed)
    send_step_failed = _sends(calls.step_failed)

    def run_pipeline(
        self,
        *,
        webhook_url: str | None = None,
        task_id: str | None = None,
        document: Document | None = None,
        document_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        fail_at: str | None = None,
        progress_events: bool = False,
        faults: FaultPlan | None = None,
    ) -> list[DeliveryResult]:
        """Processes a document (the sample, if none is given) and sends everything that the dialect says about it.

        That is the guide's 14 events, with `progress_events` 17. With `fail_at`, the failure of that step and of the
        task; in r3's dialects a stage's name is understood too. A delivery that fails does not stop the rest. With
        `faults` all of these happen on the way; the results are of what was sent.
        """
        url = self._url(webhook_url)
        moments = self._pipeline(url, document, document_id, metadata, fail_at, progress_events=progress_events)
        return self.tell_all(moments, task_id or str(uuid4()), webhook_url=url, faults=faults)

    def run_load(
        self,
        *,
        tasks: int,
        concurrency: int = 64,
        rate: float | None = None,
        webhook_url: str | None = None,
        document: Document | None = None,
        document_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        fail_at: str | None = None,
        progress_events: bool = False,
        faults: FaultPlan | None = None,
        report: LoadReport | None = None,
        on_task: Callable[[], None] | None = None,
    ) -> LoadReport:
        """Sends the webhooks of many tasks, `concurrency` of them at a time, and reports how that went.

        At most `rate` deliveries a second start; without it, as many as are answered. The document is processed once;
        ids and times are each task's own. `on_task` hears of each task that is through. A `report` that is given can be
        read while it runs, or after Ctrl-C. To be called outside of an event loop.
        """
        for name, number in (("tasks", tasks), ("concurrency", concurrency), ("rate", rate)):
            if number is not None and not 0 < number < math.inf:
                raise ConfigurationError(f"{name}={number}: it must be above 0")
        report = LoadReport() if report is None else report
        url, first = self._url(webhook_url), str(uuid4())
        moments = self._pipeline(url, document, document_id, metadata, fail_at, progress_events=progress_events)
        source = self._composer.source(Recording(moments(first), task_id=first).moments, url=url)
        plan = faults or FaultPlan()
        self.check_faults(plan)
        load = Load(
            (plan.ship(source, str(uuid4()), number=number) for number in range(tasks)),
            report=report,
            rate=rate,
            on_delivery=self._tell_result,
            on_retry=self._on_retry,
            on_task=on_task,
        )
        asyncio.run(load.run(concurrency=min(concurrency, tasks)))
        return report

    def carry_out(self, call: Call) -> bool:
        """Tells what a call says. Raises ConfigurationError where the emitter's dialect has no words for it."""
        result = self.tell(call.moment, webhook_url=call.webhook_url)
        if result is None:
            raise ConfigurationError(f"the dialect {self._dialect} cannot say {call.moment.name}; choose another")
        return result.ok

    def tell(self, moment: Moment, *, webhook_url: str | None = None) -> DeliveryResult | None:
        """Delivers what the dialect says of a moment; None where it says nothing."""
        shipment = self._composer.shipment(moment, url=self._url(webhook_url))
        if shipment is None:
            return None
        result = self._poster.drive(deliver(shipment.message, sender=shipment.sender), on_retry=self._on_retry)
        self._tell_result(result)
        return result

    def tell_all(
        self,
        moments: Moments,
        task_id: str,
        *,
        webhook_url: str | None = None,
        faults: FaultPlan | None = None,
        number: int = 0,
    ) -> list[DeliveryResult]:
        """Delivers what the dialect says of a task's moments, with faults on the way, as they are for task `number`."""
        if faults is None:
            results = [self.tell(moment, webhook_url=webhook_url) for moment in moments(task_id)]
            return [result for result in results if result is not None]
        self.check_faults(faults)
        source = self._composer.source(moments, url=self._url(webhook_url))
        shipments = faults.ship(source, task_id, number=number)
        with Line(on_retry=self._on_retry) as line:
            self._lines.add(line)
            try:
                if self._is_closed.is_set():
                    line.give_up()
                return line.carry(shipments, tell=self._tell_result)
            finally:
                self._lines.discard(line)

    def check_faults(self, faults: FaultPlan) -> None:
        """Raises ConfigurationError where one would strike nothing that is sent here."""
        require_plan(faults).check(is_signed=self._composer.secret is not None)

    def close(self) -> None:
        """Closes the connections and gives up what still waits for a retry."""
        self._is_closed.set()
        self._poster.close()
        for line in tuple(self._lines):
            line.give_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pipeline(
        self,
        url: str,
        document: Document | None,
        document_id: str | None,
        metadata: Mapping[str, Any] | None,
        fail_at: str | None,
        *,
        progress_events: bool,
    ) -> Moments:
        step = None if fail_at is None else failing_step(fail_at, dialect=self._dialect)
        said = dict(metadata or {}) if document_id is None else {**(metadata or {}), "document_id": document_id}
        submitted = as_submitted(document or sample_document(), webhook_url=url, metadata=said)
        plan = Plan(fail_at=step, progress_events=progress_events)
        return lambda task_id: run(Work(submitted, task_id), clock=time.perf_counter, plan=plan)

    def _tell_result(self, result: DeliveryResult) -> None:
        if self._on_delivery is not None:
            self._on_delivery(result)

    def _url(self, stated: str | None) -> str:
        if stated is not None:
            return _checked(stated)
        if self._webhook_url is None:
            raise ConfigurationError("no webhook URL: give webhook_url= to the emitter or to the call")
        return self._webhook_url


def as_submitted(document: Document, *, webhook_url: str | None, metadata: Mapping[str, Any]) -> Document:
    """The document with what MoRAG echoes of its submission: source type, webhook URL, and the application's own."""
    echoed = {"source_type": document.source_type, "webhook_url": webhook_url, **document.metadata, **metadata}
    return replace(document, metadata=echoed)


def _checked(url: str) -> str:
    return require_url(url, advice="a webhook goes to http://host:port/path")
