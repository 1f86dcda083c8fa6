"""The command `morag-client`."""

from __future__ import annotations

import sys
from typing import Final

_DATABASE_ADVICE: Final = (
    "; look at what --database-url or MORAG_DATABASE_URL names: does it run, is it there, may it be written"
)


def main() -> None:
    """Runs the command line; exit codes: 0 done, 1 found something wrong, 2 bad usage."""
    try:
        from morag_client.cli.application import app  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich", "uvicorn", "click"}:
            raise
        sys.stderr.write("morag-client's command line needs its extra: pip install 'morag-client[cli]'\n")
        raise SystemExit(2) from None
    from morag_client.errors import ConfigurationError, InboxUnavailable, MoragError  # noqa: PLC0415

    try:
        app()
    except MoragError as error:
        advice = _DATABASE_ADVICE if isinstance(error, InboxUnavailable) else ""
        sys.stderr.write(f"error: {error}{advice}\n")
        raise SystemExit(2 if isinstance(error, ConfigurationError) else 1) from None
