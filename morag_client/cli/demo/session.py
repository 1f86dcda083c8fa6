"""The demo's course: a document goes in, its events come out, and what is stored is looked at from outside."""

from __future__ import annotations

import json
import queue
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from morag_client.api.client import MoragClient
from morag_client.cli.demo.handlers import Note
from morag_client.cli.demo.screen import Lines, Screen, screen_for
from morag_client.cli.demo.servers import Servers
from morag_client.errors import MoragError
from morag_client.events.names import is_final
from morag_client.events.types import Event
from morag_client.testing.mock.server import DEFAULT_API_KEY

EVENTS: Final = 14
"""What the guide's sequence has."""

_SILENCE_SECONDS: Final = 10.0
_SETTLE_SECONDS: Final = 10.0

Told = queue.SimpleQueue[Event | Note]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a document: its task's last event (None: there was none) and its records as HTTP shows them."""

    last: Event | None
    records: list[dict[str, Any]]

    @property
    def completed(self) -> bool:
        """Whether the task did."""
        return self.last is not None and self.last.name == "task.completed"

    @property
    def handled(self) -> int:
        """How many events have no handler that waits or failed."""
        return sum(record["state"] == "handled" for record in self.records)

    @property
    def complete(self) -> bool:
        """Whether the task completed and every event was handled."""
        return self.completed and self.handled == len(self.records) == EVENTS


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the demo: where it prints, what its handlers tell, and the servers it talks to."""

    console: Console
    told: Told
    servers: Servers

    def show(self, document: Path) -> Outcome:
        """Submits a document and shows what happens. Raises ApiError where the mock does not take it."""
        self._introduce(document)
        with MoragClient(base_url=self.servers.morag_url, api_key=DEFAULT_API_KEY) as client:
            task_id = client.ingest_file(document, webhook_url=self.servers.webhook_url).task_id
            with screen_for(self.console) as screen:
                last = self._follow(task_id, screen, client)
                records = self._settled(task_id, ended=last is not None)
                self._drain(screen)
        outcome = Outcome(last, records)
        self._sum_up(outcome)
        return outcome

    def point_onwards(self, outcome: Outcome, *, option: str, stays: bool) -> None:
        """Says where to look next; `option` is what the other commands need to find the inbox."""
        ids = {record["name"]: record["id"] for record in outcome.records}
        record = ids.get("chunking.completed") or next(iter(ids.values()), "ID")
        places = [
            (f"morag-client events{option}", "what is stored, and what became of it"),
            (f"morag-client replay {record}{option}", "let an event's handlers run again"),
        ]
        if stays:
            places = [
                (f"{self.servers.receiver_url}/webhooks", "every webhook as it came"),
                (f"{self.servers.receiver_url}/api/events", "each event with its handlers' runs"),
                *places,
            ]
        self.console.print("\nWhere to look next", style="bold")
        width = max(len(place) for place, _ in places) + 2
        for place, what in places:
            self._line(Text.assemble("  ", (f"{place:<{width}}", "cyan"), (what, "dim")))

    def stay(self) -> None:
        """Shows what else arrives, until the user interrupts."""
        self.console.print("\nBoth servers stay up; Ctrl-C ends them. Submit a text of your own:")
        curl = (
            f"  curl {self.servers.morag_url}/api/v1/ingest/file \\",
            f"    -H 'Authorization: Bearer {DEFAULT_API_KEY}' \\",
            f"    -F file=@YOUR.md -F webhook_url={self.servers.webhook_url}",
        )
        self._line(Text("\n".join(curl), style="cyan"))
        self.console.print()
        screen = Lines(self.console)
        while True:
            _put(screen, self.told.get())

    def _introduce(self, document: Path) -> None:
        rows = [
            ("mock MoRAG", self.servers.morag_url),
            ("receiver", self.servers.webhook_url),
            ("inbox", self.servers.inbox_url),
            ("document", f"{document.name}, {document.stat().st_size:,} bytes"),
        ]
        for name, value in rows:
            self._line(Text.assemble(("  " + f"{name:<12}", "dim"), value))

    def _follow(self, task_id: str, screen: Screen, client: MoragClient) -> Event | None:
        """Shows a task's events up to its last; None where MoRAG is done and the last did not come."""
        ended = False
        while True:
            try:
                item = self.told.get(timeout=_SILENCE_SECONDS)
            except queue.Empty:
                if ended:
                    return None
                ended = client.status(task_id).completed_at is not None
                continue
            if isinstance(item, Note) or item.task_id == task_id:
                _put(screen, item)
            if not isinstance(item, Note) and item.task_id == task_id and is_final(item.name):
                return item

    def _settled(self, task_id: str, *, ended: bool) -> list[dict[str, Any]]:
        """The task's records as the receiver shows them over HTTP, once no handler of them runs any more."""
        deadline = time.monotonic() + (_SETTLE_SECONDS if ended else 0.0)
        while True:
            records = [record for record in self._stored() if record["task_id"] == task_id]
            waiting = any(record["state"] == "stored" for record in records)
            if not waiting or time.monotonic() > deadline:
                return records
            time.sleep(0.05)

    def _stored(self) -> list[dict[str, Any]]:
        # A proxy from the environment could not reach this machine's own ports.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"{self.servers.receiver_url}/api/events?limit=1000", timeout=10) as answer:
                events: list[dict[str, Any]] = json.load(answer)["events"]
        except OSError as error:
            raise MoragError(f"the receiver does not show what it stored: {error}") from error
        return events

    def _drain(self, screen: Screen) -> None:
        while not self.told.empty():
            _put(screen, self.told.get())

    def _sum_up(self, outcome: Outcome) -> None:
        runs = [run for record in outcome.records for run in record["runs"]]
        succeeded = sum(run["state"] == "succeeded" for run in runs)
        last = outcome.last
        error = "" if last is None or last.error is None else f": {last.error}"
        ending = "fell silent" if last is None else f"{last.status}{error}"
        self.console.print()
        self._line(Text(f"The task {ending}", style="bold green" if outcome.completed else "bold red"))
        self._line(Text(f"{len(outcome.records)} events are stored, each once; {outcome.handled} of them are handled"))
        self._line(Text(f"{succeeded} of {len(runs)} runs of handlers succeeded"))

    def _line(self, text: Text) -> None:
        self.console.print(text, soft_wrap=True)


def _put(screen: Screen, item: Event | Note) -> None:
    if isinstance(item, Note):
        screen.note(item)
    else:
        screen.show(item)
