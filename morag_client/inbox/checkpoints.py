"""Copying the write-ahead log back into the SQLite file, beside the writer and not in its way.

Left to itself, SQLite does it in the commit that makes the log too long, and everybody waits for a tenth of a second.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Final

_CHANGES: Final = 6000
"""Rows written between two copies: some 32 MiB of log. A page that changed again and again is copied once, so that
copying four times as often costs a quarter of the rows per second."""

logger = logging.getLogger("morag_client.inbox")


class Checkpoints:
    """Looks after the log of one writing connection; `connect` makes another one, in a thread of its own.

    While the copy is made, the writer goes on, so that there always is something left. The writer copies that little
    itself, between two transactions, and starts the log anew.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._changes = 0
        self._copying: threading.Thread | None = None

    def after_commit(self, driver: Any) -> None:
        """Called by the writer between its transactions; raises nothing."""
        try:
            if self._copying is not None:
                if not self._copying.is_alive():
                    self._copying = None
                    self._changes = driver.total_changes
                    _checkpoint(driver)
            elif abs(driver.total_changes - self._changes) > _CHANGES:
                copying = threading.Thread(target=self._copy, name="morag-checkpoint", daemon=True)
                copying.start()
                self._copying = copying
        except (sqlite3.Error, RuntimeError) as error:
            _complain(error)

    def wait(self) -> None:
        """Waits for a copy that is being made."""
        if self._copying is not None:
            self._copying.join(5)

    def _copy(self) -> None:
        try:
            with contextlib.closing(self._connect()) as connection:
                _checkpoint(connection)
        except sqlite3.Error as error:
            _complain(error)


def _checkpoint(connection: Any) -> None:
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").close()


def _complain(error: Exception) -> None:
    # Nothing is lost by it, and it is tried again.
    logger.warning("the write-ahead log could not be copied back: %s", error)
