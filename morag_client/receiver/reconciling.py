"""Asking MoRAG about tasks that went silent, in the receiver that runs their handlers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from morag_client.config import Settings
from morag_client.errors import ConfigurationError
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.rows import now
from morag_client.reconcile.asking import Asked
from morag_client.reconcile.finding import Adopts
from morag_client.reconcile.reconciler import Reconciler
from morag_client.reconcile.report import Report
from morag_client.reconcile.round import Wanted
from morag_client.reconcile.rounds import Rounds

FOUND_WITHIN: Final = timedelta(days=1)
"""How far back somebody means who asks for it and does not say."""


class Reconciling:
    """The rounds of one receiver, and those that somebody asks for; nothing where there is no MoRAG to ask.

    A client that is given is the application's, and is not closed. Tasks of tenants are not told apart by MoRAG: where
    there are some, nothing is found by its lists.
    """

    def __init__(self, settings: Settings, inbox: Inbox, *, client: Asked | None, has_tenants: bool) -> None:
        self._settings = settings
        self._inbox = inbox
        self._client = client
        self._adopts = adopts_of(settings) if settings.reconcile_unknown and not has_tenants else None
        self._close: Callable[[], Any] | None = None
        self._reconciler: Reconciler | None = None
        self._rounds: Rounds | None = None

    def start(self) -> None:
        """Begins the rounds. Raises ConfigurationError for a MoRAG that cannot be asked."""
        settings = self._settings
        if (self._client is None and settings.api_url is None) or math.isinf(settings.reconcile_interval):
            return
        silent_for = timedelta(seconds=settings.reconcile_silence)
        wanted = Wanted(silent_for=silent_for, adopts=self._adopts, who="receiver")
        self._rounds = Rounds(
            self._made_reconciler(), wanted, interval=settings.reconcile_interval, random=random.random
        )
        self._rounds.start()

    async def stop(self) -> None:
        """Asks no more, and lets go of the connections that are ours."""
        if self._rounds is not None:
            await self._rounds.stop()
            self._rounds = None
        close, self._close, self._reconciler = self._close, None, None
        if close is not None:
            await close()

    async def run(
        self, *, silent_for: timedelta, within: timedelta | None, dry_run: bool, who: str, why: str | None
    ) -> Report:
        """A round now. Raises ConfigurationError, AlreadyReconciling and InboxUnavailable."""
        wanted = Wanted(
            silent_for=silent_for,
            within=within,
            adopts=self._adopts,
            found_within=within or FOUND_WITHIN,
            dry_run=dry_run,
            who=who,
            why=why,
        )
        return await self._made_reconciler().run(wanted)

    def _made_reconciler(self) -> Reconciler:
        if self._reconciler is None:
            client = self._client
            if client is None:
                client, self._close = client_of(self._settings)
            self._reconciler = Reconciler(self._inbox, client, clock=now, lease=self._settings.lease)
        return self._reconciler


def client_of(settings: Settings) -> tuple[Asked, Callable[[], Any]]:
    """The client that settings mean, and how it is closed. Raises ConfigurationError where they mean none."""
    if settings.api_url is None:
        raise ConfigurationError("there is no MoRAG to ask; set MORAG_API_URL (api_url=), or give a client=")
    from morag_client.api.async_client import AsyncMoragClient  # noqa: PLC0415  # 100 ms that nobody needs who asks nothing

    key = None if settings.api_key is None else settings.api_key.get_secret_value()
    # A round comes again by itself, and tells of trouble once.
    client = AsyncMoragClient(base_url=settings.api_url, api_key=key, attempts=1)
    return client, client.close


def adopts_of(settings: Settings) -> Adopts:
    """Whether a task that no webhook told of is ours: not if it was to be told of elsewhere."""
    ours = None if settings.public_url is None else f"{settings.public_url.rstrip('/')}/"

    def adopts(metadata: Mapping[str, Any]) -> bool:
        url = metadata.get("webhook_url")
        return ours is None or not isinstance(url, str) or url.startswith(ours)

    return adopts
