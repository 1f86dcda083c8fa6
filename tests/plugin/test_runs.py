"""The plugin in test runs of all sorts: those that do not use it, several processes, interruptions, other databases."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import databases
import pytest
from receiving import eventually

pytestmark = pytest.mark.timeout(180)  # each is a whole run, or several

HEAVY = ("sqlalchemy", "pydantic", "starlette", "anyio", "httpx2", "uvicorn", "morag_client.testing")


def test_a_run_that_does_not_use_it_imports_next_to_nothing(run):
    result = run(
        f"""
import sys

def test_something_else():
    assert "morag_client.pytest_plugin" in sys.modules
    assert [name for name in {HEAVY} if name in sys.modules] == []
""",
        *("-p", "no:anyio", "-p", "no:hypothesispytest"),
        beginning="",
    )
    result.assert_outcomes(passed=1)


def test_the_plugins_own_import_is_quick(run):
    code = (
        "import pytest, logging, time; began = time.perf_counter();"
        "import morag_client.pytest_plugin; print(time.perf_counter() - began)"
    )
    times = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    ]
    assert min(times) < 0.05


def test_the_global_registry_is_the_default_and_stays_as_it_is(run):
    result = run(
        """
from morag_client import RetryPolicy, on
from morag_client.handlers.registry import default_registry

seen = []

@on("chunking.completed", retry=RetryPolicy(attempts=3))
def index(event):
    seen.append(event.data.chunks_created)
    raise ValueError


def test_default(morag_registry, morag_pipeline):
    assert morag_registry is default_registry
    morag_pipeline(raise_errors=False)
    assert len(seen) == 1


def test_untouched():
    assert [handler.retry.attempts for handler in default_registry.handlers] == [3]
    assert default_registry.dead_letter_hooks == []
""",
        beginning="",
    )
    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("mode", ["asgi", "live"])
def test_nothing_is_left(run, mode, tmp_path):
    result = run(
        """
import gc
import os
import warnings


@pytest.fixture(autouse=True, scope="module")
def nothing_left():
    yield
    gc.collect()
    assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
    sockets = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(
        f"/proc/self/fd/{fd}")]
    assert [name for name in sockets if name.endswith(".db")] == []
    assert os.listdir(os.environ["TMPDIR"]) == []


@pytest.mark.parametrize("number", range(3))
def test_all_of_it(morag_registry, morag_pipeline, morag_emitter, morag_events, mock_morag, morag_receiver, number):
    @morag_registry.on("*")
    def handle(event): ...
    morag_pipeline()
    morag_events.wait_for("task.completed")
    assert morag_receiver.url.startswith("http://127.0.0.1:")


async def test_its_own_loop(morag_registry, morag_pipeline, morag_receiver):
    before = asyncio.all_tasks()
    async with morag_receiver.here():
        await asyncio.to_thread(morag_pipeline)
    assert asyncio.all_tasks() == before


def test_unused(morag_receiver):
    pass
""",
        *("--asyncio-mode=auto", f"--morag-mode={mode}"),
    )
    result.assert_outcomes(passed=5)
    assert temporary() == []


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path_factory, monkeypatch):
    """Where the run inside keeps what is temporary, so that what it leaves is seen."""
    monkeypatch.setenv("TMPDIR", str(tmp_path_factory.mktemp("temporary")))
    monkeypatch.setenv("PYTEST_DEBUG_TEMPROOT", str(tmp_path_factory.mktemp("pytest")))


@pytest.mark.parametrize("mode", ["asgi", "live"])
def test_xdist(run, mode):
    result = run(
        """
@pytest.mark.parametrize("number", range(8))
def test_alone(morag_registry, morag_pipeline, morag_receiver, number):
    seen = []
    morag_registry.on("*")(lambda event: seen.append(event.task_id))
    run = morag_pipeline(task_id=f"task-{number}")
    assert seen == [f"task-{number}"] * 14 == [event.task_id for event in run.events]
""",
        *("-n", "2", f"--morag-mode={mode}"),
    )
    result.assert_outcomes(passed=8)


def test_modes(run, pytester):
    code = """
