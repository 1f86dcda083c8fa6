"""The handlers by themselves: functions, called with sample events."""

import asyncio

import app
import pytest

from morag_client.testing import samples


def test_a_document_comes_into_the_catalogue() -> None:
    asyncio.run(app.add_to_catalogue(samples.event("ingestion.completed", document_id="report", chunks_ingested=3)))
    assert app.catalogue == {"report": 3}


def test_an_empty_document_is_refused() -> None:
    event = samples.event("ingestion.completed", document_id="report", chunks_ingested=0)
    with pytest.raises(ValueError, match="report is empty"):
        asyncio.run(app.add_to_catalogue(event))


def test_a_failure_is_reported() -> None:
    app.report(samples.event("chunking.failed", error="no memory left"))
    assert app.problems == ["chunking.failed: no memory left"]
