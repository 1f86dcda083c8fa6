"""Plans of faults, without a network: what they make of a pipeline's shipments, and how they are written."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, strategies as st

from morag_client.errors import ConfigurationError
from morag_client.testing import Emitter, FaultPlan, MockMorag, faults
from morag_client.testing.composing import Composer
from morag_client.testing.delivering import AS_USUAL, Transit
from morag_client.testing.faults.courses import twin_of
from morag_client.testing.faults.shipment import Shipment, Source
from morag_client.testing.faults.spelling import KINDS, parse_fault, write_fault
from morag_client.testing.faults.transits import _beginning
from morag_client.testing.pipeline.running import run
from morag_client.testing.pipeline.steps import Work
from morag_client.testing.sample import sample_document
from morag_client.testing.senders import Manners
from morag_client.wire.signature import HEADER, verify_signature

SECRET = "s3cret"
EVENTS = (
    "task.started",
    *(
        f"{step}.{status}"
        for step in (
            "markdown_conversion",
            "metadata_extraction",
            "content_processing",
            "chunking",
            "graph_extraction",
            "ingestion",
        )
        for status in ("started", "completed")
    ),
    "task.completed",
)


def source(secret: str | None = SECRET) -> Source:
    """The sample's pipeline, as an emitter ships it."""
    composer = Composer(dialect=None, manners=Manners(), secret=secret, bearer_token=None)
    return composer.source(
        lambda task_id: run(Work(sample_document(), task_id), clock=lambda: 0.0), url="http://127.0.0.1:9/webhook"
    )


def ship(*chosen: Any, seed: int = 0, number: int = 0) -> list[Shipment]:
    return list(FaultPlan(*chosen, seed=seed).ship(source(), "task-1", number=number))


def events(shipments: list[Shipment]) -> list[str]:
    return [shipment.message.event for shipment in shipments]


def only(event: str, shipments: list[Shipment]) -> Shipment:
    (found,) = [shipment for shipment in shipments if shipment.message.event == event]
    return found


def test_without_faults_all_goes_out_as_it_is() -> None:
    shipments = ship()

    assert tuple(events(shipments)) == EVENTS
    assert not any(shipment.beside or shipment.after or shipment.transits for shipment in shipments)


def test_duplicates_are_the_same_bytes() -> None:
    shipments = ship(faults.duplicate(times=3, events="chunking.completed"))

    copies = [shipment for shipment in shipments if shipment.message.event == "chunking.completed"]
    assert len(shipments) == 16
    assert len({copy.message.body for copy in copies}) == 1
    assert not any(copy.beside for copy in copies)


def test_concurrent_duplicates_do_not_wait_for_each_other_and_all_else_waits_for_the_last() -> None:
    shipments = ship(faults.duplicate(times=3, concurrently=True, events="chunking.completed"))

    assert [s.beside for s in shipments if s.message.event == "chunking.completed"] == [True, True, False]


def test_what_is_dropped_is_not_there() -> None:
    assert events(ship(faults.drop(events="*.started"))) == [name for name in EVENTS if not name.endswith(".started")]


def test_a_delay_is_waited_for_or_overtaken() -> None:
    waited = only("chunking.started", ship(faults.delay(seconds=0.5, events="chunking.started")))
    overtaken = only("chunking.started", ship(faults.delay(seconds=0.5, overtaken=True, events="chunking.started")))

    assert (waited.after, waited.beside) == (0.5, False)
    assert (overtaken.after, overtaken.beside) == (0.5, True)


@pytest.mark.parametrize("window", [2, 4, 14])
def test_nothing_is_moved_out_of_its_window(window: int) -> None:
    moved = events(ship(faults.reorder(window=window), seed=3))

    assert tuple(moved) != EVENTS
    for begin in range(0, len(EVENTS), window):
        assert set(moved[begin : begin + window]) == set(EVENTS[begin : begin + window])


def test_interleaved_tasks_take_turns() -> None:
    shipments = ship(faults.interleave())

    assert events(shipments) == [name for name in EVENTS for _ in range(2)]
    ones, others = shipments[::2], shipments[1::2]
    assert all(b"task-1" in one.message.body for one in ones)
    assert all(twin_of("task-1").encode() in other.message.body for other in others)