def is_live(pipeline):
    url = pipeline()["task.started"].metadata.webhook_url
    return url.startswith("http://127.0.0.1:")

def test_default(morag_pipeline, request):
    assert is_live(morag_pipeline) == (request.config.getini("morag_mode") == "live")

@pytest.mark.morag(live=True)
def test_live(morag_pipeline):
    assert is_live(morag_pipeline)

@pytest.mark.morag(live=False)
class TestOthers:
    def test_asgi(self, morag_pipeline):
        assert not is_live(morag_pipeline)
"""
    run(code, "--strict-markers").assert_outcomes(passed=3)
    run(code, "-o", "morag_mode=live").assert_outcomes(passed=3)
    run("@pytest.mark.morag('live')\ndef test_it(morag_receiver): ...").assert_outcomes(errors=1)
    run("def test_it(morag_receiver): ...", "-o", "morag_mode=fast").assert_outcomes(errors=1)


def test_settings_and_a_database_of_ones_own(run):
    result = run("""
@pytest.fixture
def morag_settings(tmp_path):
    return {"database_url": f"sqlite:///{tmp_path}/own.db", "secrets": ["new", "old"], "handler_timeout": 0.2}


def test_own(morag_registry, morag_pipeline, morag_receiver, tmp_path):
    @morag_registry.on("task.started")
    async def slow(event):
        await asyncio.sleep(10)

    run = morag_pipeline(raise_errors=False)
    assert "0.2 s" in str(run.errors[0])
    assert morag_receiver.secret == "new"
    assert (tmp_path / "own.db").exists()
    assert morag_receiver.run(morag_receiver.receiver.stats()).total_received == 14
""")
    result.assert_outcomes(passed=1)


def test_the_environment_does_not_decide_where_events_go(run, monkeypatch, tmp_path):
    monkeypatch.setenv("MORAG_DATABASE_URL", f"sqlite:///{tmp_path}/production.db")
    monkeypatch.setenv("MORAG_WEBHOOK_SECRET", "of-production")
    monkeypatch.setenv("WEBHOOK_RETRY_DELAY", "60")
    run("""
def test_stored_elsewhere(morag_pipeline, morag_receiver):
    assert len(morag_pipeline().events) == 14
    assert morag_receiver.secret != "of-production"
""").assert_outcomes(passed=1)
    assert not (tmp_path / "production.db").exists()


def test_postgresql(run, tmp_path):
    with databases.fresh("postgres", tmp_path) as database:
        result = run(
            f"""
@pytest.fixture
def morag_settings():
    return {{"database_url": "{database.url}"}}


def test_it(morag_registry, morag_pipeline):
    seen = []
    morag_registry.on("*")(lambda event: seen.append(event.name))
    assert seen == morag_pipeline().names
    assert len(seen) == 14
""".replace("assert seen == morag_pipeline().names", "assert morag_pipeline().names == seen")
        )
        result.assert_outcomes(passed=1)
        assert database.query("SELECT count(*) FROM webhook_events") == [(14,)]


@pytest.mark.parametrize("where", ["the test", "a handler"])
def test_ctrl_c_ends_the_run_and_leaves_nothing(pytester, where):
    wait = "time.sleep(30)"
    pytester.makepyfile(
        test_it=f"""
import time
from pathlib import Path

import pytest
from morag_client import Registry

@pytest.fixture
def morag_registry():
    return Registry()

def test_waits(morag_registry, morag_pipeline):
    @morag_registry.on("task.started")
    def slow(event):
        Path("begun").touch()
        {wait if where == "a handler" else "pass"}

    morag_pipeline()
    {wait}
"""
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
        cwd=pytester.path,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        eventually((pytester.path / "begun").exists, seconds=30)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        told, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == pytest.ExitCode.INTERRUPTED, told
    assert "KeyboardInterrupt" in told
    assert time.monotonic() - began < 10
    assert temporary() == []


def temporary() -> list[Path]:
    """What the run inside left."""
    return list(Path(os.environ["TMPDIR"]).iterdir())
