"""A signed URL opens the door for whoever reads it: a canary is sent through a receiver and looked for everywhere."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import commands
import deliveries
import pytest
import receiving
import servers

from morag_client import Context, Event, Receiver, Registry
from morag_client.wire.signed_url import Claims, UrlSigner

HERE = "https://app.example.com/morag"
KEY = "the key of these tests"
REF = "0123456789abcdef01234567"

logger = logging.getLogger("the.application")


class Canaries:
    """URLs, good and expired; what MoRAG may say of one of them in its bodies."""

    def __init__(self, receiver: Receiver | None = None) -> None:
        signer = UrlSigner([KEY.encode()])
        self.good = signer.sign(Claims({"ref": REF, "tenant": "acme"}))
        self.expired = signer.sign(Claims({"ref": "f" * 24, "tenant": "acme"}, 1_700_000_000))
        self.spoilt = self.good[:-4] + "AAAA"
        self.foreign = UrlSigner([b"another key"]).sign(Claims({"ref": "e" * 24}))
        self.tokens = (self.good, self.expired, self.spoilt, self.foreign)

    def bodies(self) -> Iterator[bytes]:
        url = f"{HERE}/webhook/{self.good}"
        yield deliveries.task_body(metadata={"webhook_url": url}, message=f"posting to {url}")
        yield deliveries.task_body(status="failed", error=f"POST {url} failed", error_code=url)
        yield deliveries.step_body(step="chunking", status="failed", error_message=url, data={"webhook_url": url})
        yield deliveries.step_body(step=url[-250:], document_id=self.good)
        yield deliveries.step_body(task_id=self.good, data={url: [url]})
        yield deliveries.unknown_body(webhook_url=url, escaped="\\u006d")
        yield deliveries.unknown_body(webhook_url="~").replace(
            b"~", b"".join(b"\\u%04x" % byte for byte in url.encode())
        )
        yield deliveries.as_body({"event_type": "task_started", "data": {"status": url}})  # 422
        yield f"no JSON {url}".encode()  # 400

    def found_in(self, text: str | bytes) -> list[str]:
        """What of them stands in a text; half of one would be too much already."""
        searched = text if isinstance(text, bytes) else text.encode(errors="replace")
        tails = {token[-43:] for token in self.tokens}
        return [tail for tail in tails if tail.encode() in searched]


def deliver_all(url: str, canaries: Canaries) -> list[int]:
    statuses = []
    for body in canaries.bodies():
        for token in canaries.tokens:
            answer = post(url, body, b"/webhook/" + token.encode() + b"?next=" + canaries.good.encode())
            assert canaries.found_in(answer.body) == []
            statuses.append(answer.status)
    for method, target in ((b"GET", b"/webhook/"), (b"POST", b"//webhook/"), (b"GET", b"/api/events?state=")):
        request = servers.request_bytes(b"", method=method, target=target + canaries.good.encode())
        assert canaries.found_in(servers.exchange(url, request).body) == []
    return statuses


def post(url: str, body: bytes, target: bytes) -> servers.Answer:
    lines = b"User-Agent: MoRAG", b"X-Request-Id: " + target, b"X-Forwarded-Uri: " + target
    return servers.exchange(url, servers.request_bytes(body, *lines, target=target))


@pytest.fixture
def registry() -> Registry:
    registry = Registry()

    @registry.on("*", name="says everything")
    def say_everything(event: Event, context: Context) -> None:
        logger.debug("%r %r", event, context)
        raise ValueError(f"cannot handle {event.raw} {event!r} {context.body!r} {context.task}")

    return registry


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_token_is_nowhere_but_in_the_url(
    tmp_path: Path, registry: Registry, caplog: pytest.LogCaptureFixture, http: str
) -> None:
    canaries = Canaries()
    receiver = receiving.receiver_of(tmp_path, registry, secrets=None, signing_key=KEY, public_url=HERE, inspect=True)
    with (
        caplog.at_level(logging.DEBUG),
        every_logger_talks(),
        servers.serving(receiver, access_log=True, http=http) as url,
    ):
        statuses = deliver_all(url, canaries)
        receiving.eventually(lambda: receiving.query(tmp_path, "SELECT count(*) FROM webhook_handler_runs")[0][0] == 7)
        shown = [get(url, path) for path in ("/webhooks", "/api/events", "/health/ready")]

    assert sorted(set(statuses)) == [200, 400, 401, 422]
    assert receiving.counts(tmp_path) == (7, 11)
    for text in (caplog.text, *shown, *(path.read_bytes() for path in tmp_path.iterdir())):
        assert canaries.found_in(text) == []
    # the test can see: there was something to be found in each of them
    assert "uvicorn.access" in {record.name for record in caplog.records}
    assert "/webhook/REDACTED" in caplog.text
    assert all(b"REDACTED" in text for text in shown[:2])
    assert REF in shown[1].decode()
    rows = receiving.query(tmp_path, "SELECT path, query, headers, data FROM webhook_events")
    assert {row[:2] for row in rows} == {("/webhook/REDACTED", "next=REDACTED")}
    assert all("REDACTED" in row[2] for row in rows)


def test_no_command_shows_a_token(tmp_path: Path, registry: Registry) -> None:
    canaries = Canaries()
    receiver = receiving.receiver_of(tmp_path, registry, secrets=None, signing_key=KEY)
    with servers.serving(receiver) as url:
        deliver_all(url, canaries)
        receiving.eventually(lambda: receiving.query(tmp_path, "SELECT count(*) FROM webhook_handler_runs")[0][0] == 7)
    quarantined = [row[0] for row in receiving.query(tmp_path, "SELECT id FROM webhook_quarantine")]
    letters = [row[0] for row in receiving.query(tmp_path, "SELECT id FROM webhook_handler_runs")]

    for arguments in (
        *(["events"], ["tasks"], ["tasks", "task-1"], ["tasks", REF], ["quarantine", "list"], ["dead-letters", "list"]),
        *(["quarantine", "show", str(one)] for one in (quarantined[0], quarantined[-1])),
        *(["dead-letters", "show", str(one)] for one in (letters[0], letters[-1])),
        *(["events", "--correlation", "tenant=acme"], ["stats"]),
    ):
        for form in ([], ["--json"]):
            said = show(tmp_path, *arguments, *form)
            assert canaries.found_in(said) == [], arguments
            assert len(said) > 20
    for one in quarantined:
        assert canaries.found_in(show(tmp_path, "quarantine", "show", str(one), "--raw")) == []


def test_the_command_that_serves_logs_none(tmp_path: Path) -> None:
    canaries = Canaries()
    settings = {"MORAG_SIGNING_KEY": KEY, "MORAG_PUBLIC_URL": HERE}
    with commands.served(
        tmp_path, "--inspect", "--database-url", "sqlite:///inbox.db", secret=None, **settings
    ) as server:
        deliver_all(server.url, canaries)
        assert canaries.found_in(get(server.url, "/webhooks")) == []
        assert server.stop() == 0

    assert "received task.started" in server.output
    assert "refused a delivery with 401" in server.output
    assert canaries.found_in(server.output) == []


def get(url: str, path: str) -> bytes:
    answer = servers.exchange(url, servers.request_bytes(b"", method=b"GET", target=path.encode(), content_type=None))
    assert answer.status == 200
    return answer.body


def show(folder: Path, *arguments: str) -> str:
    done = commands.run(folder, *arguments, "--database-url", receiving.url_of(folder), COLUMNS="400")
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@contextlib.contextmanager
def every_logger_talks() -> Iterator[None]:
    """Lets each logger that there is pass on what it has to say."""
    quiet: Sequence[logging.Logger] = [
        found for found in logging.root.manager.loggerDict.values() if isinstance(found, logging.Logger)
    ]
    before = [(found, found.level, found.propagate, found.disabled) for found in quiet]
    for found in quiet:
        found.level, found.propagate, found.disabled = logging.NOTSET, True, False
    try:
        yield
    finally:
        for found, *was in before:
            found.level, found.propagate, found.disabled = was
