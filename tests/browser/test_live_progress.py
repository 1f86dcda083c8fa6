"""A pipeline that runs moves the bars by itself; what failed turns red, and green again once it was replayed."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import deliveries
import servers
from playwright.sync_api import Page, expect
from posting import STEPS, post, step, whole_task

from morag_client.testing import Emitter


def bar_of(page: Page, task_id: str) -> list[str]:
    """How each segment of a task's bar is: completed, started, pending or failed."""
    segments = page.locator(f'[data-task="{task_id}"] .segment')
    return [one.get_attribute("class").split()[-1] for one in segments.all()]


def test_the_bars_of_a_task_move_without_a_reload(served: str, opened) -> None:
    page = opened(f"{served}/dashboard")
    page.evaluate("window.sameDocument = true")
    expect(page.get_by_role("heading", name="Nothing has arrived yet")).to_be_visible()

    post(served, deliveries.task_body("t-1", "started"), step("t-1", STEPS[0], "started", 0.0))
    bar = page.locator('[data-task="t-1"] [role=progressbar]')
    expect(bar).to_have_attribute("aria-valuetext", "0 %, Markdown conversion running")
    assert bar_of(page, "t-1") == ["started", *["pending"] * 5]

    post(served, step("t-1", STEPS[0], "completed", 16.7), step("t-1", STEPS[1], "started", 20.0))
    expect(bar).to_have_attribute("aria-valuetext", "20 %, Metadata extraction running")
    assert bar_of(page, "t-1") == ["completed", "started", *["pending"] * 4]
    expect(page.locator('[data-task="t-1"] .percent')).to_have_text("20 %")

    post(served, *whole_task("t-2"), deliveries.task_body("t-1", "completed", progress=1.0))
    expect(page.get_by_text("No task is under way.")).to_be_visible()
    expect(page.locator("table.rows .bar.completed")).to_have_count(2)
    assert page.evaluate("window.sameDocument") is True


def test_an_emitters_pipeline_is_seen_from_its_first_to_its_last_step(served: str, opened) -> None:
    page = opened(f"{served}/dashboard")
    page.get_by_role("heading", name="In flight").wait_for()
    seen = page.evaluate_handle(
        """() => {
            const seen = new Set();
            const texts = () => [...document.querySelectorAll('.flight .percent')].map((one) => one.textContent);
            new MutationObserver(() => texts().forEach((one) => seen.add(one)))
                .observe(document.body, {subtree: true, childList: true, characterData: true});
            return seen;
        }"""
    )
    with Emitter(webhook_url=f"{served}/webhook", secret=deliveries.SECRET) as emitter:
        results: list[bool] = []
        slowly = threading.Thread(target=lambda: results.extend(run_slowly(emitter)))
        slowly.start()
        while slowly.is_alive():
            page.wait_for_timeout(50)
        slowly.join()

    expect(page.locator("table.rows .bar.completed")).to_have_count(1)
    assert all(results)
    assert len(page.evaluate("seen => [...seen]", seen)) >= 3


def run_slowly(emitter: Emitter) -> Iterator[bool]:
    """All of a task, with time to look between the steps."""
    yield emitter.send_task_started(task_id="slow")
    for place, name in enumerate(STEPS):
        yield emitter.send_step_started(task_id="slow", step=name, progress_percent=place * 100 / 6)
        time.sleep(0.6)
        yield emitter.send_step_completed(task_id="slow", step=name, progress_percent=(place + 1) * 100 / 6)
    yield emitter.send_task_completed(task_id="slow", result={})


def test_what_failed_turns_red_and_its_replay_goes_green(served: str, opened, folder: Path) -> None:
    post(served, *whole_task("t-1"))
    page = opened(f"{served}/dashboard")
    dead = page.get_by_role("link", name=re.compile("Dead letters ?1"))
    expect(dead).to_have_class(re.compile("bad"))

    page.locator("table.rows").get_by_role("link", name="t-1").click()
    failed = page.locator(".event", has=page.get_by_text("ingestion.completed"))
    expect(failed.locator(".badge.bad")).to_have_text(re.compile("failed"))
    failed.get_by_role("button", name=re.compile("ingestion.completed")).click()
    outcome = failed.locator(".outcome", has_text="bill")
    expect(outcome).to_contain_text("the billing service is away <script>")
    expect(outcome).to_contain_text("1 attempt")

    (folder / "repaired").touch()
    outcome.get_by_role("button", name="Run again").click()
    page.get_by_label("Why?").fill("the service is back")
    page.get_by_role("dialog").get_by_role("button", name="Run again").click()

    expect(page.get_by_role("status")).to_contain_text("1 event will be handled again")
    expect(outcome.locator(".badge.ok")).to_have_text(re.compile("succeeded"))
    page.get_by_role("link", name="Audit").click()
    row = page.locator("table.rows tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("dashboard")
    expect(row).to_contain_text("the service is back")


def test_a_dead_letter_is_retried_or_discarded_after_a_question(served: str, opened, folder: Path) -> None:
    post(served, *whole_task("t-1"), *whole_task("t-2"))
    page = opened(f"{served}/dashboard/dead-letters")
    rows = page.locator("table.rows tbody tr")
    expect(rows).to_have_count(2)

    rows.first.get_by_role("button", name="Discard").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(rows).to_have_count(2)
    rows.first.get_by_role("button", name="Discard").click()
    page.get_by_role("dialog").get_by_role("button", name="Discard").click()
    expect(rows).to_have_count(1)

    (folder / "repaired").touch()
    page.get_by_role("button", name="Retry all").click()
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()
    expect(page.get_by_text("Every handler has got through")).to_be_visible()


def test_what_is_in_quarantine_is_shown_and_read_again(served: str, opened) -> None:
    body = b'{"task_id": "t-1", "step": "chunking", "status": "<img src=x onerror=window.pwned=1>"}'
    servers.exchange(served, servers.request_bytes(body, servers.signed(body)))
    page = opened(f"{served}/dashboard/quarantine")

    page.locator(".summary").first.click()
    expect(page.locator("pre.body")).to_contain_text("<img src=x onerror=window.pwned=1>")
    page.locator(".details").get_by_role("button", name="Retry").click()
    page.get_by_role("dialog").get_by_role("button", name="Retry").click()

    expect(page.get_by_role("status")).to_contain_text("0 deliveries understood, 1 still not.")
