"""What a process pays before it can work: the import of `on` and `Receiver`, and `serve` until its first 200.

Medians, each time in a fresh process. Exit codes: 0 good, 1 a reach was missed, 2 it cannot be measured here.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from morag_client import sign

COMMAND = str(Path(sys.executable).with_name("morag-client"))
SECRET = "whsec_perf_0123456789abcdef"
BODY = json.dumps(
    {"event_type": "task_started", "timestamp": "2024-01-01T10:00:00Z", "data": {"task_id": "t", "status": "started"}}
).encode()
HEADERS = {"Content-Type": "application/json", "X-MoRAG-Signature": sign(BODY, SECRET)}
IMPORT = "from morag_client import on, Receiver"
PATIENCE = 30.0
"""Seconds."""


class NoAnswer(Exception):
    """The server did not come to its first 200."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """`seconds()` is one sample; `reach` the most that its median may be, if anything is asked."""

    name: str
    seconds: Callable[[], float]
    times: int
    reach: float | None = None


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench startup", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR"), prefix="databases-") as folder:
        known = Path(folder) / "known.db"
        measurements = (
            Measurement("python -c pass", lambda: run("pass"), 10),
            Measurement(f"python -c '{IMPORT}'", lambda: run(IMPORT), 10, reach=0.7),
            Measurement("serve, new database: first 200", lambda: first_answer(fresh(folder)), 5, reach=2.0),
            Measurement("serve, known database: first 200", lambda: first_answer(known), 5, reach=2.0),
        )
        try:
            results = [measure(measurement) for measurement in measurements]
        except NoAnswer as error:
            sys.stderr.write(f"error: {error}\n")
            return 2
    passed = all(result["passed"] for result in results)
    if options.json:
        print(json.dumps({"results": results, "passed": passed}))
    else:
        show(results)
    return 0 if passed else 1


def measure(measurement: Measurement) -> dict[str, Any]:
    """The median and its extremes, after one that warms the disk's and the compiled modules' caches."""
    measurement.seconds()
    samples = sorted(measurement.seconds() for _ in range(measurement.times))
    median = statistics.median(samples)
    return {
        "what": measurement.name,
        "seconds": round(median, 3),
        "least": round(samples[0], 3),
        "most": round(samples[-1], 3),
        "times": measurement.times,
        "reach": measurement.reach,
        "passed": measurement.reach is None or median <= measurement.reach,
    }


def run(code: str) -> float:
    """How long Python takes with it, from start to end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def fresh(folder: str) -> Path:
    """A database that is not there yet."""
    return Path(tempfile.mkdtemp(dir=folder)) / "inbox.db"


def first_answer(database: Path) -> float:
    """How long `serve` takes from its start until a signed webhook is answered with 200. Raises NoAnswer."""
    port = free_port()
    command = [COMMAND, "serve", "--port", str(port), "--database-url", f"sqlite:///{database}", "--no-access-log"]
    environment = {**os.environ, "MORAG_WEBHOOK_SECRET": SECRET}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        while post(port) != http.client.OK:
            if process.poll() is not None:
                raise NoAnswer(f"serve ended with exit code {process.returncode}")
            if time.perf_counter() - began > PATIENCE:
                raise NoAnswer(f"serve gave no 200 within {PATIENCE:g} s")
            time.sleep(0.005)
        return time.perf_counter() - began
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def post(port: int) -> int | None:
    """The status that a webhook is answered with; None where nobody listens yet."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        try:
            connection.request("POST", "/webhook", BODY, HEADERS)
            return connection.getresponse().status
        except OSError:
            return None


def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


def show(results: list[dict[str, Any]]) -> None:
    """Prints a line for each."""
    width = max(len(result["what"]) for result in results)
    for result in results:
        asked = "" if result["reach"] is None else f"asked <= {result['reach']:g} s"
        missed = "" if result["passed"] else "  MISSED"
        extremes = f"({result['least']:.2f} to {result['most']:.2f}, {result['times']} times)"
        print(f"{result['what']:<{width}}  {result['seconds']:.2f} s  {extremes:<27}{asked}{missed}".rstrip())


if __name__ == "__main__":
    sys.exit(main())
