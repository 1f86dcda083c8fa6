"""The Receiver: an ASGI application that proves, stores and hands on what MoRAG sends."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from morag_client.config import Settings
from morag_client.errors import (
    ConfigurationError,
    InvalidPayload,
    MalformedBody,
    SignedUrlExpired,
)
from morag_client.events.types import Event
from morag_client.handlers.dispatch import Dispatcher
from morag_client.handlers.registry import Registry, default_registry
from morag_client.handlers.retry import RetryPolicy
from morag_client.handlers.subscription import subscribe
from morag_client.inbox.lanes import Claimable
from morag_client.inbox.location import locate
from morag_client.inbox.replay_criteria import Replay, ReplayCriteria
from morag_client.inbox.retention import Pruned, Pruning, prune
from morag_client.inbox.rows import Arrival, EventRow, now
from morag_client.inbox.statistics import Statistics, statistics_of
from morag_client.processing.work import Work
from morag_client.progress.scopes import make_scope
from morag_client.receiver.access import Access, Authorize
from morag_client.receiver.asgi import Application
from morag_client.receiver.audit import Audit
from morag_client.receiver.correlation import CorrelationValue
from morag_client.receiver.dashboard import sessions_of
from morag_client.receiver.dead_letters import DeadLetters
from morag_client.receiver.events import Events
from morag_client.receiver.following import Following
from morag_client.receiver.forwarding import ForwardingRegistry
from morag_client.receiver.lifecycle import Lifecycle
from morag_client.receiver.progress import DEFAULT_AGE, AuthorizeProgress, ProgressGate, make_token
from morag_client.receiver.proof import Proof, TenantOf
from morag_client.receiver.quarantine import Quarantine
from morag_client.receiver.reading import Receive, Scope, Send
from morag_client.receiver.replaying import Replaying
from morag_client.receiver.runtime import Runtime
from morag_client.receiver.tasks import Tasks
from morag_client.receiver.understanding import understand
from morag_client.receiver.webhook_urls import make_url, warn_of_refusal
from morag_client.reconcile.asking import Asked
from morag_client.reconcile.report import Report
from morag_client.wire.authentication import authenticate
from morag_client.wire.delivery import Delivery
from morag_client.wire.identity import delivery_identity
from morag_client.wire.parsing import Reading
from morag_client.wire.redaction import redacted
from morag_client.wire.signature import Secret
from morag_client.wire.signed_url import Claims

if TYPE_CHECKING:
    from morag_client.forwarding.messages import Format

logger = logging.getLogger("morag_client.receiver")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of an accepted delivery: its record, new (`received`) or known (`duplicate`), and the event."""

    status: Literal["received", "duplicate"]
    record_id: int
    reading: Reading = field(repr=False)

    @property
    def event(self) -> Event:
        return self.reading.event


