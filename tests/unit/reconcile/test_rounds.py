"""A receiver that asks by itself: when, how often, what it says of trouble, and that it disturbs nobody."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import deliveries
import pytest
from asking import DONE, Answers
from receiving import send, until, working

from morag_client import Event, Receiver, Registry
from morag_client.errors import ConfigurationError, NotSupported, RateLimited, ServerFailed, Unreachable

OFTEN = 0.05


@contextlib.asynccontextmanager
async def asking(folder: Path, answers: Answers, **settings: Any) -> AsyncIterator[tuple[Receiver, list[str]]]:
    registry, got = Registry(), list[str]()

    @registry.on("task")
    async def note(event: Event) -> None:
        got.append(f"{event.task_id} {event.name} {event.source}")

    given = {"client": answers, "reconcile_interval": OFTEN, "reconcile_silence": 0.0, **settings}
    async with working(folder, registry, **given) as receiver:
        yield receiver, got


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "morag_client.reconcile"]


async def test_a_silent_task_is_asked_about_without_anybody_asking(tmp_path: Path) -> None:
    async with asking(tmp_path, Answers(a=DONE)) as (receiver, got):
        await send(receiver, deliveries.task_body("a"))
        await until(lambda: "a task.completed reconcile" in got)


async def test_who_is_not_silent_for_long_enough_is_left_alone(tmp_path: Path) -> None:
    answers = Answers(a=DONE)
    async with asking(tmp_path, answers, reconcile_silence=60.0) as (receiver, _):
        await send(receiver, deliveries.task_body("a"))
        await asyncio.sleep(10 * OFTEN)
    assert answers.asked == []


async def test_a_pending_task_is_not_asked_about_in_every_round(tmp_path: Path) -> None:
    answers = Answers()
    async with asking(tmp_path, answers) as (receiver, _):
        await send(receiver, deliveries.task_body("a"))
        await receiver.idle()
        await until(lambda: answers.asked)
        await asyncio.sleep(0.5)
    # Ten rounds or so; each time after a tenth of the silence more.
    assert len(answers.asked) < 50


async def test_without_a_morag_nobody_is_asked_and_asking_says_what_to_set(tmp_path: Path) -> None:
    async with working(tmp_path) as receiver:
        with pytest.raises(ConfigurationError, match="MORAG_API_URL"):
            await receiver.reconcile()


async def test_r3_is_told_once_and_then_it_rests(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    answers = Answers()
    answers.trouble = NotSupported("this release has no status API")
    async with asking(tmp_path, answers) as (receiver, _):
        await send(receiver, deliveries.task_body("a"))
        await until(lambda: said(caplog))
        await asyncio.sleep(10 * OFTEN)
    assert len(said(caplog)) == 1
    assert "nothing to ask" in said(caplog)[0]
    assert len(answers.asked) <= 1


@pytest.mark.parametrize(
    "trouble",
    [
        Unreachable("nobody listens"),
        ServerFailed("it failed", status_code=500),
        RateLimited("too many", status_code=429),
    ],
    ids=["unreachable", "500", "429"],
)
async def test_trouble_is_told_once_and_over_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trouble: Exception
) -> None:
    caplog.set_level(logging.INFO)
    answers = Answers(a=DONE)
    answers.trouble = trouble
    async with asking(tmp_path, answers) as (receiver, got):
        await send(receiver, deliveries.task_body("a"))
        await until(lambda: said(caplog))
        await asyncio.sleep(6 * OFTEN)
        answers.trouble = None
        await until(lambda: "a task.completed reconcile" in got)
        await until(lambda: any("can be asked again" in line for line in said(caplog)))
    assert sum("could not be asked" in line for line in said(caplog)) == 1


async def test_retry_after_is_kept_to(tmp_path: Path) -> None:
    answers = Answers(a=DONE)
    answers.trouble = RateLimited("too many", status_code=429, retry_after=60.0)
    async with asking(tmp_path, answers, reconcile_unknown=False) as (receiver, _):
        await send(receiver, deliveries.task_body("a"))
        await until(lambda: answers.asked)
        await asyncio.sleep(20 * OFTEN)
    assert answers.asked == ["a"]


async def test_a_morag_that_does_not_answer_delays_no_delivery_and_no_shutdown(tmp_path: Path) -> None:
    answers = Answers()
    answers.before = asyncio.Event().wait
    loop = asyncio.get_running_loop()
    async with asking(tmp_path, answers) as (receiver, got):
        await send(receiver, deliveries.task_body("a"))
        await until(lambda: answers.asked)
        await send(receiver, deliveries.task_body("a", "completed"))
        await until(lambda: "a task.completed webhook" in got)
        began = loop.time()
    assert loop.time() - began < 2
    # Its lease was given back: the next one need not wait for its end.
    answers.before = None
    async with asking(tmp_path, answers, reconcile_interval=float("inf")) as (receiver, _):
        began = loop.time()
        await receiver.reconcile()
        assert loop.time() - began < 2


async def test_one_task_that_morag_stumbles_over_keeps_no_other_out(tmp_path: Path) -> None:
    broken = {f"broken-{number}": ServerFailed("it failed", status_code=500) for number in range(16)}
    answers = Answers(**broken, a=DONE)
    async with asking(tmp_path, answers) as (receiver, got):
        await send(receiver, *(deliveries.task_body(task) for task in broken), deliveries.task_body("a"))
        await until(lambda: "a task.completed reconcile" in got, seconds=20)


async def test_rounds_adopt_nothing_from_before_this_inbox_was_reconciled(tmp_path: Path) -> None:
    answers = Answers(old=DONE, new=DONE)
    answers.recent = [
        {"task_id": "old", "timestamp": "2020-01-01T00:00:00Z"},
        {"task_id": "new", "timestamp": "2999-01-01T00:00:00Z"},
    ]
    async with asking(tmp_path, answers) as (_, got):
        await until(lambda: "new task.completed reconcile" in got)
    assert answers.asked == ["new"]


async def test_what_was_to_be_told_elsewhere_is_not_ours(tmp_path: Path) -> None:
    answers = Answers(theirs=DONE, ours=DONE)
    answers.recent = [
        {"task_id": "theirs", "metadata": {"webhook_url": "https://theirs.example/webhook"}},
        {"task_id": "ours", "metadata": {"webhook_url": "https://ours.example/morag/webhook"}},
    ]
    never = float("inf")
    async with asking(tmp_path, answers, public_url="https://ours.example/morag", reconcile_interval=never) as (
        receiver,
        _,
    ):
        report = await receiver.reconcile()
    assert (answers.asked, report.found) == (["ours"], 1)


async def test_with_unknown_ones_turned_off_no_list_is_asked_for(tmp_path: Path) -> None:
    answers = Answers(new=DONE)
    answers.recent = [{"task_id": "new"}]
    async with asking(tmp_path, answers, reconcile_unknown=False, reconcile_interval=float("inf")) as (receiver, _):
        assert (await receiver.reconcile()).asked == 0


async def test_a_list_that_is_cut_off_is_said(tmp_path: Path) -> None:
    answers = Answers()
    answers.recent = [{"task_id": "a", "timestamp": "2999-01-01T00:00:00Z"}] * 100
    async with asking(tmp_path, answers, reconcile_interval=float("inf")) as (receiver, _):
        report = await receiver.reconcile()
    assert "newest 100 events only" in report.limits[0]
