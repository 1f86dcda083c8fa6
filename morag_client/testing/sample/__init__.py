"""The sample document that ships with the package."""

from __future__ import annotations

from contextlib import AbstractContextManager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from morag_client.testing.pipeline.document import Document

SAMPLE_NAME: Final = "lighthouses.md"


def sample_path() -> AbstractContextManager[Path]:
    """The sample as a file that can be submitted, for as long as the context is open."""
    return as_file(files(__name__).joinpath(SAMPLE_NAME))


def sample_document() -> Document:
    """A text of some two pages, as if a user had submitted it."""
    return Document(SAMPLE_NAME, files(__name__).joinpath(SAMPLE_NAME).read_bytes())
