"""Faults put together: the same ones again for the same seed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from random import Random
from typing import Self

from morag_client.errors import ConfigurationError
from morag_client.testing.faults.shipment import Fault, Shipment, Source
from morag_client.testing.faults.spelling import parse_fault, write_fault


class FaultPlan:
    """What goes wrong: each fault strikes what the ones before it have left of a pipeline.

    The `seed` decides whatever is left to chance. A plan is a value: it can be used again, in any number of pipelines,
    and strikes the same events. `str(plan)` is how the command line has it.
    """

    __slots__ = ("faults", "seed")

    def __init__(self, *faults: Fault, seed: int = 0) -> None:
        for fault in faults:
            if not hasattr(fault, "strike"):
                raise ConfigurationError(
                    f"{fault!r} is no fault; write FaultPlan(faults.duplicate()), or FaultPlan.parse(['duplicate'])"
                )
        self.faults = faults
        self.seed = seed

    @classmethod
    def parse(cls, written: str | Iterable[str], *, seed: int = 0) -> Self:
        """The plan of faults as they are written: `["duplicate:times=3", "drop:events=chunking.completed"]`.

        What `str(plan)` gives is understood too; a seed in it comes before `seed`. Raises ConfigurationError.
        """
        words = iter(shlex.split(written) if isinstance(written, str) else written)
        faults = []
        for word in words:
            if word == "--seed":
                seed = _seed(next(words, ""))
            elif word != "--fault":
                faults.append(parse_fault(word))
        return cls(*faults, seed=seed)

    def check(self, *, is_signed: bool) -> None:
        """Raises ConfigurationError where a fault would strike nothing."""
        for fault in self.faults:
            if getattr(fault, "needs_signature", False) and not is_signed:
                raise ConfigurationError(f"{write_fault(fault)}: nothing is signed here anyway; give a secret too")

    def ship(self, source: Source, task_id: str, *, number: int = 0) -> Iterator[Shipment]:
        """A pipeline's shipments with all of this in it, the `number`-th of several with dice of its own."""
        for place, fault in enumerate(self.faults):
            # Dice for each fault: one more at the end of a plan leaves those before it as they were.
            source = fault.strike(source, Random(f"{self.seed}/{number}/{place}"))  # noqa: S311  # no secret is made
        return source(task_id)

    def __str__(self) -> str:
        words = [word for fault in self.faults for word in ("--fault", write_fault(fault))]
        return shlex.join([*words, "--seed", str(self.seed)])

    def __repr__(self) -> str:
        return f"FaultPlan({', '.join([*map(repr, self.faults), f'seed={self.seed}'])})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FaultPlan):
            return NotImplemented
        return (self.faults, self.seed) == (other.faults, other.seed)

    def __hash__(self) -> int:
        return hash((self.faults, self.seed))


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError(f"the seed {text!r} is no whole number") from None


def require_plan(faults: object) -> FaultPlan:
    """The plan that this is. Raises ConfigurationError for a fault by itself, or its words."""
    if not isinstance(faults, FaultPlan):
        raise ConfigurationError(
            f"faults= takes a FaultPlan, not {faults!r:.80}; write FaultPlan(faults.drop()), or FaultPlan.parse(…)"
        )
    return faults
