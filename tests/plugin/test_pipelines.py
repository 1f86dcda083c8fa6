"""morag_pipeline: a whole sequence, its handlers, and what they raise."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.timeout(180)  # each is a whole run, or several


def test_a_handler_is_tested_in_five_lines(run):
    result = run("""
def test_chunks(morag_registry, morag_pipeline):
    chunks = []
    morag_registry.on("chunking.completed")(lambda event: chunks.append(event.data.chunks_created))
    run = morag_pipeline()
    assert chunks == [run["chunking.completed"].data.chunks_created]
""")
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("mode", ["asgi", "live"])
def test_what_is_recorded(run, mode):
    result = run(
        """
def test_recorded(morag_registry, morag_pipeline):
    @morag_registry.on("task.*", name="tasks")
    async def note(event: Event, context: Context):
        assert context.attempt == 1

    run = morag_pipeline(task_id="t-1", document_id="report-7", progress_events=True)

    assert len(run.names) == 17 and run.names[0] == "task.started" and run.names[-1] == "task.completed"
    assert {event.task_id for event in run.events} == {"t-1"}
    assert run["task.started"].document_id == "report-7"
    assert [outcome[1:] for outcome in run.outcomes] == [("tasks", "succeeded")] * 5
    assert run.task.state == "completed" and run.task.sequence == 17
    assert all(delivery.ok and delivery.attempts == 1 for delivery in run.deliveries)
    assert run.records[3].body is not None
    with pytest.raises(KeyError, match="'task.failed' is not among task.started, "):
        run["task.failed"]


def test_fails_at(morag_registry, morag_pipeline, tmp_path):
    (tmp_path / "notes.txt").write_text("Some words. " * 50)
    failed = []
    morag_registry.on("*.failed")(lambda event: failed.append(event.name))

    run = morag_pipeline(fail_at="chunking", document=tmp_path / "notes.txt")

    assert failed == ["chunking.failed", "task.failed"]
    assert run.task.state == "failed"


@pytest.mark.parametrize("dialect", ["flat_step", "enveloped_step", "ingest_result", "stage_completed",
                                     "pipeline_completed", "stage_result", "stage_chain"])
def test_dialects(morag_registry, morag_pipeline, dialect):
    seen = []
    morag_registry.on("*")(lambda event: seen.append(event.name))

    run = morag_pipeline(dialect=dialect)

    assert sorted(seen) == sorted(run.names) != []
    assert dialect in {event.dialect for event in run.events}


def test_faults(morag_registry, morag_pipeline):
    seen = []
    morag_registry.on("*")(lambda event: seen.append(event.name))

    run = morag_pipeline(faults=FaultPlan(faults.duplicate(times=2), faults.drop(events="chunking.*"), seed=1))

    assert len(run.deliveries) > len(run.events) == len(seen) == 12


def test_two_runs(morag_registry, morag_pipeline):
    first, second = morag_pipeline(), morag_pipeline()
    assert first.task_id != second.task_id
    assert {event.task_id for event in second.events} == {second.task_id}
""",
        f"--morag-mode={mode}",
    )
    result.assert_outcomes(passed=11)


def test_an_error_is_raised_with_its_own_traceback(run):
    result = run("""
from morag_client import RetryPolicy

def test_broken(morag_registry, morag_pipeline):
    @morag_registry.on("chunking.completed", retry=RetryPolicy(attempts=5, first=0))
    async def index(event):
        raise LookupError("no index")  # here

    morag_pipeline()
""")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*morag_pipeline()*", '*raise LookupError("no index")  # here*', "E * LookupError: no index"]
    )
    result.stdout.fnmatch_lines(["E * raised by a handler for chunking.completed (task *, record *)"])
    # one attempt, whatever the handler's own policy is, and none of the plugin's own lines
    assert result.stdout.str().count("and gives up") == 1
    assert "raise_all" not in result.stdout.str()


def test_errors_of_every_kind(run):
    result = run("""
from morag_client import Discard, RetryLater

def failing(morag_registry, error, on="chunking.completed", name=None):
    @morag_registry.on(on, name=name or on)
    def fail(event):
        raise error


