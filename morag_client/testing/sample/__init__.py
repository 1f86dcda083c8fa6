"""The sample document that ships with the package."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from morag_client.testing.pipeline.document import Document

SAMPLE_NAME: Final = "lighthouses.md"


def sample_document() -> Document:
    """A text of some two pages, as if a user had submitted it."""
    return Document(SAMPLE_NAME, files(__name__).joinpath(SAMPLE_NAME).read_bytes())
