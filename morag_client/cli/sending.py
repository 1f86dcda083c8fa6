"""What the commands that send webhooks have in common: how they sign, how often they try, what the faults draw."""

from __future__ import annotations

from typing import Annotated

import typer

Secret = Annotated[
    str | None,
    typer.Option(envvar="MORAG_WEBHOOK_SECRET", help="Signs each webhook; of several by commas the first."),
]
MaxRetries = Annotated[
    int | None, typer.Option(min=0, help="Attempts after the first. Default: WEBHOOK_MAX_RETRIES, else as MoRAG.")
]
RetryDelay = Annotated[
    float | None, typer.Option(min=0, help="Seconds, doubled each time. Default: WEBHOOK_RETRY_DELAY, else as MoRAG.")
]
Timeout = Annotated[float | None, typer.Option(help="Seconds for an answer. Default: WEBHOOK_TIMEOUT, else as MoRAG.")]
Seed = Annotated[int, typer.Option(help="Decides what the faults leave to chance.")]


def first_of(several: str | None) -> str | None:
    """The first of several secrets or tokens, which commas separate."""
    return None if several is None else several.split(",")[0].strip()
