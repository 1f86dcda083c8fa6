"""One HTTP arrival, as it came."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Delivery:
    """One HTTP arrival: what was asked of which URL, with which headers and which bytes.

    `path` is decoded, `query` is as sent, without its `?`; header names are lower case. `token` is what stands behind
    `/webhook/`, None where nothing does; `path` need not have it.
    """

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    path: str = "/webhook"
    query: str = ""
    method: str = "POST"
    token: str | None = field(default=None, repr=False)

    def header_values(self, name: bytes) -> list[bytes]:
        """Every value of a header, given its name in lower case, in the order of arrival."""
        return [value for key, value in self.headers if key == name]

    def header(self, name: str) -> str | None:
        """A header's value, None where it is missing; several are joined by a comma."""
        values = self.header_values(name.lower().encode("latin-1"))
        return ", ".join(value.decode("latin-1") for value in values) if values else None
