"""A mail server that keeps what it is sent, on a port of this machine."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage


class Mailbox:
    """The mails that were taken; the first `refusals` ones are refused for the time being."""

    def __init__(self, *, refusals: int = 0) -> None:
        self.mails: list[EmailMessage] = []
        self.refused = 0
        self._refusals = refusals

    def take(self, mail: bytes) -> bytes:
        """The answer to a mail."""
        if self.refused < self._refusals:
            self.refused += 1
            return b"451 try again later"
        self.mails.append(message_from_bytes(mail, policy=policy.default))
        return b"250 taken"


@contextlib.contextmanager
def mail_server(mailbox: Mailbox) -> Iterator[str]:
    """Where the server listens, as `127.0.0.1:2525`."""

    class Session(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say(b"220 tests")
            while line := self.rfile.readline():
                command = line[:4].upper().strip()
                if command == b"DATA":
                    self._say(b"354 go on")
                    self._say(mailbox.take(self._mail()))
                elif command == b"QUIT":
                    self._say(b"221 bye")
                    return
                else:
                    self._say(b"250 ok")

        def _mail(self) -> bytes:
            lines = []
            while (line := self.rfile.readline()) not in {b".\r\n", b""}:
                lines.append(line.removeprefix(b"."))
            return b"".join(lines)

        def _say(self, said: bytes) -> None:
            self.wfile.write(said + b"\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="mail server")
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(10)
