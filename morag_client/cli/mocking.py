"""`morag-client mock`: a MoRAG in one process, to submit documents to and to get webhooks from."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer

from morag_client.cli.sending import MaxRetries, RetryDelay, Secret, Seed, Timeout, first_of

if TYPE_CHECKING:
    from morag_client.testing import FaultPlan, MockMorag
    from morag_client.testing.mock.deliveries import LoggedAttempt

_DEFAULT_KEY = "test-api-key"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_REASON = 80


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(mock)


def mock(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.", min=0, max=65535)] = 8000,
    profile: Annotated[str, typer.Option(help="The release it behaves like: guide, r1, r2, r3.")] = "guide",
    envelope_steps: Annotated[
        bool, typer.Option("--envelope-steps", help="The guide's steps in envelopes, as its consumers expect them.")
    ] = False,
    speed: Annotated[float, typer.Option(min=0, help="How long it takes: 1 as a real server would, 0 no time.")] = 1.0,
    api_key: Annotated[
        str, typer.Option(envvar="MORAG_API_KEY", help="What callers say as Authorization: Bearer.")
    ] = _DEFAULT_KEY,
    webhook_secret: Secret = None,
    bearer_token: Annotated[
        str | None,
        typer.Option(
            envvar="MORAG_BEARER_TOKENS", help="Goes along with webhooks whose submission brings none; the first."
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="Post to and fetch from these only; more than once. Default: post anywhere, fetch from this machine.",
        ),
    ] = None,
    max_retries: MaxRetries = None,
    retry_delay: RetryDelay = None,
    timeout: Timeout = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(metavar="FAULT", help="What goes wrong with webhooks, as for emit; more than once."),
    ] = None,
    seed: Seed = 0,
    log: Annotated[bool, typer.Option("--log", help="A line for each attempt of a delivery.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="As --log, one JSON object a line, for machines; the rest to stderr.")
    ] = False,
) -> None:
    """Serve a mock MoRAG: submit documents, get webhooks, ask how tasks stand. Ctrl-C ends it.

    It takes the guide's curl commands as they are. GET /_mock/deliveries tells of each attempt of a delivery.
    """
    from morag_client.testing import FaultPlan, MockMorag  # noqa: PLC0415  # the CLI's help needs none of it

    for chatty in ("python_multipart", "pypdf"):
        # What they warn of is the caller's affair, who is told so.
        logging.getLogger(chatty).setLevel(logging.ERROR)
    ending = _Ending()
    plan = FaultPlan.parse(fault, seed=seed) if fault else None
    served = MockMorag(
        profile=profile,  # type: ignore[arg-type]  # refused there with the choices
        envelope_steps=envelope_steps,
        host=host,
        port=port,
        port_option="--port",
        api_key=api_key,
        webhook_secret=first_of(webhook_secret),
        bearer_token=first_of(bearer_token),
        allowed_hosts=allowed_host or None,
        speed=speed,
        timeout_seconds=timeout,
        max_retries=max_retries,
        retry_delay=retry_delay,
        faults=plan,
        on_attempt=_teller(log=log, as_json=as_json),
    )
    with ExitStack() as running:
        running.enter_context(served)
        is_signed = webhook_secret is not None
        for line in _announced(served, profile, api_key, allowed_host, is_signed=is_signed, plan=plan):
            typer.echo(line, err=as_json)
        sys.stdout.flush()
        if api_key == _DEFAULT_KEY and host not in _LOOPBACK:
            typer.echo("note: whoever reaches this machine knows the API key; set another with --api-key", err=True)
        ending.wait()
        typer.echo("Stopping ...", err=True)


class _Ending:
    """Waits for SIGINT or SIGTERM; a second one ends the process at once."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._end)

    def wait(self) -> None:
        """Returns when it is asked for."""
        self._asked.wait()

    def _end(self, number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        self._asked.set()


def _announced(
    served: MockMorag,
    profile: str,
    api_key: str,
    allowed_hosts: list[str] | None,
    *,
    is_signed: bool,
    plan: FaultPlan | None,
) -> list[str]:
    signed = "signed" if is_signed else "not signed: --webhook-secret signs them"
    # A key of one's own is a secret; the one that everybody knows is not.
    key = api_key if api_key == _DEFAULT_KEY else "the one that you set"
    lines = [
        f"Mock MoRAG    {served.url} (profile {profile})",
        f"API key       {key}",
        f"Webhooks      {signed}; to {', '.join(allowed_hosts) if allowed_hosts else 'any host'}",
        f"Deliveries    {served.url}/_mock/deliveries",
    ]
    return [*lines, f"Faults        {plan}"] if plan else lines


def _teller(*, log: bool, as_json: bool) -> Any:
    if not (log or as_json):
        return None

    def tell(attempt: LoggedAttempt) -> None:
        # One write for a line, or those of several tasks could mix.
        line = json.dumps(attempt.as_json()) if as_json else _line(attempt)
        with contextlib.suppress(OSError):  # whoever read it may be gone, which is nothing to the task
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()

    return tell


def _line(attempt: LoggedAttempt) -> str:
    from morag_client.cli.inboxes import printable  # noqa: PLC0415

    status = "---" if attempt.status_code is None else str(attempt.status_code)
    shown = (
        f"{attempt.at.astimezone():%H:%M:%S} {attempt.task_id[:8]} {attempt.event:<30} {status}"
        f"  attempt {attempt.attempt} {attempt.seconds * 1000:8.1f} ms"
    )
    if attempt.error:
        shown += f"  {printable(attempt.error)[:_REASON]}"
    if attempt.again_in is not None:
        shown += f"  again in {attempt.again_in:g} s"
    return shown
