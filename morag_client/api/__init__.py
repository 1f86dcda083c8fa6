"""MoRAG's REST API: its endpoints described once, and the two clients over them.

Here are the answers' types. The clients are not, since an HTTP client is much for whoever only imports a type.
"""

from morag_client.api.models import (
    ActiveTasks,
    BatchSubmission,
    Cancelled,
    ChainRun,
    Deleted,
    HistoryEntry,
    JobStatus,
    Processed,
    QueueStats,
    RecentEvent,
    RecentEvents,
    StageFile,
    StageFiles,
    StageInfo,
    StageList,
    StageRun,
    Submission,
    TaskFile,
    TaskFiles,
    TaskHistory,
    TaskStatus,
)

__all__ = [
    "ActiveTasks",
    "BatchSubmission",
    "Cancelled",
    "ChainRun",
    "Deleted",
    "HistoryEntry",
    "JobStatus",
    "Processed",
    "QueueStats",
    "RecentEvent",
    "RecentEvents",
    "StageFile",
    "StageFiles",
    "StageInfo",
    "StageList",
    "StageRun",
    "Submission",
    "TaskFile",
    "TaskFiles",
    "TaskHistory",
    "TaskStatus",
]
