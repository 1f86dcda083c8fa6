"""A canary for the API key, the webhook's URL and the bearer token: in no log, no repr and no error."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any

import pytest
from both_clients import KINDS, Kind, calling
from recording import Recorder
from scripted import head, reset, says, scripted, sends

from morag_client import AsyncMoragClient, MoragClient, MoragError
from morag_client.api.submitting import ingest_file, process
from morag_client.testing import MockMorag

KEY = "canary-key-5f1c"
TOKEN = "canary-bearer-77aa"
SIGNED = "morag-w1.canarycanarycanarycanarycanarycanary.0123456789"
PLAIN = "canary-secret-path-91"
CANARIES = (KEY, TOKEN, SIGNED, PLAIN)


class Sink:
    bearer_token = TOKEN

    def __init__(self, url: str) -> None:
        self._url = url

    def webhook_url(self, /, **_correlation: Any) -> str:
        return self._url


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "tides.md"
    path.write_text("# Tides\n")
    return path


def found_in(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary in text]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("profile", ["guide", "r1", "r2", "r3"])
def test_when_all_goes_well(
    kind: Kind, profile: Any, document: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with Recorder() as recorder, MockMorag(profile=profile, api_key=KEY) as mock:
        sink = Sink(f"{recorder.url}/{SIGNED}")
        caplog.set_level(logging.DEBUG)

        def ask(do: Any) -> Any:
            return calling(kind, mock.url, do, api_key=KEY)

        if profile == "r3":
            run = ask(lambda client: client.stages.execute("markdown-conversion", document, webhook=sink))
            ask(lambda client: client.files.download(run.output_files[0].file_path, to=tmp_path / "x"))
        else:
            submitted = ask(lambda client: client.ingest_file(document, webhook=sink))
            mock.wait(submitted.task_id, timeout_seconds=20)
            ask(lambda client: client.status(submitted.task_id))
        logged = "\n".join(f"{record.name} {record.getMessage()}" for record in caplog.records)

    assert "httpx2" in logged
    # The mock is here, too, and what it posts to is its own affair.
    assert found_in("\n".join(line for line in logged.splitlines() if recorder.base_url not in line)) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "scene",
    [
        says({"detail": f"{KEY} may not tell {PLAIN} or {SIGNED} with {TOKEN}"}, 400),
        says({"detail": [{"loc": ["body", PLAIN], "msg": KEY, "input": {"a": [TOKEN, SIGNED]}}]}, 422),
        says({"detail": {KEY: [{"x": PLAIN}]}}, 409),
        says(f"<html>{KEY}{PLAIN}{TOKEN}{SIGNED}</html>".encode(), 500),
        says({"task_id": [KEY, PLAIN]}),
        says({KEY: PLAIN}),
        says(b"", 302, location=f"http://elsewhere.example/{KEY}"),
        sends(head(200, content_length="9"), b"x"),
        reset,
    ],
)
def test_when_the_server_repeats_it(kind: Kind, scene: Any, document: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "morag_client")
    caplog.set_level(logging.DEBUG, "stamina")
    with scripted(scene) as server:
        sink = Sink(f"http://127.0.0.1:9/{PLAIN}/{SIGNED}")
        for do in (
            lambda client: client.process(document, mode="ingest", webhook=sink),
            lambda client: client.ingest_url("http://x", webhook=sink),
        ):
            with pytest.raises(MoragError) as caught:
                calling(kind, server.url, do, api_key=KEY, api_version="r2", attempts=2)
            shown = "".join(traceback.format_exception(caught.value))
            assert found_in(f"{shown} {caught.value!r} {caught.value.detail!r} {caplog.text}") == []  # type: ignore[attr-defined]


def test_nothing_that_is_shown_has_it(document: Path) -> None:
    sink = Sink(f"http://127.0.0.1:9/{PLAIN}/{SIGNED}")
    with MoragClient(api_key=KEY) as client:
        shown = f"{client!r} {vars(client)} {client._driver.server!r} {client.stages!r}"
    other = AsyncMoragClient(api_key=KEY)
    shown += f"{other!r} {vars(other)}"
    for described in (ingest_file(document, webhook=sink), process(document, mode="ingest", webhook=sink)):
        shown += repr(described)

    assert found_in(shown) == []
