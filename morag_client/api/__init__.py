"""MoRAG's REST API: its endpoints described once, and the two clients over them."""

from morag_client.api.async_client import AsyncMoragClient
from morag_client.api.client import MoragClient
from morag_client.api.models import HistoryEntry, Submission, TaskHistory, TaskStatus

__all__ = ["AsyncMoragClient", "HistoryEntry", "MoragClient", "Submission", "TaskHistory", "TaskStatus"]
