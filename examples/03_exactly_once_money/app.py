"""Counts money: every finished document costs a cent a chunk, and is charged exactly once.

`python app.py` makes the tables, where they are not there yet, and shows what is owed.
`morag-client serve app:receiver` receives.
"""

import asyncio
import os

from sqlalchemy import func, make_url, select, update
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from morag_client import Context, Receiver, TaskCompleted, on

DATABASE_URL = os.environ.get("MORAG_DATABASE_URL", "sqlite:///morag.db")


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "accounts"
    id: Mapped[int] = mapped_column(primary_key=True)
    owed_cents: Mapped[int]


class Charge(Base):
    __tablename__ = "charges"
    id: Mapped[int] = mapped_column(primary_key=True)
    record_id: Mapped[int]
    cents: Mapped[int]


# Both writes and the note that this handler is through are one transaction: all of it is stored, or nothing.
@on(TaskCompleted)
async def charge(event: TaskCompleted, context: Context, session: AsyncSession) -> None:
    cents = event.result.chunks_created
    session.add(Charge(record_id=context.record_id, cents=cents))
    await session.execute(update(Account).where(Account.id == 1).values(owed_cents=Account.owed_cents + cents))


receiver = Receiver(secrets=os.environ.get("MORAG_WEBHOOK_SECRET", "replace-me"), database_url=DATABASE_URL)


async def show() -> None:
    url = make_url(DATABASE_URL)
    driver = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}[url.get_backend_name()]
    engine = create_async_engine(url.set(drivername=driver))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine) as session, session.begin():
        account = await session.get(Account, 1)
        if account is None:
            session.add(account := Account(id=1, owed_cents=0))
        count, cents = (await session.execute(select(func.count(), func.coalesce(func.sum(Charge.cents), 0)))).one()
        print(f"{count} charges of {cents} cents; owed: {account.owed_cents} cents")
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(show())
