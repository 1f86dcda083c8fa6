"""An endpoint: what is sent to each release that has it, and what the answer is read as."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from morag_client.api.answers import Answer, Answering
from morag_client.api.releases import EVERY_RELEASE, Release
from morag_client.api.requests import Exchange, Request
from morag_client.errors import NotSupported

Result_co = TypeVar("Result_co", covariant=True)


class Course(Protocol[Result_co]):
    """A call, of one request or several, without the network: it yields exchanges and is sent their results."""

    def course(self, release: Release) -> Generator[Exchange[Any], Any, Result_co]:
        """The call as this release takes it. Raises NotSupported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[Answer]):
    """A call of one request: `requests` has it for each release, `refusals` why another does not take it."""

    name: str
    answer: type[Answer]
    requests: Mapping[Release, Request]
    refusals: Mapping[Release, str] = field(default_factory=dict)
    instead: str = ""

    def course(self, release: Release) -> Generator[Exchange[Any], Any, Answer]:
        """Asks once. Raises NotSupported where the release does not have the call."""
        if release in self.refusals:
            raise NotSupported(f"{self.name}: {self.refusals[release]}")
        if release not in self.requests:
            raise NotSupported(self._not_there(release))
        answer: Answer = yield Answering(self.requests[release], self.answer)
        return answer

    def _not_there(self, release: Release) -> str:
        having = [name for name in EVERY_RELEASE if name in self.requests]
        # What stands in its place is in r3, or is not in r3.
        instead = f"; {self.instead}" if self.instead and ("r3" in self.requests) != (release == "r3") else ""
        return f"{self.name} is not in MoRAG's release {release}, it is in {', '.join(having)}{instead}"
