"""What is kept of an error: bounded, and without what the database or a terminal would stumble over."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Final

_ERROR_LENGTH: Final = 1000
_TRACEBACK_LENGTH: Final = 8000


def described(error: BaseException) -> tuple[str, str]:
    """The error in a line, and its traceback."""
    return _bounded(_said(error), _ERROR_LENGTH), _bounded(
        "".join(traceback.format_exception(error)), _TRACEBACK_LENGTH
    )


def from_the_handler_on(frames: TracebackType | None) -> TracebackType | None:
    """The frames without those of this package that lead to the user's function."""
    inner = frames
    while inner is not None and inner.tb_frame.f_globals.get("__name__", "").startswith("morag_client."):
        inner = inner.tb_next
    return inner or frames


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # its __str__ is the user's, too
        return type(error).__name__


def _bounded(text: str, length: int) -> str:
    """The text without NUL and surrogates, at most so long; of a long one the end says more than the middle."""
    text = text.replace("\0", "").encode("utf-8", "replace").decode()
    if len(text) <= length:
        return text
    return f"{text[: length // 4]}\n…\n{text[-(length - length // 4) :]}"
