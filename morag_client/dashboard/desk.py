"""What the dashboard is lent by whoever serves it: what it may look into, and what it may let happen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request

from morag_client.inbox.inbox import Inbox

Right = Literal["read", "act"]
Act = Callable[..., Awaitable[Any]]
"""Called with ids or criteria, and with `who` and `why` for the audit."""


@dataclass(frozen=True, slots=True)
class Desk:
    """The receiver, as far as it concerns the dashboard.

    `right` says what a request may do, by the application, the machine it comes from, or a session. The actions raise
    RecordNotFound, ConfigurationError and InboxUnavailable; `reconcile` is None where there is no MoRAG to ask.
    `duplicates` is how many deliveries this process has recognised as known since its start, `progress_token` what a
    browser may follow the progress of all tasks with, where `has_progress` (None: nothing is needed).
    """

    inbox: Callable[[], Awaitable[Inbox]]
    right: Callable[[Request], Awaitable[Right | None]]
    advice: Callable[[], str]
    replay: Act
    retry_dead_letters: Act
    discard_dead_letters: Act
    retry_quarantine: Act
    discard_quarantine: Act
    reconcile: Act | None
    duplicates: Callable[[], int]
    progress_token: Callable[[], str | None]
    has_progress: bool
    has_handlers: bool
    webhook: str
    """Where MoRAG reaches the receiver, as far as that is known; else the path alone."""
    api_url: str | None
    """Where MoRAG's artefacts are."""
