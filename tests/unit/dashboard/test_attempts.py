"""How often a password may be tried."""

from __future__ import annotations

from morag_client.dashboard.attempts import Attempts


def test_after_five_wrong_ones_a_peer_waits() -> None:
    attempts = Attempts(limit=5, window=60)
    for second in range(5):
        assert attempts.wait("a", now=second) == 0
        attempts.failed("a", now=second)

    assert attempts.wait("a", now=5) == 55
    assert attempts.wait("b", now=5) == 0
    assert attempts.wait("a", now=60) == 0  # one of them is a minute ago
    attempts.failed("a", now=60)
    assert attempts.wait("a", now=60.5) == 0.5


def test_who_knew_it_begins_anew() -> None:
    attempts = Attempts(limit=2)
    attempts.failed("a", now=0)
    attempts.succeeded("a")
    attempts.failed("a", now=1)

    assert attempts.wait("a", now=2) == 0


def test_many_peers_together_wait_too_and_are_not_remembered_for_ever() -> None:
    attempts = Attempts(limit=5, overall=60, window=60)
    for number in range(60):
        attempts.failed(f"peer-{number}", now=0)

    assert attempts.wait("another", now=10) == 50

    for number in range(5000):
        attempts.failed(f"peer-{number}", now=100)
    assert len(attempts._peers) <= 1024
