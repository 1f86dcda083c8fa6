"""What every answer of the dashboard says to the browser."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Nothing but files and answers of our own, no script in a page, and no text that becomes one."""

_COMMON: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


def protect(response: Response, *, is_data: bool = True) -> Response:
    """Adds them; data is kept in no cache."""
    for name, value in _COMMON.items():
        response.headers[name] = value
    response.headers["cache-control"] = "no-store" if is_data else "no-cache"
    return response
