"""`morag-client replay`: handling again what the inbox holds."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from morag_client.cli.acting import Why, Yes, counted, login_name, make_sure, need_answer, progress_bar
from morag_client.cli.inboxes import AsJson, opened_inbox
from morag_client.cli.inspecting import show_events
from morag_client.cli.logs import log_to_terminal
from morag_client.cli.serving import DatabaseUrl, choose_database, load_receiver
from morag_client.cli.times import MOMENTS, parse_moment
from morag_client.errors import ConfigurationError, RecordNotFound

if TYPE_CHECKING:
    from morag_client.inbox.inbox import Inbox
    from morag_client.inbox.replay_criteria import Replay, ReplayCriteria
    from morag_client.receiver.receiver import Receiver

_WHICH: Final = "say which records: ID..., --task, --name, --since, --until or --state; --name '*' means every one"
_AT_ONCE: Final = 1000


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(replay)


def replay(
    record_ids: Annotated[
        list[int] | None, typer.Argument(metavar="ID", help="Ids of records, as `events` lists them.")
    ] = None,
    task: Annotated[str | None, typer.Option(metavar="TASK_ID", help="Only those of this task.")] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Only those of such a name: chunking, '*.failed', '*' for all."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(parser=parse_moment, metavar="TIME", help=f"Only those received from then on: {MOMENTS}."),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=parse_moment, metavar="TIME", help="Only those received before.")
    ] = None,
    state: Annotated[str | None, typer.Option(help="Only those that are stored, retrying, handled or failed.")] = None,
    handler: Annotated[
        str | None, typer.Option(help="Run this handler and no other, also for records that it never had.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many records it would be.")] = False,
    why: Why = None,
    app: Annotated[
        str | None, typer.Option("--app", metavar="MODULE:RECEIVER", help="Run the handlers here and now.")
    ] = None,
    yes: Yes = False,
    database_url: DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Let handlers run again for stored events: those that failed, or all of them where none did.

    A running receiver on the same database picks them up within a second or two. They have all their attempts again.
    """
    from morag_client.inbox.replay_criteria import ReplayCriteria  # noqa: PLC0415  # the CLI's help needs none of it

    chosen = task, name, since, until, state
    is_by_ids = chosen == (None,) * len(chosen)
    if is_by_ids and not record_ids:
        raise typer.BadParameter(_WHICH)
    criteria = ReplayCriteria(record_ids or None, *chosen, handler)
    if not (is_by_ids or dry_run):
        need_answer(yes=yes)
    place = _Place(database_url, app, handler=handler)
    if dry_run:
        complete = _count(place, criteria, as_json=as_json)
    elif is_by_ids:
        complete = asyncio.run(_replay_each(place, criteria, why=why, as_json=as_json))
    else:
        complete = _replay_all(place, criteria, why=why, yes=yes, as_json=as_json)
    if not complete:
        raise typer.Exit(1)


class _Place:
    """The inbox that is meant, and the receiver that is to run the handlers, if any."""

    def __init__(self, database_url: str | None, app: str | None, *, handler: str | None) -> None:
        self.receiver: Receiver | None = None
        self._handler = handler
        self._database_url, self._table_prefix = database_url, None
        if app is None:
            return
        choose_database(database_url)
        self.receiver = receiver = load_receiver(app)
        log_to_terminal(with_times=False)
        self._database_url, self._table_prefix = receiver.settings.database_url, receiver.settings.table_prefix
        if handler is not None and handler not in receiver.handler_names:
            known = ", ".join(receiver.handler_names)
            raise ConfigurationError(f"{app} has no handler {handler!r}; there are: {known or 'none'}")

    @asynccontextmanager
    async def inbox(self) -> AsyncIterator[Inbox]:
        """The inbox, open. Raises ConfigurationError, also where there may be no such handler."""
        from morag_client.inbox.replaying import has_run  # noqa: PLC0415

        async with opened_inbox(self._database_url, table_prefix=self._table_prefix) as inbox:
            # Its runs would wait for ever, and their records with them.
            if self.receiver is None and self._handler is not None and not await has_run(inbox.database, self._handler):
                raise ConfigurationError(
                    f"no handler {self._handler!r} ever ran here; if it is new, say where it is with --app"
                )
            yield inbox

    async def handle(self) -> None:
        """Runs the handlers of what waits, here and now; nothing without a receiver."""
        if self.receiver is not None:
            async with self.receiver.lifespan():
                await self.receiver.idle()


def _count(place: _Place, criteria: ReplayCriteria, *, as_json: bool) -> bool:
    found, unknown = asyncio.run(_counted(place, criteria))
    _say(found, as_json=as_json, is_dry=True)
    for record_id in unknown:
        typer.echo(f"error: there is no record {record_id}", err=True)
    return False if unknown else _is_something(found)


