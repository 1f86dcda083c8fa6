"""What can go wrong on the way from MoRAG: `FaultPlan(faults.duplicate(times=3), faults.reorder(), seed=7)`."""

from morag_client.testing.faults import courses, transits
from morag_client.testing.faults.plan import FaultPlan
from morag_client.testing.faults.shipment import Fault

delay = courses.Delay
drop = courses.Drop
duplicate = courses.Duplicate
interleave = courses.Interleave
reorder = courses.Reorder
restart = courses.Restart

corrupt = transits.Corrupt
missing_signature = transits.MissingSignature
reset = transits.Reset
slow_body = transits.SlowBody
truncate = transits.Truncate
wrong_signature = transits.WrongSignature

__all__ = [
    "Fault",
    "FaultPlan",
    "corrupt",
    "delay",
    "drop",
    "duplicate",
    "interleave",
    "missing_signature",
    "reorder",
    "reset",
    "restart",
    "slow_body",
    "truncate",
    "wrong_signature",
]
