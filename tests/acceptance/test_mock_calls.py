"""The calls that take documents: their answers field by field, and what they refuse."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from mocking import KEY, TEXT, Asked, asked
from recording import Recorder, names

from morag_client.errors import ConfigurationError
from morag_client.testing import MockMorag
from morag_client.testing.serving import ThreadedServer

SUBMITTED = {"task_id", "status", "message", "estimated_time"}
PROCESSED = {
    "success",
    "mode",
    "content",
    "metadata",
    "processing_time_ms",
    "task_id",
    "estimated_time_seconds",
    "status_url",
    "document_id",
    "error_message",
    "warnings",
    "message",
}


def process(morag: Asked, *, name: str = "tides.md", content: bytes = TEXT, **request_data: Any) -> httpx2.Response:
    return morag.upload("/api/v1/process", name=name, content=content, request_data=request_data)


def test_r2_takes_a_file_with_its_request_data() -> None:
    stated = {
        "source_type": "document",
        "document_id": "doc-9",
        "collection_name": "tidal",
        "metadata": {"team": "sea"},
        "chunking_strategy": "semantic",
        "chunk_size": 4000,
    }
    with asked(profile="r2") as morag, Recorder() as recorder:
        answer = morag.upload("/api/v1/ingest/file", request_data={**stated, "webhook_url": recorder.url})
        morag.wait(answer.json()["task_id"])

    assert answer.json().keys() == SUBMITTED
    assert {p["document_id"] for p in recorder.payloads if "step" in p} == {"doc-9"}
    said = recorder.payloads[-1]["result"]["metadata"]
    assert said["team"] == "sea"
    assert said["webhook_url"] == recorder.url


def test_r1_knows_no_document_id_but_the_metadatas() -> None:
    with asked(profile="r1") as morag, Recorder() as recorder:
        morag.ingest(webhook_url=recorder.url, document_id="ignored", metadata={"document_id": "d"})
        morag.ingest(webhook_url=recorder.url, document_id="ignored")

    said = [p["data"]["metadata"].get("document_id") for p in recorder.payloads if p["event_type"] == "task_completed"]
    assert said == ["d", None]


def test_r2_needs_request_data() -> None:
    with asked(profile="r2") as morag:
        nothing = morag.upload("/api/v1/ingest/file")
        nonsense = morag.upload("/api/v1/ingest/file", request_data="{nope")

    assert (nothing.status_code, nothing.json()["detail"][0]["loc"]) == (422, ["body", "request_data"])
    assert nonsense.status_code == 400
    assert "Invalid request_data" in nonsense.json()["detail"]


@pytest.mark.parametrize("profile", ["guide", "r1", "r2"])
def test_a_url_is_fetched_from_this_machine(profile: str) -> None:
    html = b"<html><title>Tides</title><h1>Tides</h1><p>The Moon pulls.</p></html>"
    with Recorder(answer=html) as page, asked(profile=profile) as morag:
        answer = morag.post("/api/v1/ingest/url", json={"url": f"{page.base_url}/tides", "document_id": "d"})
        task_id = morag.wait(answer.json()["task_id"])
        status = morag.get(f"/api/v1/status/{task_id}").json()
        markdown = morag.get(f"/api/files/temp/{task_id}/markdown.md").text

    assert answer.json().keys() == SUBMITTED
    assert status["status"] in {"success", "completed"}
    assert "The Moon pulls." in markdown
    assert page.arrivals[0].path == "/tides"


def test_a_url_that_cannot_be_had_is_a_failed_task() -> None:
    with Recorder(404) as page, Recorder() as recorder, asked() as morag:
        body = {"url": f"{page.base_url}/x.txt", "webhook_url": recorder.url, "metadata": {"a": 1}, "document_id": "d"}
        task_id = morag.wait(morag.post("/api/v1/ingest/url", json=body).json()["task_id"])
        status = morag.get(f"/api/v1/status/{task_id}").json()

    told = ["task_started", "markdown_conversion started", "markdown_conversion failed", "task_failed"]
    assert names(recorder.payloads) == told
    assert status["status"] == "failure"
    assert "answered 404" in status["error"]
    assert recorder.payloads[2]["document_id"] == "d"
    assert recorder.payloads[3]["data"]["metadata"]["a"] == 1
    assert recorder.payloads[3]["data"]["error_details"]["error_code"] == "FETCH_FAILED"


@pytest.mark.parametrize("url", ["http://192.0.2.7/x", "http://[2001:db8::1]/x", "http://169.254.169.254/latest"])
def test_urls_elsewhere_are_never_asked(url: str) -> None:
    with asked() as morag:
        task_id = morag.wait(morag.post("/api/v1/ingest/url", json={"url": url}).json()["task_id"])
        status = morag.get(f"/api/v1/status/{task_id}").json()

    assert status["status"] == "failure"
    assert "allowed hosts only" in status["error"]


def test_a_redirect_is_not_followed() -> None:
    async def elsewhere(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"location", b"http://192.0.2.7/")]
        await send({"type": "http.response.start", "status": 302, "headers": headers})
        await send({"type": "http.response.body"})

    with ThreadedServer(elsewhere) as server, asked() as morag:
        task_id = morag.wait(morag.post("/api/v1/ingest/url", json={"url": f"{server.url}/x"}).json()["task_id"])
        assert "answered 302" in morag.get(f"/api/v1/status/{task_id}").json()["error"]


def test_a_batch_of_r1_is_a_task_each() -> None:
    with Recorder(answer=b"The Moon pulls the sea.") as page, Recorder() as recorder, asked(profile="r1") as morag:
        items = [{"url": f"{page.base_url}/{place}.txt", "document_id": f"d{place}"} for place in range(3)]
        answer = morag.post("/api/v1/ingest/batch", json={"items": items, "webhook_url": recorder.url}).json()
        for task_id in answer["task_ids"]:
            morag.wait(task_id)

    assert answer.keys() == {"batch_id", "task_ids", "total_items", "message"}
    assert (answer["total_items"], len(set(answer["task_ids"]))) == (3, 3)
    assert names(recorder.payloads).count("task_completed") == 3


def test_a_batch_of_r2_is_one_task() -> None:
    with Recorder(answer=b"The Moon pulls the sea.") as page, asked(profile="r2") as morag:
        items = [{"url": f"{page.base_url}/{place}.txt"} for place in range(60)]
        answer = morag.post("/api/v1/ingest/batch", json={"items": items}).json()
        task_id = morag.wait(answer["task_ids"][0])
        text = morag.get(f"/api/files/temp/{task_id}/markdown.md").text

    assert answer["task_ids"] == [answer["batch_id"]]
    assert answer["total_items"] == 60
    assert text.count("The Moon pulls") == 60


@pytest.mark.parametrize("profile", ["guide", "r1"])
def test_a_batch_has_at_most_fifty_items(profile: str) -> None:
    items = [{"url": "http://127.0.0.1:9/x"}] * 51
    with asked(profile=profile) as morag:
        many = morag.post("/api/v1/ingest/batch", json={"items": items})
        none = morag.post("/api/v1/ingest/batch", json={"items": []})
        fifty = morag.post("/api/v1/ingest/batch", json={"items": items[:50]})

    assert (many.status_code, none.status_code, fifty.status_code) == (400, 400, 200)
    assert "50" in many.json()["detail"]


def test_convert_answers_at_once() -> None:
    with asked() as morag:
        answer = process(morag, mode="convert", document_id="d").json()

    assert answer.keys() == PROCESSED
    assert (answer["success"], answer["mode"], answer["document_id"]) == (True, "convert", "d")
    assert answer["content"] == TEXT.decode()
    assert answer["metadata"]["original_filename"] == "tides.md"
    assert answer["processing_time_ms"] > 0
    assert answer["task_id"] is answer["status_url"] is answer["error_message"] is None


def test_process_answers_at_once_with_more() -> None:
    with asked(profile="r2") as morag, Recorder(answer=b"# A page\n\nThe Moon pulls the sea.") as page:
        answer = process(morag, mode="process").json()
        item = {"url": f"{page.base_url}/page.md"}
        of_url = process(morag, mode="process", source_type="url", **item).json()
        of_batch = process(morag, mode="process", source_type="batch", items=[item, item]).json()
        failed = process(morag, mode="process", name="a.xyz").json()

    assert answer.keys() == PROCESSED
    assert answer["metadata"]["language"] == "en"
    assert answer["metadata"]["title"] == "Tides"
    assert "The Moon pulls" in of_url["content"]
    assert of_batch["content"].count("The Moon pulls") == 2
    assert (failed["success"], failed["content"]) == (False, None)
    assert ".xyz" in failed["error_message"]


@pytest.mark.parametrize("profile", ["guide", "r2"])
def test_ingest_by_process_starts_a_task(profile: str) -> None:
    with asked(profile=profile) as morag, Recorder() as recorder:
        config = {"url": recorder.url, "auth_token": "of-the-submission"}
        answer = process(
            morag,
            mode="ingest",
            webhook_config=config,
            document_id="d-1",
            database_config={"collection_name": "tidal"},
        ).json()
        task_id = morag.wait(answer["task_id"])
        status = morag.get(answer["status_url"]).json()

    assert answer.keys() == PROCESSED
    assert (answer["success"], answer["mode"], answer["document_id"]) == (True, "ingest", "d-1")
    assert (answer["status_url"], status["task_id"]) == (f"/api/v1/status/{task_id}", task_id)
    assert status["result"]["database_collection"] == "tidal"
    assert recorder.arrivals[0].headers["authorization"] == "Bearer of-the-submission"


def test_ingest_by_process_of_urls() -> None:
    with asked() as morag, Recorder() as recorder, Recorder(answer=b"The Moon pulls the sea.") as page:
        stated = {"mode": "ingest", "webhook_config": {"url": recorder.url}}
        item = {"url": f"{page.base_url}/a.txt"}
        for more in ({"source_type": "url", **item}, {"source_type": "batch", "items": [item, item]}):
            answer = morag.post("/api/v1/process", data={"request_data": json.dumps({**stated, **more})}).json()
            task_id = morag.wait(answer["task_id"])
            assert morag.get(f"/api/v1/status/{task_id}").json()["status"] == "success"


@pytest.mark.parametrize(
    ("request_data", "status", "says"),
    [
        ({"mode": "ingest"}, 400, "Webhook configuration required"),
        ({"mode": "ingest", "webhook_config": {}}, 400, "webhook_config.url"),
        ({"mode": "ingest", "webhook_config": {"url": "ftp://x"}}, 400, "webhook_config.url"),
        ({"mode": "ingest", "webhook_config": {"url": "http://x/", "auth_token": "a\r\nb"}}, 400, "auth_token"),
        ({"mode": "fly"}, 400, "mode"),
        ({}, 400, "mode"),
        ({"mode": "convert", "source_type": "url", "url": "http://127.0.0.1:9/"}, 400, "only supports"),
        ({"mode": "process", "source_type": "url"}, 400, "URL required"),
        ({"mode": "process", "source_type": "url", "url": "file:///etc/passwd"}, 400, "url"),
        ({"mode": "process", "source_type": "batch"}, 400, "Items"),
        ({"mode": "process", "source_type": "batch", "items": [{}]}, 400, "items.0.url"),
    ],
)
def test_what_process_refuses(request_data: dict[str, Any], status: int, says: str) -> None:
    with asked() as morag:
        answer = process(morag, **request_data)

    assert answer.status_code == status
    assert says in str(answer.json()["detail"])


def test_what_process_refuses_of_forms() -> None:
    with asked() as morag:
        no_data = morag.upload("/api/v1/process")
        no_file = morag.post("/api/v1/process", data={"request_data": '{"mode": "convert"}'})
        other = process(morag, mode="convert", name="a.xyz")

    assert (no_data.status_code, no_data.json()["detail"][0]["loc"]) == (422, ["body", "request_data"])
    assert (no_file.status_code, other.status_code) == (400, 400)
    assert "File upload required" in no_file.json()["detail"]


HOSTILE = [
    '{"mode": "convert"',
    "[]",
    "null",
    '"x"',
    '{"mode": "convert", "metadata": {"a": NaN}}',
    '{"mode": "convert", "metadata": {"a": 1e999}}',
    '{"mode": "convert", "metadata": "\\ud800"}',
    '{"mode": "convert", "metadata": ' + "[" * 5000 + "]" * 5000 + "}",
    '{"mode": "ingest", "webhook_config": {"url": "http://' + "a" * 5000 + '/"}}',
    '{"mode": "ingest", "webhook_config": {"url": "http://\\u0000/"}}',
    '{"mode": "ingest", "webhook_config": {"url": "http://[::1"}}',
    '{"mode": "ingest", "webhook_config": {"url": "http://x:99999/"}}',
    '{"mode": 5}',
    "\x00",
    "\ufeff{}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_request_data_is_400(text: str) -> None:
    with asked() as morag:
        answer = morag.upload("/api/v1/process", request_data=text)

    assert answer.status_code == 400
    assert isinstance(answer.json()["detail"], str)
    assert len(answer.text) < 10_000


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b'{"url": 5}', b'{"url": "http://x/", "metadata": {"a": NaN}}', b"[" * 100_000]
)
@pytest.mark.parametrize("path", ["/api/v1/ingest/url", "/api/v1/ingest/batch"])
def test_hostile_json_is_422_with_a_list(path: str, body: bytes) -> None:
    with asked() as morag:
        answer = morag.post(path, content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 422
    assert all(problem.keys() == {"type", "loc", "msg"} for problem in answer.json()["detail"])
    assert all(problem["loc"][0] == "body" for problem in answer.json()["detail"])


def test_too_much_json_is_413_and_a_huge_field_400() -> None:
    with asked() as morag:
        much = morag.post("/api/v1/ingest/url", content=b'{"url": "' + b"a" * 6_000_000 + b'"}')
        huge = morag.upload("/api/v1/ingest/file", metadata="x" * 2_000_000)
        many = morag.post("/api/v1/ingest/file", files=[("file", (f"{place}.md", TEXT)) for place in range(2000)])

    assert (much.status_code, huge.status_code, many.status_code) == (413, 400, 400)
    assert all(isinstance(answer.json()["detail"], str) for answer in (much, huge, many))


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=y", b"--y\r\nContent-Disposition: form-data\r\n\r\nx\r\n--y--"),
        ("multipart/form-data; boundary=y", b'--y\r\nContent-Disposition: form-data; name="file"\r\n\r\nx'),
        ("multipart/form-data; boundary=\xff", b"--\xff"),
        ("application/x-www-form-urlencoded", b"file=x&source_type=document"),
        ("text/plain", b"x"),
    ],
)
def test_forms_that_are_none(content_type: str, body: bytes) -> None:
    with asked() as morag:
        answer = morag.post(
            "/api/v1/ingest/file", content=body, headers={"content-type": content_type.encode("latin-1")}
        )

    assert answer.status_code in {400, 422}
    assert answer.json().keys() == {"detail"}


@pytest.mark.parametrize("task_id", ["nobody", "%00", "%ff", "..%2f..", "a" * 4000, "%F0%9F%8C%8A"])
def test_ids_that_nobody_knows(task_id: str) -> None:
    with asked(profile="r2") as morag:
        status = morag.get(f"/api/v1/status/{task_id}")
        others = [
            morag.get(f"/api/v1/status/{task_id}/history"),
            morag.get(f"/api/files/temp/{task_id}/markdown.md"),
            morag.get(f"/api/files/temp/{task_id}"),
            morag.http.delete(f"/api/files/temp/{task_id}"),
            morag.http.delete(f"/api/v1/ingest/{task_id}"),
        ]

    assert {answer.status_code for answer in (status, *others)} <= {200, 404, 405}


@pytest.mark.parametrize("hours", ["0", "-1", "x", "1.5", "", "9" * 5000, "\u0661"])
def test_hours_that_are_none(hours: str) -> None:
    with asked() as morag:
        answer = morag.get("/api/v1/status/events/recent", params={"hours": hours})

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["query", "hours"]


def test_artefacts_are_listed_served_in_ranges_and_deleted() -> None:
    with asked() as morag:
        task_id = morag.ingest()
        folder = f"/api/files/temp/{task_id}"
        listed = morag.get(folder).json()
        whole = morag.get(f"{folder}/markdown.md")
        ranges = {
            wanted: morag.get(f"{folder}/markdown.md", headers={"range": wanted})
            for wanted in ("bytes=0-6", "bytes=9-", "bytes=-5", "bytes=0-99999", "bytes=0-0")
        }
        unsatisfiable = [
            morag.get(f"{folder}/markdown.md", headers={"range": wanted})
            for wanted in ("bytes=99999-", "bytes=5-2", "bytes=-0")
        ]
        ignored = [
            morag.get(f"{folder}/markdown.md", headers={"range": wanted})
            for wanted in ("bytes=0-1,4-5", "lines=0-1", "bytes=-", "bytes=a-b", "bytes=0-" + "9" * 5000)
        ]
        deleted = morag.http.delete(folder)
        after = [morag.get(f"{folder}/markdown.md").status_code, morag.get(folder).json()["files"]]

    assert listed.keys() == {"session_id", "files", "total_size_bytes"}
    assert {file["filename"] for file in listed["files"]} == {"markdown.md", "metadata.json", "chunks.json"}
    assert whole.content == TEXT
    assert whole.headers["accept-ranges"] == "bytes"
    assert {answer.status_code for answer in ranges.values()} == {206}
    assert ranges["bytes=0-6"].content == TEXT[:7]
    assert ranges["bytes=0-6"].headers["content-range"] == f"bytes 0-6/{len(TEXT)}"
    assert ranges["bytes=9-"].content == TEXT[9:]
    assert ranges["bytes=-5"].content == TEXT[-5:]
    assert ranges["bytes=0-99999"].content == TEXT
    assert ranges["bytes=0-0"].content == TEXT[:1]
    assert [answer.status_code for answer in unsatisfiable] == [416] * 3
    assert {answer.headers["content-range"] for answer in unsatisfiable} == {f"bytes */{len(TEXT)}"}
    assert all(isinstance(answer.json()["detail"], str) for answer in unsatisfiable)
    assert {(answer.status_code, answer.content) for answer in ignored} == {(200, TEXT)}
    assert deleted.status_code == 200
    assert after == [404, []]


@pytest.mark.parametrize(
    ("profile", "path"),
    [
        ("guide", "/api/v1/process"),
        ("guide", "/api/v1/status/events/recent"),
        ("guide", "/_mock/deliveries"),
        ("r3", "/api/v1/stages/"),
        ("r3", "/api/v1/ingest/file"),
        ("r3", "/api/v1/files/list"),
    ],
)
def test_the_key_guards_every_call(profile: Any, path: str) -> None:
    with MockMorag(profile=profile, api_key="another-key") as mock:
        refused = httpx2.get(f"{mock.url}{path}", headers=KEY)
        let_in = httpx2.get(f"{mock.url}{path}", headers={"Authorization": "Bearer another-key"})

    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert let_in.status_code != 401


def test_an_api_key_that_no_header_can_carry() -> None:
    with pytest.raises(ConfigurationError, match="API key"):
        MockMorag(api_key="a b")
