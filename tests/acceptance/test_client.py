"""Every call of both clients against every release, over sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from both_clients import KINDS, Kind, calling
from recording import Recorder
from servers import serving

from morag_client import BadRequest, Event, NotFound, NotSupported, Receiver, Registry, TooLarge
from morag_client.api.submitting import Mode
from morag_client.testing import MockMorag
from morag_client.testing.mock.server import DEFAULT_API_KEY as API_KEY

TEXT = "# Tides\n\nThe tide is the rise and fall of the sea. Berlin is in Germany.\n"
WITH_TASKS = ("guide", "r1", "r2")
SIGNING_KEY = "a-signing-key-for-tests-only-0123456789"

both = pytest.mark.parametrize("kind", KINDS)

Ask = Callable[[Callable[[Any], Any]], Any]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MORAG_API_URL", "MORAG_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "tides.md"
    path.write_text(TEXT)
    return path


@pytest.fixture
def page() -> Iterator[str]:
    with Recorder(answer=b"<h1>Tides</h1><p>The tide rises.</p>") as recorder:
        yield f"{recorder.base_url}/tides.html"


def asking(kind: Kind, mock: MockMorag, **options: Any) -> Ask:
    return lambda do: calling(kind, mock.url, do, api_key=API_KEY, **options)


@both
@pytest.mark.parametrize("profile", WITH_TASKS)
def test_a_task_from_its_submission_to_its_files(kind: Kind, profile: Any, document: Path, tmp_path: Path) -> None:
    with Recorder() as recorder, MockMorag(profile=profile) as mock:
        ask = asking(kind, mock)
        submitted = ask(
            lambda client: client.ingest_file(
                document, webhook_url=recorder.url, metadata={"project": "sea"}, document_id="d-1"
            )
        )
        task_id = submitted.task_id
        assert mock.wait(task_id, timeout_seconds=20)
        status = ask(lambda client: client.status(task_id))
        history = ask(lambda client: client.history(task_id))
        recent = ask(lambda client: client.recent_events(hours=1))
        active = ask(lambda client: client.active_tasks())
        queues = ask(lambda client: client.queue_stats())
        files = ask(lambda client: client.list_files(task_id))
        by_url = ask(lambda client: client.download(files.files[0].url, to=tmp_path / "by_url"))
        by_id = ask(lambda client: client.download_bytes(task_id, files.files[0].filename))
        deleted = ask(lambda client: client.delete_files(task_id))
        with pytest.raises(NotFound):
            ask(lambda client: client.delete_files("nobody-knows-it"))

    assert submitted.status == "pending"
    assert (status.status, status.progress) == ("completed" if profile == "r2" else "success", 1.0)
    assert history.event_count == len(history.history) == recent.count
    assert {event.task_id for event in recent.events} == {task_id}
    assert (active.number, queues.active_tasks) == (0, 0)
    assert {file.filename for file in files.files} == {"markdown.md", "metadata.json", "chunks.json"}
    assert by_url.read_bytes() == by_id
    assert deleted.success is True
    # What was said at the submission comes back, in the form that the release has for it.
    assert '"d-1"' in json.dumps(recorder.payloads)


@both
@pytest.mark.parametrize("profile", WITH_TASKS)
def test_urls_one_and_several(kind: Kind, profile: Any, page: str) -> None:
    with MockMorag(profile=profile) as mock:
        ask = asking(kind, mock)
        one = ask(lambda client: client.ingest_url(page, metadata={"a": 1}, document_id="d"))
        several = ask(lambda client: client.ingest_batch([page, {"url": page, "document_id": "d-2"}]))
        for task_id in (one.task_id, *several.task_ids):
            assert mock.wait(task_id, timeout_seconds=20)
        status = ask(lambda client: client.status(one.task_id))

    assert status.status in {"success", "completed"}
    assert several.total_items == 2
    assert len(several.task_ids) == (1 if profile == "r2" else 2)


@both
@pytest.mark.parametrize("profile", ["guide", "r2"])
@pytest.mark.parametrize("mode", ["convert", "process", "ingest"])
def test_process(kind: Kind, profile: Any, mode: Mode, document: Path, page: str) -> None:
    with Recorder() as recorder, MockMorag(profile=profile) as mock:
        ask = asking(kind, mock)
        webhook_url = recorder.url if mode == "ingest" else None
        made = ask(lambda client: client.process(document, mode=mode, webhook_url=webhook_url, document_id="d"))
        if mode == "convert":
            with pytest.raises(BadRequest, match="only supports"):
                ask(lambda client: client.process(url=page, mode=mode))
        else:
            ask(lambda client: client.process(url=page, mode=mode, webhook_url=webhook_url))
            ask(lambda client: client.process(items=[page], mode=mode, webhook_url=webhook_url))
        if made.task_id is not None:
            mock.wait(made.task_id, timeout_seconds=20)

    assert (made.success, made.mode, made.document_id) == (True, mode, "d")
    assert (made.task_id is not None) == (mode == "ingest")
    assert (made.content or "").startswith("# Tides") == (mode != "ingest")


@both
def test_cancelling_is_r2s(kind: Kind, document: Path) -> None:
    with MockMorag(profile="r2", speed=1.0) as mock:
        ask = asking(kind, mock)
        task_id = ask(lambda client: client.ingest_file(document)).task_id
        assert ask(lambda client: client.cancel(task_id)).task_id == task_id
        assert mock.wait(task_id, timeout_seconds=20)
        assert ask(lambda client: client.status(task_id)).status == "cancelled"


@both
def test_stages(kind: Kind, document: Path, tmp_path: Path) -> None:
    with Recorder() as recorder, MockMorag(profile="r3") as mock:
        ask = asking(kind, mock)
        stages = ask(lambda client: client.stages.list())
        run = ask(lambda client: client.stages.execute("markdown-conversion", document, webhook_url=recorder.url))
        path = run.output_files[0].file_path
        chain = ask(lambda client: client.stages.chain(["chunker", "fact-generator"], input_files=[path]))
        again = ask(
            lambda client: client.stages.chain(
                ["markdown-conversion"], document, webhook_url=recorder.url, timeout_seconds=60
            )
        )
        job = ask(lambda client: client.stages.status(path.split("/")[1]))
        listed = ask(lambda client: client.files.list(stage_type="chunker"))
        info = ask(lambda client: client.files.info(f"./{path}"))
        place = ask(lambda client: client.files.download(path, to=tmp_path / "out.md"))
        with pytest.raises(NotSupported, match=r"client\.stages"):
            ask(lambda client: client.ingest_file(document))

    assert stages.stages[0].stage_type == "markdown-conversion"
    assert (run.success, run.status, run.webhook_sent) == (True, "completed", True)
    assert chain.success
    assert again.success
    assert job.overall_status == "completed"
    assert [file.stage_type for file in listed.files] == ["chunker"]
    assert info.file_size == len(place.read_bytes())
    assert {arrival.payload.get("stage_type") for arrival in recorder.arrivals} >= {"markdown-conversion"}


@both
def test_a_file_that_is_too_large(kind: Kind, document: Path) -> None:
    with MockMorag(max_upload_bytes=10) as mock, pytest.raises(TooLarge, match="at most 10 bytes"):
        asking(kind, mock)(lambda client: client.ingest_file(document))


def receiver_at(events: list[Event], **settings: Any) -> Receiver:
    registry = Registry()

    @registry.on("*")
    async def keep(event: Event) -> None:
        events.append(event)

    return Receiver(registry=registry, signing_key=SIGNING_KEY, **settings)


@both
@pytest.mark.parametrize("profile", ["guide", "r1", "r2", "r3"])
def test_the_webhooks_of_a_submission_are_believed_and_correlated(
    kind: Kind, profile: Any, document: Path, tmp_path: Path
) -> None:
    events: list[Event] = []
    receiver = receiver_at(events, database_url=f"sqlite:///{tmp_path}/inbox.db", public_url="https://app.example.com")
    with serving(receiver) as url, MockMorag(profile=profile) as mock:
        named = Named(receiver, url)
        ask = asking(kind, mock)
        if profile == "r3":
            ask(
                lambda client: client.stages.chain(
                    ["markdown-conversion"], document, webhook=named, correlation={"document": "d-1"}
                )
            )
        else:
            task_id = ask(
                lambda client: client.ingest_file(document, webhook=named, correlation={"document": "d-1"})
            ).task_id
            assert mock.wait(task_id, timeout_seconds=20)
    assert events
    assert {event.correlation["document"] for event in events} == {"d-1"}


class Named:
    """A receiver whose port is known only now."""

    def __init__(self, receiver: Receiver, url: str) -> None:
        self._receiver, self._url = receiver, url

    def webhook_url(self, /, **correlation: Any) -> str:
        return self._receiver.webhook_url(**correlation).replace("https://app.example.com", self._url)

    @property
    def bearer_token(self) -> str | None:
        return self._receiver.bearer_token


class Sink:
    """Makes plain URLs, and has a token."""

    bearer_token = "b34rer-of-mine"

    def __init__(self, url: str) -> None:
        self._url = url

    def webhook_url(self, /, **correlation: Any) -> str:
        return f"{self._url}?{correlation['document']}"


@both
def test_the_bearer_token_goes_where_the_api_has_a_place_for_it(kind: Kind, document: Path) -> None:
    for profile in ("r2", "r3"):
        with Recorder() as recorder, MockMorag(profile=profile) as mock:  # type: ignore[arg-type]
            ask, told = asking(kind, mock), {"webhook": Sink(recorder.url), "correlation": {"document": 7}}
            if profile == "r3":
                ask(lambda client, told=told: client.stages.execute("markdown-conversion", document, **told))
            else:
                made = ask(lambda client, told=told: client.process(document, mode="ingest", **told))
                mock.wait(made.task_id, timeout_seconds=20)

        assert {arrival.path for arrival in recorder.arrivals} == {"/webhook?7"}
        # Of r3's senders one knows no tokens.
        assert "Bearer b34rer-of-mine" in {arrival.headers.get("authorization") for arrival in recorder.arrivals}
