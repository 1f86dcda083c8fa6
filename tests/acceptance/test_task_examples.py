"""The examples that submit documents and wait, each run as its README says: processes, sockets, a mock MoRAG."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import commands
import mocking
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
BATCH = EXAMPLES / "09_batch_report"


@pytest.mark.parametrize("profile", ["guide", "r1", "r2"])
def test_batch_report(profile, tmp_path):
    # given a folder with a good document, one that MoRAG cannot read, one whose name is hostile, and a hidden file
    fill(tmp_path, "tides.md", "deep/moon.txt", "figures.xyz", "red\x1b[31m.md", ".hidden.md")
    with mocking.asked(profile=profile) as morag:
        # when it is put into MoRAG
        done = batch(tmp_path, morag)
    # then there is a row for each, in order, what failed says why, and so does the exit code
    assert rows(done.stdout) == [
        ("deep/moon.txt", "completed", True, ""),
        ("figures.xyz", "failed", False, "Unsupported file format: .xyz files cannot be converted to markdown"),
        ("red [31m.md", "completed", True, ""),
        ("tides.md", "completed", True, ""),
    ]
    assert done.stdout.endswith("\n3 of 4 completed\n")
    assert done.returncode == 1, done.stderr


def test_batch_report_of_what_is_all_completed_a_few_at_a_time(tmp_path):
    # given more documents than are to be there at once, and a MoRAG that takes its time
    fill(tmp_path, *(f"{number}.md" for number in range(7)))
    with mocking.asked(profile="guide", speed=0.05) as morag:
        # when they are put into it
        process = subprocess.Popen(
            [sys.executable, "app.py", str(tmp_path)],
            cwd=BATCH,
            env=variables(morag, AT_ONCE="3"),
            stdout=subprocess.PIPE,
            text=True,
        )
        with process:
            active = set()
            while process.poll() is None:
                active.add(morag.get("/api/v1/status/").json()["count"])
            printed = process.stdout.read()
    # then there never were more than that, and all are completed
    assert max(active) == 3
    assert [row[1] for row in rows(printed)] == ["completed"] * 7
    assert process.returncode == 0


def test_batch_report_of_nobody_there(tmp_path):
    fill(tmp_path, "tides.md", "moon.md")
    with mocking.asked() as morag:
        # given a key that is not known: it is said once, and there is no table
        done = batch(tmp_path, morag, MORAG_API_KEY="another")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.count("401") == 1
        # and what is no folder is bad usage
        done = batch(tmp_path / "nothing", morag)
        assert (done.returncode, done.stderr) == (2, "usage: python app.py FOLDER\n")


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(mocking.TEXT)


def variables(morag: mocking.Asked, **more: str) -> dict[str, str]:
    return commands.environment(
        secret=None, **{"MORAG_API_URL": morag.mock.url, "MORAG_API_KEY": "test-api-key", **more}
    )


def batch(folder: Path, morag: mocking.Asked, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "app.py", str(folder)],
        cwd=BATCH,
        env=variables(morag, **more),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def rows(printed: str) -> list[tuple[str, str, bool, str]]:
    """The report's rows: file, outcome, whether there are chunks, error."""
    head, *lines = printed.split("\n\n")[0].splitlines()
    assert head.split() == ["file", "outcome", "chunks", "seconds", "error"]
    found = [re.fullmatch(r"(.+?)  +(\w+) +(\d*) +(\d+\.\d)(?:  (.+))?", line) for line in lines]
    return [(row[1], row[2], int(row[3] or 0) > 0, row[5] or "") for row in found]
