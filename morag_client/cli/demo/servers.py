"""The demo's two servers in this process: a mock MoRAG and a receiver that share a secret nobody else knows."""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from morag_client.handlers.registry import Registry
from morag_client.receiver.receiver import Receiver
from morag_client.testing import MockMorag
from morag_client.testing.serving import ThreadedServer


@dataclass(frozen=True, slots=True)
class Servers:
    """Where both answer, and the inbox that the receiver writes."""

    morag_url: str
    receiver_url: str
    inbox_url: str

    @property
    def webhook_url(self) -> str:
        """Where MoRAG's webhooks go."""
        return f"{self.receiver_url}/webhook"


@contextlib.contextmanager
def both_servers(
    registry: Registry, *, database_url: str, morag_port: int, receiver_port: int, speed: float
) -> Iterator[Servers]:
    """Serves both. Raises ConfigurationError for a port in use, naming the option, and for a database that is none."""
    secret = secrets.token_urlsafe(32)
    receiver = Receiver(registry=registry, secrets=[secret], database_url=database_url, inspect=True)
    mock = MockMorag(port=morag_port, port_option="--morag-port", webhook_secret=secret, speed=speed)
    serving = ThreadedServer(receiver, port=receiver_port, port_option="--receiver-port")
    with contextlib.ExitStack() as running:
        with _without_tracebacks():
            running.enter_context(serving)
        running.enter_context(mock)
        yield Servers(mock.url, serving.url, receiver.inbox_url)


@contextlib.contextmanager
def _without_tracebacks() -> Iterator[None]:
    """A start that fails is told once, by the error it raises."""
    loggers = [logging.getLogger(name) for name in ("morag_client.receiver", "uvicorn.error")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