def test_a_producer_that_is_restarted_begins_anew_with_other_bytes() -> None:
    shipments = ship(faults.restart(after="metadata_extraction.*"))

    assert events(shipments) == [*EVENTS[:4], *EVENTS]
    assert len({shipment.message.body for shipment in shipments}) == len(shipments)
    assert all(b"task-1" in shipment.message.body for shipment in shipments)


def test_what_was_signed_wrongly_is_the_same_at_each_attempt() -> None:
    wrong = only("task.started", ship(faults.wrong_signature(events="task.started")))
    missing = only("task.started", ship(faults.missing_signature(events="task.started")))

    assert wrong.message.headers[HEADER].startswith("sha256=")
    assert HEADER not in missing.message.headers
    assert wrong.transits == missing.transits == ()
    with pytest.raises(Exception, match="does not match"):
        verify_signature(wrong.message.body, wrong.message.headers[HEADER], SECRET)


def test_what_befalls_a_delivery_on_its_way_befalls_its_first_attempts() -> None:
    chosen = ship(faults.corrupt(attempts=2), faults.slow_body(seconds=1.5), faults.reset(attempts=3))

    first, second, third = chosen[0].transits
    body = chosen[0].message.body
    assert first.body_seconds == 1.5
    assert second.body_seconds == third.body_seconds == 0
    assert first.body == second.body != body
    assert third == Transit(reset="answered")
    verify_signature(body, chosen[0].message.headers[HEADER], SECRET)


def test_a_broken_body_that_is_signed_again_is_the_message() -> None:
    for fault in (faults.corrupt(resigned=True), faults.truncate(resigned=True)):
        for shipment, usual in zip(ship(fault), ship(), strict=True):
            assert shipment.transits == ()
            assert len(shipment.message.body) <= len(usual.message.body)
            assert b"\x00" in shipment.message.body or not shipment.message.body.endswith(b"}}")
            verify_signature(shipment.message.body, shipment.message.headers[HEADER], SECRET)


def test_truncated_on_its_way_the_connection_ends_or_less_arrives() -> None:
    cut, short = ship(faults.truncate())[0], ship(faults.truncate(shortened=True))[0]

    assert 0 < (cut.transits[0].cut_at or 0) < len(cut.message.body)
    assert short.message.body.startswith(short.transits[0].body or b"?")
    assert short.transits[0].cut_at is None


def test_faults_of_the_way_add_up() -> None:
    usually = ship()  # once: a second run would have other times in it

    def struck(*chosen: Any) -> list[Shipment]:
        return list(FaultPlan(*chosen, seed=5).ship(lambda _: iter(usually), "task-1"))

    corrupted = struck(faults.corrupt())
    both = struck(faults.corrupt(), faults.truncate(shortened=True))
    other = struck(faults.truncate(shortened=True), faults.corrupt())
    cuts, one = struck(faults.truncate(), faults.truncate()), struck(faults.truncate())

    for usual, whole, short in zip(usually, corrupted, both, strict=True):
        arriving = short.transits[0].body or b""
        assert 0 < len(arriving) < len(usual.message.body)
        assert (whole.transits[0].body or b"").startswith(arriving)
    for shipment in other:
        assert b"\x00" in (shipment.transits[0].body or b"")
        assert len(shipment.transits[0].body or b"") < len(shipment.message.body)
    assert all((s.transits[0].cut_at or 0) <= (c.transits[0].cut_at or 0) for s, c in zip(cuts, one, strict=True))


def test_a_beginning_is_never_all_and_never_nothing() -> None:
    assert [_beginning(b"{}", share) for share in (0.0, 0.5, 0.999)] == [b"{"] * 3
    assert _beginning(b"abcdefghij", 0.3) == b"abc"


def test_of_two_tasks_the_longer_one_goes_on_alone() -> None:
    one, other = ship()[:2], ship()[:5]
    turns = faults.interleave().strike(lambda task: iter(one if task == "a" else other), Random(0))  # noqa: S311

    assert list(turns("a")) == [one[0], other[0], one[1], other[1], *other[2:]]


