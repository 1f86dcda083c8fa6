"""Which dialect a body is in, told by its markers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from morag_client.events.types import Dialect
from morag_client.wire.dialects import (
    envelope,
    enveloped_step,
    flat_step,
    ingest_result,
    pipeline_completed,
    stage_chain,
    stage_completed,
    stage_result,
)
from morag_client.wire.fields import Fields, Json


@dataclass(frozen=True, slots=True)
class Grammar:
    """One dialect: how it is recognised, what it says, and what the guide demands of it beyond that."""

    name: Dialect
    recognises: Callable[[Json], bool]
    read: Callable[[Fields], dict[str, Any]]
    check: Callable[[Fields], None]


GRAMMARS: Final = (
    Grammar("stage_completed", stage_completed.recognises, stage_completed.read, stage_completed.check),
    Grammar("pipeline_completed", pipeline_completed.recognises, pipeline_completed.read, pipeline_completed.check),
    Grammar("stage_chain", stage_chain.recognises, stage_chain.read, stage_chain.check),
    Grammar("enveloped_step", enveloped_step.recognises, enveloped_step.read, enveloped_step.check),
    Grammar("envelope", envelope.recognises, envelope.read, envelope.check),
    Grammar("stage_result", stage_result.recognises, stage_result.read, stage_result.check),
    Grammar("flat_step", flat_step.recognises, flat_step.read, flat_step.check),
    Grammar("ingest_result", ingest_result.recognises, ingest_result.read, ingest_result.check),
)
"""In the order of asking: the first that recognises a body has it."""


def recognise(payload: Json) -> Grammar | None:
    """The dialect of a decoded body; None where no marker has a value that MoRAG is known to send."""
    for grammar in GRAMMARS:
        if grammar.recognises(payload):
            return grammar
    return None
