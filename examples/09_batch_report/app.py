"""Puts every document of a folder into MoRAG, waits for all, and prints a report: `python app.py FOLDER`.

Exit codes: 0 all are completed, 1 some are not, 2 bad usage.
"""

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from morag_client import AsyncMoragClient, MoragError, TaskFailedError, TaskTimeout

AT_ONCE = int(os.environ.get("AT_ONCE", "4"))
LONGEST_SECONDS = float(os.environ.get("LONGEST_SECONDS", "3600"))


@dataclass(frozen=True)
class Row:
    file: str
    outcome: str
    chunks: str
    seconds: str
    error: str


HEAD = Row("file", "outcome", "chunks", "seconds", "error")


async def ingest_folder(folder: Path) -> list[Row]:
    turns = asyncio.Semaphore(AT_ONCE)

    async def ingest_in_turn(client: AsyncMoragClient, path: Path) -> Row:
        async with turns:
            row = await ingest(client, path, name=str(path.relative_to(folder)))
        print(f"{row.outcome}: {row.file}", file=sys.stderr)  # so that one sees that it goes on
        return row

    # The server and the key are MORAG_API_URL and MORAG_API_KEY.
    async with AsyncMoragClient() as client:
        await client.release()  # a wrong address or key ends it here, and not once for each file
        return await asyncio.gather(*(ingest_in_turn(client, path) for path in documents(folder)))


async def ingest(client: AsyncMoragClient, path: Path, *, name: str) -> Row:
    started = time.monotonic()
    outcome, chunks, error = "completed", None, ""
    try:
        task = client.task(await client.ingest_file(path))
        result = await task.result(timeout=LONGEST_SECONDS)
        # The guide and r1 say it in one word, r2 in another.
        chunks = result.chunks_processed if result.chunks_created is None else result.chunks_created
    except TaskFailedError as failure:  # MoRAG took it and could not do it
        outcome, error = failure.state or "failed", failure.error or str(failure)
    except TaskTimeout as late:  # MoRAG goes on with it
        outcome, error = "running", str(late)
    except (MoragError, OSError) as refusal:  # it did not come that far, and the others may
        outcome, error = "error", str(refusal)
    seconds = f"{time.monotonic() - started:.1f}"
    return Row(one_line(name), outcome, "" if chunks is None else str(chunks), seconds, one_line(error))


def documents(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))


def one_line(text: str) -> str:
    """Names and errors come from outside: nothing in them moves the cursor or begins another row."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def report(rows: list[Row]) -> str:
    table = [HEAD, *rows]
    file, outcome = (max(len(getattr(row, field)) for row in table) for field in ("file", "outcome"))
    lines = [
        f"{row.file:<{file}}  {row.outcome:<{outcome}}  {row.chunks:>6}  {row.seconds:>7}  {row.error}".rstrip()
        for row in table
    ]
    completed = sum(row.outcome == "completed" for row in rows)
    return "\n".join([*lines, "", f"{completed} of {len(rows)} completed"])


def main() -> int:
    if len(sys.argv) != 2 or not (folder := Path(sys.argv[1])).is_dir():  # noqa: PLR2004  # the program and the folder
        print("usage: python app.py FOLDER", file=sys.stderr)
        return 2
    try:
        rows = asyncio.run(ingest_folder(folder))
    except MoragError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(report(rows))
    return 0 if all(row.outcome == "completed" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
