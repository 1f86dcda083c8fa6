"""The events themselves: one frozen shape whatever the dialect, with a class for each thing that is known.

Progress is in percent of the whole task (0 to 100), times are aware and in UTC, both None where MoRAG says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from morag_client.events.payloads import (
    ChainData,
    ChunkingData,
    ContentProcessingData,
    ErrorDetails,
    GraphExtractionData,
    IngestionData,
    MarkdownConversionData,
    MetadataExtractionData,
    Payload,
    PipelineData,
    StageData,
    StepFailedData,
    TaskMetadata,
    TaskResult,
)

Dialect = Literal[
    "envelope",
    "enveloped_step",
    "flat_step",
    "ingest_result",
    "stage_completed",
    "pipeline_completed",
    "stage_result",
    "stage_chain",
    "answer",
    "unknown",
]
Source = Literal["webhook", "reconcile"]


class Event(BaseModel, frozen=True):
    """What happened, in one form whatever the dialect.

    `raw` is the decoded body as MoRAG sent it, but for tokens of signed URLs. `correlation` holds the application's own
    ids, as signed into the webhook URL, and its `ref`. A field of the payload that does not fit its type is None in the
    typed form and untouched in `raw`.
    """

    name: str
    task_id: str | None = None
    document_id: str | None = None
    step: str | None = None
    stage: str | None = None
    status: str | None = None
    progress: float | None = None
    occurred_at: datetime | None = None
    message: str | None = None
    error: str | None = None
    error_code: str | None = None
    error_details: ErrorDetails | None = None
    result: TaskResult | None = None
    data: Payload | None = None
    metadata: TaskMetadata = Field(default_factory=TaskMetadata)
    correlation: Mapping[str, str] = Field(default_factory=dict)
    dialect: Dialect
    source: Source = "webhook"
    raw: Mapping[str, Any] = Field(repr=False)


class TaskEvent(Event, frozen=True):
    """Something in a task's life."""


class TaskStarted(TaskEvent, frozen=True):
    pass


class TaskProgress(TaskEvent, frozen=True):
    pass


class TaskCompleted(TaskEvent, frozen=True):
    result: TaskResult = Field(default_factory=TaskResult)


class TaskFailed(TaskEvent, frozen=True):
    error_details: ErrorDetails = Field(default_factory=ErrorDetails)


class TaskCancelled(TaskEvent, frozen=True):
    pass


class TaskLost(TaskEvent, frozen=True):
    """MoRAG announced the task and went silent about it."""


class StepEvent(Event, frozen=True):
    """Something in a step's life. `event.step` is the name as MoRAG sent it; the set of steps is open."""

    step: str


class StepStarted(StepEvent, frozen=True):
    data: Payload = Field(default_factory=Payload)


class StepCompleted(StepEvent, frozen=True):
    data: Payload = Field(default_factory=Payload)


class StepFailed(StepEvent, frozen=True):
    data: StepFailedData = Field(default_factory=StepFailedData)


class MarkdownConversionStarted(StepStarted, frozen=True):
    pass


class MarkdownConversionCompleted(StepCompleted, frozen=True):
    data: MarkdownConversionData = Field(default_factory=MarkdownConversionData)


class MarkdownConversionFailed(StepFailed, frozen=True):
    pass


class MetadataExtractionStarted(StepStarted, frozen=True):
    pass


class MetadataExtractionCompleted(StepCompleted, frozen=True):
    data: MetadataExtractionData = Field(default_factory=MetadataExtractionData)


class MetadataExtractionFailed(StepFailed, frozen=True):
    pass


class ContentProcessingStarted(StepStarted, frozen=True):
    pass


class ContentProcessingCompleted(StepCompleted, frozen=True):
    data: ContentProcessingData = Field(default_factory=ContentProcessingData)


class ContentProcessingFailed(StepFailed, frozen=True):
    pass


class ChunkingStarted(StepStarted, frozen=True):
    pass


class ChunkingCompleted(StepCompleted, frozen=True):
    data: ChunkingData = Field(default_factory=ChunkingData)


class ChunkingFailed(StepFailed, frozen=True):
    pass


class GraphExtractionStarted(StepStarted, frozen=True):
    pass


class GraphExtractionCompleted(StepCompleted, frozen=True):
    data: GraphExtractionData = Field(default_factory=GraphExtractionData)


class GraphExtractionFailed(StepFailed, frozen=True):
    pass


class IngestionStarted(StepStarted, frozen=True):
    pass


class IngestionCompleted(StepCompleted, frozen=True):
    data: IngestionData = Field(default_factory=IngestionData)


class IngestionFailed(StepFailed, frozen=True):
    pass


class StageEvent(Event, frozen=True):
    """A stage of r3's pipeline ended. Only the stage API knows a task id (its job id)."""

    stage: str
    data: StageData = Field(default_factory=StageData)


class StageCompleted(StageEvent, frozen=True):
    pass


class StageFailed(StageEvent, frozen=True):
    pass


class StageSkipped(StageEvent, frozen=True):
    pass


class PipelineEvent(Event, frozen=True):
    """r3's pipeline ended. It carries no task id: correlate by the webhook URL."""

    data: PipelineData = Field(default_factory=PipelineData)


class PipelineCompleted(PipelineEvent, frozen=True):
    pass


class PipelineFailed(PipelineEvent, frozen=True):
    pass


class ChainEvent(Event, frozen=True):
    """r3's chain of stages ended. It carries no id of any kind: correlate by the webhook URL."""

    data: ChainData = Field(default_factory=ChainData)


class ChainCompleted(ChainEvent, frozen=True):
    pass


class ChainFailed(ChainEvent, frozen=True):
    pass


class UnknownEvent(Event, frozen=True):
    """An authentic object of no known dialect; everything it says is in `raw`."""
