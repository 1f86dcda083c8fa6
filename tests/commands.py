"""`morag-client` as a process of its own, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import deliveries
import receiving

COMMAND = Path(sys.executable).with_name("morag-client")


def environment(*, secret: str | None, **variables: str) -> dict[str, str]:
    """This process's environment with nothing of MoRAG's in it but what is given."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MORAG_", "WEBHOOK_"))}
    secrets = {} if secret is None else {"MORAG_WEBHOOK_SECRET": secret}
    return {**kept, **secrets, "PYTHONUNBUFFERED": "1", **variables}


def run(
    folder: Path, *arguments: str, secret: str | None = deliveries.SECRET, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment(secret=secret, **variables),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@contextlib.contextmanager
def killed(folder: Path, *arguments: str) -> Iterator[Callable[[], bool]]:
    """A command that is killed in the end; what is given says whether it still runs."""
    with subprocess.Popen(
        [COMMAND, *arguments], cwd=folder, env=environment(secret=None), stdout=subprocess.DEVNULL
    ) as process:
        try:
            yield lambda: process.poll() is None
        finally:
            process.kill()


class Served:
    """A running `morag-client serve`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output = ""
        self._reader = threading.Thread(target=self._read, name="output")
        self._reader.start()
        self.url = receiving.eventually(self._announced, seconds=20)

    def stop(self, how: signal.Signals = signal.SIGTERM, *, seconds: float = 20) -> int:
        """Sends the signal; the exit code, once it has ended."""
        self.process.send_signal(how)
        code = self.process.wait(seconds)
        self._reader.join(5)
        return code

    def _announced(self) -> str | None:
        assert self.process.poll() is None, self.output
        found = re.search(r"Webhooks to\s+(http\S+)/webhook", self.output)
        return found and found[1]

    def _read(self) -> None:
        for line in self.process.stdout:
            self.output += line


@contextlib.contextmanager
def served(
    folder: Path,
    *arguments: str,
    secret: str | None = deliveries.SECRET,
    within: Sequence[str] = (),
    **variables: str,
) -> Iterator[Served]:
    """`morag-client serve` on a free port, its outputs in one; it is killed in the end if it still runs.

    `within` is a command that becomes the one it is given.
    """
    process = subprocess.Popen(
        [*within, COMMAND, "serve", *arguments, "--port", "0"],
        cwd=folder,
        env=environment(secret=secret, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:  # which closes its pipe
        try:
            yield Served(process)
        finally:
            process.kill()
