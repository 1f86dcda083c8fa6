"""`morag-client quarantine`: what was authentic and could not be understood."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from morag_client.cli.acting import Why, Yes, counted, login_name, make_sure, need_answer
from morag_client.cli.inboxes import AsJson, Limit, local_time, opened_inbox, printable, show_table
from morag_client.cli.serving import DatabaseUrl
from morag_client.events.payloads import as_text

if TYPE_CHECKING:
    from morag_client.inbox.inbox import Inbox
    from morag_client.inbox.quarantine import Quarantined

_SHOWN: Final = 4000
"""Characters of a body, and of its problems; whoever wants all of it asks for it."""
_PROBLEM_LENGTH: Final = 200

_Ids = Annotated[list[int] | None, typer.Argument(metavar="ID", help="Ids, as `list` shows them.")]
_All = Annotated[bool, typer.Option("--all", help="All that are in quarantine by now.")]


def register(app: typer.Typer) -> None:
    """Adds the group of commands."""
    group = typer.Typer(
        no_args_is_help=True, help="Look at deliveries that could not be understood; take them again, or give them up."
    )
    group.command("list")(list_)
    for command in (show, retry, discard):
        group.command()(command)
    app.add_typer(group, name="quarantine")


def list_(limit: Limit = 50, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """List what is in quarantine, and why."""

    async def ask() -> list[Quarantined]:
        from morag_client.inbox.quarantine import newest  # noqa: PLC0415  # the CLI's help needs none of it

        async with opened_inbox(database_url) as inbox:
            return await newest(inbox.database, limit=limit)

    found = asyncio.run(ask())
    if as_json:
        for one in found:
            typer.echo(json.dumps(_described(one)))
    else:
        show_table(("ID", "Received", "Answer", "Bytes", "Again", "Problems"), map(_row, found))


def show(
    quarantine_id: Annotated[int, typer.Argument(metavar="ID", help="The id, as `list` shows it.")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the body to stdout, byte by byte, and nothing else.")
    ] = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Show a delivery: how it came, what is wrong with it, and its body."""

    async def ask() -> Quarantined:
        from morag_client.inbox.quarantine import get  # noqa: PLC0415

        async with opened_inbox(database_url) as inbox:
            return await get(inbox.database, quarantine_id)

    found = asyncio.run(ask())
    if raw:
        sys.stdout.buffer.write(found.body or b"")
    elif as_json:
        typer.echo(json.dumps(_described(found) | _body(found)))
    else:
        _show(found)


def retry(
    ids: _Ids = None,
    everything: _All = False,
    why: Why = None,
    yes: Yes = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Read deliveries again, as after an upgrade, and store what is understood by now.

    A running receiver on the same database handles it within a second or two.

    Exit code 1: some still are not understood.
    """
    from morag_client.receiver.quarantine import retake  # noqa: PLC0415

    async def act(inbox: Inbox, chosen: Sequence[int] | None) -> Any:
        return await retake(inbox, chosen, who=login_name(), why=why)

    done, complete = _act(act, ids, everything, "Read all deliveries in quarantine again?", database_url, yes=yes)
    if as_json:
        typer.echo(json.dumps(asdict(done)))
    else:
        typer.echo(f"{counted(done.accepted, 'delivery is a record', 'deliveries are records')} now")
        if done.known:
            typer.echo(f"{counted(done.known, 'was one', 'were such')} already, since sent again; gone from quarantine")
        if done.refused:
            still = counted(done.refused, "still is not understood and stays", "still are not understood and stay")
            typer.echo(f"{still}: morag-client quarantine list")
    if done.refused or not complete:
        raise typer.Exit(1)


def discard(
    ids: _Ids = None,
    everything: _All = False,
    why: Why = None,
    yes: Yes = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Delete deliveries from quarantine, for good."""
    from morag_client.inbox.quarantine import discard as give_up  # noqa: PLC0415

    async def act(inbox: Inbox, chosen: Sequence[int] | None) -> int:
        return await give_up(inbox.database, chosen, who=login_name(), why=why)

    done, complete = _act(act, ids, everything, "Delete all deliveries in quarantine?", database_url, yes=yes)
    if as_json:
        typer.echo(json.dumps({"discarded": done}))
    else:
        typer.echo(f"discarded {counted(done, 'delivery', 'deliveries')}")
    if not complete:
        raise typer.Exit(1)


def _act(
    act: Any, ids: Sequence[int] | None, everything: bool, question: str, database_url: str | None, *, yes: bool
) -> tuple[Any, bool]:
    """What `act` returns for those that are meant, and whether all that were named are there."""
    if bool(ids) == everything:
        raise typer.BadParameter("say which deliveries: ID..., or --all")
    if everything:
        need_answer(yes=yes)

    async def run() -> tuple[Any, bool]:
        from morag_client.inbox.quarantine import missing  # noqa: PLC0415

        async with opened_inbox(database_url) as inbox:
            unknown = await missing(inbox.database, ids or [])
            for one in unknown:
                typer.echo(f"error: there is no delivery {one} in quarantine", err=True)
            if everything:
                make_sure(question, yes=yes)
            chosen = None if everything else [one for one in ids or [] if one not in unknown]
            return await act(inbox, chosen), not unknown

    return asyncio.run(run())


def _row(one: Quarantined) -> Sequence[str]:
    problem, *others = one.problems or [""]
    more = f" (and {len(others)} more)" if others else ""
    answer = f"{one.status} {one.code}"
    said = printable(problem)[:_PROBLEM_LENGTH] + more
    return str(one.id), local_time(one.received_at), answer, f"{one.size:,}", str(one.repeats or ""), said


def _described(one: Quarantined) -> dict[str, Any]:
    """What is known of a delivery, without its body, as JSON can say it."""
    described = {key: value for key, value in asdict(one).items() if key not in {"body", "identity"}}
    return described | {"received_at": as_text(one.received_at)}


def _body(one: Quarantined) -> dict[str, Any]:
    """The body as text, or in base64 where it is none."""
    body = one.body or b""
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body": None, "body_base64": base64.b64encode(body).decode()}


def _show(one: Quarantined) -> None:
    again = f", and again {counted(one.repeats, 'time')}" if one.repeats else ""
    typer.echo(f"Delivery {one.id}, received {one.received_at.astimezone():%Y-%m-%d %H:%M:%S %z}{again}")
    typer.echo(f"Answer    {one.status} {one.code}")
    if one.tenant:
        typer.echo(f"Tenant    {printable(one.tenant)}")
    if one.correlation:
        typer.echo("Your ids  " + printable(", ".join(f"{key}={value}" for key, value in one.correlation.items())))
    typer.echo(f"Path      {printable(one.path)}" + (f"?{printable(one.query)}" if one.query else ""))
    for name, value in one.headers.items():
        typer.echo(f"Header    {printable(name)}: {printable(value)}")
    typer.echo("Problems")
    for problem in one.problems:
        typer.echo(f"  {printable(problem)[:_SHOWN]}")
    typer.echo(f"Body      {counted(one.size, 'byte')}")
    body = (one.body or b"").decode(errors="replace")
    typer.echo(printable(body[:_SHOWN], keep="\n"))
    if len(body) > _SHOWN:
        typer.echo(f"… and more; all of it: morag-client quarantine show {one.id} --raw")
