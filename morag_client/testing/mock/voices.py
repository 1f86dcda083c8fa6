"""Who tells what of a task: the words that each release's senders have for a moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from morag_client.events.types import Dialect
from morag_client.testing.bodies import naive
from morag_client.testing.mock.profiles import Profile
from morag_client.testing.moments import Moment
from morag_client.testing.wording import say
from morag_client.testing.wording.words import Words

Voice = Callable[[Moment, datetime], list[Words]]

# r2's steps, with the percentages at their beginning and end; it has no events of chunking and graph extraction.
_R2_STEPS: Final = {
    "markdown_conversion": (0.0, 20.0),
    "metadata_extraction": (20.0, 40.0),
    "content_processing": (40.0, 70.0),
    "ingestion": (70.0, 100.0),
}


@dataclass(frozen=True, slots=True)
class Dialects:
    """A voice of these dialects, each with what it says of a moment, in their order."""

    dialects: tuple[Dialect, ...]

    def __call__(self, moment: Moment, now: datetime) -> list[Words]:
        said = [say(moment, dialect=dialect, now=now) for dialect in self.dialects]
        return [words for words in said if words is not None]


def voice_of(profile: Profile, *, envelope_steps: bool) -> Voice:
    """The voice of a profile's tasks. r3 has none: its calls tell of themselves."""
    if profile.name == "guide" and envelope_steps:
        return Dialects(("enveloped_step",))
    return _VOICES[profile.name]


def _guide(moment: Moment, now: datetime) -> list[Words]:
    """The guide shows flat steps without what there is nothing to say of, and their times with a Z."""
    words = say(moment, dialect=None, now=now)
    if words is None or words.dialect != "flat_step":
        return [] if words is None else [words]
    body = {key: value for key, value in words.body.items() if value is not None}
    return [replace(words, body={**body, "timestamp": f"{naive(now)}Z"})]


def _r1(moment: Moment, now: datetime) -> list[Words]:
    words = say(moment, dialect="envelope", now=now)
    return [] if words is None else [replace(words, body={**words.body, "timestamp": naive(now)})]


def _r2(moment: Moment, now: datetime) -> list[Words]:
    """The step sender's words for steps, the ingest sender's for the end; any failure is one step `processing`."""
    if moment.step is None:
        words = say(moment, dialect="ingest_result", now=now)
        return [] if words is None else [words]
    words = None
    if moment.status == "failed":
        failed = replace(moment, name="processing.failed", step="processing", progress=0.0, data=None)
        words = say(failed, dialect="flat_step", now=now)
    elif moment.step in _R2_STEPS:
        begins, ends = _R2_STEPS[moment.step]
        at = begins if moment.status == "started" else ends
        words = say(replace(moment, progress=at, data=_r2_data(moment, now)), dialect="flat_step", now=now)
    return [] if words is None else [words]


def _r2_data(moment: Moment, now: datetime) -> Mapping[str, object] | None:
    data = moment.data
    if data is None or moment.step not in {"metadata_extraction", "ingestion"}:
        return data
    if moment.step == "metadata_extraction":
        epoch = now.timestamp()
        return {**data, "metadata": {**data["metadata"], "created_at": epoch, "modified_at": epoch}}
    return {
        "chunks_processed": data["chunks_ingested"],
        "total_text_length": sum(_length(step) for step in moment.story),
        "database_collection": data["database_collection"],
        "processing_time_seconds": data["processing_time_seconds"],
    }


def _length(step: Moment) -> int:
    return int((step.data or {})["content_length"]) if step.step == "content_processing" else 0


def _silent(_moment: Moment, _now: datetime) -> list[Words]:
    return []


_VOICES: Final[Mapping[str, Voice]] = MappingProxyType({"guide": _guide, "r1": _r1, "r2": _r2, "r3": _silent})