def test_a_seed_gives_the_same_again_and_another_seed_something_else() -> None:
    plan = (faults.drop(share=0.4), faults.corrupt(share=0.5), faults.reorder(window=5))

    def course(seed: int, number: int = 0) -> list[tuple[str, tuple[Transit, ...]]]:
        shipments = ship(*plan, seed=seed, number=number)
        return [(s.message.event, tuple(dataclasses.replace(t, body=None) for t in s.transits)) for s in shipments]

    assert course(1) == course(1)
    assert course(1) != course(2)
    assert course(1) != course(1, number=1)


def test_one_more_fault_at_the_end_changes_nothing_for_those_before_it() -> None:
    dropped = events(ship(faults.drop(share=0.5), seed=4))

    assert events(ship(faults.drop(share=0.5), faults.slow_body(share=0.5), seed=4)) == dropped


def test_a_share_is_about_that_many() -> None:
    left = sum(len(ship(faults.drop(share=0.3), seed=seed)) for seed in range(60))

    assert 0.62 < left / (60 * 14) < 0.78


def test_the_order_of_faults_is_that_in_which_they_strike() -> None:
    hits = [len(s.transits) for s in ship(faults.duplicate(), faults.reset(share=0.5), seed=1)]
    pairs = [hits[at : at + 2] for at in range(0, len(hits), 2)]
    together = [len(s.transits) for s in ship(faults.reset(share=0.5), faults.duplicate(), seed=1)]

    assert any(one != other for one, other in pairs)  # each copy has its own luck
    assert all(together[at] == together[at + 1] for at in range(0, len(together), 2))  # what was hit comes twice


def test_a_restart_of_what_is_interleaved_and_the_other_way_round() -> None:
    begun_again = Counter(events(ship(faults.interleave(), faults.restart(after="task.started"))))
    each = Counter(events(ship(faults.restart(after="task.started"), faults.interleave())))

    assert begun_again["task.started"] == 3  # the second's first event never came
    assert each["task.started"] == 4


def test_a_plan_is_a_value() -> None:
    plan = FaultPlan(faults.drop(), seed=1)

    assert plan == FaultPlan(faults.drop(), seed=1)
    assert plan != FaultPlan(faults.drop(), seed=2)
    assert hash(plan) == hash(FaultPlan(faults.drop(), seed=1))
    assert events(list(plan.ship(source(), "a"))) == events(list(plan.ship(source(), "b"))) == []


def test_where_nothing_is_signed_a_signature_cannot_be_wrong() -> None:
    for fault in (faults.wrong_signature(), faults.missing_signature()):
        FaultPlan(fault).check(is_signed=True)
        with pytest.raises(ConfigurationError, match=r"-signature: nothing is signed here anyway"):
            FaultPlan(fault).check(is_signed=False)


def test_how_it_is_written() -> None:
    plan = FaultPlan(
        faults.duplicate(times=3, concurrently=True), faults.drop(events="*.failed", share=0.25), faults.reset(), seed=7
    )

    assert (
        str(plan)
        == "--fault duplicate:times=3,concurrently --fault 'drop:events=*.failed,share=0.25' --fault reset --seed 7"
    )
    assert FaultPlan.parse(str(plan)) == plan
    assert (
        FaultPlan.parse(["duplicate:concurrently,times=3", "drop:share=.25,events=*.failed", "reset"], seed=7) == plan
    )


SECONDS = st.floats(min_value=0, max_value=1e6, allow_nan=False)
OPTIONS: dict[str, st.SearchStrategy[Any]] = {
    "events": st.sampled_from(["*", "chunking", "*.failed", "task.completed", "stage.*", "unknown"]),
    "share": st.floats(min_value=0, max_value=1, exclude_min=True),
    "after": st.sampled_from(["chunking.completed", "task_started", "*.started"]),
    "seconds": SECONDS,
    "times": st.integers(2, 1000),
    "window": st.integers(2, 10**6),
    "attempts": st.integers(1, 100),
}


@st.composite
def any_fault(draw: st.DrawFn) -> Any:
    kind = draw(st.sampled_from(sorted(KINDS)))
    fields = dataclasses.fields(KINDS[kind])
    given_ = {field.name: draw(OPTIONS.get(field.name, st.booleans())) for field in fields}
    return KINDS[kind](**given_)


