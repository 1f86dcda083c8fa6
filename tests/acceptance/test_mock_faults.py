"""A mock server whose webhooks meet faults on their way."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest
from recording import Recorder, names

from morag_client import MoragClient
from morag_client.errors import ConfigurationError
from morag_client.testing import FaultPlan, MockMorag, faults
from morag_client.testing.faults.courses import twin_of

DOCUMENT = Path(__file__).parents[2] / "README.md"


def test_a_mock_server_with_faults() -> None:
    plan = FaultPlan(faults.interleave(), faults.duplicate(events="task.*"), faults.drop(events="chunking"))
    with (
        Recorder() as recorder,
        MockMorag(faults=plan) as mock,
        MoragClient(base_url=mock.url, api_key="test-api-key") as morag,
    ):
        submitted = morag.ingest_file(DOCUMENT, webhook_url=recorder.url)
        assert mock.wait(submitted.task_id, timeout_seconds=20)
        twin = morag.status(twin_of(submitted.task_id))
        assert morag.status(submitted.task_id).status == twin.status == "success"

    counted = Counter(names(recorder.payloads))
    assert len(mock.deliveries) == len(recorder.arrivals) == 28
    assert counted["task_started"] == 4
    assert counted["ingestion completed"] == 2
    assert counted["chunking completed"] == 0


def test_faults_that_would_strike_nothing_are_said_at_once() -> None:
    with pytest.raises(ConfigurationError, match="give a secret"):
        MockMorag(faults=FaultPlan(faults.missing_signature()))


def test_each_task_of_a_mock_server_has_luck_of_its_own() -> None:
    def dropped(tasks: int) -> list[int]:
        counted = []
        with (
            Recorder() as recorder,
            MockMorag(faults=FaultPlan(faults.drop(share=0.5), seed=3)) as mock,
            MoragClient(base_url=mock.url, api_key="test-api-key") as morag,
        ):
            for _ in range(tasks):
                already = len(recorder.arrivals)
                mock.wait(morag.ingest_file(DOCUMENT, webhook_url=recorder.url).task_id, timeout_seconds=20)
                counted.append(len(recorder.arrivals) - already)
        return counted

    first = dropped(4)
    assert first == dropped(4)
    assert any(one != other for one, other in itertools.pairwise(first))
