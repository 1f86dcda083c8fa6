"""A receiver with one handler that does nothing: what is left of the whole way is the receiver's own."""

from __future__ import annotations

from morag_client import Event, Receiver, Registry

registry = Registry()


@registry.on("*")
async def do_nothing(event: Event) -> None:
    pass


receiver = Receiver(registry=registry)