@given(st.lists(any_fault(), max_size=4), st.integers())
def test_what_is_written_can_be_read(chosen: list[Any], seed: int) -> None:
    plan = FaultPlan(*chosen, seed=seed)

    assert FaultPlan.parse(str(plan)) == plan
    assert FaultPlan.parse(shlex.split(str(plan)), seed=seed + 1) == plan
    assert FaultPlan.parse([write_fault(fault) for fault in chosen], seed=seed) == plan


@given(st.text(max_size=30))
def test_whatever_is_written_is_a_fault_or_an_error_that_helps(text: str) -> None:
    if text.strip() in KINDS:
        return
    with pytest.raises(ConfigurationError, match=r"There are: duplicate, drop|it has: |say after which|needs a value"):
        parse_fault(text)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("dupe", r"no fault 'dupe'; did you mean duplicate\?.*slow-body"),
        ("duplicate:tims=2", "it has: .*times=2, concurrently"),
        ("duplicate:times=2,times=3", "times is there twice"),
        ("duplicate:times", "times needs a value, as in duplicate:times=2"),
        ("duplicate:times=x", "times=x is not a whole number"),
        ("duplicate:times=1", "duplicate: times=1: it must be from 2"),
        ("duplicate:concurrently=yes", "takes no value; write duplicate:concurrently"),
        ("drop:events=chunkin.completed", r"did you mean chunking\.completed\?"),
        ("drop:share=0", "above 0 and up to 1"),
        ("drop:share=1.5", "above 0 and up to 1"),
        ("drop:share=nan", "above 0 and up to 1"),
        ("drop:", "no option ''"),
        ("delay:seconds=-1", "0 or more"),
        ("delay:seconds=inf", "0 or more"),
        ("slow-body:seconds=nan", "0 or more"),
        ("reorder:window=1", "2 or more"),
        ("reset:attempts=0", "from 1 to 100"),
        ("interleave:times=2", "it has: none"),
        ("restart", "restart: say after which event, as in after=chunking.completed"),
        ("restart:after=lunch", "did you mean"),
    ],
)
def test_what_cannot_be_meant_says_what_can(written: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        FaultPlan.parse([written])


def test_a_seed_that_is_no_number() -> None:
    with pytest.raises(ConfigurationError, match="the seed 'x' is no whole number"):
        FaultPlan.parse("--fault drop --seed x")


def test_what_is_no_fault_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError, match="is no fault"):
        FaultPlan("duplicate")  # type: ignore[arg-type]


def test_as_usual_is_nothing_at_all() -> None:
    assert dataclasses.astuple(AS_USUAL) == (None, None, 0.0, None)


PAGE = (Path(__file__).parents[3] / "docs/how-to/faults.md").read_text()


def examples(row: str) -> list[str]:
    """What stands in backquotes in the rows of this name."""
    return [
        code
        for line in re.findall(rf"^\| {row} \|(.*)\|$", PAGE, re.MULTILINE)
        for code in re.findall(r"`(.*?)`", line)
    ]


def test_the_guide_has_every_fault_and_spells_it_right() -> None:
    written = [parse_fault(code) for code in examples("option") if "=`" not in code and not code.endswith("=")]
    made = [eval(code, {"faults": faults}) for code in examples("Python")]  # noqa: S307  # our own page

    assert {type(fault) for fault in written} == {type(fault) for fault in made} == set(KINDS.values())
    headings = " ".join(re.findall(r"^### (.*)$", PAGE, re.MULTILINE)).replace(",", "").split()
    assert sorted(headings) == sorted(KINDS)


@pytest.mark.parametrize("slip", [faults.drop(), "drop", [faults.drop()]])
def test_a_fault_without_a_plan_is_said_to_need_one(slip: object) -> None:
    with (
        Emitter(webhook_url="http://127.0.0.1:9/webhook") as emitter,
        pytest.raises(ConfigurationError, match=r"takes a FaultPlan, .* write FaultPlan\("),
    ):
        emitter.run_pipeline(faults=slip)
    with pytest.raises(ConfigurationError, match="takes a FaultPlan"):
        MockMorag(faults=slip)
