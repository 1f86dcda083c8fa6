"""A database with very many tasks in it, by the database's own means: to receive them would take an hour."""

from __future__ import annotations

import databases

_STEPS = (
    '{"markdown_conversion":{"status":"completed","started_at":"2026-01-01T10:00:00Z","finished_at":"2026-01-01T10:00:02Z"},'
    '"ingestion":{"status":"completed","started_at":"2026-01-01T10:00:02Z","finished_at":"2026-01-01T10:00:09Z"}}'
)
EVENTS_OF_A_TASK = 4


def fill(database: databases.TestDatabase, *, tasks: int) -> None:
    """So many tasks of four events and a run each; every 50th task failed with a dead letter, every 1,000th is open.

    One task was received each second, the last one just now.
    """
    for statement in _statements(database.kind, tasks):
        database.execute(statement)


def _statements(kind: str, tasks: int) -> list[str]:
    sqlite = kind == "sqlite"
    events = tasks * EVENTS_OF_A_TASK
    numbers = (
        "WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {})"
        if sqlite
        else "WITH series AS (SELECT n FROM generate_series(1, {}) AS n)"
    )
    key = "CAST(printf('%016d', {}) AS BLOB)" if sqlite else "convert_to(lpad(({})::text, 16, '0'), 'UTF8')"
    ago = (
        f"strftime('%Y-%m-%d %H:%M:%f', 'now', (({{}}) - {tasks}) || ' seconds')"
        if sqlite
        else f"(now() AT TIME ZONE 'UTC') + (({{}}) - {tasks}) * interval '1 second'"
    )
    task = f"((n - 1) / {EVENTS_OF_A_TASK} + 1)"
    late = "0" if sqlite else "false"
    body = "x'7b7d'" if sqlite else "'{}'::bytea"
    state = "CASE WHEN n % 1000 = 0 THEN 'running' WHEN n % 50 = 0 THEN 'failed' ELSE 'completed' END"
    return [
        f"""INSERT INTO webhook_events (id, task_id, event_type, step, status, name, dialect, source, identity, tenant,
                path, query, headers, body, received_at, state, sequence, task_key, is_late)
            {numbers.format(events)}
            SELECT n, 'task-' || {task}, 'step_completed', 'ingestion', 'completed', 'ingestion.completed', 'flat_step',
                'webhook', {key.format("n")}, '', '/webhook', '', '{{}}', {body}, {ago.format(task)},
                CASE WHEN n % {50 * EVENTS_OF_A_TASK} = 0 THEN 'failed' ELSE 'handled' END,
                (n - 1) % {EVENTS_OF_A_TASK} + 1, {key.format(task)}, {late}
            FROM series""",  # noqa: S608
        f"""INSERT INTO webhook_handler_runs (record_id, handler, state, attempts, error)
            {numbers.format(events)}
            SELECT n, 'index', CASE WHEN n % {50 * EVENTS_OF_A_TASK} = 0 THEN 'failed' ELSE 'succeeded' END, 1, 'x'
            FROM series WHERE n % {EVENTS_OF_A_TASK} = 0""",  # noqa: S608
        f"""INSERT INTO webhook_tasks (key, tenant, task_id, epoch, sequence, first_record_id, late, document_id, state,
                name, step, progress, started_at, finished_at, updated_at, steps, correlation)
            {numbers.format(tasks)}
            SELECT {key.format("n")}, '', 'task-' || n, 1, {EVENTS_OF_A_TASK}, (n - 1) * {EVENTS_OF_A_TASK} + 1, 0,
                'document-' || (n % 5000), {state}, 'task.completed', 'ingestion', 100.0, {ago.format("n")},
                {ago.format("n")}, {ago.format("n")}, '{_STEPS}', '{{"tenant":"acme","order":"' || n || '"}}'
            FROM series""",  # noqa: S608
        "ANALYZE",
    ]
