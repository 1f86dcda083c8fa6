"""What a sender writes is text, whatever it looks like, in every field of every dialect and on every page."""

from __future__ import annotations

import json
from typing import Any

import bodies
import deliveries
import pytest
import servers
from playwright.sync_api import Page, expect
from posting import post

PROBES = (
    '"><script>window.pwned = 1</script><img src=x onerror=window.pwned=1><svg onload=window.pwned=1>',
    "javascript:window.pwned=1//{{constructor.constructor('window.pwned=1')()}}",
)
KEPT = frozenset(
    "event event_type status step timestamp type success progress progress_percent stage_type completed_at start_time"
    " end_time job_id task_id".split()
)
"""What has to stay as it is, or it would be another dialect, or none; ids are probed by themselves."""


def probed(value: Any, probe: str, key: str = "") -> Any:
    """The body with the probe in every text, and as a key."""
    if isinstance(value, dict):
        inside = {name: probed(one, probe, name) for name, one in value.items()}
        return {**inside, probe: probe} if key else inside
    if isinstance(value, list):
        return [probed(one, probe, key or "list") for one in value]
    return probe if isinstance(value, str) and key not in KEPT else value


def send(url: str, body: object) -> None:
    encoded = deliveries.as_body(body)
    assert servers.exchange(url, servers.request_bytes(encoded, servers.signed(encoded))).status in {200, 422}


def nothing_became_markup(page: Page) -> None:
    assert page.evaluate("window.pwned") is None
    assert page.locator("main img, main svg, main script, main iframe").count() == 0
    assert page.locator('a[href^="javascript:" i]').count() == 0


@pytest.mark.timeout(180)
@pytest.mark.parametrize("probe", PROBES)
def test_every_field_of_every_dialect(served: str, opened, probe: str) -> None:
    for number, name in enumerate(bodies.ALL):
        send(served, probed(bodies.payload(name), probe) | ({"task_id": f"{probe}{number}"} if number % 2 else {}))
    send(served, {"something": probe, probe: [probe]})
    send(served, {"task_id": probe, "step": probe, "status": probe})
    send(served, {"task_id": "broken", "step": "x", "status": "completed", "progress_percent": probe, probe: probe})

    page = opened(f"{served}/dashboard")
    page.locator(".flight, table.rows tr").first.wait_for()
    nothing_became_markup(page)
    for path in ("/events", "/tasks", "/dead-letters", "/quarantine", "/tasks?q=window"):
        page.goto(f"{served}/dashboard{path}")
        page.locator("table.rows, .nothing, .events").first.wait_for()
        nothing_became_markup(page)
    page.goto(f"{served}/dashboard/events")
    for address in hrefs(page, "table.rows td:first-child a"):
        page.goto(f"{served}{address}")
        expect(page.locator("pre.body")).to_be_visible()
        nothing_became_markup(page)
    for address in tasks_of(page, served):
        page.goto(f"{served}{address}")
        page.locator(".summary").first.click()
        page.locator("pre.body").first.wait_for()
        nothing_became_markup(page)


def hrefs(page: Page, selector: str) -> list[str]:
    page.locator(selector).first.wait_for()
    return [one.get_attribute("href") for one in page.locator(selector).all()]


def tasks_of(page: Page, served: str) -> list[str]:
    page.goto(f"{served}/dashboard/tasks")
    return hrefs(page, "table.rows td:first-child a")


def test_what_turns_the_direction_of_reading_is_made_visible(served: str, opened) -> None:
    post(served, deliveries.step_body("invoice\u202efdp.exe", status="started"))
    page = opened(f"{served}/dashboard")

    expect(page.locator(".flight .id")).to_have_text("invoice⟨202e⟩fdp.exe")


def test_an_artefact_is_a_link_only_where_it_leads_to_a_file_over_http(served: str, opened) -> None:
    urls = {
        "a_url": "https://files.example.com/a.md",
        "b_url": "javascript:window.pwned=1",
        "c_url": "data:text/html,x",
    }
    post(served, deliveries.step_body(data=urls))
    page = opened(f"{served}/dashboard/events/1")

    links = page.locator(".artefacts a")
    expect(links).to_have_count(1)
    expect(links).to_have_attribute("href", "https://files.example.com/a.md")
    expect(links).to_have_attribute("rel", "noopener noreferrer")
    expect(page.locator(".artefacts li")).to_have_count(3)


def test_the_payload_can_be_copied_as_it_came(served: str, opened) -> None:
    post(served, deliveries.step_body(data={"n": 9007199254740993}))
    page = opened(f"{served}/dashboard/events/1", permissions=["clipboard-read", "clipboard-write"])

    page.locator(".payload").get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()

    assert json.loads(page.evaluate("navigator.clipboard.readText()"))["data"] == {"n": 9007199254740993}
