"""Samples of what MoRAG sends, to call a handler with: `samples.event("chunking.completed", chunks_created=3)`.

They tell of the sample document, the same each time; what a test says stands in its place: an event's own fields
(`task_id`, `document_id`, `progress`, `message`, `error`, `error_code`, `occurred_at`, `correlation`, …), then those of
its payload (`data`, for tasks `result`, `error_details` and `metadata`). Times are of 2025-01-01, 12:00 UTC.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar, overload

from morag_client.events.types import (
    ChainCompleted,
    ChainFailed,
    ChunkingCompleted,
    ChunkingFailed,
    ChunkingStarted,
    ContentProcessingCompleted,
    ContentProcessingFailed,
    ContentProcessingStarted,
    Event,
    GraphExtractionCompleted,
    GraphExtractionFailed,
    GraphExtractionStarted,
    IngestionCompleted,
    IngestionFailed,
    IngestionStarted,
    MarkdownConversionCompleted,
    MarkdownConversionFailed,
    MarkdownConversionStarted,
    MetadataExtractionCompleted,
    MetadataExtractionFailed,
    MetadataExtractionStarted,
    PipelineCompleted,
    PipelineFailed,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskLost,
    TaskProgress,
    TaskStarted,
    UnknownEvent,
)
from morag_client.testing.sampling.making import make_body, make_event
from morag_client.wire.delivery import Delivery
from morag_client.wire.signature import HEADER, Secret, sign

E = TypeVar("E", bound=Event)


# fmt: off
@overload
def event(kind: type[E], /, **fields: Any) -> E: ...
@overload
def event(kind: Literal["task.started"], /, **fields: Any) -> TaskStarted: ...
@overload
def event(kind: Literal["task.progress"], /, **fields: Any) -> TaskProgress: ...
@overload
def event(kind: Literal["task.completed"], /, **fields: Any) -> TaskCompleted: ...
@overload
def event(kind: Literal["task.failed"], /, **fields: Any) -> TaskFailed: ...
@overload
def event(kind: Literal["task.cancelled"], /, **fields: Any) -> TaskCancelled: ...
@overload
def event(kind: Literal["task.lost"], /, **fields: Any) -> TaskLost: ...
@overload
def event(kind: Literal["markdown_conversion.started"], /, **fields: Any) -> MarkdownConversionStarted: ...
@overload
def event(kind: Literal["markdown_conversion.completed"], /, **fields: Any) -> MarkdownConversionCompleted: ...
@overload
def event(kind: Literal["markdown_conversion.failed"], /, **fields: Any) -> MarkdownConversionFailed: ...
@overload
def event(kind: Literal["metadata_extraction.started"], /, **fields: Any) -> MetadataExtractionStarted: ...
@overload
def event(kind: Literal["metadata_extraction.completed"], /, **fields: Any) -> MetadataExtractionCompleted: ...
@overload
def event(kind: Literal["metadata_extraction.failed"], /, **fields: Any) -> MetadataExtractionFailed: ...
@overload
def event(kind: Literal["content_processing.started"], /, **fields: Any) -> ContentProcessingStarted: ...
@overload
def event(kind: Literal["content_processing.completed"], /, **fields: Any) -> ContentProcessingCompleted: ...
@overload
def event(kind: Literal["content_processing.failed"], /, **fields: Any) -> ContentProcessingFailed: ...
@overload
def event(kind: Literal["chunking.started"], /, **fields: Any) -> ChunkingStarted: ...
@overload
def event(kind: Literal["chunking.completed"], /, **fields: Any) -> ChunkingCompleted: ...
@overload
def event(kind: Literal["chunking.failed"], /, **fields: Any) -> ChunkingFailed: ...
@overload
def event(kind: Literal["graph_extraction.started"], /, **fields: Any) -> GraphExtractionStarted: ...
@overload
def event(kind: Literal["graph_extraction.completed"], /, **fields: Any) -> GraphExtractionCompleted: ...
@overload
def event(kind: Literal["graph_extraction.failed"], /, **fields: Any) -> GraphExtractionFailed: ...
@overload
def event(kind: Literal["ingestion.started"], /, **fields: Any) -> IngestionStarted: ...
@overload
def event(kind: Literal["ingestion.completed"], /, **fields: Any) -> IngestionCompleted: ...
@overload
def event(kind: Literal["ingestion.failed"], /, **fields: Any) -> IngestionFailed: ...
@overload
def event(kind: Literal["pipeline.completed"], /, **fields: Any) -> PipelineCompleted: ...
@overload
def event(kind: Literal["pipeline.failed"], /, **fields: Any) -> PipelineFailed: ...
@overload
def event(kind: Literal["chain.completed"], /, **fields: Any) -> ChainCompleted: ...
@overload
def event(kind: Literal["chain.failed"], /, **fields: Any) -> ChainFailed: ...
@overload
def event(kind: Literal["unknown"], /, **fields: Any) -> UnknownEvent: ...
@overload
def event(kind: str, /, **fields: Any) -> Any: ...
# fmt: on
def event(kind: Any, /, **fields: Any) -> Any:
    """A typed event of a name or a class, as a handler gets it, with these fields in their places.

    Raises ConfigurationError, naming the nearest, for a name or a field that there is not, and for a value that does
    not fit its field. A class of several events takes the rest as a field: `event(StepCompleted, step="ocr")`.
    """
    return make_event(kind, fields)


def body(kind: str | type[Event], /, **fields: Any) -> bytes:
    """The body of the webhook that tells of such an event, as `event` has it. Raises ConfigurationError."""
    return make_body(kind, fields)


def delivery(kind: str | type[Event], /, *, secret: Secret | None = None, **fields: Any) -> Delivery:
    """The delivery of that webhook, signed if there is a secret: `await receiver.receive(samples.delivery(…))`."""
    content = make_body(kind, fields)
    headers = [(b"content-type", b"application/json")]
    if secret is not None:
        headers.append((HEADER.lower().encode(), sign(content, secret).encode()))
    return Delivery(body=content, headers=tuple(headers))
