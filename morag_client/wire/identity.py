"""Which deliveries are the same one: no dialect has an event id, so an identity is made of what a retry repeats."""

from __future__ import annotations

import hashlib
from typing import Final

SIZE: Final = 16
"""Bytes of an identity, and of a task's key."""


def delivery_identity(*, tenant: str, body: bytes, claims: str = "", query: str | None) -> bytes:
    """The 16-byte identity of a delivery: hash over its tenant's name, body, signed claims and raw query.

    `query` is None where a signature is configured: signatures do not cover the query, so a replay with
    `?x=1` would pass as new. The path never counts.
    """
    return _hash(b"delivery", tenant.encode(), body, claims.encode(), None if query is None else query.encode())


def task_key(*, tenant: str, task_id: str | None, ref: str | None = None) -> bytes | None:
    """The 16-byte key of the task an event belongs to, by the body's task id, else the signed reference, else None."""
    if task_id is not None:
        return _hash(b"task", tenant.encode(), task_id.encode())
    if ref is not None:
        return _hash(b"ref", tenant.encode(), ref.encode())
    return None


def _hash(*parts: bytes | None) -> bytes:
    digest = hashlib.blake2b(digest_size=SIZE)
    for part in parts:
        if part is None:
            digest.update(b"-")
        else:
            digest.update(b"%d:" % len(part))
            digest.update(part)
    return digest.digest()
