"""The mock server: tasks that run in threads, and a socket that answers for them."""

from __future__ import annotations

import importlib.util
import math
import os
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

from starlette.routing import BaseRoute

from morag_client.api.transport import require_token
from morag_client.errors import ConfigurationError
from morag_client.testing.delivering import DeliveryResult
from morag_client.testing.faults.plan import FaultPlan, require_plan
from morag_client.testing.mock.artefacts import Artefacts
from morag_client.testing.mock.carrying import Post
from morag_client.testing.mock.deliveries import DeliveryLog, LoggedAttempt
from morag_client.testing.mock.hosts import LOOPBACK, AllowedHosts
from morag_client.testing.mock.ingesting import Ingesting
from morag_client.testing.mock.processing import Processing
from morag_client.testing.mock.profiles import ProfileName, profile_of
from morag_client.testing.mock.routes import gone_routes, mock_app
from morag_client.testing.mock.running import Workers
from morag_client.testing.mock.shipping import Shipper
from morag_client.testing.mock.stage_files import StageFiles
from morag_client.testing.mock.stage_jobs import Jobs
from morag_client.testing.mock.stage_routes import Stages
from morag_client.testing.mock.stage_runs import StageRuns
from morag_client.testing.mock.statuses import Statuses
from morag_client.testing.mock.tasks import Tasks
from morag_client.testing.mock.uploads import MAX_UPLOAD_BYTES
from morag_client.testing.mock.voices import voice_of
from morag_client.testing.pipeline.running import Plan
from morag_client.testing.senders import Manners, from_environment
from morag_client.testing.serving import ThreadedServer
from morag_client.wire.signature import Secret, secret_keys

DEFAULT_API_KEY: Final = "test-api-key"
_DELIVERIES_KEPT: Final = 10_000


class MockMorag:
    """A MoRAG server for tests: `with MockMorag(webhook_secret=…) as mock:` serves it at `mock.url`.

    `profile` is the release it behaves like: `guide`, `r1`, `r2` or `r3`; `envelope_steps` puts the guide's steps into
    envelopes. It really processes documents. `speed` 0 is at once, 1 takes as long as a real server, 0.5 half of that.
    Webhooks go out with each sender's own manners, signed with `webhook_secret`, with `bearer_token` where a submission
    brings none, to `allowed_hosts` only (None: anywhere), and these `faults` happen to them. Documents that are
    submitted by URL are fetched from `allowed_hosts`, without any from this machine only. `app` is the ASGI app,
    `deliveries` what became of the latest webhooks, `log` each attempt, of which `on_attempt` hears.
    Raises ConfigurationError for what cannot work, such as a port in use.
    """

    def __init__(
        self,
        *,
        profile: ProfileName = "guide",
        envelope_steps: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        port_option: str = "port=",
        api_key: str = DEFAULT_API_KEY,
        webhook_secret: Secret | None = None,
        bearer_token: str | None = None,
        allowed_hosts: Iterable[str] | None = None,
        speed: float = 0.0,
        timeout_seconds: float | None = None,
        max_retries: int | None = None,
        retry_delay: float | None = None,
        max_upload_bytes: int = MAX_UPLOAD_BYTES,
        faults: FaultPlan | None = None,
        on_attempt: Callable[[LoggedAttempt], None] | None = None,
    ) -> None:
        if importlib.util.find_spec("python_multipart") is None:
            raise ConfigurationError("the mock server needs python-multipart: pip install 'morag-client[mock]'")
        if not 0 <= speed < math.inf:
            raise ConfigurationError(f"a speed of {speed} cannot be; 0 is at once, 1 as a real server")
        release = profile_of(profile)
        if envelope_steps and release.name != "guide":
            raise ConfigurationError(f"{release.name} sends no enveloped steps; leave them out, or take the guide")
        require_token(api_key, name="API key")
        if bearer_token is not None:
            require_token(bearer_token, name="bearer token")
        if webhook_secret is not None:
            secret_keys([webhook_secret])
        if faults is not None:
            require_plan(faults).check(is_signed=webhook_secret is not None)
        manners = Manners(timeout_seconds=timeout_seconds, max_retries=max_retries, retry_delay=retry_delay)
        manners.check()
        from_environment(os.environ)
        self.deliveries: deque[DeliveryResult] = deque(maxlen=_DELIVERIES_KEPT)
        self.log = DeliveryLog(tell=on_attempt)
        self._post = Post(log=self.log, faults=faults, on_delivery=self.deliveries.append)
        self._tasks = Tasks(release)
        shipper = Shipper(
            voice=voice_of(release, envelope_steps=envelope_steps),
            as_guide=release.name == "guide",
            manners=manners,
            secret=webhook_secret,
            bearer_token=bearer_token,
        )
        jobs = Jobs()
        self._stage_runs = StageRuns(jobs=jobs, shipper=shipper, carry=self._post.carry, speed=speed)
        self._workers = Workers(
            tasks=self._tasks,
            shipper=shipper,
            carry=self._post.carry,
            speed=speed,
            plan=Plan(progress_events=release.name == "r1"),
        )
        hosts = AllowedHosts.of(allowed_hosts)
        ingesting = Ingesting(
            profile=release,
            workers=self._workers,
            webhook_hosts=hosts,
            url_hosts=LOOPBACK if hosts.hosts is None else hosts,
            max_upload_bytes=max_upload_bytes,
        )
        routes: list[BaseRoute] = []
        if release.has_stages:
            stages = Stages(jobs=jobs, runs=self._stage_runs, webhook_hosts=hosts, max_upload_bytes=max_upload_bytes)
            routes += [*stages.routes(), *StageFiles(jobs).routes(), *gone_routes()]
        else:
            routes += [*ingesting.routes(), *Statuses(self._tasks).routes(), *Artefacts(self._tasks).routes()]
        if release.has_process:
            processing = Processing(
                ingesting=ingesting,
                workers=self._workers,
                webhook_hosts=hosts,
                max_upload_bytes=max_upload_bytes,
            )
            routes += processing.routes()
        self.app = mock_app(routes=routes, log=self.log, api_key=api_key)
        self._server = ThreadedServer(self.app, host=host, port=port, port_option=port_option)

    @property
    def url(self) -> str:
        """Where it is served: the base URL for a `MoragClient`."""
        return self._server.url

    def start(self) -> Self:
        """Returns when it serves."""
        self._server.start()
        return self

    def stop(self) -> None:
        """Gives up the tasks and stages that still run, takes no more submissions, and frees the port."""
        self._stage_runs.halt()
        self._workers.halt()
        # Before the server, whose callers may wait for the webhooks of stages.
        self._post.close()
        self._server.stop()
        self._workers.join()

    def wait(self, task_id: str, *, timeout_seconds: float | None = None) -> bool:
        """Waits until a task has ended and all its webhooks are through. False where that took too long."""
        return self._workers.wait(task_id, timeout_seconds=timeout_seconds)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
