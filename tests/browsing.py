"""A real browser, that of the system, without a window."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

REQUIRED = "browser" in os.environ.get("MORAG_TEST_REQUIRE", "").split(",")


@contextlib.contextmanager
def started() -> Iterator[Browser]:
    """The browser; the test is skipped where there is none, or fails where it must not be absent."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        (pytest.fail if REQUIRED else pytest.skip)("not tested with a browser: there is no chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()
