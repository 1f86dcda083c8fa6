"""Notes how documents end, also those that ended while nobody listened.

`morag-client serve app:receiver` receives, `python app.py submit FILE…` submits documents, `morag-client reconcile`
asks MoRAG what was missed. `python app.py reconcile` does so too, and handles it in the same process.
"""

import asyncio
import os
import sys
from pathlib import Path

from morag_client import Event, MoragClient, Receiver, on

NOTES = Path(os.environ.get("NOTES_FILE", "notes.txt"))


# Each document comes here once, whether MoRAG's webhook tells of its end or, later, MoRAG's answer. The answer knows no
# document that no webhook had told of: an application that needs it keeps the task ids that it got when it submitted.
@on("task.completed", "task.failed")
def note(event: Event) -> None:
    with NOTES.open("a") as notes:
        notes.write(f"{event.document_id or event.task_id}: {event.name}, by {event.source}\n")


# With MORAG_API_URL and MORAG_API_KEY it asks by itself, about tasks that have been silent for five minutes.
receiver = Receiver(
    signing_key=os.environ.get("MORAG_SIGNING_KEY", "replace-me by a long random text"),
    public_url=os.environ.get("MORAG_PUBLIC_URL", "http://127.0.0.1:8001"),
    database_url=os.environ.get("MORAG_DATABASE_URL", "sqlite:///morag.db"),
)


def submit(paths: list[str]) -> None:
    with MoragClient() as morag:
        for path in paths:
            name = Path(path).name
            task = morag.ingest_file(path, webhook=receiver, document_id=name)
            print(f"{name}: submitted as {task.task_id}")


async def reconcile() -> None:
    async with receiver.lifespan():
        report = await receiver.reconcile(who="app.py", why="nobody had listened")
        await receiver.idle()
    print(f"asked about {report.asked}, made {dict(report.made)}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["submit", *paths] if paths:
            submit(paths)
        case ["reconcile"]:
            asyncio.run(reconcile())
        case _:
            sys.exit("usage: python app.py submit FILE…, or python app.py reconcile")
