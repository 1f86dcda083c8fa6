"""What is posted: bytes and their kind, made of an event by a format."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic_core import to_json

from morag_client.wire.redaction import redacted_bytes

Formatted = Mapping[str, Any] | bytes | str | None
"""What a format makes of an event: an object for JSON, bytes or text as they are, or None to send nothing."""
Formatter = Callable[[Any], Formatted | Awaitable[Formatted]]
Format = Literal["morag", "slack"] | Formatter


@dataclass(frozen=True, slots=True)
class Message:
    """A body without any token of a signed URL."""

    body: bytes = field(repr=False)
    content_type: str


def message_of(formatted: object) -> Message | None:
    """The message that a format made, None for none. Raises TypeError for what no message can be made of."""
    if formatted is None:
        return None
    if isinstance(formatted, Mapping):
        body, content_type = to_json(dict(formatted), inf_nan_mode="null"), "application/json"
    elif isinstance(formatted, str):
        body, content_type = formatted.encode(errors="replace"), "text/plain; charset=utf-8"
    elif isinstance(formatted, bytes):
        body, content_type = formatted, "application/octet-stream"
    else:
        raise TypeError(
            f"format= made a {type(formatted).__name__} of the event; it returns a dict (sent as JSON), a str, bytes,"
            " or None to send nothing"
        )
    return Message(redacted_bytes(body), content_type)
