"""Test runs inside of tests, each in a process of its own, as a project with the plugin has them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Runs = Callable[..., pytest.RunResult]

BEGINNING = """
import asyncio
import threading

import pytest

from morag_client import ChunkingCompleted, Context, Event, Registry, TaskCompleted
from morag_client.testing import FaultPlan, faults, samples


@pytest.fixture
def morag_registry():
    return Registry()

"""


@pytest.fixture
def run(pytester: pytest.Pytester) -> Runs:
    """Runs a test module, with a registry of its own in each test, and with warnings as errors."""
    pytester.makeini(
        """
        [pytest]
        filterwarnings = error
        asyncio_default_fixture_loop_scope = function
        timeout = 30
        """
    )

    def run(code: str, *options: str, beginning: str = BEGINNING) -> pytest.RunResult:
        pytester.makepyfile(test_it=beginning + code)
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)

    return run
