"""Live progress to 100, 500 and 1,000 clients that follow the same tasks: messages delivered a second.

The receiver (`serve --inspect`, each webhook a change of status that is stored first), python-socketio as it comes, and
bare websockets, one after the other in each round; servers on core 0, the clients (kit/wsload.c) and the sender on core
1. Exit codes: 0 good, 1 a reach was missed, 2 it cannot be measured here.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from databases import KINDS, Database, check_database, fresh_database
from fanout_peers import MESSAGE
from loading import quartiles
from machine import CLIENT_CORE, FOLDER, Unmeasurable, check_machine, describe_machine
from peers import SECRET, receiver
from reporting import Figure, build_report, positive, run_command, show_figures
from serving import running

from morag_client.wire.signature import sign

HERE = Path(__file__).resolve().parent
SIZES = (100, 500, 1000)
ASKED = 500
"""To so many clients, at least `REACH` times what python-socketio delivers."""
REACH = 2.0
SENDERS = 8
"""Webhooks under way at once: MoRAG's workers."""
PATIENCE = 60
ROOM = 20_000
"""Messages that a client may let wait: here nobody is to be dropped."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench fanout", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=5, help="for each server and size (5)")
    parser.add_argument("--deliveries", type=positive, default=100_000, help="in a round (100000)")
    parser.add_argument(
        "--sizes", type=positive, nargs="+", default=list(SIZES), help="how many clients (100 500 1000)"
    )
    return run_command(parser, measure, show_figures)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Each size after the other. Raises Unmeasurable."""
    check_machine()
    machine = describe_machine() | check_database(KINDS[0], postgres="")
    clients = _build_clients()
    figures: list[Figure] = []
    problems: list[str] = []
    for size in options.sizes:
        found: dict[str, list[float]] = {name: [] for name in SERVERS}
        for _ in range(options.rounds):
            for name, (command, is_socket_io) in SERVERS.items():
                with fresh_database(KINDS[0], postgres="") as database, running(command(database)) as server:
                    messages = max(10, options.deliveries // size)
                    found[name].append(
                        _round(clients, server.port, size=size, messages=messages, is_socket_io=is_socket_io)
                    )
                    problems += server.complaints()
        figures += _figures(size, found)
    return build_report(
        machine=machine,
        figures=figures,
        problems=problems,
        remark=f"{options.rounds} rounds of {options.deliveries} deliveries, {SENDERS} webhooks under way at once",
    )


def _ours(database: Database) -> str:
    return f"env MORAG_PROGRESS_QUEUE={ROOM} {receiver(database)} --inspect"


def _stock(_: Database) -> str:
    uvicorn = shlex.quote(str(Path(sys.executable).with_name("uvicorn")))
    return (
        f"{uvicorn} --port {{port}} --loop uvloop --http httptools --no-access-log --log-level warning"
        f" --app-dir {shlex.quote(str(HERE))} fanout_peers:stock"
    )


def _bare(_: Database) -> str:
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(HERE / 'fanout_peers.py'))} {{port}}"


SERVERS: dict[str, tuple[Callable[[Database], str], bool]] = {
    "morag-client": (_ours, True),
    "python-socketio": (_stock, True),
    "websockets": (_bare, False),
}
"""Each with whether it speaks Socket.IO."""


def _figures(size: int, found: dict[str, list[float]]) -> Iterator[Figure]:
    ours = found["morag-client"]
    for name, rates in found.items():
        first, middle, third = quartiles(rates)
        yield Figure(f"{size} clients: {name}", middle, "/s", spread=(first, third))
        if rates is not ours:
            first, middle, third = quartiles([mine / other for mine, other in zip(ours, rates, strict=True)])
            least = REACH if (size, name) == (ASKED, "python-socketio") else None
            yield Figure(f"{size} clients: morag-client to {name}", middle, spread=(first, third), least=least)


def _build_clients() -> Path:
    """The program that is many clients. Raises Unmeasurable where there is no compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unmeasurable("a C compiler is missing; on Debian and Ubuntu: apt-get install gcc libc6-dev")
    program = FOLDER / "wsload"
    command = [compiler, "-O2", "-w", "-o", str(program), str(HERE / "kit" / "wsload.c")]
    subprocess.run(command, check=True)
    return program


def _round(clients: Path, port: int, *, size: int, messages: int, is_socket_io: bool) -> float:
    """Deliveries a second. Raises Unmeasurable where some did not come."""
    path = "/socket.io/?EIO=4&transport=websocket" if is_socket_io else "/"
    command = ["taskset", "-c", CLIENT_CORE, str(clients), str(port), path, str(size), str(PATIENCE)]
    method = "POST" if is_socket_io else "GET"  # websockets' own server reads no bodies
    with subprocess.Popen(
        [*command, str(int(is_socket_io))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            if not process.stdout.readline().startswith("READY"):
                raise Unmeasurable(f"{size} clients could not connect")
            for first, count in ((0, 10), (10, messages)):  # the first to warm up
                process.stdin.write(f"expect {count * size}\n")
                process.stdin.flush()
                _send(port, count, method, first=first)
                said = json.loads(process.stdout.readline() or "{}")
                if said.get("events", 0) < count * size:
                    raise Unmeasurable(f"{said.get('events', 0)} of {count * size} messages came to {size} clients")
            return float(said["per_s"])
        finally:
            process.kill()


def _send(port: int, count: int, method: str, *, first: int) -> None:
    """Webhooks, each of a task of its own, so that each is a change of status."""
    numbers = iter(range(first, first + count))
    lock = threading.Lock()

    def work() -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                _post(connection, method, _body(number) if method == "POST" else b"")

    _run_all([threading.Thread(target=work) for _ in range(min(SENDERS, count))])


def _run_all(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _post(connection: http.client.HTTPConnection, method: str, body: bytes) -> None:
    headers = {"content-type": "application/json", "x-morag-signature": sign(body, SECRET)}
    connection.request(method, "/webhook", body or None, headers if body else {})
    answer = connection.getresponse()
    answer.read()
    if answer.status != http.client.OK:
        raise Unmeasurable(f"a webhook was answered with {answer.status}")


def _body(number: int) -> bytes:
    fields = {
        name: MESSAGE[name] for name in ("document_id", "step", "status", "progress_percent", "data", "timestamp")
    }
    return json.dumps({"task_id": f"task-{number:07}", **fields}).encode()


if __name__ == "__main__":
    sys.exit(main())
