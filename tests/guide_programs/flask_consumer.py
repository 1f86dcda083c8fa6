"""The guide's Flask consumer: what its functions read, read strictly, so that a missing field is a 500."""

from __future__ import annotations

import json
import sys
from typing import Any

from flask import Flask, jsonify, request
from werkzeug.serving import make_server

app = Flask(__name__)


@app.post("/webhook")
def webhook() -> Any:
    payload = request.json
    data = payload["data"]
    kind = payload["event_type"]
    if kind in TASKS:
        told = TASKS[kind](data)
    elif "step" in data:
        told = step(data)
    else:
        return jsonify({"status": "error", "message": f"nobody handles {kind}"}), 500
    print(json.dumps({"event_type": kind, **told}), flush=True)
    return jsonify({"status": "received"})


def task_started(data: dict[str, Any]) -> dict[str, Any]:
    return {"task_id": data["task_id"]}


def task_completed(data: dict[str, Any]) -> dict[str, Any]:
    return {"task_id": data["task_id"], "chunks": data["result"]["chunks_created"]}


def task_failed(data: dict[str, Any]) -> dict[str, Any]:
    return {"task_id": data["task_id"], "error": data["error"]}


TASKS = {"task_started": task_started, "task_completed": task_completed, "task_failed": task_failed}


def step(data: dict[str, Any]) -> dict[str, Any]:
    told = {name: data[name] for name in ("task_id", "step", "status", "progress_percent")}
    if data["status"] == "completed":
        of_step = data["data"]
        if data["step"] == "markdown_conversion":
            told |= {"url": of_step["markdown_file_url"], "pages": of_step["conversion_metadata"]["page_count"]}
        elif data["step"] == "ingestion":
            told |= {"chunks": of_step["chunks_ingested"], "facts": of_step["facts_stored"]}
    return told


if __name__ == "__main__":
    server = make_server("127.0.0.1", int(sys.argv[1]), app)
    print(f"listening on {server.port}", flush=True)
    server.serve_forever()
