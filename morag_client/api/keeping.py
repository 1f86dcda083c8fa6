"""Where the bytes of a download are kept: in a file that is whole or not there, or in memory."""

from __future__ import annotations

import os
import re
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, Protocol, TypeVar
from urllib.parse import unquote

Result_co = TypeVar("Result_co", covariant=True)

PART: Final = ".part"
"""At the end of the name of a file that is not all there."""


class Keeping(Protocol[Result_co]):
    """Where the bytes of a download go, attempt after attempt."""

    def open(self) -> BinaryIO:
        """To write to, at the end of what is there."""

    def finish(self, file: BinaryIO) -> Result_co:
        """All bytes are there."""

    def discard(self) -> None:
        """Nothing more will come; what is not finished goes."""


class ToFile:
    """Keeps a download in a file beside its place, and puts it there when it is whole."""

    def __init__(self, to: str | os.PathLike[str], *, name: str) -> None:
        place = Path(to)
        if os.fspath(to).endswith("/"):  # which a Path forgets; without it, each file would take the place of the last
            place.mkdir(parents=True, exist_ok=True)
        self._place = place / plain_name(name) if place.is_dir() else place
        self._part = self._place.with_name(f".{self._place.name}.{os.urandom(6).hex()}{PART}")

    def open(self) -> BinaryIO:
        """The part file."""
        return os.fdopen(os.open(self._part, os.O_RDWR | os.O_CREAT, 0o666), "r+b")

    def finish(self, file: BinaryIO) -> Path:
        """Where it is."""
        file.flush()
        os.fsync(file.fileno())
        self._part.replace(self._place)
        return self._place

    def discard(self) -> None:
        """Takes the part file away."""
        self._part.unlink(missing_ok=True)


class ToMemory:
    """Keeps a download in memory."""

    def __init__(self) -> None:
        self._held = b""

    def open(self) -> BinaryIO:
        """What there is."""
        return _Held(self, self._held)

    def finish(self, file: BinaryIO) -> bytes:
        """All of it."""
        file.seek(0)
        return file.read()

    def discard(self) -> None:
        """Lets go of it."""
        self._held = b""

    def hold(self, content: bytes) -> None:
        """Keeps what an attempt got for the next one."""
        self._held = content


class _Held(BytesIO):
    def __init__(self, memory: ToMemory, content: bytes) -> None:
        super().__init__(content)
        self._memory = memory

    def close(self) -> None:
        if not self.closed:
            self._memory.hold(self.getvalue())
        super().close()


def plain_name(name: str) -> str:
    """The name that a path from outside gives a file: one that cannot lead elsewhere."""
    last = re.split(r"[/\\]", unquote(name).split("?", 1)[0].rstrip("/\\"))[-1]
    printable = "".join(letter if letter.isprintable() and letter not in ':*"<>|' else "_" for letter in last)
    return printable.lstrip(".").encode()[:200].decode(errors="ignore") or "download"
