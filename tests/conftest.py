"""Options of the test run, and a database for whoever wants every kind of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import databases
import pytest

pytest_plugins = ["pytester"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("morag-client")
    group.addoption("--kills", type=int, default=20, help="how often tests/acceptance/test_kill.py kills its server")
    group.addoption("--examples", type=int, default=None, help="how many interleavings are drawn, others each time")
    group.addoption("--seed", type=int, default=None, help="the seed that a test printed, to draw the same again")
    group.addoption(
        "--upload-mib", type=int, default=300, help="how large the file is that a client uploads; 5120 is 5 GiB"
    )


@pytest.fixture(params=databases.KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[databases.TestDatabase]:
    """A test that asks for it is run with every kind."""
    with databases.fresh(request.param, tmp_path) as made:
        yield made
