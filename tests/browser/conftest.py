"""A served receiver and a page in a real browser; nothing that the page asks for may leave the machine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import browsing
import commands
import pytest
from playwright.sync_api import Browser, BrowserContext, Page

SHOTS = os.environ.get("MORAG_TEST_SHOTS")
"""Where screenshots are kept; else they go with the test's own folder."""

APP = """
from pathlib import Path
from morag_client import Receiver, Registry, RetryPolicy

registry = Registry()

@registry.on("*", name="index")
def index(event):
    pass

@registry.on("ingestion.completed", name="bill", retry=RetryPolicy(attempts=1))
def bill(event):
    if not Path("repaired").exists():
        raise ConnectionError("the billing service is away <script>window.pwned = 1</script>")

receiver = Receiver(registry=registry)
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:  # while one is there, no event loop of a test can be
    with browsing.started() as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@pytest.fixture
def served(folder: Path, browser: Browser) -> Iterator[str]:  # without a browser, nothing is served
    """The URL of `morag-client serve`, a process of its own, open to this machine."""
    with commands.served(folder, "app:receiver", "--inspect", "--no-access-log") as process:
        yield process.url


Opened = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Opens a page; in the end nothing may have gone wrong in it, left the machine, or become a script."""
    pages: list[tuple[Page, list[str]]] = []
    with contextlib.ExitStack() as contexts:

        def open_page(url: str, *, expects: tuple[str, ...] = (), **options: Any) -> Page:
            context: BrowserContext = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
            contexts.callback(context.close)
            page = context.new_page()
            trouble: list[str] = []
            pages.append((page, trouble))
            watch(page, trouble, expects=expects)
            page.goto(url)
            return page

        yield open_page
        for number, (page, trouble) in enumerate(pages):
            if not page.is_closed():
                keep(page, Path(SHOTS) if SHOTS else tmp_path, f"{request.node.name}-{number}")
                assert page.evaluate("window.pwned") is None
            assert trouble == []


def watch(page: Page, trouble: list[str], *, expects: tuple[str, ...]) -> None:
    """Notes what a page must not do; `expects` are parts of messages that belong to the test."""

    def note(message: str) -> None:
        if not any(part in message for part in expects):
            trouble.append(message)

    page.on("pageerror", lambda error: note(f"error: {error}"))
    page.on("dialog", lambda dialog: note(f"dialog: {dialog.message}"))
    page.on("console", lambda said: note(f"console: {said.text}") if said.type in {"error", "warning"} else None)
    page.on("request", lambda asked: None if is_ours(asked.url) else note(f"asked for {asked.url}"))
    page.on("websocket", lambda socket: None if is_ours(socket.url) else note(f"connected to {socket.url}"))


def is_ours(url: str) -> bool:
    parts = urlsplit(url)
    return parts.hostname == "127.0.0.1" or parts.scheme in {"data", "about"}


def keep(page: Page, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name.replace('/', '_')}.png", full_page=True)
