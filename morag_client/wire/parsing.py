"""A body to an event, whatever its dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from morag_client.errors import InvalidPayload
from morag_client.events.building import build_event
from morag_client.events.names import UNKNOWN
from morag_client.events.types import Event
from morag_client.wire.decoding import decode_object
from morag_client.wire.dialects.recognition import recognise
from morag_client.wire.fields import Fields, Json, as_object, as_text

_ENVELOPES: Final = frozenset({"envelope", "enveloped_step"})
_TASK_IDS: Final = ("task_id", "job_id")
_DOCUMENT_IDS: Final = ("document_id",)


def parse_event(body: bytes | str, *, url: str | None = None) -> Event:
    """The event that a webhook's body tells of; `url` is the one it was posted to, if known.

    An object of no known dialect is an `UnknownEvent`. Raises MalformedBody for bytes that are no JSON object
    and InvalidPayload, naming every problem, for a known dialect whose required fields are missing or wrong.
    """
    payload = decode_object(body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body)
    return read_payload(payload, query=_query(url) if url else "").event


class Reading:
    """What a body says, in the fields of an Event; the typed event itself is made when it is first asked for."""

    __slots__ = ("_event", "fields", "stated_task_id")

    def __init__(self, fields: dict[str, Any], *, stated_task_id: str | None) -> None:
        self.fields = fields
        self.stated_task_id = stated_task_id
        """The task or job id that the body itself states; the URL's query is not to be trusted with ownership."""
        self._event: Event | None = None

    @property
    def event(self) -> Event:
        if self._event is None:
            self._event = build_event(self.fields)
        return self._event


def read_payload(payload: Json, *, query: str = "") -> Reading:
    """What a decoded body says. Raises InvalidPayload, naming every problem."""
    grammar = recognise(payload)
    if grammar is None:
        fields = _unknown(payload)
    else:
        body = Fields(payload)
        fields = grammar.read(body)
        if body.problems:
            raise InvalidPayload(*body.problems)
    fields["dialect"] = dialect = grammar.name if grammar else UNKNOWN
    fields["raw"] = payload
    sent = _sent(query) if query else {}
    task_id = _stated(payload, dialect, _TASK_IDS)
    fields["task_id"] = task_id or sent.get("task_id")
    fields["document_id"] = _stated(payload, dialect, _DOCUMENT_IDS) or sent.get("document_id")
    return Reading(fields, stated_task_id=task_id)


def _stated(payload: Mapping[str, Any], dialect: str, keys: tuple[str, ...]) -> str | None:
    data = as_object(payload.get("data"))
    own = (data, payload) if dialect in _ENVELOPES else (payload, data)
    for place in own:
        for key in keys:
            if found := as_text(place.get(key)):
                return found
    # The ingest tasks of r2 and r3 carry the submitter's metadata inside their result.
    for place in (*own, as_object(payload.get("result"))):
        metadata = as_object(place.get("metadata"))
        for key in keys:
            if found := as_text(metadata.get(key)):
                return found
    return None


def _unknown(payload: Json) -> dict[str, Any]:
    data = as_object(payload.get("data"))
    return {
        "name": UNKNOWN,
        "stage": as_text(payload.get("stage_type")),
        "status": as_text(payload.get("status")) or as_text(data.get("status")),
        "message": as_text(payload.get("message")) or as_text(data.get("message")),
        "data": data,
        "metadata": as_object(data.get("metadata")) or as_object(payload.get("metadata")),
    }


def _query(url: str) -> str:
    # Not urlsplit, which refuses some URLs: without an id in it the event is still an event.
    return url.partition("#")[0].partition("?")[2]


def _sent(query: str) -> dict[str, str]:
    """The query's fields, the first of each; none where there are more than anybody needs."""
    try:
        sent = parse_qsl(query.encode("utf-8", "replace").decode(), max_num_fields=100)
    except ValueError:
        return {}
    return dict(reversed(sent))