class Receiver:
    """An ASGI application for MoRAG's webhooks; mount it, or serve it by itself.

    `secrets` is one secret, several (a list, or separated by commas; rotation), or a function from a Delivery to its
    Tenant (None: unknown), plain or async. `authorize(request)` says who may look at the inbox ("read") and act on it
    ("act"), `authorize_progress(request)` whose progress somebody may follow. `retry` is how handlers are tried again
    that do not say so themselves. `client`, an AsyncMoragClient, asks MoRAG about silent tasks. Every other argument is
    described at Settings and can be set by the environment.
    Raises ConfigurationError, saying what to do, for what cannot work.
    """

    def __init__(
        self,
        *,
        registry: Registry | None = None,
        secrets: str | bytes | Sequence[str] | TenantOf | None = None,
        bearer_tokens: str | Sequence[str] | None = None,
        signing_key: str | Sequence[str] | None = None,
        public_url: str | None = None,
        client: Asked | None = None,
        api_url: str | None = None,
        api_key: str | None = None,
        reconcile_interval: float | timedelta | None = None,
        reconcile_silence: float | timedelta | None = None,
        reconcile_unknown: bool | None = None,
        database_url: str | None = None,
        table_prefix: str | None = None,
        insecure: bool | None = None,
        inspect: bool | None = None,
        authorize: Authorize | None = None,
        authorize_progress: AuthorizeProgress | None = None,
        progress_origins: str | Sequence[str] | None = None,
        progress_queue: int | None = None,
        redis_url: str | None = None,
        redis_channel: str | None = None,
        max_body_bytes: int | None = None,
        body_timeout: float | None = None,
        commit_timeout: float | None = None,
        concurrency: int | None = None,
        handler_threads: int | None = None,
        handler_timeout: float | timedelta | None = None,
        retry: RetryPolicy | None = None,
        grace: float | None = None,
        lease: float | None = None,
        quarantine_limit: int | None = None,
        quarantine_bytes: int | None = None,
        dashboard_password: str | None = None,
        dashboard_session: float | timedelta | None = None,
    ) -> None:
        self.settings = Settings.load(
            webhook_secret=None if callable(secrets) else secrets,
            bearer_tokens=bearer_tokens,
            signing_key=signing_key,
            public_url=public_url,
            api_url=api_url,
            api_key=api_key,
            reconcile_interval=_seconds(reconcile_interval),
            reconcile_silence=_seconds(reconcile_silence),
            reconcile_unknown=reconcile_unknown,
            database_url=database_url,
            table_prefix=table_prefix,
            insecure=insecure,
            inspect=inspect,
            progress_origins=progress_origins,
            progress_queue=progress_queue,
            redis_url=redis_url,
            redis_channel=redis_channel,
            max_body_bytes=max_body_bytes,
            body_timeout=body_timeout,
            commit_timeout=commit_timeout,
            concurrency=concurrency,
            handler_threads=handler_threads,
            handler_timeout=_seconds(handler_timeout),
            grace=grace,
            lease=lease,
            quarantine_limit=quarantine_limit,
            quarantine_bytes=quarantine_bytes,
            dashboard_password=dashboard_password,
            dashboard_session=_seconds(dashboard_session),
        )
        self._client = client
        self._has_tenants = callable(secrets)
        self._proof = Proof(self.settings, tenant_of=secrets if callable(secrets) else None)
        warn_of_refusal(self.settings, stacklevel=3)
        if registry is not None and not isinstance(registry, Registry):
            raise ConfigurationError(f"registry= takes a Registry, not {registry!r}")
        self._registry = ForwardingRegistry(default_registry if registry is None else registry)
        self._dispatcher = Dispatcher(self._registry, receiver_type=type(self))
        self._retry = retry or RetryPolicy(
            attempts=self.settings.retry_attempts, first=self.settings.retry_first, cap=self.settings.retry_cap
        )
        self._gate = ProgressGate(self.settings, authorize=authorize_progress)
        self._location = locate(self.settings.database_url)
        self._lifecycle = Lifecycle(self._make_runtime)
        self.duplicates = 0
        """How many deliveries this receiver has recognised as known."""
        self.events = Events(self._lifecycle)
        self.tasks = Tasks(self._lifecycle)
        self.dead_letters = DeadLetters(self._lifecycle)
        self.audit = Audit(self._lifecycle)
        self.quarantine = Quarantine(self._lifecycle)
        self._application = Application(
            self,
            access=Access(authorize=authorize, inspect=self.settings.inspect, sessions=sessions_of(self.settings)),
            gate=self._gate,
            lifecycle=self._lifecycle,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._application(scope, receive, send)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:  # noqa: ARG002  # frameworks pass themselves
        """Starts and stops the receiver: `FastAPI(lifespan=receiver.lifespan)`, or `async with receiver.lifespan():`.

        Needed where the receiver is mounted, since frameworks do not run the lifespan of what they mount.
        """
        await self._lifecycle.enter()
        try:
            yield
        finally:
            await self._lifecycle.leave()

    async def receive(self, delivery: Delivery) -> Receipt:
        """Takes a delivery: proven, understood and stored when this returns; its handlers run later.

        Raises DeliveryRejected (its `status` and `problems` are the answer) and InboxUnavailable. What is authentic
        and cannot be understood is in quarantine by then, as far as there is room.
        """
        claims = None if delivery.token is None else self._proof.claims_of(delivery)
        credentials = self._proof.of_everybody or await self._proof.of_one(delivery)
        authenticate(delivery, credentials, claims)
        runtime = await self._lifecycle.runtime()
        signed = credentials.signature_keys is not None
        correlation = None if claims is None else claims.text
        identity = delivery_identity(
            tenant=credentials.tenant,
            body=delivery.body,
            claims=correlation or "",
            query=None if signed else delivery.query,
        )
        if credentials.signed_urls:  # from here on nobody needs what opens the door
            delivery = redacted(delivery)
        arrival = Arrival(delivery, identity, credentials.tenant, now(), correlation)
        try:
            if claims is not None:
                _refuse_expired(claims, arrival)
            row, reading = understand(arrival)
        except (MalformedBody, InvalidPayload, SignedUrlExpired) as rejected:
            await runtime.inbox.quarantine(arrival, rejected)
            raise
        note = _note(row, reading) if runtime.takes_work else None
        stored = await runtime.inbox.record(arrival, row, note)
        self.duplicates += not stored.is_new
        return Receipt("received" if stored.is_new else "duplicate", stored.record_id, reading)

    async def replay(
        self,
        *record_ids: int,
        task_id: str | None = None,
        name: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        state: str | None = None,
        handler: str | None = None,
        dry_run: bool = False,
        who: str = "application",
        why: str | None = None,
    ) -> Replay:
        """Lets handlers run again for the records that are meant: those that failed, or all where none did.

        All that is given has to hold of a record. `name` is a pattern as `@on` takes it, `"*"` means every record;
        `since` (inclusive) and `until` (exclusive) are of the receipt; `state` is stored, retrying, handled or failed.
        With `handler`, that one runs again, and for records that it never had, for the first time. A run that is
        replayed has all its attempts again and begins with the first. `who` and `why` go into the audit; with
        `dry_run` nothing is changed.
        Raises RecordNotFound where there is no record of an id, and ConfigurationError where nothing says which records
        are meant, or what says so cannot be; nothing is changed then. Raises InboxUnavailable.
        """
        criteria = ReplayCriteria(record_ids or None, task_id, name, since, until, state, handler)
        replaying = Replaying(await self._lifecycle.runtime(), criteria, known_handlers=self.handler_names)
        return await (replaying.count() if dry_run else replaying.replay(who=who, why=why))

    async def reconcile(
        self,
        *,
        silent_for: timedelta = timedelta(0),
        within: timedelta | None = None,
        dry_run: bool = False,
        who: str = "application",
        why: str | None = None,
    ) -> Report:
        """Asks MoRAG now how the tasks stand that have not ended, and makes the `task.*` events that are missing.

        Meant are those that have been silent for so long, and heard of within so long (None: whenever); and those that
        MoRAG lists and no webhook told of, of the last day where nothing else is said. `who` and `why` go into the
        audit; with `dry_run` nothing is stored. What MoRAG did not answer is in the report.
        Raises ConfigurationError where there is no MoRAG to ask, AlreadyReconciling and InboxUnavailable.
        """
        reconciling = (await self._lifecycle.runtime()).reconciling
        return await reconciling.run(silent_for=silent_for, within=within, dry_run=dry_run, who=who, why=why)

    async def prune(
        self,
        older_than: timedelta,
        *,
        keep_failures: bool = False,
        with_quarantine: bool = False,
        who: str = "application",
        why: str | None = None,
    ) -> Pruned:
        """Lets go of the bodies of records that are through and older than that, as `morag-client prune` does.

        What stays is in docs/how-to/retention.md. Raises ConfigurationError for an age that cannot be, and
        InboxUnavailable; what was done by then is committed.
        """
        pruning = Pruning(older_than=older_than, keep_failures=keep_failures, with_quarantine=with_quarantine)
        return await prune((await self._lifecycle.runtime()).inbox.database, pruning, who=who, why=why)

    async def stats(self) -> Statistics:
        """How much was received, what became of it, and how long steps take; what is exact is said there."""
        runtime = await self._lifecycle.runtime()
        return await statistics_of(runtime.inbox.database, patience=runtime.inbox.patience)

    def forward(
        self,
        *events: str | type[Event] | Iterable[str | type[Event]],
        to: str,
        format: Format = "morag",  # noqa: A002  # the word that says it
        secret: Secret | None = None,
        name: str | None = None,
        where: Callable[[Any], bool] | None = None,
        retry: RetryPolicy | None = None,
        timeout: float | timedelta | None = None,
        headers: Mapping[str, str] | None = None,
        allow_private: str | Iterable[str] = (),
    ) -> str:
        """Passes events on: posts each to the URL `to`, by a handler like any other, whose name is returned.

        `events`, `where`, `retry` and `timeout` (by default 30 seconds) are as in `@on`, and so is `name`, by default
        `forward:` and the URL's host. `format` is "morag" (as the guide has it), "slack", or a function from an event
        to a dict (sent as JSON), text, bytes or None (nothing is sent), plain or async. With a `secret` it is signed as
        MoRAG's webhooks are. `allow_private` names hosts that may be this machine or its network, and plain http.
        Raises ConfigurationError, without showing the URL, for what cannot work, and once the receiver has started.
        """
        if self._lifecycle.is_running:
            raise ConfigurationError(
                "the receiver has started, and what it has stored since would not be passed on; call forward() before"
            )
        subscription = subscribe(events, where)  # here, whose caller is warned
        named = self._registry.forward(
            subscription,
            to=to,
            format=format,
            secret=secret,
            name=name,
            retry=retry,
            timeout=timeout,
            headers=headers,
            allow_private=allow_private,
        )
        self._dispatcher.refresh()
        return named

    def webhook_url(self, /, *, max_age: float | timedelta | None = None, **correlation: CorrelationValue) -> str:
        """A signed URL to submit a document with: what MoRAG posts to it is believed, and carries the correlation.

        Ids are strings (1 to 255 printable characters), integers or UUIDs, 16 at most; events have them as text, with
        `ref`, which each URL has of its own. After `max_age` (seconds) deliveries are answered with 422 and kept in
        quarantine; without it the URL is good for as long as its key.
        Raises ConfigurationError where `signing_key` or `public_url` is missing, or an id cannot be signed.
        """
        return make_url(self.settings, correlation, max_age=max_age)

    def progress_token(
        self,
        *,
        task: str | None = None,
        document: CorrelationValue | None = None,
        correlation: Mapping[str, CorrelationValue] | None = None,
        all: bool = False,  # noqa: A002  # the plain word for it
        tenant: str | None = None,
        max_age: float | timedelta = DEFAULT_AGE,
    ) -> str:
        """A token to follow the progress of a task, of a document's tasks, of those of some signed ids, or of all.

        Exactly one of these is given; `tenant` says whose they are, where there are tenants. It is asked for when a
        connection is made, and good for `max_age` (seconds; a day).
        Raises ConfigurationError where `signing_key` is missing, or none or several are given.
        """
        scope = make_scope(task=task, document=document, correlation=correlation, all=all, tenant=tenant)
        return make_token(self.settings, scope, max_age=max_age)

    def task_events(self, task_id: str, /, *, tenant: str = "") -> AsyncGenerator[Event, None]:
        """The events of a task: those that are stored, in the order of their handlers, and then those that come.

        It has no end of its own. It works in any event loop and does not start the receiver. What `client.task(…,
        inbox=receiver)` waits for. Raises InboxUnavailable.
        """
        return Following(self._lifecycle, self._location, self.settings).events(task_id, tenant=tenant)

    @property
    def bearer_token(self) -> str | None:
        """The token that a sender is to be given, None where bearer tokens are not accepted; the first of several."""
        tokens = self.settings.bearer_tokens
        return None if tokens is None else tokens[0].get_secret_value()

    @property
    def can_reconcile(self) -> bool:
        """Whether there is a MoRAG to ask."""
        return self._client is not None or self.settings.api_url is not None

    @property
    def handler_names(self) -> list[str]:
        """The names of the handlers that events go to."""
        return self._dispatcher.handler_names

    @property
    def start_error(self) -> Exception | None:
        """What kept the receiver from starting the last time, None where nothing did."""
        return self._lifecycle.start_error

    @property
    def inbox_url(self) -> str:
        """Where the inbox is, without any password."""
        url = self._location.url
        return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)

    async def hang_up(self) -> None:
        """Ends every connection that follows progress; there will be no others before the next start.

        ASGI servers wait for answers that are under way before they end a lifespan, and a stream never ends by itself.
        """
        runtime = self._lifecycle.running
        if runtime is not None:
            await runtime.live.hang_up()

    async def idle(self) -> None:
        """Returns once no stored record waits for its handlers any more. For tests and orderly ends."""
        runtime = await self._lifecycle.runtime()
        if runtime.engine is not None:
            await runtime.engine.idle()

    def _make_runtime(self) -> Runtime:
        return Runtime(
            settings=self.settings,
            retry=self._retry,
            location=self._location,
            dispatcher=self._dispatcher,
            gate=self._gate,
            receiver=self,
            client=self._client,
            has_tenants=self._has_tenants,
        )


def _seconds(duration: float | timedelta | None) -> float | None:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def _refuse_expired(claims: Claims, arrival: Arrival) -> None:
    if claims.expires_at is not None and arrival.received_at.timestamp() >= claims.expires_at:
        raise SignedUrlExpired("the signed URL has expired; the delivery is kept in quarantine")


def _note(row: EventRow, reading: Reading) -> Callable[[int], Work]:
    """What the engine gets of a new record, once it has an id."""

    def work(record_id: int) -> Work:
        return Work(
            claimable=Claimable(record_id, row.task_key, row.task_id, row.tenant),
            reading=reading,
            body=row.body,
            received_at=row.received_at,
        )

    return work
