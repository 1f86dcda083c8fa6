"""Which database is meant, and the private one where none is."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from morag_client import MoragWarning, Receiver, Registry
from morag_client.errors import ConfigurationError, InboxUnavailable
from morag_client.inbox.inbox import Inbox
from morag_client.inbox.location import locate


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "cannot be read"),
        ("inbox.db", "cannot be read"),
        ("sqlite://", "in memory"),
        ("sqlite:///", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///file:x?mode=memory&cache=shared&uri=true", "in memory"),
        ("sqlite:////nowhere/at/all/inbox.db", "folder of the database does not exist: /nowhere/at/all"),
        ("mysql://user:hunter2@host/db", "in mysql"),
        ("mongodb://host/db", "mongodb"),
        ("redis://localhost", "redis"),
    ],
)
def test_what_cannot_be_an_inbox_is_refused(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        locate(url)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("form", ["sqlite:///{}", "sqlite+aiosqlite:///{}", "sqlite+pysqlite:///{}"])
def test_a_file_is_meant_by_its_absolute_path(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert locate(form.format("inbox.db")).url.database == str(tmp_path / "inbox.db")
    assert locate(form.format(tmp_path / "a b.db")).url.database == str(tmp_path / "a b.db")


def test_the_home_folder_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert locate("sqlite:///~/inbox.db").url.database == str(tmp_path / "inbox.db")


async def test_what_is_no_database_is_unavailable_and_not_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary " * 1000)
    inbox = Inbox(locate(f"sqlite:///{path}"), commit_timeout=1.0, on_stored=lambda *_: None)

    with pytest.raises(InboxUnavailable, match="not a database"):
        await inbox.open()

    assert path.read_text().startswith("dear diary")


def test_without_a_database_there_is_a_warning_and_a_private_file() -> None:
    with pytest.warns(MoragWarning, match="MORAG_DATABASE_URL") as caught:
        location = locate(None)

    folder = Path(location.url.database).parent
    assert folder.stat().st_mode & 0o077 == 0
    assert len(caught) == 1
    del location
    gc.collect()
    assert not folder.exists()


def test_the_warning_points_at_whoever_builds_the_receiver() -> None:
    with pytest.warns(MoragWarning, match="MORAG_DATABASE_URL") as caught:
        Receiver(registry=Registry(), secrets="x")

    assert caught[0].filename == __file__


PROGRAM = """
import asyncio, sys, warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", message="no database is configured")
sys.path.insert(0, sys.argv[1])
import deliveries
from morag_client import Receiver, Registry

registry = Registry()
registry.on("*", name="look")(lambda event: None)
receiver = Receiver(registry=registry, secrets=deliveries.SECRET)
print(receiver.inbox_url)

async def main():
    body = deliveries.task_body()
    print((await receiver.receive(deliveries.delivery(body))).status)
    await receiver.idle()

if sys.argv[2] == "with a lifespan":
    async def main(body=main):
        async with receiver.lifespan():
            await body()

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["with a lifespan", "without a lifespan"])
def test_the_private_file_goes_with_the_process_which_ends_at_once(how: str) -> None:
    tests = str(Path(__file__).parents[2])

    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", PROGRAM, tests, how],
        capture_output=True,
        text=True,
        timeout=10,  # a thread that is waited for would hold it up for ever
        check=True,
        env={key: value for key, value in os.environ.items() if not key.startswith("MORAG_")},
    )

    url, status = done.stdout.splitlines()
    path = Path(url.removeprefix("sqlite:///"))
    assert path.is_relative_to(tempfile.gettempdir())
    assert status == "received"
    assert not path.parent.exists()
    assert ("nobody runs its lifespan" in done.stderr) is (how == "without a lifespan")
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr


def test_a_forked_child_leaves_the_file_to_its_parent() -> None:
    with pytest.warns(MoragWarning):
        location = locate(None)
    folder = Path(location.url.database).parent

    child = os.fork()
    if not child:
        del location
        gc.collect()
        os._exit(0 if folder.exists() else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert folder.exists()
