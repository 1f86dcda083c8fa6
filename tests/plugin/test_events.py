"""morag_events and mock_morag: waiting for what comes, and what is shown where it does not."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.timeout(180)  # each is a whole run, or several


@pytest.mark.parametrize("mode", ["asgi", "live"])
def test_waits_for_an_event_and_its_handlers(run, mode):
    result = run(
        """
import time

def test_waits(morag_registry, morag_emitter, morag_events):
    done = []

    @morag_registry.on("task.completed")
    def slow(event):
        time.sleep(0.2)
        done.append(event.task_id)

    later = threading.Timer(0.1, lambda: morag_emitter.send_task_completed(task_id="t", result={"chunks_created": 3}))
    later.start()
    event = morag_events.wait_for(TaskCompleted, task="t")
    assert done == ["t"] and event.result.chunks_created == 3
    assert morag_events.names == ["task.completed"] and len(morag_events) == 1
    later.join()
    # what is there already is found, by patterns too
    assert morag_events.wait_for("task.*", timeout=0) is event


def test_without_handlers(morag_emitter, morag_events):
    morag_emitter.send_task_started(task_id="1")
    morag_emitter.send_task_started(task_id="2")
    assert morag_events.wait_for("task.started", task="2").task_id == "2"


def test_ends_with_a_handlers_error(morag_registry, morag_emitter, morag_events):
    @morag_registry.on("task.started")
    async def fail(event):
        raise LookupError("no such task")

    morag_emitter.send_task_started(task_id="1")
    with pytest.raises(LookupError):
        morag_events.wait_for("task.completed", timeout=10)


def test_errors_can_be_left_alone(morag_registry, morag_emitter, morag_events, morag_receiver):
    test_ends_with_a_handlers_error(morag_registry, morag_emitter, morag_events)
    morag_emitter.send_task_started(task_id="2")
    assert morag_events.wait_for("task.started", task="2", raise_errors=False).task_id == "2"
    assert len(morag_receiver.take_errors()) == 1


def test_a_name_that_nobody_sends(morag_events):
    with pytest.warns(UserWarning, match="did you mean 'ingestion.completed'"), pytest.raises(TimeoutError):
        morag_events.wait_for("ingestion.complete", timeout=0)
""",
        f"--morag-mode={mode}",
    )
    result.assert_outcomes(passed=5)


def test_a_failed_wait_shows_what_happened(run):
    result = run("""
def test_fails(morag_registry, morag_emitter, morag_events, morag_receiver):
    @morag_registry.on("chunking.*", name="app.index")
    def index(event): ...

    @morag_registry.on("task.started", name="app.log")
    async def log(event):
        raise ValueError("disk full")

    morag_emitter.send_task_started(task_id="t-1")
    morag_emitter.send_step_completed(task_id="t-1", step="chunking", progress_percent=80)
    morag_emitter.send_step_completed(task_id="t-2", step="ingestion", progress_percent=100)
    with morag_receiver.emitter(secret="another", max_retries=0) as wrong:
        wrong.send_task_started(task_id="t-1")
    morag_events.wait_for("ingestion.completed", task="t-1", timeout=0.1, raise_errors=False)
""")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E * TimeoutError: no ingestion.completed of task t-1 within 0.1 s. What arrived:",
            "E * s  task.started * task t-1  app.log failed (ValueError: disk full)",
            "E * s  chunking.completed * task t-1  app.index succeeded",
            "E * s  ingestion.completed * task t-2  no handler",
            "E * s  refused with 401: *",
        ],
        consecutive=True,
    )


def test_a_wait_for_a_handler_that_does_not_end(run):
    result = run("""
def test_fails(morag_registry, morag_emitter, morag_events):
    over = threading.Event()
    morag_registry.on("task.started")(lambda event: over.wait(20))
    morag_emitter.send_task_started(task_id="t-1")
    with pytest.raises(TimeoutError, match="(?s)the handlers of task.started have not ended within 0.2 s.*not ended"):
        morag_events.wait_for("task.started", timeout=0.2)
    over.set()
""")
    result.assert_outcomes(passed=1)


def test_a_whole_morag(run):
    result = run("""
from morag_client import MoragClient

def test_submits(morag_registry, mock_morag, morag_receiver, morag_events, tmp_path):
    seen = []
    morag_registry.on("ingestion.completed")(lambda event: seen.append(event.data.chunks_ingested))
    (tmp_path / "a.md").write_text("# A title" + 30 * " and some words.")

    with MoragClient(base_url=mock_morag.url, api_key="test-api-key") as morag:
        task = morag.ingest_file(tmp_path / "a.md", webhook_url=morag_receiver.webhook_url)
    event = morag_events.wait_for("task.completed", task=task.task_id)

    assert seen == [event.result.chunks_created]
""")
    result.assert_outcomes(passed=1)
