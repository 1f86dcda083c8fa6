"""The other side of the wire, for tests and demos: an emitter of webhooks, and a mock MoRAG server."""

from morag_client.testing.delivering import DeliveryResult
from morag_client.testing.emitter import Emitter

__all__ = ["DeliveryResult", "Emitter"]