async def _counted(place: _Place, criteria: ReplayCriteria) -> tuple[Replay, Sequence[int]]:
    from morag_client.inbox.replaying import count, missing  # noqa: PLC0415

    async with place.inbox() as inbox:
        return await count(inbox.database, criteria), await missing(inbox.database, criteria.record_ids or ())


async def _replay_each(place: _Place, criteria: ReplayCriteria, *, why: str | None, as_json: bool) -> bool:
    """Records that were named, each for itself: one that is not there keeps none of the others from it."""
    from morag_client.inbox.queries import Queries  # noqa: PLC0415
    from morag_client.inbox.replaying import replay_one  # noqa: PLC0415

    complete, ids = True, list(dict.fromkeys(criteria.record_ids or ()))
    async with place.inbox() as inbox:
        for record_id in tuple(ids):
            try:
                done = await replay_one(inbox.database, record_id, handler=criteria.handler, who=login_name(), why=why)
            except RecordNotFound as error:
                typer.echo(f"error: {error}", err=True)
                ids.remove(record_id)
                complete = False
            else:
                complete = not done.pruned and complete
                if place.receiver is None or done.pruned:
                    _say_one(record_id, done, as_json=as_json)
        if place.receiver is None:
            return complete
        await place.handle()
        records = [await Queries(inbox).get(record_id) for record_id in ids]
    show_events(records, as_json=as_json)
    return complete and all(record.state == "handled" for record in records)


def _replay_all(place: _Place, criteria: ReplayCriteria, *, why: str | None, yes: bool, as_json: bool) -> bool:
    found, _ = asyncio.run(_counted(place, criteria))
    again = found.replayed + found.brought_forward
    if again > 1:
        make_sure(f"Handle {counted(again, 'record')} again?", yes=yes)
    return asyncio.run(_replay_found(place, criteria, found, why=why, as_json=as_json))


async def _replay_found(
    place: _Place, criteria: ReplayCriteria, found: Replay, *, why: str | None, as_json: bool
) -> bool:
    from morag_client.inbox.queries import Queries  # noqa: PLC0415
    from morag_client.inbox.replaying import replay as replay_records  # noqa: PLC0415

    reopened: list[int] = []
    async with place.inbox() as inbox:
        with progress_bar("Replaying", total=found.total) as advance:

            def on_batch(batch: Replay, record_ids: Sequence[int]) -> None:
                reopened.extend(record_ids)
                advance(batch.total)

            done = await replay_records(inbox.database, criteria, who=login_name(), why=why, on_batch=on_batch)
        if place.receiver is None or not done.total:
            _say(done, as_json=as_json)
            return _is_something(done)
        if not as_json:
            _say(done, as_json=False)
        await place.handle()
        states = Counter[str]()
        for start in range(0, len(reopened), _AT_ONCE):
            states.update((await Queries(inbox).states(reopened[start : start + _AT_ONCE])).values())
    _say_states(done, states, as_json=as_json)
    return states.total() == states["handled"]


def _say(done: Replay, *, as_json: bool, is_dry: bool = False) -> None:
    if as_json:
        typer.echo(json.dumps(_numbers(done)))
        return
    words = {
        "replayed": "would be handled again" if is_dry else "to be handled again",
        "brought_forward": "would have the next attempt at once" if is_dry else "to have the next attempt at once",
        "waiting": "not handled at all yet, and left alone",
        "pruned": "without a body any more, which cannot be handled again",
    }
    numbers = _numbers(done)
    lines = [f"{counted(numbers[kind], 'record')} {said}" for kind, said in words.items() if numbers[kind]]
    if lines:
        typer.echo("\n".join(lines))


def _is_something(done: Replay) -> bool:
    """Whether any record was meant; says so where none was."""
    if not done.total:
        typer.echo("error: there is no such record", err=True)
    return done.total > 0


def _say_one(record_id: int, done: Replay, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"id": record_id, **_numbers(done), "handlers": list(done.handlers)}))
    elif done.pruned:
        typer.echo(f"error: record {record_id} has no body any more and cannot be handled again", err=True)
    elif done.waiting:
        typer.echo(f"record {record_id} has not been handled at all yet, and is left alone")
    else:
        typer.echo(f"record {record_id} waits again for {', '.join(done.handlers) or 'its handlers'}")


def _say_states(done: Replay, states: Counter[str], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({**_numbers(done), "states": states}))
    elif states:
        typer.echo(f"now: {', '.join(f'{number:,} {state}' for state, number in states.most_common())}")


def _numbers(done: Replay) -> dict[str, int]:
    return {
        "replayed": done.replayed,
        "brought_forward": done.brought_forward,
        "waiting": done.waiting,
        "pruned": done.pruned,
    }
