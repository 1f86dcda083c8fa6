"""What MoRAG puts inside an event: the guide's fields and those its releases really send.

Every field is optional and unknown ones are kept (`data["field"]`, `data.get("field")`), since real servers
differ from the guide and from each other. Sizes are bytes or characters as named, durations seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field


def as_utc(moment: datetime) -> datetime:
    """The same moment, aware and in UTC; MoRAG's naive times mean UTC.

    Raises ValueError where the moment lies outside the calendar in UTC.
    """
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time lies outside the calendar") from None


def as_text(moment: datetime) -> str:
    """An aware moment as all of our JSON says it, in ISO 8601 and in UTC: `2024-01-15T10:34:00.250000Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


UtcDatetime = Annotated[datetime, AfterValidator(as_utc)]
Texts = Annotated[list[str], Field(fail_fast=True)]
"""Strings; one element that is none is enough to know, or a megabyte of them would take seconds to complain about."""


class Payload(BaseModel):
    """An object as MoRAG sent it; fields without an attribute of their own are read like a mapping's."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, protected_namespaces=())

    _other_names: ClassVar[Mapping[str, str]] = {}
    """What else a field is called on the wire, and its name here."""

    def __getitem__(self, key: str) -> Any:
        found = self.get(key, _MISSING)
        if found is _MISSING:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        """Whether MoRAG sent the field (with a value that fits, where it is a typed one), under any of its names."""
        return self._other_names.get(str(key), key) in self.model_fields_set

    def get(self, key: str, default: Any = None) -> Any:
        """The field's value: a typed one where there is an attribute, else as MoRAG sent it."""
        key = self._other_names.get(key, key)
        if key in type(self).model_fields:
            return getattr(self, key)
        return (self.model_extra or {}).get(key, default)


_MISSING = object()


class ConversionMetadata(Payload):
    original_format: str | None = None
    file_size_bytes: int | None = None
    content_length: int | None = None
    page_count: int | None = None
    conversion_time_seconds: float | None = None


class MarkdownConversionData(Payload):
    markdown_file_url: str | None = None
    conversion_metadata: ConversionMetadata | None = None


class DocumentMetadata(Payload):
    title: str | None = None
    author: str | None = None
    creation_date: str | None = None
    format: str | None = None
    language: str | None = None
    page_count: int | None = None
    file_size_bytes: int | None = None


class MetadataExtractionData(Payload):
    metadata_file_url: str | None = None
    metadata: DocumentMetadata | None = None
    file_properties: dict[str, Any] | None = None


class ContentProcessingData(Payload):
    summary: str | None = None
    content_length: int | None = None
    language: str | None = None
    detected_topics: Texts | None = None
    processing_time_seconds: float | None = None


class ChunkSizeRange(Payload):
    min: int | None = None
    max: int | None = None


class ChunkingData(Payload):
    chunks_created: int | None = None
    chunking_strategy: str | None = None
    average_chunk_size: float | None = None
    chunk_size_range: ChunkSizeRange | None = None
    chunks_file_url: str | None = None


class TopEntity(Payload):
    name: str | None = None
    type: str | None = None
    mentions: int | None = None


class GraphExtractionData(Payload):
    entities_extracted: int | None = None
    relations_extracted: int | None = None
    facts_extracted: int | None = None
    top_entities: list[TopEntity] | None = None
    extraction_time_seconds: float | None = None


class StorageSummary(Payload):
    qdrant_points: int | None = None
    neo4j_nodes: int | None = None
    neo4j_relationships: int | None = None


class IngestionData(Payload):
    embeddings_stored: int | None = None
    chunks_ingested: int | None = None
    facts_stored: int | None = None
    entities_stored: int | None = None
    relations_stored: int | None = None
    database_collection: str | None = None
    processing_time_seconds: float | None = None
    storage_summary: StorageSummary | None = None
    chunks_processed: int | None = None
    """r2's word for `chunks_ingested`."""
    total_text_length: int | None = None
    """Characters; r2 only."""


class StepFailedData(Payload):
    error_code: str | None = None
    attempted_format: str | None = None
    supported_formats: Texts | None = None


class TaskResult(Payload):
    """What a completed task produced: the guide's fields, then those of r2's and r3's ingest tasks."""

    embeddings_stored: int | None = None
    chunks_created: int | None = None
    facts_extracted: int | None = None
    processing_time_seconds: float | None = Field(
        default=None, validation_alias=AliasChoices("processing_time_seconds", "processing_time")
    )
    database_collection: str | None = None
    chunks_processed: int | None = None
    total_text_length: int | None = None
    databases_used: list[Any] | None = None
    metadata: dict[str, Any] | None = None

    _other_names = {"processing_time": "processing_time_seconds"}


class TaskMetadata(Payload):
    source_type: str | None = None
    webhook_url: str | None = None
    document_id: str | None = None
    collection_name: str | None = None
    language: str | None = None
    stage: str | None = None
    current_step: str | None = None


class ErrorDetails(Payload):
    stage: str | None = None
    step: str | None = None
    error_code: str | None = None


class StageData(Payload):
    """One stage of r3's pipeline, from a stage notification or from the stage API."""

    execution_time: float | None = None
    """Seconds."""
    start_time: UtcDatetime | None = None
    end_time: UtcDatetime | None = None
    input_files: list[Any] | None = None
    output_files: list[Any] | None = None
    source_path: str | None = None
    output_dir: str | None = None
    total_stages_completed: int | None = None
    total_stages_failed: int | None = None


class StageSummary(Payload):
    type: str | int | None = None
    status: str | None = None
    execution_time: float | None = None
    output_files: list[Any] | None = None
    error_message: str | None = None


class PipelineData(Payload):
    total_execution_time: float | None = None
    """Seconds."""
    stages_completed: int | None = None
    stages_failed: int | None = None
    stages_skipped: int | None = None
    source_path: str | None = None
    output_dir: str | None = None
    intermediate_files: list[Any] | None = None
    stages: list[StageSummary] | None = None


class ChainData(Payload):
    total_execution_time: float | None = None
    """Seconds."""
    stages_executed: int | list[Any] | None = None
    stages_successful: int | None = None
    stages_failed: int | None = None
