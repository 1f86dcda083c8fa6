"""Signed webhook URLs over a real socket: who is believed, what they carry, and what becomes of it."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import bodies
import deliveries
import mocking
import pytest
import receiving
import servers
from fastapi import FastAPI
from itsdangerous.url_safe import URLSafeSerializer

from morag_client import (
    AuthenticationError,
    Context,
    Delivery,
    DeliveryRejected,
    Event,
    MoragWarning,
    Receiver,
    Registry,
    Settings,
    SignedUrlExpired,
    Tenant,
    webhook_url,
)
from morag_client.receiver import webhook_urls
from morag_client.wire.signed_url import Claims, UrlSigner

HERE = "https://app.example.com"
KEY = "the key of these tests"
SIGNED_ONLY = {"secrets": None, "signing_key": KEY, "public_url": HERE}


def target_of(url: str) -> bytes:
    return url.removeprefix(HERE).encode()


def token_of(url: str) -> str:
    return url.rpartition("/")[2]


def post(url: str, body: bytes, target: bytes | str, *lines: bytes) -> servers.Answer:
    target = target if isinstance(target, bytes) else target_of(target)
    return servers.exchange(url, servers.request_bytes(body, *lines, target=target))


@contextmanager
def at_work(folder: Path, registry: Registry | None = None, **settings: Any) -> Iterator[tuple[Receiver, str]]:
    receiver = receiving.receiver_of(folder, registry, **{**SIGNED_ONLY, **settings})
    with servers.serving(receiver) as url:
        yield receiver, url


class Seen:
    """Handlers that remember what they got."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.events: list[Event] = []
        self.contexts: list[Context] = []

        @self.registry.on("*", name="remember")
        def remember(event: Event, context: Context) -> None:
            self.events.append(event)
            self.contexts.append(context)

    def wait_for(self, count: int) -> list[Event]:
        receiving.eventually(lambda: len(self.events) >= count)
        return self.events


# Who is believed -----------------------------------------------------------------------------------------------------


def test_an_unsigned_morag_is_believed_by_its_url_and_its_events_carry_the_ids(tmp_path: Path) -> None:
    seen, body = Seen(), deliveries.task_body()
    with at_work(tmp_path, seen.registry) as (receiver, url):
        to_acme, to_globex = receiver.webhook_url(tenant="acme", document=42), receiver.webhook_url(tenant="globex")
        answers = [post(url, body, target) for target in (to_acme, to_acme, to_globex)]
        plain = post(url, body, b"/webhook")
        acme, globex = seen.wait_for(2)

    assert [answer.json["status"] for answer in answers] == ["received", "duplicate", "received"]
    assert (plain.status, receiving.counts(tmp_path)) == (401, (2, 0))
    assert "signed webhook URL" in plain.body.decode()
    assert (acme.correlation["tenant"], acme.correlation["document"]) == ("acme", "42")
    assert globex.correlation.keys() == {"tenant", "ref"}
    assert acme.correlation["ref"] != globex.correlation["ref"]


