"""Faults of what a delivery consists of, at its sender or on its way.

What befalls it on its way befalls its first `attempts`; the sender's next one repeats the bytes and arrives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar, Final, Literal

from morag_client.testing.delivering import Transit
from morag_client.testing.faults.choosing import Striking, require_number
from morag_client.testing.faults.shipment import Shipment
from morag_client.wire.signature import HEADER, sign

_ANOTHER_SECRET: Final = "not the receiver's secret"  # noqa: S105
_MOST_ATTEMPTS: Final = 100
_NO_JSON: Final = b"\x00"
"""A byte that JSON allows nowhere: a body with one is surely broken, and never something else that is valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongSignature(Striking):
    """The sender signs with another secret."""

    needs_signature: ClassVar[bool] = True

    def struck(self, shipment: Shipment, dice: Random) -> Iterator[Shipment]:  # noqa: ARG002
        message = shipment.message
        headers = {**message.headers, HEADER: sign(message.body, _ANOTHER_SECRET)}
        yield replace(shipment, message=replace(message, headers=headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingSignature(Striking):
    """The sender does not sign."""

    needs_signature: ClassVar[bool] = True

    def struck(self, shipment: Shipment, dice: Random) -> Iterator[Shipment]:  # noqa: ARG002
        message = shipment.message
        headers = {name: value for name, value in message.headers.items() if name != HEADER}
        yield replace(shipment, message=replace(message, headers=headers))


@dataclass(frozen=True, slots=True, kw_only=True)
class InTransit(Striking):
    """A fault of the way: it strikes the first `attempts` at a delivery."""

    attempts: int = 1

    def check(self) -> None:
        require_number(self.attempts, option="attempts", least=1, most=_MOST_ATTEMPTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowBody(InTransit):
    """The head comes at once, the body trickles in over so many `seconds`."""

    seconds: float = 2.0

    def check(self) -> None:
        InTransit.check(self)
        require_number(self.seconds, option="seconds", least=0)

    def struck(self, shipment: Shipment, dice: Random) -> Iterator[Shipment]:  # noqa: ARG002
        yield shipment.suffering(
            lambda transit: replace(transit, body_seconds=transit.body_seconds + self.seconds), attempts=self.attempts
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupt(InTransit):
    """One byte of the body is another on arrival, under the signature of the original; or the sender signed it so
    (`resigned`), at every attempt.
    """

    resigned: bool = False

    def struck(self, shipment: Shipment, dice: Random) -> Iterator[Shipment]:
        place = dice.random()
        if self.resigned:
            yield _resigned(shipment, _broken(shipment.message.body, place))
            return
        body = shipment.message.body
        yield shipment.suffering(
            lambda transit: replace(transit, body=_broken(body if transit.body is None else transit.body, place)),
            attempts=self.attempts,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncate(InTransit):
    """The connection ends in mid-body. Or a whole request arrives with less in it: `shortened`, under the signature of
    the original; `resigned`, signed like that by the sender, at every attempt.
    """

    shortened: bool = False
    resigned: bool = False

    def struck(self, shipment: Shipment, dice: Random) -> Iterator[Shipment]:
        share = dice.random()
        if self.resigned:
            yield _resigned(shipment, _beginning(shipment.message.body, share))
            return
        yield shipment.suffering(
            lambda transit: self._cut(transit.body or shipment.message.body, transit, share), attempts=self.attempts
        )

    def _cut(self, body: bytes, transit: Transit, share: float) -> Transit:
        short = _beginning(body, share)
        if self.shortened:
            return replace(transit, body=short)
        length = len(short) if transit.cut_at is None else min(transit.cut_at, len(short))
        return replace(transit, cut_at=length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(InTransit):
    """The connection is reset when the answer comes, which so is lost; or `early`, as soon as the request is out."""

    early: bool = False

    def struck(self, shipment: Shipment, dice: Random) -> Iterator[Shipment]:  # noqa: ARG002
        how: Literal["answered", "early"] = "early" if self.early else "answered"
        yield shipment.suffering(lambda transit: replace(transit, reset=how), attempts=self.attempts)


def _resigned(shipment: Shipment, body: bytes) -> Shipment:
    headers = dict(shipment.message.headers)
    if shipment.secret is not None and HEADER in headers:
        headers[HEADER] = sign(body, shipment.secret)
    return replace(shipment, message=replace(shipment.message, body=body, headers=headers))


def _broken(body: bytes, place: float) -> bytes:
    at = int(place * len(body))
    return body[:at] + _NO_JSON + body[at + 1 :]


def _beginning(body: bytes, share: float) -> bytes:
    """At least one byte, and one less than all at most."""
    return body[: max(1, min(len(body) - 1, round(share * len(body))))]
