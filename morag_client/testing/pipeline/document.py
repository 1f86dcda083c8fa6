"""What was submitted, and how a step says that it cannot work on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Final

_LONGEST_NAME: Final = 255
_NO_NAME: Final = "upload"


@dataclass(frozen=True, slots=True)
class Document:
    """A file as it was submitted, with what the application said about it."""

    filename: str
    content: bytes = field(repr=False)
    source_type: str = "document"
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def format(self) -> str:
        """The file name's extension in lower case, "" without one."""
        return PurePath(self.filename).suffix.removeprefix(".").lower()

    @property
    def document_id(self) -> str | None:
        """The application's own id for it, from the metadata."""
        stated = self.metadata.get("document_id")
        return None if stated is None else str(stated)


class StepFailure(Exception):
    """A step cannot do its work on this document; `details` is what its webhook's data says."""

    def __init__(self, message: str, *, error_code: str, **details: object) -> None:
        super().__init__(message)
        self.details: dict[str, object] = {"error_code": error_code, **details}


def file_name(stated: str) -> str:
    """A submitted file's name without folders, of whichever system, and without what no name can show.

    Always a name: `upload` where nothing is left; at most 255 characters, the extension kept.
    """
    last = re.split(r"[\\/]", stated)[-1]
    shown = "".join(character for character in last if character.isprintable()).strip()
    if not shown.strip("."):
        return _NO_NAME
    if len(shown) <= _LONGEST_NAME:
        return shown
    ending = PurePath(shown).suffix
    return f"{shown[: _LONGEST_NAME - len(ending)]}{ending}" if len(ending) < _LONGEST_NAME else shown[:_LONGEST_NAME]
