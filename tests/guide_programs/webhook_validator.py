"""The guide's validator: a JSON Schema of the envelope, and two rules beyond it. Bodies come line by line on stdin.

For each line it says which problems there are, as a JSON list.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import jsonschema

_TEXT, _OBJECT = {"type": "string"}, {"type": "object"}
SCHEMA = {
    "type": "object",
    "required": ["event_type", "timestamp", "data"],
    "properties": {
        "event_type": _TEXT,
        "timestamp": {"type": "string", "format": "date-time"},
        "data": {
            "type": "object",
            "required": ["task_id", "status"],
            "properties": {
                **dict.fromkeys(("task_id", "status", "step", "message", "error_message"), _TEXT),
                **dict.fromkeys(("data", "result", "metadata"), _OBJECT),
                "progress_percent": {"type": "number", "minimum": 0, "maximum": 100},
            },
        },
    },
}
CHECKS = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)


def problems(payload: Any) -> list[str]:
    found = [error.message for error in CHECKS.iter_errors(payload)]
    data = payload.get("data", {})
    if "step" in data and "progress_percent" in data and not 0 <= data["progress_percent"] <= 100:
        found.append(f"progress of {data['progress_percent']} %")
    if payload.get("event_type") == "task_completed" and data.get("status") != "completed":
        found.append(f"completed, with the status {data.get('status')!r}")
    return found


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(problems(json.loads(line))), flush=True)
