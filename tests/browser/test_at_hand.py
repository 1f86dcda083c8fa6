"""By keyboard alone, at 360 pixels, in the dark: the page can be used."""

from __future__ import annotations

import re
from pathlib import Path

import commands
import deliveries
import pytest
import servers
from playwright.sync_api import Page, expect
from posting import STEPS, post, step, whole_task

PAGES = [
    "",
    "/tasks",
    "/tasks?state=failed",
    "/events",
    "/dead-letters",
    "/quarantine",
    "/audit",
    "/tasks?q=t-",
    "/nowhere",
]
LONG = "a-very-long-name-without-any-place-to-break-it-" * 5


def fill(url: str) -> None:
    """Something of everything."""
    post(url, *whole_task("t-done"), step(LONG, STEPS[0], "started", 1.0, document_id=LONG))
    post(url, step("t-failed", STEPS[0], "failed", 0.0, error_message=f"cannot read {LONG}"))
    post(url, deliveries.task_body("t-failed", "failed", error="cannot be converted"), deliveries.unknown_body())
    broken = deliveries.as_body({"task_id": LONG, "step": "x", "status": "completed", "progress_percent": LONG})
    servers.exchange(url, servers.request_bytes(broken, servers.signed(broken)))


def task_page(page: Page, url: str, task_id: str) -> str:
    page.goto(f"{url}/dashboard/tasks?q={task_id}")
    return page.locator("table.rows td:first-child a").first.get_attribute("href")


def test_nothing_is_wider_than_a_small_screen(served: str, opened) -> None:
    fill(served)
    page = opened(f"{served}/dashboard", viewport={"width": 360, "height": 740})
    addresses = [f"/dashboard{path}" for path in PAGES] + [
        task_page(page, served, name) for name in ("t-done", "t-failed", LONG)
    ]

    for address in addresses:
        page.goto(f"{served}{address}")
        page.locator("h1").wait_for()
        page.locator(".card, .nothing, main p").first.wait_for()
        for summary in page.locator(".summary").all()[:3]:
            summary.click()
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, address


CONTRAST = """
() => {
  const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = parse(getComputedStyle(one).backgroundColor);
      if (colour.length && (colour.length < 4 || colour[3] === 1)) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const isSeen = element.checkVisibility() && !element.closest(".offscreen, .skip, noscript, script");
    if (!node.textContent.trim() || !isSeen) continue;
    const [one, other] = [luminance(parse(getComputedStyle(element).color)), luminance(ground(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${element.className} ${node.textContent.trim().slice(0, 40)}`);
  }
  return faint;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_the_contrast_that_reading_needs(served: str, opened, scheme: str) -> None:
    fill(served)
    page = opened(f"{served}/dashboard", color_scheme=scheme)
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", light)[:3])) > 384) is (scheme == "light")

    for address in [f"/dashboard{path}" for path in PAGES] + [task_page(page, served, "t-failed")]:
        page.goto(f"{served}{address}")
        page.locator(".card, .nothing, main p").first.wait_for()
        if page.locator(".summary").count():
            page.locator(".summary").first.click()
        page.wait_for_timeout(200)
        assert page.evaluate(CONTRAST) == [], address


def test_the_switch_of_colours_is_kept(served: str, opened) -> None:
    page = opened(f"{served}/dashboard", color_scheme="dark")
    switch = page.get_by_role("button", name="Colours")
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")

    switch.click()
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.reload()
    switch.wait_for()

    assert light != dark
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == light


def focused(page: Page) -> str:
    return page.evaluate(
        "document.activeElement.innerText || document.activeElement.id || document.activeElement.tagName"
    )


def test_a_dead_letter_is_retried_by_keyboard_alone(served: str, opened, folder) -> None:
    post(served, *whole_task("t-1"))
    page = opened(f"{served}/dashboard/dead-letters")
    page.locator("table.rows").wait_for()

    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    walked = [press_and_look(page) for _ in range(7)]
    assert walked.index("Retry all") < walked.index("Discard all") < walked.index("Gave up") < walked.index("Retry")
    page.locator("table.rows").get_by_role("button", name="Retry").focus()

    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("document.activeElement.tagName") == "INPUT"
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert focused(page) == "Retry"

    (folder / "repaired").touch()
    page.keyboard.press("Enter")
    page.keyboard.type("by hand")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Every handler has got through")).to_be_visible()


def press_and_look(page: Page) -> str:
    """What has the focus after one more Tab; it has to be seen."""
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", focused(page)
    return focused(page)


def test_filters_and_searches_are_in_the_address(served: str, opened) -> None:
    fill(served)
    page = opened(f"{served}/dashboard/tasks")
    page.get_by_role("button", name="Failed").click()
    expect(page.locator("table.rows tbody tr")).to_have_count(1)
    assert page.url.endswith("/dashboard/tasks?state=failed")
    page.reload()
    expect(page.locator("table.rows tbody tr")).to_have_count(1)

    search = page.get_by_role("searchbox", name="Find a task")
    search.fill("t-done")
    search.press("Enter")
    expect(page.locator("table.rows tbody tr")).to_have_count(1)
    assert page.url.endswith("/dashboard/tasks?q=t-done")
    page.go_back()
    expect(page.get_by_role("heading", name="Tasks", exact=True)).to_be_visible()
    assert page.url.endswith("?state=failed")


def test_a_chart_has_its_numbers_as_a_table(served: str, opened) -> None:
    post(served, *whole_task("t-1"))
    page = opened(f"{served}/dashboard")
    chart = page.get_by_role("region", name="Throughput", exact=True)

    chart.get_by_role("button", name="As table").click()

    row = chart.locator("tbody tr").last
    expect(row.locator("td")).to_have_text(["14", "1"])


def test_an_address_that_is_none_says_so(served: str, opened) -> None:
    for place in ("/dashboard/%E0%A4%A", "/dashboard/nowhere"):
        page = opened(served + place)
        expect(page.get_by_role("heading", name="Not found")).to_be_visible()


def test_a_receiver_without_handlers_says_why_no_task_is_shown(folder: Path, browser, opened) -> None:
    with commands.served(folder, "--inspect", "--no-access-log") as process:
        post(process.url, *whole_task("t-1"))
        page = opened(f"{process.url}/dashboard")
        expect(page.get_by_role("heading", name="This receiver has no handlers")).to_be_visible()
