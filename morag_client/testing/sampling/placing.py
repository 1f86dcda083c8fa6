"""Where a field of an event stands in the body that tells of it, and where it is read in the event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from morag_client.events.catalog import event_class
from morag_client.events.payloads import ErrorDetails, Payload, TaskMetadata, TaskResult
from morag_client.events.types import StepEvent

Path = tuple[str, ...]
Found = tuple[str, Path, str]


@dataclass(frozen=True, slots=True)
class Place:
    """The keys in the body, and the attribute of the event: `("data", "chunks_created")`, `data.chunks_created`."""

    keys: Path
    attribute: str


_TASK: Final = {
    "task_id": ("data", "task_id"),
    "document_id": ("data", "metadata", "document_id"),
    "progress": ("data", "progress"),
    "message": ("data", "message"),
    "error": ("data", "error"),
    "error_code": ("data", "error_details", "error_code"),
    "error_details": ("data", "error_details"),
    "occurred_at": ("timestamp",),
    "result": ("data", "result"),
    "metadata": ("data", "metadata"),
}
_STEP: Final = {
    "task_id": ("task_id",),
    "document_id": ("document_id",),
    "progress": ("progress_percent",),
    "message": ("message",),
    "error": ("error_message",),
    "error_code": ("data", "error_code"),
    "occurred_at": ("timestamp",),
    "data": ("data",),
    "metadata": ("metadata",),
}
_IN_METADATA: Final = {
    "task_id": ("metadata", "task_id"),
    "document_id": ("metadata", "document_id"),
    "metadata": ("metadata",),
}
_STAGE: Final = {**_IN_METADATA, "error": ("stage", "error_message"), "occurred_at": ("stage", "end_time")}
_PIPELINE: Final = {**_IN_METADATA, "error": ("pipeline", "error_message"), "occurred_at": ("timestamp",)}
_CHAIN: Final = {**_IN_METADATA, "error": ("error_message",), "occurred_at": ("timestamp",)}

_STAGE_PARTS: Final[Mapping[str, Path]] = {
    "execution_time": ("stage",),
    "start_time": ("stage",),
    "end_time": ("stage",),
    "input_files": ("files",),
    "output_files": ("files",),
}
_PIPELINE_PARTS: Final[Mapping[str, Path]] = {
    "source_path": ("context",),
    "output_dir": ("context",),
    "intermediate_files": ("context",),
    "stages": (),
}


def places(name: str) -> dict[str, Place]:
    """Every field that an event's body has a place for; an event's own fields come before those of its payloads."""
    kind = name.partition(".")[0]
    listed = {"task": _of_task, "stage": _of_stage, "pipeline": _of_pipeline, "chain": _of_chain}.get(kind, _of_step)
    found: dict[str, Place] = {}
    for field, keys, attribute in listed(name):
        found.setdefault(field, Place(keys, attribute))
    return found


def is_open(name: str) -> bool:
    """Whether an event's data may hold anything, as that of a step which nobody knows."""
    cls = event_class(name)
    return issubclass(cls, StepEvent) and not _data(name).model_fields


def _of_task(name: str) -> Iterator[Found]:
    yield from _own(_TASK)
    if name == "task.completed":
        yield from _fields(TaskResult, ("data", "result"), "result")
    if name == "task.failed":
        yield from _fields(ErrorDetails, ("data", "error_details"), "error_details")
    yield from _fields(TaskMetadata, ("data", "metadata"), "metadata")


def _of_step(name: str) -> Iterator[Found]:
    yield from _own(_STEP)
    yield from _fields(_data(name), ("data",), "data")
    yield from _fields(TaskMetadata, ("metadata",), "metadata")


def _of_stage(name: str) -> Iterator[Found]:
    yield from _own(_STAGE)
    for field in _data(name).model_fields:
        yield field, (*_STAGE_PARTS.get(field, ("context",)), field), f"data.{field}"
    yield from _fields(TaskMetadata, ("metadata",), "metadata")


def _of_pipeline(name: str) -> Iterator[Found]:
    yield from _own(_PIPELINE)
    for field in _data(name).model_fields:
        yield field, (*_PIPELINE_PARTS.get(field, ("pipeline",)), field), f"data.{field}"
    yield from _fields(TaskMetadata, ("metadata",), "metadata")


def _of_chain(name: str) -> Iterator[Found]:
    yield from _own(_CHAIN)
    yield from _fields(_data(name), (), "data")
    yield from _fields(TaskMetadata, ("metadata",), "metadata")


def _own(paths: Mapping[str, Path]) -> Iterator[Found]:
    return ((field, keys, field) for field, keys in paths.items())


def _fields(model: type[Payload], keys: Path, attribute: str) -> Iterator[Found]:
    return ((field, (*keys, field), f"{attribute}.{field}") for field in model.model_fields)


def _data(name: str) -> type[Payload]:
    annotation = event_class(name).model_fields["data"].annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, Payload) else Payload
