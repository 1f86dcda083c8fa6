"""n8n, Zapier and Slack: servers that answer as those do, and the workflow to import."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import deliveries
import others
import pytest
import receiving
from others import Posted, Reply, Service

from morag_client import Receiver, RetryPolicy

WORKFLOW = Path(__file__).parents[2] / "examples/05_forwarding/n8n-workflow.json"
FAILED = deliveries.step_body(step="chunking", status="failed", error_message="<!channel> no text & none")


class N8n:
    """What n8n's webhook node does with a workflow: its nodes are walked to the one that answers."""

    def __init__(self, workflow: dict[str, Any], *, active: bool = False) -> None:
        self.active = active
        self.listening = False
        self.visited: list[list[str]] = []
        self._nodes = {node["name"]: node for node in workflow["nodes"]}
        self._next = workflow["connections"]

    def __call__(self, posted: Posted) -> Reply:
        kind, _, path = urlsplit(posted.path).path.removeprefix("/").partition("/")
        (hook,) = (node for node in self._nodes.values() if node["type"] == "n8n-nodes-base.webhook")
        known = hook["parameters"]["path"] == path and hook["parameters"]["httpMethod"] == "POST"
        if kind == "webhook-test":
            listening, self.listening = self.listening, False
            if not (known and listening):
                return _not_registered(path, "Click the 'Execute workflow' button on the canvas, then try again.")
        elif not (kind == "webhook" and known and self.active):
            return _not_registered(path, "The workflow must be active for a production URL to run successfully.")
        return self._run(hook["name"], posted.json)

    def _run(self, name: str, body: dict[str, Any]) -> Reply:
        visited: list[str] = []
        self.visited.append(visited)
        while True:
            node = self._nodes[name]
            visited.append(name)
            if node["type"] == "n8n-nodes-base.respondToWebhook":
                code = node["parameters"]["options"].get("responseCode", 200)
                return Reply(code, node["parameters"]["responseBody"].encode(), {"content-type": "application/json"})
            ways = self._next.get(name, {}).get("main", [])
            if not ways:
                return _said(500, message="No Respond to Webhook node found in the workflow")
            way = 0
            if node["type"] == "n8n-nodes-base.if":
                (condition,) = node["parameters"]["conditions"]["conditions"]
                assert condition["leftValue"] == "={{ $json.body.event_type ?? '' }}"
                way = 0 if body.get("event_type", "").endswith(condition["rightValue"]) else 1
            name = ways[way][0]["node"]


def _not_registered(path: str, hint: str) -> Reply:
    return _said(404, message=f'The requested webhook "POST {path}" is not registered.', hint=hint)


def _said(status: int, **said: str) -> Reply:
    return Reply(status, json.dumps({"code": status, **said}).encode(), {"content-type": "application/json"})


def zapier(posted: Posted) -> Reply:
    """A catch hook: whatever is posted to its URL is success."""
    if not posted.path.startswith("/hooks/catch/123456/abcdef"):
        return Reply(404, b"not found")
    said = {"attempt": "0190", "id": "0190", "request_id": "0190", "status": "success"}
    return Reply(200, json.dumps(said).encode(), {"content-type": "application/json"})


def slack(posted: Posted) -> Reply:
    """An incoming webhook: it looks at the message before it takes it."""
    if posted.path != "/services/T00000000/B00000000/XXXXXXXX":
        return Reply(404, b"no_service")
    if not posted.headers["content-type"].startswith("application/json"):
        return Reply(400, b"invalid_payload")
    message = posted.json
    if not message.get("text"):
        return Reply(400, b"no_text")
    known = {"header": "text", "section": "fields", "context": "elements"}
    if any(known.get(block["type"], "") not in block and "text" not in block for block in message["blocks"]):
        return Reply(400, b"invalid_blocks")
    return Reply(200, b"ok")


async def outcome(folder: Path, service: Service, path: str, *bodies: bytes, **options: Any) -> list[Any]:
    """The runs that pass these bodies on to a path of the service."""
    with others.running(service) as url:
        receiver = receiving.receiver_of(folder)
        given = {"retry": RetryPolicy(attempts=2, first=0, cap=0), "allow_private": "127.0.0.1", **options}
        receiver.forward("*", to=f"{url}{path}", **given)
        async with receiver.lifespan():
            records = await receiving.send(receiver, *bodies)
            return [await end_of(receiver, record) for record in records]


async def end_of(receiver: Receiver, record: int) -> Any:
    while True:
        (run, *_) = (await receiver.events.get(record)).runs or (None,)
        if run is not None and run.state in {"succeeded", "failed"}:
            return run
        await asyncio.sleep(0.02)


@pytest.fixture
def workflow() -> dict[str, Any]:
    return json.loads(WORKFLOW.read_text())


