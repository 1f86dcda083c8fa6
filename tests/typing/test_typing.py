"""The public typing, as mypy and pyright see it: what is right is clean, what is wrong is told where it is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
Errors = dict[str, dict[int, list[str]]]
Checker = Callable[[Path], Errors]


def mypy_errors(folder: Path, cache: Path) -> Errors:
    # Named one by one, since the configuration excludes the folder of what is wrong.
    files = [str(path) for path in sorted(folder.glob("*.py"))]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--output=json", "--no-error-summary", f"--cache-dir={cache}", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    errors: Errors = defaultdict(lambda: defaultdict(list))
    for line in done.stdout.splitlines():
        found = json.loads(line)
        if found["severity"] == "error" and Path(found["file"]).parent.name == folder.name:
            errors[Path(found["file"]).name][found["line"]].append(found["message"])
    return errors


def pyright_errors(folder: Path) -> Errors:
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, f"pyright could not run: {done.stdout}{done.stderr}"
    report = json.loads(done.stdout[done.stdout.index("{") :])
    assert report["summary"]["filesAnalyzed"] == len(list(folder.glob("*.py")))
    errors: Errors = defaultdict(lambda: defaultdict(list))
    for found in report["generalDiagnostics"]:
        if found["severity"] == "error":
            errors[Path(found["file"]).name][found["range"]["start"]["line"] + 1].append(found["message"])
    return errors


def marked_lines(path: Path) -> set[int]:
    return {number for number, line in enumerate(path.read_text().splitlines(), 1) if re.search(r"# error$", line)}


@pytest.fixture(scope="module", params=["mypy", "pyright"])
def checker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checker:
    if request.param == "mypy":
        cache = tmp_path_factory.mktemp("mypy")
        return lambda folder: mypy_errors(folder, cache)
    return pyright_errors


@pytest.mark.timeout(300)
def test_right_code_is_clean(checker: Checker) -> None:
    assert list((HERE / "right").glob("*.py"))
    errors = checker(HERE / "right")

    assert not errors, json.dumps(errors, indent=1)


@pytest.mark.timeout(300)
def test_wrong_code_has_an_error_on_each_marked_line_and_nowhere_else(checker: Checker) -> None:
    files = sorted((HERE / "wrong").glob("*.py"))
    errors = checker(HERE / "wrong")

    found = {path.name: sorted(errors[path.name]) for path in files}
    assert found == {path.name: sorted(marked_lines(path)) for path in files}, json.dumps(errors, indent=1)
    assert all(found.values())