def test_several(morag_registry, morag_pipeline):
    failing(morag_registry, ValueError("one"), "chunking.completed")
    failing(morag_registry, KeyError("two"), "task.completed")
    with pytest.raises(ExceptionGroup) as caught:
        morag_pipeline()
    assert [type(error) for error in caught.value.exceptions] == [ValueError, KeyError]


def test_kept(morag_registry, morag_pipeline):
    failing(morag_registry, ValueError("one"))
    run = morag_pipeline(raise_errors=False)
    assert [str(error) for error in run.errors] == ["one"]
    assert run.outcomes == [("chunking.completed", "chunking.completed", "failed")]


def test_wants_a_retry(morag_registry, morag_pipeline):
    failing(morag_registry, RetryLater(after=60))
    with pytest.raises(RetryLater):
        morag_pipeline()


def test_discards(morag_registry, morag_pipeline):
    failing(morag_registry, Discard("not ours"))
    assert morag_pipeline().outcomes == [("chunking.completed", "chunking.completed", "discarded")]


def test_frameworks_own(morag_registry, morag_pipeline):
    @morag_registry.on("chunking.completed")
    async def check(event):
        pytest.fail("told by a handler")
    with pytest.raises(pytest.fail.Exception, match="told by a handler"):
        morag_pipeline()


def test_condition(morag_registry, morag_pipeline):
    morag_registry.on("chunking.completed", where=lambda event: 1 / 0)(print)
    with pytest.raises(ZeroDivisionError):
        morag_pipeline()


def test_does_not_end(morag_registry, morag_pipeline, morag_receiver):
    over = threading.Event()

    @morag_registry.on("chunking.completed")
    def hang(event):
        over.wait(20)

    with pytest.raises(TimeoutError, match="(?s)within 0.3 s.*chunking.completed.*its handlers have not ended"):
        morag_pipeline(timeout=0.3)
    over.set()


def test_refused(morag_receiver, morag_pipeline):
    morag_receiver._secret = "another"
    with pytest.raises(AssertionError, match="(?s)14 webhooks were refused.*401"):
        morag_pipeline()
    assert morag_pipeline(raise_errors=False).events == ()


def test_nothing_of_it_is_left(morag_registry, morag_pipeline):
    assert morag_pipeline().outcomes == []
""")
    result.assert_outcomes(passed=9)


def test_what_cannot_be_bound_is_an_error_where_it_was_registered_late(run):
    result = run("""
def test_late(morag_registry, morag_pipeline):
    seen = []
    morag_registry.on("task.completed", name="first")(seen.append)
    morag_pipeline()
    morag_registry.on("task.completed", name="second")(seen.append)
    assert len(morag_pipeline().outcomes) == 2

    @morag_registry.on("chunking.completed")
    def wrong(event: TaskCompleted): ...
    morag_pipeline()


def test_early(morag_registry, request):
    @morag_registry.on("chunking.completed")
    def wrong(event: TaskCompleted): ...
    with pytest.raises(Exception, match="annotated to take TaskCompleted"):
        request.getfixturevalue("morag_receiver")
""")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E*ConfigurationError: handler *wrong*annotated to take TaskCompleted*"])


def test_errors_that_nobody_asked_for_fail_the_test(run):
    result = run("""
def test_only_sends(morag_registry, morag_emitter):
    @morag_registry.on("task.failed")
    async def complain(event):
        raise LookupError("whom to tell")
    assert morag_emitter.send_task_failed(task_id="t", error="e")


@pytest.mark.xfail(strict=True)
def test_expected(morag_registry, morag_emitter):
    test_only_sends(
        morag_registry, morag_emitter)


def test_asked_for(morag_registry, morag_emitter, morag_receiver):
    test_only_sends(morag_registry, morag_emitter)
    with pytest.raises(LookupError):
        morag_receiver.settle()


def test_fails_anyway(morag_registry, morag_emitter):
    test_only_sends(morag_registry, morag_emitter)
    assert "this is" == "what is told"
""")
    result.assert_outcomes(passed=1, failed=2, xfailed=1)
    result.stdout.fnmatch_lines(["E * LookupError: whom to tell", "E * AssertionError: assert 'this is' == 'what is *"])
