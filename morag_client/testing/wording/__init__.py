"""What is said of a moment, in which dialect: `say` is the way in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final, get_args

from morag_client.errors import ConfigurationError
from morag_client.events.names import STEPS
from morag_client.events.types import Dialect
from morag_client.testing.moments import Moment
from morag_client.testing.wording import stages, tasks
from morag_client.testing.wording.words import Words

_DIALECTS: Final[Mapping[Dialect, Callable[[Moment, datetime], Words | None]]] = MappingProxyType(
    {
        "envelope": tasks.envelope,
        "enveloped_step": tasks.enveloped_step,
        "flat_step": tasks.flat_step,
        "ingest_result": tasks.ingest_result,
        "stage_completed": stages.stage_completed,
        "pipeline_completed": stages.pipeline_completed,
        "stage_result": stages.stage_result,
        "stage_chain": stages.stage_chain,
    }
)
SENDABLE: Final[tuple[Dialect, ...]] = tuple(dialect for dialect in get_args(Dialect) if dialect in _DIALECTS)


def say(moment: Moment, *, dialect: Dialect | None, now: datetime) -> Words | None:
    """What MoRAG says of a moment; None where the dialect has no words for it.

    Without a dialect as the guide does: tasks in the envelope, steps flat. The step dialects put tasks into the
    envelope too, since they have no words for them. Raises ConfigurationError for a dialect that nobody sends.
    """
    words = _DIALECTS.get(dialect or "flat_step")
    if words is None:
        raise ConfigurationError(f"nobody sends the dialect {dialect!r}; choose one of {', '.join(SENDABLE)}")
    return words(moment, now)


def failing_step(name: str, *, dialect: Dialect | None) -> str:
    """The step that is meant where `name` shall fail: a step of the guide, or in r3's dialects also a stage.

    Raises ConfigurationError for what the dialect cannot fail at.
    """
    if dialect not in stages.DIALECTS:
        choices = dict.fromkeys(STEPS, "")
    else:
        choices = {**dict.fromkeys(stages.STAGE_OF, ""), **{stage: step for step, stage in stages.STAGE_OF.items()}}
    if name not in choices:
        raise ConfigurationError(f"nothing called {name!r} can fail here; choose one of {', '.join(choices)}")
    return choices[name] or name