def test_the_workflow_is_one_that_n8n_imports(workflow: dict[str, Any]) -> None:
    names = [node["name"] for node in workflow["nodes"]]
    hook = next(node for node in workflow["nodes"] if node["type"] == "n8n-nodes-base.webhook")

    assert {"name", "nodes", "connections", "settings"} <= workflow.keys()
    assert workflow["active"] is False
    assert hook["parameters"] == {
        "httpMethod": "POST",
        "path": "morag-webhook",
        "responseMode": "responseNode",
        "options": {},
    }
    for node in workflow["nodes"]:
        assert {"id", "name", "type", "typeVersion", "position", "parameters"} <= node.keys()
        assert node["type"].startswith("n8n-nodes-base.")
        assert len(node["position"]) == 2
    assert len(set(names)) == len({node["id"] for node in workflow["nodes"]}) == len(names)
    # every wire leads from a node to a node, and every way from the webhook to an answer
    for name, outputs in workflow["connections"].items():
        assert name in names
        for way in outputs["main"]:
            assert [(one["type"], one["index"]) for one in way] == [("main", 0)]
            assert all(one["node"] in names for one in way)


async def test_n8n_runs_the_workflow_and_its_node_answers(tmp_path: Path, workflow: dict[str, Any]) -> None:
    n8n = N8n(workflow, active=True)
    bodies = FAILED, deliveries.task_body(), deliveries.unknown_body()

    runs = await outcome(tmp_path, Service(answer=n8n), "/webhook/morag-webhook", *bodies)

    assert [run.state for run in runs] == ["succeeded"] * 3
    assert sorted(n8n.visited) == sorted(
        [["MoRAG webhook", "Has it failed?", way, "Answer"] for way in ("On failure", *["On anything else"] * 2)]
    )


@pytest.mark.parametrize("path", ["/webhook/morag-webhook", "/webhook-test/morag-webhook", "/webhook/other"])
async def test_n8n_that_does_not_listen_leaves_a_dead_letter_that_says_so(
    tmp_path: Path, workflow: dict[str, Any], path: str
) -> None:
    (run,) = await outcome(tmp_path, Service(answer=N8n(workflow)), path, FAILED)

    assert (run.state, run.attempts) == ("failed", 1)
    assert "is not registered" in run.error
    assert "morag-webhook" not in run.error  # the path of a webhook is what protects it


async def test_n8ns_test_url_takes_one_call(tmp_path: Path, workflow: dict[str, Any]) -> None:
    n8n = N8n(workflow)
    n8n.listening = True

    runs = await outcome(tmp_path, Service(answer=n8n), "/webhook-test/morag-webhook", FAILED, FAILED + b" ")

    assert [run.state for run in runs] == ["succeeded", "failed"]


async def test_n8n_without_its_answering_node_is_tried_again(tmp_path: Path, workflow: dict[str, Any]) -> None:
    del workflow["connections"]["Has it failed?"]

    (run,) = await outcome(tmp_path, Service(answer=N8n(workflow, active=True)), "/webhook/morag-webhook", FAILED)

    assert (run.state, run.attempts) == ("failed", 2)
    assert "No Respond to Webhook node" in run.error


async def test_zapier_catches_it(tmp_path: Path) -> None:
    service = Service(answer=zapier)

    runs = await outcome(tmp_path, service, "/hooks/catch/123456/abcdef/", FAILED, deliveries.task_body())

    assert [run.state for run in runs] == ["succeeded"] * 2
    assert service.posted[0].headers["content-type"] == "application/json"
    assert service.posted[0].json["data"]["step"] == "chunking"


async def test_zapier_throttles(tmp_path: Path) -> None:
    replies = [Reply(429), Reply(200, b'{"status": "success"}')]

    (run,) = await outcome(tmp_path, Service(*replies), "/hooks/catch/123456/abcdef/", FAILED)

    assert (run.state, run.attempts) == ("succeeded", 2)


async def test_slack_takes_the_message(tmp_path: Path) -> None:
    service = Service(answer=slack)

    runs = await outcome(
        tmp_path, service, "/services/T00000000/B00000000/XXXXXXXX", FAILED, deliveries.unknown_body(), format="slack"
    )

    assert [run.state for run in runs] == ["succeeded"] * 2
    assert "❌ chunking.failed" in service.posted[0].json["text"]
    assert b"<!channel>" not in service.posted[0].body


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "invalid_payload"),
        (403, "action_prohibited"),
        (404, "no_service"),
        (410, "channel_is_archived"),
    ],
)
async def test_what_slack_refuses_is_a_dead_letter_at_once(tmp_path: Path, status: int, said: str) -> None:
    service = Service(Reply(status, said.encode()))

    (run,) = await outcome(tmp_path, service, "/services/T0/B0/X0", FAILED, format="slack")

    assert (run.state, run.attempts, len(service.posted)) == ("failed", 1, 1)
    assert run.error.endswith(f"answered {status}: {said}")


@pytest.mark.parametrize(("status", "said"), [(429, "rate_limited"), (500, "rollup_error")])
async def test_what_slack_puts_off_is_tried_again(tmp_path: Path, status: int, said: str) -> None:
    service = Service(Reply(status, said.encode(), {"retry-after": "1"}), Reply())

    (run,) = await outcome(tmp_path, service, "/services/T0/B0/X0", FAILED, format="slack")

    assert (run.state, run.attempts) == ("succeeded", 2)


async def test_a_message_of_the_applications_own_that_slack_refuses_is_known_by_what_slack_says(tmp_path: Path) -> None:
    (run,) = await outcome(
        tmp_path,
        Service(answer=slack),
        "/services/T00000000/B00000000/XXXXXXXX",
        FAILED,
        format=lambda event: {"blocks": [], "note": event.name},
    )

    assert run.error.endswith("answered 400: no_text")
