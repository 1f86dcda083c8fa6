"""Ids that were passed over are remembered, but not all of them for ever."""

from __future__ import annotations

from morag_client.processing.gaps import Gaps


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_was_not_seen_is_a_gap_until_it_is() -> None:
    gaps = Gaps(clock=Clock())

    gaps.note(after=4, up_to=9, seen={6, 9})
    assert gaps.ids == [5, 7, 8]
    gaps.close([7])

    assert (5 in gaps, 7 in gaps, 9 in gaps) == (True, False, False)


def test_a_gap_that_is_never_seen_is_forgotten() -> None:
    clock = Clock()
    gaps = Gaps(clock=clock)

    gaps.note(after=0, up_to=1, seen=())
    clock.now = 20.0
    gaps.note(after=1, up_to=2, seen=())
    clock.now = 40.0
    gaps.note(after=2, up_to=3, seen={3})

    assert gaps.ids == [2]


def test_only_the_newest_are_remembered_however_many_there_are() -> None:
    gaps = Gaps(clock=Clock())

    gaps.note(after=0, up_to=10**9, seen=())
    gaps.note(after=10**9, up_to=10**9 + 2, seen=())

    assert len(gaps.ids) == 1024
    assert (10**9 - 1021 in gaps, 10**9 - 1022 in gaps, 10**9 + 2 in gaps) == (True, False, True)
