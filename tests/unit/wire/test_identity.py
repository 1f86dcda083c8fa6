"""The identity of a delivery: equal for a retry, different for everything else."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from morag_client.wire.identity import SIZE, delivery_identity, placed_in_time, task_key

BODY = b'{"a": 1}'


def test_a_retry_repeats_it() -> None:
    assert delivery_identity(tenant="", body=BODY, query=None) == delivery_identity(tenant="", body=BODY, query=None)
    assert len(delivery_identity(tenant="", body=BODY, query="")) == SIZE == 16


def test_every_part_counts() -> None:
    parts = [
        {"tenant": "", "body": BODY, "claims": "", "query": None},
        {"tenant": "acme", "body": BODY, "claims": "", "query": None},
        {"tenant": "", "body": BODY + b" ", "claims": "", "query": None},
        {"tenant": "", "body": BODY, "claims": "x", "query": None},
        {"tenant": "", "body": BODY, "claims": "", "query": ""},
        {"tenant": "", "body": BODY, "claims": "", "query": "x=1"},
        {"tenant": "", "body": BODY, "claims": "x=1", "query": None},
        {"tenant": "", "body": BODY, "claims": "", "query": "-"},
    ]

    assert len({delivery_identity(**part) for part in parts}) == len(parts)


@pytest.mark.parametrize("cut", range(5))
def test_parts_do_not_flow_into_each_other(cut: int) -> None:
    text = "ab1:"
    identities = {
        delivery_identity(tenant=text[:i], body=text[i:j].encode(), claims=text[j:], query=None)
        for i, j in itertools.combinations_with_replacement(range(5), 2)
    }

    assert len(identities) == 15
    assert delivery_identity(tenant=text[:cut], body=b"", claims=text[cut:], query=None) in identities


@given(st.text("0123456789:-ab"), st.binary(), st.text("0123456789:-ab"), st.none() | st.text("0123456789:-ab"))
def test_what_looks_like_our_own_framing_does_not_collide(
    tenant: str, body: bytes, claims: str, query: str | None
) -> None:
    one = delivery_identity(tenant=tenant, body=body, claims=claims, query=query)
    shifted = delivery_identity(tenant=tenant + f"{len(body)}:", body=body[1:], claims=claims, query=query)

    assert one != shifted


def test_task_keys_are_apart_by_tenant_and_kind() -> None:
    keys = [
        task_key(tenant="", task_id="t"),
        task_key(tenant="acme", task_id="t"),
        task_key(tenant="", task_id=None, ref="t"),
        task_key(tenant="a", task_id="bt"),
        task_key(tenant="ab", task_id="t"),
        task_key(tenant="", task_id=""),
        delivery_identity(tenant="", body=b"t", query=None),
    ]

    assert len(set(keys)) == len(keys)
    assert task_key(tenant="", task_id=None) is None
    assert task_key(tenant="", task_id="t", ref="r") == task_key(tenant="", task_id="t")


HASH = bytes(range(16))


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_what_happened_later_comes_later_and_what_happened_together_lies_together() -> None:
    given = ((1, 9), (256, 8), (257, 1), (257, 3))
    stored = [placed_in_time(bytes([byte]) * 16, at(seconds)) for seconds, byte in given]

    assert stored == sorted(stored)
    assert {len(identity) for identity in stored} == {16}
    assert stored[2][:4] == stored[3][:4]


def test_at_one_moment_the_hash_tells_them_apart() -> None:
    moment = at(1_705_314_840.5)

    assert placed_in_time(HASH, moment) == placed_in_time(HASH, moment)
    assert placed_in_time(HASH, moment) != placed_in_time(HASH[:11] + b"x" + HASH[12:], moment)


@pytest.mark.parametrize(
    "moment", [None, at(-1), datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), at(2**32)]
)
def test_every_time_has_a_place(moment: datetime | None) -> None:
    stored = placed_in_time(HASH, moment)

    assert len(stored) == 16
    assert stored.endswith(HASH[:12])
    assert stored[:4] in {b"\0\0\0\0", b"\xff\xff\xff\xff"}
