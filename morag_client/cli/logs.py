"""The log of what runs in a terminal."""

from __future__ import annotations

import logging

from morag_client.cli.inboxes import printable


def log_to_terminal(*, with_times: bool = True) -> None:
    """Shows warnings and worse on stderr, unless the application set up a log of its own.

    An error of a handler may repeat what a sender said: what could tell a terminal something is left out.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(
        _Printable("%(asctime)s %(levelname)-7s %(message)s" if with_times else "%(message)s", datefmt="%H:%M:%S")
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING)


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n\t")
