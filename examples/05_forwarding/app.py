"""A receiver that passes events on: all of them to n8n, failures to Slack. Serve it with `morag-client serve`."""

import os

from morag_client import Receiver

receiver = Receiver(
    secrets=os.environ.get("MORAG_WEBHOOK_SECRET", "replace-me"),
    database_url=os.environ.get("MORAG_DATABASE_URL", "sqlite:///morag.db"),
)

# n8n on this machine: its address is private, and so it has to be named.
receiver.forward(
    "*",
    name="n8n",
    to=os.environ.get("N8N_URL", "http://127.0.0.1:5678/webhook/morag-webhook"),
    secret=os.environ.get("N8N_SECRET", "replace-me-too"),
    allow_private=["127.0.0.1"],
)

if hook := os.environ.get("SLACK_HOOK_URL"):
    receiver.forward("*.failed", name="slack", to=hook, format="slack")
