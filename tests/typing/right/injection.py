"""Beside the event, a handler asks by annotation for what it needs."""

from datetime import datetime
from typing import assert_type

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from morag_client import ChunkingCompleted, Context, Event, Receiver, on


@on(ChunkingCompleted)
async def with_context(event: ChunkingCompleted, context: Context) -> int:
    assert_type(context.attempt, int)
    assert_type(context.received_at, datetime)
    assert_type(context.sequence, int | None)
    assert_type(context.is_late, bool)
    assert_type(context.body, bytes)
    assert_type(context.event, Event)
    return context.attempt


@on(ChunkingCompleted)
def by_keyword(event: ChunkingCompleted, *, context: Context, receiver: Receiver) -> None: ...


@on("task.completed")
async def with_receiver(context: Context, event: Event, receiver: Receiver) -> None: ...


@on(ChunkingCompleted)
async def with_session(event: ChunkingCompleted, session: AsyncSession) -> None:
    await session.execute(text("INSERT INTO chunks (document) VALUES (:document)"), {"document": event.document_id})


@on("task.completed")
async def with_session_by_keyword(event: Event, *, session: AsyncSession, context: Context) -> None: ...


async def use(event: ChunkingCompleted, context: Context, receiver: Receiver, session: AsyncSession) -> None:
    assert_type(await with_session(event, session), None)
    assert_type(await with_context(event, context), int)
    assert_type(await with_context(event, context=context), int)
    assert_type(by_keyword(event, context=context, receiver=receiver), None)
