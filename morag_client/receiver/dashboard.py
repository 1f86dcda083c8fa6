"""What the dashboard is lent of a receiver."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morag_client.config import Settings
from morag_client.dashboard.desk import Desk
from morag_client.dashboard.sessions import Sessions
from morag_client.inbox.inbox import Inbox
from morag_client.receiver.access import Access
from morag_client.receiver.lifecycle import Lifecycle

if TYPE_CHECKING:
    from morag_client.receiver.receiver import Receiver


def sessions_of(settings: Settings) -> Sessions:
    """Who is logged in by the settings' password."""
    password, keys = settings.dashboard_password, settings.signing_key
    return Sessions(
        signing_key=None if keys is None else keys[0].get_secret_value().encode(),
        password=None if password is None else password.get_secret_value(),
        max_age=settings.dashboard_session,
    )


def desk_of(receiver: Receiver, *, access: Access, lifecycle: Lifecycle) -> Desk:
    """The receiver, as far as it concerns the dashboard."""
    settings = receiver.settings

    async def inbox() -> Inbox:
        return (await lifecycle.runtime()).inbox

    return Desk(
        inbox=inbox,
        right=access.right,
        advice=lambda: access.advice,
        replay=receiver.replay,
        retry_dead_letters=receiver.dead_letters.retry,
        discard_dead_letters=receiver.dead_letters.discard,
        retry_quarantine=receiver.quarantine.retry,
        discard_quarantine=receiver.quarantine.discard,
        reconcile=receiver.reconcile if receiver.can_reconcile else None,
        duplicates=lambda: receiver.duplicates,
        progress_token=lambda: _progress_token(receiver),
        has_progress=settings.signing_key is not None or settings.inspect,
        has_handlers=bool(receiver.handler_names),
        webhook=f"{settings.public_url or ''}/webhook",
        api_url=settings.api_url,
    )


def _progress_token(receiver: Receiver) -> str | None:
    """What opens the progress of all tasks for as long as a page is likely to be open without asking again."""
    if receiver.settings.signing_key is None:
        return None
    return receiver.progress_token(all=True)
