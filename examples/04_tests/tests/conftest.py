"""What the tests share. The fixtures named morag_… come with morag-client, as a plugin of pytest."""

import app
import pytest


@pytest.fixture(autouse=True)
def empty_catalogue() -> None:
    """Each test begins with nothing in it."""
    app.catalogue.clear()
    app.problems.clear()
