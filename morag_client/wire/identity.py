"""Which deliveries are the same one: no dialect has an event id, so an identity is made of what a retry repeats."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Final

SIZE: Final = 16
"""Bytes of an identity, and of a task's key."""
_LATEST: Final = 2**32 - 1


def delivery_identity(*, tenant: str, body: bytes, claims: str = "", query: str | None) -> bytes:
    """The 16-byte identity of a delivery: hash over its tenant's name, body, signed claims and raw query.

    `query` is None where a signature is configured: signatures do not cover the query, so a replay with
    `?x=1` would pass as new. The path never counts.
    """
    return _hash(b"delivery", tenant, claims, "" if query is None else f"?{query}", body)


def placed_in_time(identity: bytes, occurred_at: datetime | None) -> bytes:
    """The identity of a record: the time that its body tells (4 bytes, seconds), then 12 of the hash.

    What a retry repeats it still repeats. But what comes at about the same time now lies side by side in the index, so
    that a database touches a few of its pages and not one for each row, however many rows there are. How a body's time
    is read is thereby a part of its identity.
    """
    seconds = 0 if occurred_at is None else min(max(int(occurred_at.timestamp()), 0), _LATEST)
    return seconds.to_bytes(4, "big") + identity[:12]


def task_key(*, tenant: str, task_id: str | None, ref: str | None = None) -> bytes | None:
    """The 16-byte key of the task an event belongs to, by the body's task id, else the signed reference, else None."""
    if task_id is not None:
        return _hash(b"task", tenant, "", "", task_id.encode())
    if ref is not None:
        return _hash(b"ref", tenant, "", "", ref.encode())
    return None


def _hash(kind: bytes, first: str, second: str, third: str, last: bytes) -> bytes:
    # Every part but the last says how long it is, so that no two lists of parts read the same. In one piece, since
    # this runs twice for every delivery, and feeding the hash part by part takes twice the time.
    a, b, c = first.encode(), second.encode(), third.encode()
    framed = b"%b:%d:%b%d:%b%d:%b%b" % (kind, len(a), a, len(b), b, len(c), c, last)
    return hashlib.blake2b(framed, digest_size=SIZE).digest()
