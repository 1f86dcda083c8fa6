"""A form with a file, as bytes: all of it but the file, whose bytes stay on disk until they are sent."""

from __future__ import annotations

import mimetypes
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_ESCAPED: Final = {ord('"'): "%22", **{code: f"%{code:02X}" for code in range(0x20)}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A form around a file of `file_size` bytes."""

    before: bytes
    after: bytes
    file_size: int
    content_type: str

    @property
    def size(self) -> int:
        """How many bytes it has in all."""
        return len(self.before) + self.file_size + len(self.after)


def form_around(filename: str, file_size: int, fields: Mapping[str, str]) -> Form:
    """The form of these fields and a field `file`, as RFC 7578 and the browsers write it."""
    boundary = secrets.token_hex(16)
    media_type = mimetypes.guess_type(filename)[0] or "application/octet-stream"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n{value}\r\n'
             for name, value in fields.items()]  # fmt: skip
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{_quoted(filename)}"\r\n'
        f"Content-Type: {media_type}\r\n\r\n"
    )
    return Form(
        # A name that is no UTF-8 on disk comes with question marks.
        before="".join(parts).encode(errors="replace"),
        after=f"\r\n--{boundary}--\r\n".encode(),
        file_size=file_size,
        content_type=f"multipart/form-data; boundary={boundary}",
    )


def _quoted(text: str) -> str:
    return text.translate(_ESCAPED)
