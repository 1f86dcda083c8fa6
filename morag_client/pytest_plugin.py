"""Fixtures for tests of what an application does with MoRAG's webhooks (docs/reference/fixtures.md).

pytest loads this wherever the package is installed, so it imports what a fixture needs when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from morag_client.handlers.registry import Registry
    from morag_client.testing.emitter import Emitter
    from morag_client.testing.fixtures import MoragEvents, MoragPipeline, MoragReceiver
    from morag_client.testing.mock.server import MockMorag

_MODES: Final = ("asgi", "live")


def pytest_addoption(parser: pytest.Parser) -> None:
    told = "how the morag fixtures deliver webhooks: asgi (in the process, fast) or live (through a socket)"
    parser.getgroup("morag-client").addoption("--morag-mode", choices=_MODES, default=None, help=told)
    parser.addini("morag_mode", told, default="asgi")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "morag(live=True): deliver this test's webhooks through a socket, or not")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Raises in the test what its handlers raised, where the test has not asked for it."""
    __tracebackhide__ = True
    result = yield
    receiver = item.stash.get(_RECEIVER, None)
    if receiver is not None:
        receiver.finish()
    return result


@pytest.fixture
def morag_registry() -> Registry:
    """The registry whose handlers are tested: the one behind `morag_client.on`. Override it to isolate tests."""
    from morag_client.handlers.registry import default_registry  # noqa: PLC0415

    return default_registry


@pytest.fixture
def morag_settings() -> Mapping[str, Any]:
    """Arguments for the receiver of the test, such as `database_url`: none. Override it."""
    return {}


@pytest.fixture
def morag_receiver(
    request: pytest.FixtureRequest, morag_registry: Registry, morag_settings: Mapping[str, Any]
) -> Iterator[MoragReceiver]:
    """A receiver with an inbox of its own: `url` and `webhook_url` on a free port, `run`, `settle`, `here`."""
    from morag_client.testing.fixtures import MoragReceiver  # noqa: PLC0415

    with MoragReceiver(morag_registry, settings=morag_settings, live=_is_live(request)) as receiver:
        request.node.stash[_RECEIVER] = receiver
        yield receiver


@pytest.fixture
def morag_emitter(morag_receiver: MoragReceiver) -> Iterator[Emitter]:
    """An emitter of MoRAG's webhooks for the receiver of the test, as the guide has them. Its retries do not wait."""
    with morag_receiver.emitter() as emitter:
        yield emitter


@pytest.fixture
def morag_pipeline(morag_receiver: MoragReceiver) -> MoragPipeline:
    """Sends a whole pipeline's webhooks, waits for the handlers and raises what they raised: `morag_pipeline()`."""
    from morag_client.testing.fixtures import MoragPipeline  # noqa: PLC0415

    return MoragPipeline(morag_receiver)


@pytest.fixture
def morag_events(morag_receiver: MoragReceiver) -> MoragEvents:
    """The events that arrived; `morag_events.wait_for("ingestion.completed", task=…, timeout=…)`."""
    from morag_client.testing.fixtures import MoragEvents  # noqa: PLC0415

    return MoragEvents(morag_receiver)


@pytest.fixture
def mock_morag(morag_receiver: MoragReceiver) -> Iterator[MockMorag]:
    """A mock MoRAG at `mock_morag.url`, which signs its webhooks as the receiver of the test wants them."""
    from morag_client.testing.mock.server import MockMorag  # noqa: PLC0415

    with MockMorag(webhook_secret=morag_receiver.secret, retry_delay=0.0) as mock:
        yield mock


_RECEIVER: Final[pytest.StashKey[MoragReceiver]] = pytest.StashKey()


def _is_live(request: pytest.FixtureRequest) -> bool:
    marker = request.node.get_closest_marker("morag")
    if marker is not None:
        if marker.args or set(marker.kwargs) != {"live"}:
            raise pytest.UsageError("write @pytest.mark.morag(live=True), or live=False")
        return bool(marker.kwargs["live"])
    mode = request.config.getoption("--morag-mode") or request.config.getini("morag_mode")
    if mode not in _MODES:
        raise pytest.UsageError(f"morag_mode = {mode}: it is one of {', '.join(_MODES)}")
    return bool(mode == "live")
