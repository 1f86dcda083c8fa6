"""What is stored of an event that did not come by webhook, but is made of what MoRAG answered."""

from __future__ import annotations

from datetime import datetime

from pydantic_core import to_json

from morag_client.events.names import guide_event_type
from morag_client.inbox.rows import STORED, TEXT_LENGTH, EventRow, clean
from morag_client.inbox.tables import ID_LENGTH
from morag_client.wire.answer import DIALECT, SOURCE, Answered, made_body, made_identity
from morag_client.wire.identity import placed_in_time, task_key
from morag_client.wire.redaction import redacted_text


def made_row(answered: Answered, *, tenant: str, received_at: datetime) -> EventRow:
    """The row of a made event; its identity says nothing of times, so that whoever makes it makes the same."""
    return EventRow(
        identity=placed_in_time(made_identity(answered, tenant=tenant), None),
        task_id=clean(answered.task_id, ID_LENGTH),
        event_type=guide_event_type(answered.name),
        step=None,
        status=answered.name.rpartition(".")[2],
        progress_percent=answered.progress,
        timestamp=answered.occurred_at,
        data=None,
        error_message=clean(answered.error and redacted_text(answered.error), TEXT_LENGTH),
        name=answered.name,
        dialect=DIALECT,
        source=SOURCE,
        stage=None,
        document_id=clean(answered.document_id, ID_LENGTH),
        correlation=to_json(answered.correlation).decode() if answered.correlation else None,
        task_key=task_key(tenant=tenant, task_id=answered.task_id),
        tenant=tenant,
        path="",
        query="",
        headers="{}",
        body=made_body(answered),
        received_at=received_at,
        state=STORED,
    )