SPOILT = {
    "another byte": lambda t: t[:60] + chr(ord(t[60]) ^ 1) + t[61:],
    "another last byte": lambda t: t[:-1] + ("A" if t[-1] != "A" else "B"),
    "cut": lambda t: t[:-1],
    "without a signature": lambda t: t.rpartition(".")[0],
    "without claims": lambda t: "morag-w1." + t.rpartition(".")[2],
    "longer": lambda t: t + "A",
    "huge": lambda t: t + "A" * 20_000,
    "twice": lambda t: f"{t}/{t}",
    "a segment more": lambda t: f"{t}/x",
    "a segment before": lambda t: f"x/{t}",
    "webhook twice": lambda t: f"webhook/{t}",
    "a slash behind": lambda t: f"{t}/",
    "two slashes": lambda t: f"/{t}",
    "a dot percent-encoded": lambda t: t.replace(".", "%2E"),
    "a letter percent-encoded": lambda t: "%6D" + t[1:],
    "a slash percent-encoded": lambda t: t + "%2F",
    "NUL": lambda t: t + "%00",
    "NUL before": lambda t: "%00" + t,
    "a newline": lambda t: t + "%0A",
    "no ASCII": lambda t: t + "%C3%A9",
    "no UTF-8": lambda t: "%FF" + t,
    "a parameter": lambda t: t + ";a=b",
    "capitals": lambda t: t.upper(),
    "another key's": lambda _: UrlSigner([b"another key"]).sign(Claims({"ref": "r"})),
    "another salt's": lambda _: "morag-w1." + str(URLSafeSerializer(KEY, salt=b"progress").dumps({"c": {"ref": "r"}})),
    "dots": lambda t: f"../webhook/{t}",
    "empty": lambda _: "",
    "nothing at all": lambda _: "%20",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signed")


@pytest.fixture(scope="module", params=["httptools", "h11"])
def receiver_and_url(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[Receiver, str]]:
    receiver = receiving.receiver_of(folder, **SIGNED_ONLY)
    with servers.serving(receiver, http=request.param) as url:
        yield receiver, url


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_any_other_url_is_401_and_leaves_nothing(
    receiver_and_url: tuple[Receiver, str], folder: Path, spoil: Any, caplog: pytest.LogCaptureFixture
) -> None:
    receiver, url = receiver_and_url
    body, token = deliveries.task_body(), token_of(receiver.webhook_url(tenant="acme"))
    before = receiving.counts(folder)

    answer = post(url, body, b"/webhook/" + spoil(token).encode())

    assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert receiving.counts(folder) == before
    assert spoil(token)[:60] not in answer.body.decode() + caplog.text or len(spoil(token)) < 10
    assert post(url, body, f"/webhook/{token}".encode()).json["status"] == "received"


@pytest.mark.parametrize("target", [b"//webhook/", b"/x/webhook/", b"/webhooks/", b"/WEBHOOK/"])
def test_elsewhere_there_is_nothing(receiver_and_url: tuple[Receiver, str], folder: Path, target: bytes) -> None:
    receiver, url = receiver_and_url
    before = receiving.counts(folder)

    assert post(url, deliveries.task_body(), target + token_of(receiver.webhook_url()).encode()).status == 404
    assert receiving.counts(folder) == before


def test_only_a_post_is_a_delivery(receiver_and_url: tuple[Receiver, str]) -> None:
    receiver, url = receiver_and_url
    target = target_of(receiver.webhook_url())

    answer = servers.exchange(url, servers.request_bytes(b"", method=b"GET", target=target))

    assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_keys_are_rotated_without_losing_a_url(tmp_path: Path) -> None:
    first, second = (tmp_path / name for name in ("first", "second"))
    for folder in (first, second):
        folder.mkdir()
    with at_work(first, signing_key="old") as (receiver, url):
        given_out = receiver.webhook_url(document=1)
        assert post(url, deliveries.task_body(), given_out).status == 200
    with at_work(first, signing_key="new,old") as (receiver, url):
        assert post(url, deliveries.task_body(), given_out).status == 200
        since = receiver.webhook_url(document=2)
    with at_work(second, signing_key=["new"]) as (_, url):
        assert post(url, deliveries.task_body(), given_out).status == 401
        assert post(url, deliveries.task_body(), since).status == 200


def test_any_kind_vouches_but_a_signature_that_is_there_must_be_right(tmp_path: Path) -> None:
    body, bearer = deliveries.task_body(), b"Authorization: Bearer tok-1"
    with at_work(tmp_path, secrets=deliveries.SECRET, bearer_tokens="tok-1") as (receiver, url):
        good, bad = receiver.webhook_url(), receiver.webhook_url() + "x"
        right, wrong = servers.signed(body), servers.signed(body, "wrong")
        statuses = [
            post(url, body, *asked).status
            for asked in (
                *((good,), (good, right), (good, bearer), (b"/webhook", right), (b"/webhook", bearer)),
                *((good, wrong), (good, wrong, bearer), (bad, right), (bad, bearer), (b"/webhook",)),
            )
        ]

    assert statuses == [200] * 5 + [401] * 5


def test_without_a_key_there_is_no_such_place(tmp_path: Path) -> None:
    body, token = deliveries.task_body(), UrlSigner([KEY.encode()]).sign(Claims({"ref": "r"}))
    with at_work(tmp_path, secrets=deliveries.SECRET, signing_key=None, public_url=None) as (receiver, url):
        assert post(url, body, b"/webhook/" + token.encode(), servers.signed(body)).status == 404
        with pytest.raises(AuthenticationError, match="no signing_key"):
            asyncio.run(receiver.receive(Delivery(body, token=token)))


def test_believing_everybody_does_not_excuse_a_wrong_url(tmp_path: Path) -> None:
    body = deliveries.task_body()
    with pytest.warns(MoragWarning, match="insecure"):
        receiver = receiving.receiver_of(tmp_path, insecure=True, **SIGNED_ONLY)
    with servers.serving(receiver) as url:
        assert post(url, body, receiver.webhook_url() + "x").status == 401
        assert post(url, body, b"/webhook").status == 200


def test_mounted_the_url_has_the_mounts_prefix(tmp_path: Path) -> None:
    receiver = receiving.receiver_of(tmp_path, **{**SIGNED_ONLY, "public_url": f"{HERE}/webhook/in"})
    app = FastAPI(lifespan=receiver.lifespan)
    app.mount("/webhook/in", receiver)
    body = deliveries.task_body()
    with servers.serving(app) as url:
        assert post(url, body, receiver.webhook_url()).status == 200
        assert post(url, body, receiver.webhook_url() + "/x").status == 401
    assert receiving.query(tmp_path, "SELECT path FROM webhook_events") == [("/webhook/in/webhook/REDACTED",)]


@pytest.mark.parametrize(("profile", "count"), [("guide", 14), ("r1", 5), ("r2", 9), ("r3", 7)])
def test_each_release_is_believed_though_it_signs_nothing(tmp_path: Path, profile: str, count: int) -> None:
    seen = Seen()
    receiver = receiving.receiver_of(tmp_path, seen.registry, secrets=None, signing_key=KEY)
    with servers.serving(receiver) as url, mocking.asked(profile=profile) as morag:
        settings = Settings.load(signing_key=KEY, public_url=url)
        with pytest.warns(MoragWarning, match=r"127\.0\.0\.1"):
            to = webhook_url(settings, document=42)
        if profile == "r3":
            request = {"stages": ["markdown-conversion", "chunker"], "webhook_config": {"url": to}}
            assert morag.upload("/api/v1/stages/chain", request=request).json()["success"]
            count = len(morag.mock.deliveries)
        else:
            morag.ingest(**({"request_data": {"webhook_url": to}} if profile == "r2" else {"webhook_url": to}))
        events = seen.wait_for(count)
        assert [delivery.ok for delivery in morag.mock.deliveries] == [True] * count

    assert {event.correlation["document"] for event in events} == {"42"}
    assert len({event.correlation["ref"] for event in events}) == 1
    assert all(context.task is not None for context in seen.contexts)
    assert token_of(to).encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


# Tenants -------------------------------------------------------------------------------------------------------------


def test_beside_tenants_a_url_is_good_for_the_tenant_that_it_names(tmp_path: Path) -> None:
    def tenant_of(delivery: Delivery) -> Tenant | None:
        name = delivery.header("X-Tenant")
        return Tenant(name, [f"of {name}"]) if name else None

    acme, globex = b"X-Tenant: acme", b"X-Tenant: globex"
    body = deliveries.task_body()
    with at_work(tmp_path, secrets=tenant_of) as (receiver, url):
        of_acme, of_nobody = receiver.webhook_url(tenant="acme"), receiver.webhook_url(document=1)
        right = servers.signed(body, "of globex")
        statuses = [
            post(url, body, *asked).status
            for asked in (
                *((of_acme, acme), (of_nobody, globex, right)),
                *((of_acme, globex), (of_acme, globex, right), (of_acme,), (of_nobody, acme)),
            )
        ]

    assert statuses == [200] * 2 + [401] * 4
    rows = receiving.query(tmp_path, "SELECT tenant, correlation FROM webhook_events ORDER BY id")
    assert [tenant for tenant, _ in rows] == ["acme", "globex"]
    assert '"document":"1"' in rows[1][1]


def test_without_tenants_the_name_is_an_id_like_any_other(tmp_path: Path) -> None:
    seen = Seen()
    with at_work(tmp_path, seen.registry) as (receiver, url):
        for tenant in ("acme", "globex"):
            post(url, deliveries.task_body("task-1"), receiver.webhook_url(tenant=tenant))
        seen.wait_for(2)

    assert receiving.query(tmp_path, "SELECT DISTINCT tenant, task_id FROM webhook_tasks") == [("", "task-1")]


# Events without an id ------------------------------------------------------------------------------------------------


IDLESS = ["r3_stage_completed", "r3_pipeline_completed", "r3_stage_chain_completed"]


async def test_events_without_an_id_belong_to_the_task_of_their_url(tmp_path: Path) -> None:
    seen, sent = Seen(), [bodies.body(name) for name in IDLESS]
    async with receiving.working(tmp_path, seen.registry, **SIGNED_ONLY) as receiver:
        urls = [receiver.webhook_url(document=number) for number in (1, 2)]
        for body, url in itertools.product(sent, urls):
            assert (await receiver.receive(Delivery(body, token=token_of(url)))).status == "received"
        step = deliveries.step_body("task-1")
        await receiver.receive(Delivery(step, token=token_of(urls[0])))
        await receiver.idle()
        refs = [event.correlation["ref"] for event in seen.events[:2]]
        tasks = [await receiver.tasks.get(ref=ref) for ref in refs]
        named = await receiver.tasks.get("task-1")
        of_one = await receiver.tasks.events(ref=refs[0])

    assert [task.sequence for task in tasks] == [3, 3]
    assert {task.correlation["document"] for task in tasks} == {"1", "2"}
    assert [(task.task_id, task.state) for task in tasks] == [(None, "completed")] * 2
    assert [record.dialect for record in of_one] == ["stage_completed", "pipeline_completed", "stage_chain"]
    assert (named.sequence, named.correlation["document"]) == (1, "1")
    assert sorted(context.sequence for context in seen.contexts if context.task.task_id is None) == [1, 1, 2, 2, 3, 3]


# Restarts, replays, quarantine ---------------------------------------------------------------------------------------


async def test_the_ids_are_there_after_a_restart_and_after_a_replay(tmp_path: Path) -> None:
    async with receiving.working(tmp_path, **SIGNED_ONLY) as receiver:
        token = token_of(receiver.webhook_url(tenant="acme", document=42))
        await receiver.receive(Delivery(deliveries.task_body(), token=token))

    seen = Seen()
    async with receiving.working(tmp_path, seen.registry, **SIGNED_ONLY) as receiver:
        await receiver.idle()
        await receiver.replay(1)
        await receiving.until(lambda: len(seen.events) == 2)
        [record] = await receiver.events.list(correlation={"tenant": "acme", "document": 42})
        assert await receiver.events.list(correlation={"tenant": "acm"}) == []

    for correlation in (record.correlation, *(event.correlation for event in seen.events)):
        assert (correlation["tenant"], correlation["document"], len(correlation["ref"])) == ("acme", "42", 24)


def test_an_expired_url_is_422_and_its_delivery_waits_in_quarantine_with_its_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, body = Seen(), deliveries.task_body("task-1")
    with at_work(tmp_path, seen.registry) as (receiver, url):
        monkeypatch.setattr(webhook_urls.time, "time", lambda: 1_700_000_000.0)
        late = receiver.webhook_url(tenant="acme", max_age=60)
        monkeypatch.undo()
        in_time = receiver.webhook_url(tenant="acme", max_age=60)
        refused, again = (post(url, body, late) for _ in range(2))
        spoilt = post(url, body, late + "x")
        assert post(url, body, in_time).status == 200
        seen.wait_for(1)

    assert (refused.status, refused.json["code"], again.status) == (422, "expired_url", 422)
    assert (spoilt.status, receiving.counts(tmp_path)) == (401, (1, 1))

    async def retake() -> None:
        async with receiving.working(tmp_path, seen.registry, **SIGNED_ONLY) as receiver:
            [kept] = await receiver.quarantine.list()
            assert (kept.code, kept.repeats, kept.correlation["tenant"]) == ("expired_url", 1, "acme")
            assert (await receiver.quarantine.retry(kept.id)).accepted == 1
            await receiving.until(lambda: len(seen.events) == 2)
            with pytest.raises(SignedUrlExpired):
                await receiver.receive(Delivery(deliveries.task_body(), token=token_of(late)))

    asyncio.run(retake())
    first, second = seen.events
    assert (second.task_id, second.correlation["tenant"]) == ("task-1", "acme")
    assert second.correlation["ref"] != first.correlation["ref"]
    # the same delivery was kept once, and is a duplicate of the record that was made of it
    assert receiving.counts(tmp_path) == (2, 1)


async def test_what_is_not_understood_keeps_its_ids_too(tmp_path: Path) -> None:
    wrong = deliveries.as_body({"event": "stage_completed"})
    async with receiving.working(tmp_path, **SIGNED_ONLY) as receiver:
        token = token_of(receiver.webhook_url(document=7))
        for body in (wrong, b"[]"):
            with pytest.raises(DeliveryRejected):
                await receiver.receive(Delivery(body, token=token))
        kept = await receiver.quarantine.list()
        ref = kept[0].correlation["ref"]
        arrival = (await receiver.quarantine.get(kept[0].id)).arrival

    assert [one.correlation for one in kept] == [{"document": "7", "ref": ref}] * 2
    assert arrival.correlation == f'{{"document":"7","ref":"{ref}"}}'


async def test_a_token_in_a_delivery_is_gone_wherever_it_is_kept(tmp_path: Path) -> None:
    seen = Seen()
    async with receiving.working(tmp_path, seen.registry, **SIGNED_ONLY) as receiver:
        url = receiver.webhook_url()
        body = deliveries.task_body(metadata={"webhook_url": url, "number": time.time()})
        delivery = replace(deliveries.delivery(body, secret=None), token=token_of(url))
        await receiver.receive(delivery)
        assert (await receiver.receive(delivery)).status == "duplicate"
        await receiver.idle()

    [event], [context] = seen.events, seen.contexts
    assert event.raw["data"]["metadata"]["webhook_url"] == f"{HERE}/webhook/REDACTED"
    assert token_of(url) not in repr(event) + context.body.decode() + repr(event.metadata)
