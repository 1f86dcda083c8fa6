"""docs/explanation/guarantees.md: what it promises is shown by tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs/explanation/guarantees.md").read_text()


def rows(page: str) -> list[list[str]]:
    """The cells of each promise."""
    lines = [line.strip("|").split(" | ") for line in page.splitlines() if line.startswith("| **")]
    return [[cell.strip() for cell in line] for line in lines]


def unknown(page: str) -> list[str]:
    """What is named as a test, anywhere on the page, and is none."""
    named = re.findall(r"`([^`\s]+\.py)::([^`\s]+)`", page)
    return [f"{path}::{name}" for path, name in named if name not in named_in(path)]


@cache
def named_in(path: str) -> frozenset[str]:
    """The tests of a file."""
    file = TESTS / path
    if not file.is_file():
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(
        node.name
        for node in ast.parse(file.read_text()).body
        if isinstance(node, functions) and node.name.startswith("test_")
    )


def test_every_promise_says_what_is_not_promised_and_names_its_tests() -> None:
    assert len(rows(PAGE)) > 20
    for row in rows(PAGE):
        assert len(row) == 3, row
        assert re.fullmatch(r"(`[^`\s]+\.py::test_\w+` ?)+", row[2]), row[2]


def test_every_test_that_is_named_exists() -> None:
    assert unknown(PAGE) == []


def test_a_misspelt_name_would_be_found() -> None:
    name = "test_nothing_is_lost_and_money_is_counted_once"
    for right, wrong in ((name, f"{name}_or_twice"), ("test_kill.py", "test_kills.py"), (name, "sending")):
        assert len(unknown(PAGE.replace(right, wrong))) >= PAGE.count(right) - 1 > 0
