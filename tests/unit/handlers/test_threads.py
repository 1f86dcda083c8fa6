"""Threads for handlers that are plain functions."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from morag_client.handlers.threads import HandlerThreads


@pytest.fixture
def threads() -> Iterator[HandlerThreads]:
    pool = HandlerThreads(size=2)
    yield pool
    pool.stop()


def raising(error: BaseException) -> Any:
    raise error


async def test_results_and_exceptions_come_back(threads: HandlerThreads) -> None:
    assert await threads.run(lambda: 3) == 3
    with pytest.raises(LookupError, match="not there"):
        await threads.run(lambda: raising(LookupError("not there")))
    with pytest.raises(SystemExit):
        await threads.run(lambda: raising(SystemExit(3)))
    with pytest.raises(asyncio.CancelledError):
        await threads.run(lambda: raising(asyncio.CancelledError()))
    assert await threads.run(lambda: 4) == 4


@pytest.mark.parametrize("error", [StopIteration(3), KeyboardInterrupt(), GeneratorExit()])
async def test_what_would_disturb_the_event_loop_comes_back_as_a_runtime_error(
    threads: HandlerThreads, error: BaseException
) -> None:
    with pytest.raises(RuntimeError, match=type(error).__name__):
        await threads.run(lambda: raising(error))


async def test_context_variables_go_along_and_stay_there(threads: HandlerThreads) -> None:
    variable = contextvars.ContextVar("variable", default="none")
    variable.set("outside")

    def look() -> str:
        seen = variable.get()
        variable.set("inside")
        return seen

    assert await threads.run(look) == "outside"
    assert variable.get() == "outside"


async def test_no_more_run_at_once_than_there_are_threads(threads: HandlerThreads) -> None:
    running: list[int] = []
    most: list[int] = []

    def work() -> None:
        running.append(1)
        most.append(len(running))
        time.sleep(0.01)
        running.pop()

    await asyncio.gather(*(threads.run(work) for _ in range(10)))

    assert max(most) == 2


async def test_threads_start_only_when_they_are_needed(threads: HandlerThreads) -> None:
    before = set(threading.enumerate())

    for _ in range(10):
        await threads.run(threading.get_ident)

    assert len(set(threading.enumerate()) - before) == 1


async def test_a_waiter_that_goes_away_leaves_its_thread_busy_and_not_free() -> None:
    threads, let_go = HandlerThreads(size=2), threading.Event()
    waiter = asyncio.create_task(threads.run(let_go.wait))
    await asyncio.sleep(0.05)
    waiter.cancel()
    await asyncio.wait([waiter])

    # The one thread still hangs: there must be another.
    assert await asyncio.wait_for(threads.run(lambda: 3), 2) == 3
    let_go.set()
    threads.stop()


async def test_who_is_cancelled_while_the_function_ends_gets_the_result(threads: HandlerThreads) -> None:
    waiter = asyncio.create_task(threads.run(lambda: time.sleep(0.1) or 3))
    await asyncio.sleep(0.02)
    waiter.cancel()

    assert await waiter == 3


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    threads, let_go, begun = HandlerThreads(size=1), threading.Event(), []
    first = asyncio.create_task(threads.run(let_go.wait))
    second = asyncio.create_task(threads.run(lambda: begun.append(1)))
    await asyncio.sleep(0.01)
    second.cancel()
    await asyncio.wait([second])
    let_go.set()
    await first

    await threads.run(lambda: None)

    assert begun == []
    threads.stop()


def test_a_closed_loop_does_not_end_the_thread() -> None:
    threads, let_go = HandlerThreads(size=1), threading.Event()
    loop = asyncio.new_event_loop()
    task = loop.create_task(threads.run(let_go.wait))
    loop.run_until_complete(asyncio.sleep(0.02))
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()
    let_go.set()

    assert asyncio.run(threads.run(lambda: 3)) == 3
    threads.stop()


async def test_stopped_threads_end(threads: HandlerThreads) -> None:
    [thread] = {await threads.run(threading.current_thread)}

    threads.stop()

    await asyncio.to_thread(thread.join, 2)
    assert not thread.is_alive()


async def test_nothing_is_kept_of_what_was_done(threads: HandlerThreads) -> None:
    class Big:
        pass

    async def do_it() -> weakref.ref[Big]:
        big = Big()
        await threads.run(lambda: big and None)
        return weakref.ref(big)

    kept = await do_it()
    gc.collect()

    assert kept() is None


HANGING = """
import asyncio, threading
from morag_client.handlers.threads import HandlerThreads
threads = HandlerThreads(size=1)
async def main():
    hanging = asyncio.create_task(threads.run(threading.Event().wait))
    await asyncio.sleep(0.05)
    hanging.cancel()
    await asyncio.wait([hanging])
asyncio.run(main())
threads.stop()
print("ended")
"""


def test_a_function_that_hangs_does_not_keep_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", HANGING], capture_output=True, text=True, timeout=20, check=True)

    assert done.stdout == "ended\n"
    assert done.stderr == ""
