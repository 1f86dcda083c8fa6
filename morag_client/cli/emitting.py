"""`morag-client emit`: MoRAG's webhooks for a document, sent to a receiver that is to be tried."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import typer

from morag_client.cli.loading import load_and_report
from morag_client.cli.sending import MaxRetries, RetryDelay, Secret, Seed, Timeout, first_of
from morag_client.errors import ConfigurationError

if TYPE_CHECKING:
    from morag_client.testing import DeliveryResult

_DIALECTS = (
    "envelope, enveloped_step, flat_step, ingest_result, stage_completed, pipeline_completed, stage_result, stage_chain"
)
_REASON = 100
_ADVICE = {
    None: "nobody answers at {url}: is the receiver running?",
    401: "the receiver does not believe it: is --secret (MORAG_WEBHOOK_SECRET) the receiver's?",
    404: "nothing takes webhooks at {url}: is the path right, with the prefix of the mount?",
    405: "nothing takes webhooks at {url}: is the path right, with the prefix of the mount?",
}


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(emit)


def emit(
    url: Annotated[str, typer.Option(help="The receiver's webhook URL, e.g. http://127.0.0.1:8001/webhook.")],
    secret: Secret = None,
    bearer_token: Annotated[
        str | None,
        typer.Option(envvar="MORAG_BEARER_TOKENS", help="Goes along as Authorization: Bearer; of several the first."),
    ] = None,
    dialect: Annotated[
        str | None,
        typer.Option(help=f"Only what this dialect says: {_DIALECTS}. Default: the guide's 14 events."),
    ] = None,
    fail_at: Annotated[
        str | None, typer.Option(metavar="STEP", help="Fail at this step, e.g. chunking, and so the task.")
    ] = None,
    task_id: Annotated[str | None, typer.Option(help="Default: a new one.")] = None,
    document_id: Annotated[str, typer.Option(help="The application's own id of the document.")] = "lighthouses",
    progress_events: Annotated[
        bool, typer.Option("--progress-events", help="Also task_progress at 25, 50 and 75 %: 17 events.")
    ] = False,
    max_retries: MaxRetries = None,
    retry_delay: RetryDelay = None,
    timeout: Timeout = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FAULT", help="What goes wrong: duplicate:times=3, 'drop:events=*.started', ...; more than once."
        ),
    ] = None,
    seed: Seed = 0,
    tasks: Annotated[
        int, typer.Option(min=1, help="As many tasks: no line for each delivery, a report at the end.")
    ] = 1,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Tasks at a time, each with one delivery after the other. Default: 64.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="At most so many deliveries a second.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, for machines; of many tasks one in all.")
    ] = False,
) -> None:
    """Send the webhooks of a document's way through MoRAG. Exit code 1: not all were accepted.

    A line each, or with --tasks, --concurrency or --rate a report of all; Ctrl-C reports what was sent until then.

    Retries as MoRAG does. Stops where the very first delivery meets a wrong secret or path, except with
    --max-retries or --fault.
    """
    from morag_client.testing import Emitter, FaultPlan  # noqa: PLC0415  # the CLI's help needs none of it

    is_load = tasks > 1 or concurrency is not None or rate is not None
    if is_load and task_id is not None:
        raise ConfigurationError("--task-id is for one task alone: leave it out, and each has an id of its own")
    plan = FaultPlan.parse(fault, seed=seed) if fault else None
    report = _Report(
        url, as_json=as_json, is_load=is_load, is_patient=max_retries is not None, has_faults=plan is not None
    )
    emitter = Emitter(
        webhook_url=url,
        secret=first_of(secret),
        bearer_token=first_of(bearer_token),
        dialect=dialect,  # type: ignore[arg-type]  # refused there with the choices
        timeout_seconds=timeout,
        max_retries=max_retries,
        retry_delay=retry_delay,
        on_delivery=report.tell,
        on_retry=report.tell_retry,
    )
    task_id = task_id or str(uuid4())
    if plan is not None:
        emitter.check_faults(plan)
        typer.echo(f"faults: {plan}", err=True)
    with emitter:
        if is_load:
            load_and_report(
                emitter,
                as_json=as_json,
                tasks=tasks,
                concurrency=concurrency or 64,
                rate=rate,
                document_id=document_id,
                fail_at=fail_at,
                progress_events=progress_events,
                faults=plan,
            )
            return
        results = emitter.run_pipeline(
            task_id=task_id, document_id=document_id, fail_at=fail_at, progress_events=progress_events, faults=plan
        )
    accepted = sum(result.ok for result in results)
    typer.echo(f"{accepted} of {len(results)} deliveries accepted (task {task_id})", err=True)
    if accepted < len(results):
        raise typer.Exit(1)


class _Report:
    """Prints each delivery as it ends, unless it is one of a load's, and gives up where the first is in vain."""

    def __init__(self, url: str, *, as_json: bool, is_load: bool, is_patient: bool, has_faults: bool) -> None:
        self._url = url
        self._as_json = as_json
        self._is_load = is_load
        self._is_patient = is_patient or has_faults
        self._has_faults = has_faults
        self._deliveries = 0
        self._has_advised = False

    def tell(self, result: DeliveryResult) -> None:
        """Prints what became of a delivery."""
        if not self._is_load:
            typer.echo(json.dumps(_described(result)) if self._as_json else _line(result))
        if result.status_code is None and not self._deliveries and not self._has_faults:
            if self._is_load:
                typer.echo(f"  {result.event}: {_reason(result)}", err=True)
            self._advise(None)
            raise typer.Exit(1)
        self._deliveries += 1

    def tell_retry(self, so_far: DeliveryResult, wait_seconds: float) -> None:
        """Prints why there is to be another attempt, and ends here where that would be in vain."""
        status = "" if so_far.status_code is None else f"{so_far.status_code} "
        reason = f"  {so_far.event}: attempt {so_far.attempts}: {status}{_reason(so_far)}"
        is_vain = so_far.status_code in _ADVICE and so_far.status_code is not None
        if self._deliveries or self._is_patient or not is_vain:
            if not self._is_load:
                typer.echo(f"{reason}; again in {wait_seconds:g} s", err=True)
            if not self._deliveries:
                self._advise(so_far.status_code)
            return
        typer.echo(reason, err=True)
        self._advise(so_far.status_code)
        raise typer.Exit(1)

    def _advise(self, status: int | None) -> None:
        from morag_client.api.transport import without_credentials  # noqa: PLC0415

        if status in _ADVICE and not self._has_advised:
            self._has_advised = True
            typer.echo(f"error: {_ADVICE[status].format(url=without_credentials(self._url))}", err=True)


def _line(result: DeliveryResult) -> str:
    attempts = "1 attempt " if result.attempts == 1 else f"{result.attempts} attempts"
    status = "---" if result.status_code is None else str(result.status_code)
    shown = f"{result.event:<36} {status}  {attempts}  {result.seconds * 1000:7.1f} ms"
    return typer.style(shown, fg="green") if result.ok else typer.style(f"{shown}  {_reason(result)}", fg="red")


def _reason(result: DeliveryResult) -> str:
    """Why a delivery was not accepted, as the receiver says it, in one short line."""
    said: Any = result.error or result.text
    with contextlib.suppress(ValueError):
        answer = json.loads(said)
        if isinstance(answer, dict):
            said = answer.get("problems") or answer.get("detail") or answer.get("error") or said
    flat = " ".join(("; ".join(map(str, said)) if isinstance(said, list) else str(said)).split())
    return flat if len(flat) <= _REASON else f"{flat[: _REASON - 3]}..."


def _described(result: DeliveryResult) -> dict[str, Any]:
    return {
        "event": result.event,
        "dialect": result.dialect,
        "ok": result.ok,
        "attempts": result.attempts,
        "status_code": result.status_code,
        "seconds": round(result.seconds, 6),
        "error": result.error,
    }
