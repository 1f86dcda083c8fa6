"""The optional packages that read a format, imported when a file of that format comes."""

from __future__ import annotations

import importlib
from typing import Any

from morag_client.testing.pipeline.formats.converted import Unreadable


def required(name: str) -> Any:
    """An optional package's module. Raises Unreadable where it is not installed, with what to do."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Unreadable(
            f"{name} is not installed; run: pip install 'morag-client[mock]'", error_code="MISSING_PACKAGE"
        ) from error
