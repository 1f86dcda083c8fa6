"""Live progress in a real browser: the guide's own code, and users that see what is theirs."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import browsing
import commands
import deliveries
import pytest
import receiving
import servers
from playwright.sync_api import Browser, Page, expect
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route

from morag_client import Event, Registry

EXAMPLES = Path(__file__).parents[2] / "examples"
LIVE_PAGE = EXAMPLES / "07_live_page"
LOGIN = EXAMPLES / "08_login"
STEPS = ("markdown_conversion", "chunking", "ingestion")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing.started() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


@contextlib.contextmanager
def served(folder: Path, tmp_path: Path) -> Iterator[str]:
    """The URL of an example, served by uvicorn as its README says."""
    variables = commands.environment(secret=None, MORAG_DATABASE_URL=receiving.url_of(tmp_path))
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", "0"]
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=output, stderr=output)
    try:
        found = receiving.eventually(
            lambda: re.search(r"running on (http://\S+)", (tmp_path / "output").read_text()), seconds=20
        )
        yield found[1]
    finally:
        process.terminate()
        process.wait(20)


def emit(folder: Path, url: str, *options: str) -> None:
    done = commands.run(folder, "emit", "--url", url, *options, secret=None)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_guides_page(page: Page, tmp_path: Path) -> None:
    # given the example, served as its README says, and its page, that talks to nobody else
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    errors: list[object] = []
    page.on("pageerror", lambda error: errors.append(error))  # noqa: PLW0108  # it puts something onto what it calls
    with served(LIVE_PAGE, tmp_path) as url:
        page.goto(url)
        expect(page.locator("#status")).to_have_text("nothing yet")
        # when a document goes through
        emit(tmp_path, f"{url}/webhook", "--secret", "replace-me")
        # then the page shows that, and its result
        expect(page.locator("#progress-text")).to_have_text("100.0%")
        expect(page.locator("#result")).to_contain_text("chunks")
        assert page.locator("#progress").evaluate("bar => bar.style.width") == "100%"
    assert errors == []
    assert all(one.startswith(("http://127.0.0.1:", "ws://127.0.0.1:")) for one in asked)


def guide_code() -> str:
    """The first script of the page, which is the guide's."""
    found = re.findall(r"<script>\n(.*?)</script>", (LIVE_PAGE / "page.html").read_text(), re.DOTALL)
    return found[0]


@pytest.mark.parametrize("prefix", ["", "/morag"])
@pytest.mark.parametrize("registry", [Registry(), None], ids=["without handlers", "with handlers"])
def test_every_step_moves_the_bar(page: Page, tmp_path: Path, prefix: str, registry: Registry | None) -> None:
    if registry is None:
        registry = Registry()

        @registry.on("*", name="look")
        async def look(_: Event) -> None: ...

    receiver = receiving.receiver_of(tmp_path, registry, inspect=True)
    code = guide_code().replace("io()", f"io({{path: '{prefix}/socket.io'}})" if prefix else "io()")
    shown = (LIVE_PAGE / "page.html").read_text().replace(guide_code(), code)
    shown = shown.replace('src="/socket.io', f'src="{prefix}/socket.io')

    async def show(_: object) -> HTMLResponse:
        return HTMLResponse(shown)

    app = Starlette(routes=[Route("/", show), Mount(prefix or "/", receiver)], lifespan=receiver.lifespan)
    with servers.serving(app) as url:
        page.goto(url)
        page.wait_for_function("socket.connected")
        for number, step in enumerate(STEPS, 1):
            post(f"{prefix}/webhook", url, deliveries.step_body(step=step, progress_percent=30.0 * number))
            expect(page.locator("#progress-text")).to_have_text(f"{30 * number}.0%")
            expect(page.locator("#status")).to_have_text(f"{step.replace('_', ' ')} completed")
        post(f"{prefix}/webhook", url, deliveries.task_body(status="completed", result={"text": "<script>"}))
        expect(page.locator("#result")).to_contain_text('"text": "<script>"')
        # and a page that is loaded later shows the last state
        page.reload()
        expect(page.locator("#progress-text")).to_have_text("100.0%")
        expect(page.locator("#result")).to_contain_text('"text": "<script>"')
        # by a websocket in the end, though it begins by polling
        page.wait_for_function("socket.io.engine.transport.name === 'websocket'")


def post(target: str, url: str, body: bytes) -> None:
    request = servers.request_bytes(body, servers.signed(body), target=target.encode())
    assert servers.exchange(url, request).status == 200


def test_each_user_sees_their_own(browser: Browser, tmp_path: Path) -> None:
    with served(LOGIN, tmp_path) as url:
        # given somebody who is not logged in, who is told so
        ada, grace = (browser.new_context().new_page() for _ in range(2))
        ada.goto(url)
        expect(ada.locator("#status")).to_contain_text("a token is missing")
        # when both log in, and a document of each goes through
        for page, user, password in ((ada, "ada", "replace-me"), (grace, "grace", "replace-me-too")):
            page.goto(url)
            page.fill("[name=user]", user)
            page.fill("[name=password]", password)
            page.click("button")
            expect(page.locator("#status")).to_have_text("connected")
        for page, document in ((ada, "engines"), (grace, "compilers")):
            target = page.evaluate("fetch('/documents', {method: 'POST'}).then((answer) => answer.json())")
            emit(tmp_path, target["webhook_url"].replace("https://app.example.com", url), "--document-id", document)
        # then each sees one
        expect(ada.locator("li div")).to_have_text([re.compile("^engines: ")])
        expect(grace.locator("li div")).to_have_text([re.compile("^compilers: ")])
        expect(ada.locator("li progress")).to_have_js_property("value", 100)
        for page in (ada, grace):
            page.context.close()
