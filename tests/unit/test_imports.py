"""What an import brings with it: a web application must not pay for the command line, the HTTP client or migrations."""

from __future__ import annotations

import subprocess
import sys

NOT_FOR_A_RECEIVER = {
    *("typer", "click", "rich", "uvicorn", "socketio", "engineio", "redis", "httpx2", "stamina", "alembic"),
    "starlette.testclient",
}


def loaded_by(code: str) -> set[str]:
    """The modules that are there after a fresh Python has run some code."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_on_and_receiver_bring_no_command_line_no_http_client_and_no_migrations() -> None:
    modules = loaded_by("from morag_client import on, Receiver")

    assert "morag_client.receiver.receiver" in modules
    assert modules & NOT_FOR_A_RECEIVER == set()


def test_the_driver_of_a_database_that_is_not_used_stays_away() -> None:
    modules = loaded_by("from morag_client import on, Receiver")

    assert modules & {"asyncpg", "sqlalchemy.dialects.postgresql"} == set()


def test_the_package_alone_brings_none_of_what_it_needs() -> None:
    modules = loaded_by("import morag_client")

    assert "morag_client" in modules
    assert modules & (NOT_FOR_A_RECEIVER | {"pydantic", "sqlalchemy", "starlette", "anyio", "asyncio"}) == set()


def test_the_events_alone_bring_no_web_and_no_database() -> None:
    modules = loaded_by("from morag_client import ChunkingCompleted, parse_event, verify_signature")

    assert "morag_client.wire.parsing" in modules
    assert modules & (NOT_FOR_A_RECEIVER | {"sqlalchemy", "starlette", "asyncio", "pydantic_settings"}) == set()
