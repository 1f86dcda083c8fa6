"""A body to an event, whatever its dialect."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from morag_client.errors import InvalidPayload
from morag_client.events.building import build_event
from morag_client.events.names import UNKNOWN
from morag_client.events.types import Event
from morag_client.wire.decoding import decode_object
from morag_client.wire.dialects.recognition import recognise
from morag_client.wire.fields import Fields, Json, as_object, as_text

_QUERY_IDS = ("task_id", "document_id")


def parse_event(body: bytes | str, *, url: str | None = None) -> Event:
    """The event that a webhook's body tells of; `url` is the one it was posted to, if known.

    An object of no known dialect is an `UnknownEvent`. Raises MalformedBody for bytes that are no JSON object
    and InvalidPayload, naming every problem, for a known dialect whose required fields are missing or wrong.
    """
    payload = decode_object(body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body)
    return read_event(payload, query=urlsplit(url).query if url else "")


def read_event(payload: Json, *, query: str = "") -> Event:
    """The event in a decoded body. Raises InvalidPayload, naming every problem."""
    grammar = recognise(payload)
    if grammar is None:
        fields = _unknown(payload)
    else:
        body = Fields(payload)
        fields = grammar.read(body)
        if body.problems:
            raise InvalidPayload(*body.problems)
    fields["dialect"] = grammar.name if grammar else UNKNOWN
    fields["raw"] = payload
    if query:
        _ids_from_query(fields, query)
    return build_event(fields)


def stated_task_id(event: Event) -> str | None:
    """The task or job id that the body itself states; the URL's query is not to be trusted with ownership."""
    raw = event.raw
    stated = as_object(raw.get("data")).get("task_id") if event.dialect in {"envelope", "enveloped_step"} else None
    return as_text(stated) or as_text(raw.get("task_id")) or as_text(raw.get("job_id"))


def _unknown(payload: Json) -> dict[str, Any]:
    data = as_object(payload.get("data"))
    metadata = as_object(data.get("metadata")) or as_object(payload.get("metadata"))

    def stated(key: str) -> str | None:
        return as_text(payload.get(key)) or as_text(data.get(key))

    return {
        "name": UNKNOWN,
        "task_id": stated("task_id") or stated("job_id"),
        "document_id": stated("document_id") or as_text(metadata.get("document_id")),
        "status": stated("status"),
        "message": stated("message"),
        "data": data,
        "metadata": metadata,
    }


def _ids_from_query(fields: dict[str, Any], query: str) -> None:
    if all(fields.get(key) for key in _QUERY_IDS):
        return
    try:
        sent = dict(reversed(parse_qsl(query, max_num_fields=100)))
    except ValueError:  # more fields than anybody needs
        return
    for key in _QUERY_IDS:
        if not fields.get(key):
            fields[key] = sent.get(key)
