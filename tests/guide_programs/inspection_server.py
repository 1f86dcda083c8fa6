"""The guide's server for tests: it keeps what it gets, lists it, and forgets it when asked to."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import Any

from flask import Flask, jsonify, request
from werkzeug.serving import make_server

app = Flask(__name__)
kept: list[dict[str, Any]] = []


@app.post("/webhook")
def webhook() -> Any:
    payload = request.json
    arrived = datetime.now(UTC).isoformat()
    kept.append({"payload": payload, "received_at": arrived, "headers": dict(request.headers)})
    print(json.dumps({"event_type": payload["event_type"], "task_id": payload["data"]["task_id"]}), flush=True)
    return jsonify({"status": "received"})


@app.get("/webhooks")
def listed() -> Any:
    return jsonify(kept)


@app.post("/webhooks/clear")
def cleared() -> Any:
    kept.clear()
    return jsonify({"status": "cleared"})


if __name__ == "__main__":
    server = make_server("127.0.0.1", int(sys.argv[1]), app)
    print(f"listening on {server.port}", flush=True)
    server.serve_forever()
