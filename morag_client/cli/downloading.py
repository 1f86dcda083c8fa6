"""`morag-client download`: the files that a task left, and those that webhooks name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from morag_client.cli.clients import ApiUrl, ApiVersion, Concurrency, ask, client_of, tell
from morag_client.cli.inboxes import AsJson, printable, show_table

if TYPE_CHECKING:
    from morag_client.cli.fetching import Wanted


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(download)


def download(
    source: Annotated[
        str,
        typer.Argument(metavar="TASK|URL", help="A task's id; or a URL as webhooks name it: /api/files/temp/…"),
    ],
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="Names of the task's files, by default all; or further URLs."),
    ] = None,
    to: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder to put them into; made where it is not.")
    ] = Path(),
    show: Annotated[bool, typer.Option("--list", help="List what there is, and fetch nothing.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Put new files in the place of those that are there.")] = False,
    concurrency: Concurrency = 4,
    api_url: ApiUrl = None,
    api_version: ApiVersion = "auto",
    as_json: AsJson = False,
) -> None:
    """Fetch files from MoRAG. What is there already is not overwritten. Exit code 1: one could not be had.

    Of release r3, give the paths that webhooks name; --list / lists them.
    """
    from morag_client.cli.fetching import Fetches  # noqa: PLC0415  # the CLI's help needs none of it

    if show:
        if files:
            raise typer.BadParameter("lists all of them; leave out FILE", param_hint="--list")
        _show(ask(_listed(source, api_url, api_version)), source, as_json=as_json)
        return
    if to.exists() and not to.is_dir():
        raise typer.BadParameter(f"{printable(str(to))} is no folder", param_hint="--to")
    fetches = Fetches(to, force=force, as_json=as_json)
    fetches.run(source, files or (), concurrency=concurrency, api_url=api_url, api_version=api_version)


async def _listed(source: str, api_url: str | None, api_version: str) -> Sequence[Wanted]:
    from morag_client.cli.fetching import what_there_is  # noqa: PLC0415

    async with client_of(api_url, api_version) as client:
        return await what_there_is(client, source)


def _show(found: Sequence[Wanted], source: str, *, as_json: bool) -> None:
    from rich.filesize import decimal  # noqa: PLC0415

    if as_json:
        for file in found:
            tell({"file": file.name, "size_bytes": file.size, "url": file.url})
    elif found:
        show_table(
            ("File", "Size", "URL"),
            [(file.name, "" if file.size is None else decimal(file.size), file.url or "") for file in found],
            whole="File",
        )
    if not found:
        typer.echo(f"error: {nothing_of(source)}", err=True)
        raise typer.Exit(1)


def nothing_of(source: str) -> str:
    """What is said where a task has no files."""
    return f"MoRAG has no files of {printable(source)}: check the id; it does not keep them for ever"
