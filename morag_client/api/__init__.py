"""MoRAG's REST API: its endpoints described once, and the client over them."""

from morag_client.api.client import MoragClient
from morag_client.api.models import HistoryEntry, Submission, TaskHistory, TaskStatus

__all__ = ["HistoryEntry", "MoragClient", "Submission", "TaskHistory", "TaskStatus"]
