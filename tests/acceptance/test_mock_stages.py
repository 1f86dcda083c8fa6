"""r3: stages and their files, with what the notifier and the stage API tell."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from datetime import datetime
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from mocking import TEXT, Asked, asked
from recording import Recorder

from morag_client import parse_event
from morag_client.testing import FaultPlan, faults

STAGES = ["markdown-conversion", "markdown-optimizer", "chunker", "fact-generator", "ingestor"]
FILE = {"filename", "file_path", "file_size", "created_at", "stage_type", "content_type", "checksum"}
EXECUTED = {"success", "stage_type", "status", "output_files", "metadata", "error_message", "webhook_sent"}
JOB = {"job_id", "stages_completed", "current_stage", "available_files", "overall_status", "progress_percentage"}


def execute(morag: Asked, stage: str = "markdown-conversion", **fields: Any) -> httpx2.Response:
    return morag.upload(f"/api/v1/stages/{stage}/execute", **fields)


def kinds(recorder: Recorder) -> list[str]:
    """Each arrival's dialect and status, read by nobody's parser."""
    told = []
    for body in recorder.payloads:
        if body.get("event") == "stage_completed":
            told.append(f"5 {body['stage']['type']} {body['stage']['status']}")
        elif body.get("event") == "pipeline_completed":
            told.append(f"6 {body['pipeline']['success']}")
        elif "stage_type" in body:
            told.append(f"7 {body['stage_type']} {body['status']}")
        else:
            told.append(f"8 {body['success']}")
    return told


@pytest.mark.parametrize("path", ["/api/v1/process", "/api/v1/ingest/file", "/api/v1/ingest/url", "/api/v1/ingest"])
def test_what_is_gone(path: str) -> None:
    with asked(profile="r3") as morag:
        answer = morag.post(path)
        status = morag.get("/api/v1/status/x")
        history = morag.get("/api/v1/status/x/history")
        cancelling = morag.http.delete("/api/v1/ingest/x")

    assert (answer.status_code, cancelling.status_code) == (410, 410)
    assert isinstance(answer.json()["detail"], str)
    assert (status.status_code, history.status_code) == (404, 404)


def test_the_five_stages() -> None:
    with asked(profile="r3") as morag:
        answer = morag.get("/api/v1/stages/").json()

    assert answer["total_count"] == 5
    assert [stage["stage_type"] for stage in answer["stages"]] == STAGES


def test_a_webhook_url_is_told_by_the_notifier_alone() -> None:
    with asked(profile="r3", bearer_token="tok") as morag, Recorder() as recorder:
        answer = execute(morag, webhook_url=recorder.url, config={"a": 1}).json()

    assert answer.keys() == EXECUTED
    assert (answer["success"], answer["stage_type"], answer["status"]) == (True, "markdown-conversion", "completed")
    assert answer["webhook_sent"] is False
    assert answer["output_files"][0].keys() == FILE
    metadata = {"execution_time", "start_time", "end_time", "input_files", "config_used", "warnings"}
    assert answer["metadata"].keys() == metadata
    assert answer["metadata"]["config_used"] == {"a": 1}
    (told,) = recorder.payloads
    assert told.keys() == {"event", "stage", "files", "context", "metadata"}
    outcome = {"type", "status", "execution_time", "start_time", "end_time", "error_message"}
    assert told["stage"].keys() == outcome
    assert told["files"]["output_files"] == [answer["output_files"][0]["file_path"]]
    context = {"source_path", "output_dir", "total_stages_completed", "total_stages_failed"}
    assert told["context"].keys() == context
    assert told["metadata"]["config_used"] == {"a": 1}
    assert datetime.fromisoformat(told["stage"]["start_time"]).tzinfo is None
    assert recorder.arrivals[0].headers["user-agent"] == "MoRAG-Stages/0.1.0"
    assert "task_id" not in json.dumps(told)


def test_a_webhook_config_is_told_by_the_stage_api_too() -> None:
    headers = {"X-Team": "sea", "User-Agent": "ours"}
    with asked(profile="r3") as morag, Recorder() as recorder:
        config = {"url": recorder.url, "auth_token": "tok", "headers": headers, "retry_count": 5, "timeout": 3}
        answer = execute(morag, request={"webhook_config": config}).json()
        job_id = answer["output_files"][0]["file_path"].split("/")[1]

    assert answer["webhook_sent"] is True
    assert kinds(recorder) == ["5 markdown-conversion completed", "7 markdown-conversion completed"]
    notifier, api = recorder.arrivals
    assert "authorization" not in notifier.headers
    assert "x-team" not in notifier.headers
    assert api.headers["authorization"] == "Bearer tok"
    assert (api.headers["x-team"], api.headers["user-agent"]) == ("sea", "ours")
    stage_result = {"job_id", "stage_type", "status", "success", "output_files", "execution_time", "timestamp"}
    assert api.payload.keys() == stage_result
    assert api.payload["job_id"] == job_id
    assert datetime.fromisoformat(api.payload["timestamp"]).tzinfo is None


def test_the_stage_api_never_tries_again_and_says_so() -> None:
    with asked(profile="r3", retry_delay=0) as morag, Recorder(200, 500) as recorder:
        answer = execute(morag, request={"webhook_config": {"url": recorder.url, "retry_count": 5}}).json()

    assert (answer["success"], answer["webhook_sent"]) == (True, False)
    assert kinds(recorder) == ["5 markdown-conversion completed", "7 markdown-conversion completed"]


def test_a_chain_of_all_stages() -> None:
    with asked(profile="r3") as morag, Recorder() as recorder:
        request = {"stages": STAGES, "webhook_config": {"url": recorder.url}}
        answer = morag.upload("/api/v1/stages/chain", request=request).json()
        job_id = answer["final_output_files"][0]["file_path"].split("/")[1]
        status = morag.get("/api/v1/stages/status", params={"job_id": job_id}).json()

    fields = {"success", "stages_executed", "total_execution_time", "failed_stage", "final_output_files"}
    assert answer.keys() == fields
    assert (answer["success"], answer["failed_stage"]) == (True, None)
    assert [stage["stage_type"] for stage in answer["stages_executed"]] == STAGES
    assert all(stage["webhook_sent"] is False for stage in answer["stages_executed"])
    assert kinds(recorder) == [*(f"5 {stage} completed" for stage in STAGES), "6 True", "8 True"]
    assert [p["context"]["total_stages_completed"] for p in recorder.payloads[:5]] == [1, 2, 3, 4, 5]
    pipeline, chain = recorder.payloads[5:]
    assert pipeline.keys() == {"event", "pipeline", "context", "stages"}
    assert pipeline["pipeline"]["stages_completed"] == len(pipeline["stages"]) == 5
    assert len(pipeline["context"]["intermediate_files"]) == 5
    counts = {"total_execution_time", "stages_executed", "stages_successful", "stages_failed", "timestamp"}
    assert chain.keys() == counts | {"type", "success"}
    assert (chain["stages_executed"], chain["stages_successful"], chain["stages_failed"]) == (5, 5, 0)
    assert status.keys() == JOB
    assert (status["job_id"], status["stages_completed"], status["current_stage"]) == (job_id, STAGES, None)
    assert (status["overall_status"], status["progress_percentage"]) == ("completed", 100)
    assert [file["stage_type"] for file in status["available_files"]] == STAGES


def test_execute_all_takes_form_fields() -> None:
    with asked(profile="r3") as morag, Recorder() as recorder:
        answer = morag.upload("/api/v1/stages/execute-all", webhook_url=recorder.url).json()
        two = morag.upload("/api/v1/stages/execute-all", stages=STAGES[:2], global_config={"x": 1}).json()
        no_file = morag.post("/api/v1/stages/execute-all", data={"stages": json.dumps(STAGES)})

    assert kinds(recorder) == [*(f"5 {stage} completed" for stage in STAGES), "6 True", "8 True"]
    assert len(answer["stages_executed"]) == 5
    assert [stage["stage_type"] for stage in two["stages_executed"]] == STAGES[:2]
    assert no_file.status_code == 422


def test_a_chain_ends_at_a_failure_unless_told_otherwise() -> None:
    with asked(profile="r3") as morag, Recorder() as recorder:
        request = {"stages": STAGES, "webhook_config": {"url": recorder.url}}
        answer = morag.upload("/api/v1/stages/chain", name="a.xyz", request=request).json()
        going_on = {"stages": STAGES[:2], "stop_on_failure": False}
        both = morag.upload("/api/v1/stages/chain", name="a.xyz", request=going_on).json()

    assert (answer["success"], answer["failed_stage"]) == (False, "markdown-conversion")
    assert len(answer["stages_executed"]) == 1
    assert ".xyz" in answer["stages_executed"][0]["error_message"]
    assert answer["final_output_files"] == []
    assert kinds(recorder) == ["5 markdown-conversion failed", "6 False", "8 False"]
    assert ".xyz" in recorder.payloads[0]["stage"]["error_message"]
    assert ".xyz" in recorder.payloads[1]["pipeline"]["error_message"]
    assert len(both["stages_executed"]) == 2


def test_a_job_goes_on_from_its_files_and_skips_what_is_there() -> None:
    with asked(profile="r3") as morag, Recorder() as recorder:
        first = execute(morag).json()["output_files"][0]["file_path"]
        config = {"url": recorder.url}
        body = {"input_files": [f"./{first}"], "webhook_config": config}
        chunker = morag.post("/api/v1/stages/chunker/execute", json=body).json()
        again = morag.post("/api/v1/stages/chunker/execute", json=body).json()
        anew = morag.post("/api/v1/stages/chunker/execute", json={**body, "skip_if_exists": False}).json()
        chain = {"stages": STAGES[:3], "input_files": [first], "webhook_config": config}
        chained = morag.post("/api/v1/stages/chain", json=chain).json()
        job = morag.get("/api/v1/stages/status", params={"job_id": first.split("/")[1]}).json()

    assert [answer["status"] for answer in (chunker, again, anew)] == ["completed", "skipped", "completed"]
    assert again["output_files"][0]["file_path"] == chunker["output_files"][0]["file_path"]
    assert [stage["status"] for stage in chained["stages_executed"]] == ["skipped", "completed", "skipped"]
    assert (chained["success"], job["progress_percentage"]) == (True, 60)
    assert kinds(recorder)[:4] == [
        "5 chunker completed",
        "7 chunker completed",
        "5 chunker skipped",
        "7 chunker skipped",
    ]
    results = [p for p in recorder.payloads if "stage_type" in p]
    assert {p["job_id"] for p in results} == {None}
    assert {p["success"] for p in results} == {True}
    pipeline, chain_told = recorder.payloads[-2:]
    assert (pipeline["pipeline"]["stages_completed"], pipeline["pipeline"]["stages_skipped"]) == (1, 2)
    assert (chain_told["stages_executed"], chain_told["stages_successful"]) == (3, 3)


def test_our_own_reader_understands_whatever_is_told() -> None:
    with asked(profile="r3") as morag, Recorder() as recorder:
        request = {"stages": STAGES, "webhook_config": {"url": recorder.url}}
        morag.upload("/api/v1/stages/chain", request=request)
        execute(morag, request={"webhook_config": {"url": recorder.url}})

    events = [parse_event(arrival.body).name for arrival in recorder.arrivals]
    assert events == [
        *(f"stage.{stage}.completed" for stage in STAGES),
        "pipeline.completed",
        "chain.completed",
        "stage.markdown-conversion.completed",
        "stage.markdown-conversion.completed",
    ]


def test_files_are_listed_described_and_served() -> None:
    with asked(profile="r3") as morag:
        morag.upload("/api/v1/stages/execute-all")
        execute(morag, name="Übersicht über alles?.md")
        listed = morag.get("/api/v1/files/list").json()
        json_only = morag.get("/api/v1/files/list", params={"file_extension": "json"}).json()
        chunks = morag.get("/api/v1/files/list", params={"stage_type": "chunker"}).json()
        other = morag.get("/api/v1/files/list", params={"output_dir": "/etc"}).json()
        path = chunks["files"][0]["file_path"]
        info = morag.get(f"/api/v1/files/info/{path}").json()
        download = morag.get(f"/api/v1/files/download/{quote(path, safe='')}")
        shown = morag.get(f"/api/v1/files/download/./{path}", params={"inline": "true"})
        part = morag.get(f"/api/v1/files/download/{path}", headers={"range": "bytes=0-0"})
        named = listed["files"][0]
        odd = morag.get(f"/api/v1/files/download/{quote(named['file_path'], safe='')}")
        wrong = morag.get("/api/v1/files/list", params={"stage_type": "flyer"})

    assert listed.keys() == {"files", "total_count", "total_size"}
    assert (listed["total_count"], json_only["total_count"], chunks["total_count"]) == (6, 3, 1)
    assert other == {"files": [], "total_count": 0, "total_size": 0}
    assert listed["total_size"] == sum(file["file_size"] for file in listed["files"])
    assert info == chunks["files"][0]
    assert info.keys() == FILE
    assert len(download.json()) == 2
    assert download.headers["content-disposition"] == "attachment; filename*=utf-8''tides.chunks.json"
    assert shown.headers["content-disposition"] == "inline"
    assert (part.status_code, part.content) == (206, b"[")
    assert (odd.status_code, odd.content) == (200, TEXT)
    assert "%C3%9Cbersicht" in odd.headers["content-disposition"]
    assert wrong.status_code == 422


@pytest.mark.parametrize("path", ["nothing", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "%00", ""])
def test_files_that_are_not_there(path: str) -> None:
    with asked(profile="r3") as morag:
        answers = [morag.get(f"/api/v1/files/{call}/{path}") for call in ("info", "download")]

    assert {answer.status_code for answer in answers} == {404}


def test_a_job_that_nobody_knows() -> None:
    with asked(profile="r3") as morag:
        unknown = morag.get("/api/v1/stages/status", params={"job_id": "nobody"}).json()
        none = morag.get("/api/v1/stages/status").json()

    assert unknown.keys() == JOB
    assert (unknown["job_id"], unknown["overall_status"], unknown["progress_percentage"]) == (
        "nobody",
        "not_started",
        0,
    )
    assert none["job_id"] is None


def test_what_stages_refuse() -> None:
    with asked(profile="r3", allowed_hosts=["127.0.0.1"]) as morag:
        form = morag.post("/api/v1/stages/chunker/execute", data={"config": "{}"})
        refusals = {
            "stage": execute(morag, "flyer"),
            "file": form,
            "input": morag.post("/api/v1/stages/chunker/execute", json={"input_files": ["/etc/passwd"]}),
            "config": execute(morag, config="[1]"),
            "request": execute(morag, request="{"),
            "header": execute(
                morag, request={"webhook_config": {"url": "http://127.0.0.1:9/", "headers": {"A": "b\r\nC: d"}}}
            ),
            "framing": execute(
                morag, request={"webhook_config": {"url": "http://127.0.0.1:9/", "headers": {"Content-Length": "0"}}}
            ),
            "host": execute(morag, webhook_url="http://example.com/"),
            "no stages": morag.upload("/api/v1/stages/chain", request={"stages": []}),
            "wrong stages": morag.upload("/api/v1/stages/execute-all", stages=["flyer"]),
        }
        no_request = morag.upload("/api/v1/stages/chain")
        bad_json = morag.post("/api/v1/stages/chain", json={"stages": ["flyer"]})

    assert {name: answer.status_code for name, answer in refusals.items()} == dict.fromkeys(refusals, 400)
    assert all(isinstance(answer.json()["detail"], str) for answer in refusals.values())
    assert (no_request.status_code, bad_json.status_code) == (422, 422)


def test_a_server_that_stops_does_not_wait_for_a_stages_webhooks() -> None:
    with Recorder(500) as recorder, asked(profile="r3") as morag:

        def submit() -> None:
            with contextlib.suppress(httpx2.HTTPError):
                execute(morag, webhook_url=recorder.url)

        thread = threading.Thread(target=submit)
        thread.start()
        while not recorder.arrivals:
            time.sleep(0.01)
        began = time.monotonic()
        morag.mock.stop()
        thread.join()
        took = time.monotonic() - began

    assert took < 0.9


def test_twenty_callers_at_once() -> None:
    with asked(profile="r3", speed=0.2) as morag, Recorder() as recorder:
        answers: list[Any] = []

        def submit() -> None:
            answers.append(morag.upload("/api/v1/stages/execute-all", webhook_url=recorder.url).json())

        threads = [threading.Thread(target=submit) for _ in range(20)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - began

    assert len(recorder.arrivals) == 20 * 7
    assert all(answer["success"] for answer in answers)
    # One after the other they would take twenty times 0.7 seconds.
    assert took < 8


def test_faults_befall_stages_too() -> None:
    plan = FaultPlan(faults.duplicate(events="stage.chunker.*"), faults.drop(events="pipeline.*"))
    with asked(profile="r3", faults=plan) as morag, Recorder() as recorder:
        request = {"stages": STAGES, "webhook_config": {"url": recorder.url}}
        answer = morag.upload("/api/v1/stages/chain", request=request).json()

    told = kinds(recorder)
    assert answer["success"]
    assert told.count("5 chunker completed") == 2
    assert "6 True" not in told
    assert told[-1] == "8 True"
