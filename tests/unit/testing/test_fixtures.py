"""The classes behind the fixtures, where no run of their own is needed (the rest: tests/plugin)."""

from __future__ import annotations

import importlib.util
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from morag_client import ConfigurationError, Event, Registry
from morag_client.testing import FaultPlan, faults
from morag_client.testing.fixtures import MoragPipeline, MoragReceiver


def test_here_is_for_asyncio() -> None:
    with MoragReceiver(Registry()) as receiver:
        entering = receiver.here().__aenter__()
        with pytest.raises(RuntimeError, match=r"here\(\) needs asyncio; .* anyio_backend"):
            entering.send(None)


def test_a_socket_without_a_server_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else there(name))
    with MoragReceiver(Registry()) as receiver, pytest.raises(ConfigurationError, match=r"morag-client\[mock\]"):
        assert receiver.url


def test_settings_that_cannot_work_leave_nothing(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ConfigurationError):
        MoragReceiver(Registry(), settings={"concurrency": 0})
    assert list(tmp_path.iterdir()) == []


def test_answers_over_a_socket_do_not_wait_for_acknowledgements() -> None:
    # Nagle's algorithm, with the other end's delayed acknowledgements, would make 40 ms of each
    with MoragReceiver(Registry(), live=True) as receiver:
        run = MoragPipeline(receiver)()
        assert sorted(delivery.seconds for delivery in run.deliveries)[3] < 0.035
        assert receiver._listening._socket.proto == socket.IPPROTO_TCP


def test_the_address_stays_whoever_serves_it() -> None:
    registry = Registry()
    with MoragReceiver(registry, live=True) as receiver:
        address = receiver.url
        MoragPipeline(receiver)()
        receiver._stop()
        assert receiver.url == address
        assert len(MoragPipeline(receiver)().events) == 14
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=1)


def test_an_async_handler_that_blocks_the_loop_is_suspected() -> None:
    registry = Registry()
    over = threading.Event()

    @registry.on("task.started")
    async def block(event: Event) -> None:
        over.wait(10)

    with MoragReceiver(registry) as receiver, receiver.emitter() as emitter:
        emitter.send_task_started(task_id="t")
        time.sleep(0.2)
        with pytest.raises(TimeoutError, match="does an async def handler block it"):
            receiver.run(receiver.receiver.stats(), timeout=0.2)
        over.set()
        receiver.settle()


@pytest.mark.parametrize(
    ("fault", "recorded"),
    [
        (faults.duplicate(times=3), 14),
        (faults.reorder(), 14),
        (faults.drop(events="*.started"), 7),
        (faults.interleave(), 28),
        (faults.reset(), 14),
        (faults.truncate(), 14),
        (faults.slow_body(seconds=0.05, events="task.*"), 14),
        (faults.wrong_signature(events="task.completed"), 13),
        (faults.missing_signature(), 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_pipeline_with_faults(fault: faults.Fault, recorded: int) -> None:
    registry = Registry()
    seen: list[str] = []
    registry.on("*")(lambda event: seen.append(event.name))
    with MoragReceiver(registry) as receiver:
        run = MoragPipeline(receiver)(faults=FaultPlan(fault))
    assert len(run.events) == len(run.records) == len(seen) == recorded


def test_threads_that_begin_at_once_share_one_receiver() -> None:
    with MoragReceiver(Registry()) as receiver, receiver.emitter() as emitter, ThreadPoolExecutor(8) as threads:
        sent = list(threads.map(lambda number: emitter.send_task_started(task_id=str(number)), range(16)))
        receiver.settle()
        assert sent == [True] * 16
        assert receiver.run(receiver.receiver.stats()).total_received == 16
        assert [thread.name for thread in threading.enumerate()].count("morag receiver") == 1


async def test_here_cannot_be_nested() -> None:
    with MoragReceiver(Registry()) as receiver:
        async with receiver.here():
            with pytest.raises(RuntimeError, match="leave the other here"):
                async with receiver.here():
                    pass
            assert receiver.url
        async with receiver.here():
            pass
