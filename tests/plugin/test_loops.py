"""On which event loop handlers run, in tests of every kind."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.timeout(180)  # each is a whole run, or several

ON_ITS_OWN = """
def noting(registry, where):
    @registry.on("task.started", "task.completed")
    async def note(event):
        where.append((asyncio.get_running_loop(), threading.current_thread()))


async def own_loop(registry, pipeline, receiver):
    where = []
    noting(registry, where)
    async with receiver.here() as real:
        run = await asyncio.to_thread(pipeline)
        assert (await real.stats()).total_received == len(run.events) == 14
    mine = asyncio.get_running_loop(), threading.current_thread()
    assert where == [mine, mine]
    # behind it, they are elsewhere again
    run = await asyncio.to_thread(pipeline)
    assert len(where) == 4 and where[2] != mine and where[2] == where[3]


async def elsewhere(registry, pipeline):
    where = []
    noting(registry, where)
    pipeline()  # it waits for a loop in another thread, so that it may wait
    assert len(set(where)) == 1
    assert where[0][0] is not asyncio.get_running_loop()
    assert where[0][1].name == "morag receiver"
"""

ASYNCIO = """
async def test_own(morag_registry, morag_pipeline, morag_receiver):
    await own_loop(morag_registry, morag_pipeline, morag_receiver)

async def test_elsewhere(morag_registry, morag_pipeline):
    await elsewhere(morag_registry, morag_pipeline)
"""


@pytest.mark.parametrize("mode", ["asgi", "live"])
def test_pytest_asyncio_auto(run, mode):
    result = run(ON_ITS_OWN + ASYNCIO, "--asyncio-mode=auto", f"--morag-mode={mode}")
    result.assert_outcomes(passed=2)


def test_pytest_asyncio_strict(run):
    code = ASYNCIO.replace("async def test", "@pytest.mark.asyncio\nasync def test")
    run(ON_ITS_OWN + code, "--asyncio-mode=strict").assert_outcomes(passed=2)


def test_anyio(run):
    code = ASYNCIO.replace("async def test", "@pytest.mark.anyio\nasync def test")
    backend = '\n@pytest.fixture\ndef anyio_backend():\n    return "asyncio"\n'
    run(ON_ITS_OWN + backend + code, "--asyncio-mode=strict").assert_outcomes(passed=2)


def test_async_fixtures_beside_ours(run):
    result = run(
        """
@pytest.fixture
async def stored(morag_receiver):
    async with morag_receiver.here():
        yield asyncio.get_running_loop()


async def test_of_one_loop(stored, morag_registry, morag_receiver):
    assert stored is asyncio.get_running_loop()
    receipt = await morag_receiver.receiver.receive(samples.delivery("task.started", secret=morag_receiver.secret))
    assert receipt.status == "received"
""",
        "--asyncio-mode=auto",
    )
    result.assert_outcomes(passed=1)


def test_a_plain_test(run):
    result = run("""
def test_threads(morag_registry, morag_pipeline):
    where = {}

    @morag_registry.on("task.started")
    async def in_loop(event):
        where["async"] = threading.current_thread()

    @morag_registry.on("task.started")
    def in_thread(event):
        where["plain"] = threading.current_thread()

    morag_pipeline()
    assert where["async"].name == "morag receiver"
    assert where["plain"] not in {where["async"], threading.main_thread()}
""")
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("mode", ["asgi", "live"])
def test_what_would_wait_for_its_own_loop_says_so_at_once(run, mode):
    result = run(
        """
async def test_blocks(morag_registry, morag_pipeline, morag_emitter, morag_events, morag_receiver):
    async with morag_receiver.here():
        for wait in (morag_pipeline, morag_receiver.settle, morag_events.timeline,
                     lambda: morag_emitter.send_task_started(task_id="t"),
                     lambda: morag_events.wait_for("task.started")):
            with pytest.raises(RuntimeError, match="asyncio.to_thread"):
                wait()
""",
        "--asyncio-mode=auto",
        f"--morag-mode={mode}",
    )
    result.assert_outcomes(passed=1)


def test_errors_of_handlers_on_the_tests_loop(run):
    result = run(
        """
def broken(registry):
    @registry.on("task.started")
    async def fail(event):
        raise LookupError("there")


async def test_at_the_end(morag_registry, morag_receiver, morag_emitter):
    broken(morag_registry)
    with pytest.raises(LookupError):
        async with morag_receiver.here():
            await asyncio.to_thread(morag_emitter.send_task_started, task_id="t")


async def test_in_the_pipeline(morag_registry, morag_receiver, morag_pipeline):
    broken(morag_registry)
    async with morag_receiver.here():
        with pytest.raises(LookupError):
            await asyncio.to_thread(morag_pipeline)


async def test_the_tests_own_error_comes_first(morag_registry, morag_receiver, morag_emitter):
    broken(morag_registry)
    with pytest.raises(ZeroDivisionError):
        async with morag_receiver.here():
            await asyncio.to_thread(morag_emitter.send_task_started, task_id="t")
            1 / 0
    assert [type(error) for error in morag_receiver.take_errors()] == [LookupError]
""",
        "--asyncio-mode=auto",
    )
    result.assert_outcomes(passed=3)


def test_context_of_the_test_reaches_handlers_on_its_loop(run):
    result = run(
        """
from contextvars import ContextVar
tenant = ContextVar("tenant", default="nobody")

async def test_sees_it(morag_registry, morag_receiver, morag_pipeline):
    seen = []
    morag_registry.on("task.started")(lambda event: seen.append(event.name))

    @morag_registry.on("task.completed")
    async def look(event):
        seen.append(tenant.get())

    tenant.set("acme")
    async with morag_receiver.here():
        await asyncio.to_thread(morag_pipeline)
    assert seen == ["task.started", "acme"]
""",
        "--asyncio-mode=auto",
    )
    result.assert_outcomes(passed=1)
