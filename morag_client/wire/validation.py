"""Everything that is wrong with a payload by the guide's rules, also where a receiver would put up with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from morag_client.errors import MalformedBody
from morag_client.wire.decoding import decode_object
from morag_client.wire.dialects import envelope
from morag_client.wire.dialects.recognition import recognise
from morag_client.wire.fields import Fields


def validate_webhook(payload: Mapping[str, Any] | bytes | str) -> list[str]:
    """All problems of a webhook's payload, decoded or as bytes; an empty list where there are none.

    Looks at required fields, times, the range of progress, the types of optional fields and whether event and
    status agree. More is said than a receiver refuses: that one only insists on the required fields.
    """
    if isinstance(payload, (bytes, str)):
        try:
            payload = decode_object(payload.encode("utf-8", "surrogatepass") if isinstance(payload, str) else payload)
        except MalformedBody as error:
            return list(error.problems)
    if not isinstance(payload, Mapping):
        return [f"the payload is no object but {type(payload).__name__}"]
    body = Fields(dict(payload))
    grammar = recognise(body.values)
    if grammar is not None:
        grammar.read(body)
        grammar.check(body)
    elif body.values.get("event_type") is not None:
        envelope.read(body)
        envelope.check(body)
    else:
        body.problems.append(
            "no known dialect: none of event_type, event, type, stage_type, step,"
            " or a status of SUCCESS or FAILURE has a value that MoRAG sends"
        )
    return list(dict.fromkeys(body.problems))
