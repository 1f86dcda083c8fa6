"""What the releases of MoRAG have of their own: routes, words, limits, and who tells what of a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

from morag_client.errors import ConfigurationError

ProfileName = Literal["guide", "r1", "r2", "r3"]
State = Literal["pending", "started", "progress", "completed", "failed", "cancelled"]

_R1_WORDS: Final[Mapping[State, str]] = MappingProxyType(
    {
        "pending": "pending",
        "started": "started",
        "progress": "progress",
        "completed": "success",
        "failed": "failure",
        "cancelled": "revoked",
    }
)
_R2_WORDS: Final[Mapping[State, str]] = MappingProxyType(
    {
        "pending": "pending",
        "started": "running",
        "progress": "running",
        "completed": "completed",
        "failed": "failed",
        "cancelled": "cancelled",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One release as it is met over HTTP.

    `words` are its words for a task's states, `counted_as` names the number in the list of active tasks. `in_fields`
    says that `ingest/file` takes form fields, else they are JSON in `request_data`. `batch_limit` is in items.
    """

    name: ProfileName
    words: Mapping[State, str]
    counted_as: Literal["count", "total_count"] = "count"
    in_fields: bool = True
    batch_limit: int | None = None
    has_process: bool = False
    has_cancelling: bool = False
    has_stages: bool = False


_PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        "guide": Profile(name="guide", words=_R1_WORDS, batch_limit=50, has_process=True),
        "r1": Profile(name="r1", words=_R1_WORDS, batch_limit=50),
        "r2": Profile(
            name="r2",
            words=_R2_WORDS,
            counted_as="total_count",
            in_fields=False,
            has_process=True,
            has_cancelling=True,
        ),
        "r3": Profile(name="r3", words=_R2_WORDS, has_stages=True),
    }
)


def profile_of(name: str) -> Profile:
    """The profile of this name. Raises ConfigurationError with the choices."""
    if name not in _PROFILES:
        raise ConfigurationError(f"no profile is called {name!r}; choose one of {', '.join(get_args(ProfileName))}")
    return _PROFILES[name]
