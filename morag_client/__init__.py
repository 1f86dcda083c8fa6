"""The consumer's side of MoRAG: webhooks proven, stored exactly once and handled reliably."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from morag_client.api.async_client import AsyncMoragClient as AsyncMoragClient
    from morag_client.api.client import MoragClient as MoragClient
    from morag_client.api.handles import AsyncTaskHandle as AsyncTaskHandle, TaskHandle as TaskHandle
    from morag_client.config import Settings as Settings
    from morag_client.errors import (
        ApiError as ApiError,
        AuthenticationError as AuthenticationError,
        BadRequest as BadRequest,
        BodyTimeout as BodyTimeout,
        BodyTooLarge as BodyTooLarge,
        ConfigurationError as ConfigurationError,
        Conflict as Conflict,
        DeliveryRejected as DeliveryRejected,
        Forbidden as Forbidden,
        Gone as Gone,
        InboxError as InboxError,
        InboxUnavailable as InboxUnavailable,
        InvalidPayload as InvalidPayload,
        MalformedBody as MalformedBody,
        MoragError as MoragError,
        MoragWarning as MoragWarning,
        NotFound as NotFound,
        NotSupported as NotSupported,
        NotUnderstood as NotUnderstood,
        RateLimited as RateLimited,
        RecordNotFound as RecordNotFound,
        ServerFailed as ServerFailed,
        SignatureError as SignatureError,
        SignedUrlExpired as SignedUrlExpired,
        TaskFailedError as TaskFailedError,
        TaskTimeout as TaskTimeout,
        TimedOut as TimedOut,
        TooLarge as TooLarge,
        Unauthorized as Unauthorized,
        Unreachable as Unreachable,
        UnsupportedBody as UnsupportedBody,
        ValidationRefused as ValidationRefused,
    )
    from morag_client.events.payloads import (
        ChainData as ChainData,
        ChunkingData as ChunkingData,
        ContentProcessingData as ContentProcessingData,
        ErrorDetails as ErrorDetails,
        GraphExtractionData as GraphExtractionData,
        IngestionData as IngestionData,
        MarkdownConversionData as MarkdownConversionData,
        MetadataExtractionData as MetadataExtractionData,
        Payload as Payload,
        PipelineData as PipelineData,
        StageData as StageData,
        StepFailedData as StepFailedData,
        TaskMetadata as TaskMetadata,
        TaskResult as TaskResult,
    )
    from morag_client.events.types import (
        ChainCompleted as ChainCompleted,
        ChainEvent as ChainEvent,
        ChainFailed as ChainFailed,
        ChunkingCompleted as ChunkingCompleted,
        ChunkingFailed as ChunkingFailed,
        ChunkingStarted as ChunkingStarted,
        ContentProcessingCompleted as ContentProcessingCompleted,
        ContentProcessingFailed as ContentProcessingFailed,
        ContentProcessingStarted as ContentProcessingStarted,
        Event as Event,
        GraphExtractionCompleted as GraphExtractionCompleted,
        GraphExtractionFailed as GraphExtractionFailed,
        GraphExtractionStarted as GraphExtractionStarted,
        IngestionCompleted as IngestionCompleted,
        IngestionFailed as IngestionFailed,
        IngestionStarted as IngestionStarted,
        MarkdownConversionCompleted as MarkdownConversionCompleted,
        MarkdownConversionFailed as MarkdownConversionFailed,
        MarkdownConversionStarted as MarkdownConversionStarted,
        MetadataExtractionCompleted as MetadataExtractionCompleted,
        MetadataExtractionFailed as MetadataExtractionFailed,
        MetadataExtractionStarted as MetadataExtractionStarted,
        PipelineCompleted as PipelineCompleted,
        PipelineEvent as PipelineEvent,
        PipelineFailed as PipelineFailed,
        StageCompleted as StageCompleted,
        StageEvent as StageEvent,
        StageFailed as StageFailed,
        StageSkipped as StageSkipped,
        StepCompleted as StepCompleted,
        StepEvent as StepEvent,
        StepFailed as StepFailed,
        StepStarted as StepStarted,
        TaskCancelled as TaskCancelled,
        TaskCompleted as TaskCompleted,
        TaskEvent as TaskEvent,
        TaskFailed as TaskFailed,
        TaskLost as TaskLost,
        TaskProgress as TaskProgress,
        TaskStarted as TaskStarted,
        UnknownEvent as UnknownEvent,
    )
    from morag_client.handlers.context import Context as Context
    from morag_client.handlers.registry import (
        Registry as Registry,
        default_registry as default_registry,
        on as on,
    )
    from morag_client.handlers.retry import Discard as Discard, RetryLater as RetryLater, RetryPolicy as RetryPolicy
    from morag_client.handlers.subscription import UnknownEventWarning as UnknownEventWarning
    from morag_client.inbox.audit import AuditEntry as AuditEntry
    from morag_client.inbox.dead_letters import DeadLetter as DeadLetter, Retried as Retried
    from morag_client.inbox.quarantine import Quarantined as Quarantined
    from morag_client.inbox.queries import HandlerRun as HandlerRun, Record as Record
    from morag_client.inbox.replay_criteria import Replay as Replay
    from morag_client.inbox.retention import Pruned as Pruned
    from morag_client.inbox.statistics import Statistics as Statistics
    from morag_client.progress.state import TaskState as TaskState
    from morag_client.receiver.quarantine import Retaken as Retaken
    from morag_client.receiver.receiver import Receipt as Receipt, Receiver as Receiver
    from morag_client.receiver.webhook_urls import webhook_url as webhook_url
    from morag_client.wire.authentication import Tenant as Tenant
    from morag_client.wire.delivery import Delivery as Delivery
    from morag_client.wire.parsing import parse_event as parse_event
    from morag_client.wire.signature import sign as sign, verify_signature as verify_signature
    from morag_client.wire.validation import validate_webhook as validate_webhook
else:
    # At run time each name is imported on first use, so that `import morag_client` costs next to nothing.
    # Hidden from type checkers, which would otherwise let every misspelt name pass.
    _EVENTS = "morag_client.events.types"
    _PAYLOADS = "morag_client.events.payloads"
    _ERRORS = "morag_client.errors"
    _HOMES: Final = {
        "AsyncMoragClient": "morag_client.api.async_client",
        "MoragClient": "morag_client.api.client",
        "AsyncTaskHandle": "morag_client.api.handles",
        "TaskHandle": "morag_client.api.handles",
        "Settings": "morag_client.config",
        "Context": "morag_client.handlers.context",
        "Registry": "morag_client.handlers.registry",
        "default_registry": "morag_client.handlers.registry",
        "on": "morag_client.handlers.registry",
        "Discard": "morag_client.handlers.retry",
        "RetryLater": "morag_client.handlers.retry",
        "RetryPolicy": "morag_client.handlers.retry",
        "UnknownEventWarning": "morag_client.handlers.subscription",
        "AuditEntry": "morag_client.inbox.audit",
        "DeadLetter": "morag_client.inbox.dead_letters",
        "Retried": "morag_client.inbox.dead_letters",
        "Quarantined": "morag_client.inbox.quarantine",
        "HandlerRun": "morag_client.inbox.queries",
        "Record": "morag_client.inbox.queries",
        "Statistics": "morag_client.inbox.statistics",
        "TaskState": "morag_client.progress.state",
        "Replay": "morag_client.inbox.replay_criteria",
        "Pruned": "morag_client.inbox.retention",
        "Retaken": "morag_client.receiver.quarantine",
        "Receipt": "morag_client.receiver.receiver",
        "Receiver": "morag_client.receiver.receiver",
        "webhook_url": "morag_client.receiver.webhook_urls",
        "Tenant": "morag_client.wire.authentication",
        "Delivery": "morag_client.wire.delivery",
        "parse_event": "morag_client.wire.parsing",
        "sign": "morag_client.wire.signature",
        "verify_signature": "morag_client.wire.signature",
        "validate_webhook": "morag_client.wire.validation",
        **dict.fromkeys(
            """ApiError AuthenticationError BadRequest BodyTimeout BodyTooLarge ConfigurationError Conflict
            DeliveryRejected Forbidden Gone InboxError InboxUnavailable InvalidPayload MalformedBody MoragError
            MoragWarning NotFound NotSupported NotUnderstood RateLimited RecordNotFound ServerFailed SignatureError
            SignedUrlExpired TaskFailedError TaskTimeout TimedOut TooLarge Unauthorized Unreachable UnsupportedBody
            ValidationRefused""".split(),
            _ERRORS,
        ),
        **dict.fromkeys(
            """ChainData ChunkingData ContentProcessingData ErrorDetails GraphExtractionData IngestionData
            MarkdownConversionData MetadataExtractionData Payload PipelineData StageData StepFailedData TaskMetadata
            TaskResult""".split(),
            _PAYLOADS,
        ),
        **dict.fromkeys(
            """ChainCompleted ChainEvent ChainFailed ChunkingCompleted ChunkingFailed ChunkingStarted
            ContentProcessingCompleted ContentProcessingFailed ContentProcessingStarted Event
            GraphExtractionCompleted GraphExtractionFailed GraphExtractionStarted IngestionCompleted IngestionFailed
            IngestionStarted MarkdownConversionCompleted MarkdownConversionFailed MarkdownConversionStarted
            MetadataExtractionCompleted MetadataExtractionFailed MetadataExtractionStarted PipelineCompleted
            PipelineEvent PipelineFailed StageCompleted StageEvent StageFailed StageSkipped StepCompleted StepEvent
            StepFailed StepStarted TaskCancelled TaskCompleted TaskEvent TaskFailed TaskLost TaskProgress TaskStarted
            UnknownEvent""".split(),
            _EVENTS,
        ),
    }

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module 'morag_client' has no attribute {name!r}")
        value = getattr(import_module(home), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOMES})
