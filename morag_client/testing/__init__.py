"""The other side of the wire, for tests and demos: an emitter of webhooks, and a mock MoRAG server."""

from morag_client.testing import faults
from morag_client.testing.delivering import DeliveryResult
from morag_client.testing.emitter import Emitter
from morag_client.testing.faults import FaultPlan
from morag_client.testing.load.report import LoadReport
from morag_client.testing.mock.server import MockMorag
from morag_client.testing.serving import ThreadedServer

__all__ = ["DeliveryResult", "Emitter", "FaultPlan", "LoadReport", "MockMorag", "ThreadedServer", "faults"]
