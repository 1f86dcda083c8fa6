"""Posting, over real sockets: to the address that was looked at, under the name that was meant."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import others
import pytest
from others import Reply, Service

from morag_client.forwarding.answers import ForwardingFailed, ForwardingRefused
from morag_client.forwarding.posting import Poster
from morag_client.forwarding.target import Target, target_of

NAME = "hooks.example.test"
BODY = b'{"a": 1}'


class Names:
    """A name server of its own: the answers to each question, one after the other; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.asked: list[tuple[str, int]] = []
        self._answers = list(answers)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def own(port: int, *, host: str = NAME, scheme: str = "http", path: str = "/hook") -> Target:
    return target_of(f"{scheme}://{host}:{port}{path}", allow_private=[host])


def foreign(port: int, path: str = "/hook") -> Target:
    """A target whose host was not allowed to be private; in plain http, which only a test can have."""
    return Target("http", NAME, port, path, private=False)


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def test_the_address_is_the_one_that_was_looked_up_and_the_name_the_one_that_was_meant() -> None:
    service, names = Service(), Names(["127.0.0.1"])
    with others.running(service) as url:
        target = own(port_of(url), path="/a%2Fb/c?d=%20e&f")
        answer = await Poster(resolve=names).post(target, BODY, [("X-Own", "1")])

    (posted,) = service.posted
    assert answer.status == 200
    assert names.asked == [(NAME, port_of(url))]
    assert posted.headers["host"] == f"{NAME}:{port_of(url)}"
    assert (posted.path, posted.body, posted.headers["x-own"]) == ("/a%2Fb/c?d=%20e&f", BODY, "1")
    assert posted.headers["content-length"] == str(len(BODY))


async def test_an_address_of_ipv6_is_a_host_too() -> None:
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    try:
        server = await asyncio.start_server(talk, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with server:
        port = server.sockets[0].getsockname()[1]
        answer = await Poster().post(own(port, host="[::1]"), BODY, [])

    assert answer.status == 204
    assert f"Host: [::1]:{port}\r\n".encode() in heard[0]


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["::1"], ["10.0.0.1"], ["169.254.169.254"], ["::ffff:127.0.0.1"], ["93.184.216.34", "127.0.0.1"]],
)
async def test_a_public_name_that_leads_inside_is_sent_nothing(addresses: list[str]) -> None:
    service = Service()
    with others.running(service) as url, pytest.raises(ForwardingRefused, match="nothing was sent"):
        await Poster(resolve=Names(addresses)).post(foreign(port_of(url)), BODY, [])

    assert service.posted == []


async def test_a_name_that_leads_elsewhere_a_moment_later_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    # given a name that is public when it is looked at, and this machine for whoever asks again
    asked = Names(["192.88.99.7"], ["127.0.0.1"])
    connected: list[Any] = []

    async def connect(*, remote_host: str, remote_port: int, **_: Any) -> Any:
        connected.append((remote_host, remote_port))
        raise OSError("no network in tests")

    monkeypatch.setattr("anyio.connect_tcp", connect)
    with pytest.raises(ForwardingFailed, match="cannot be reached"):
        await Poster(resolve=asked).post(foreign(80), BODY, [])

    assert connected == [("192.88.99.7", 80)]
    assert len(asked.asked) == 1
    # and it is looked at again with each event
    with pytest.raises(ForwardingRefused, match="loopback"):
        await Poster(resolve=asked).post(foreign(80), BODY, [])


async def test_the_next_address_is_tried_where_the_first_does_not_answer() -> None:
    service = Service()
    with others.running(service) as url:
        await Poster(resolve=Names(["127.0.0.9", "127.0.0.1"])).post(own(port_of(url)), BODY, [])

    assert len(service.posted) == 1


async def test_the_next_address_is_tried_where_the_first_takes_no_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morag_client.forwarding.posting._CONNECT_SECONDS", 0.3)
    service = Service()
    with others.running(service) as url, contextlib.ExitStack() as stack:
        # given an address whose queue of connections is full
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.9", port_of(url)))
        full.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        async with asyncio.timeout(5):
            await Poster(resolve=Names(["127.0.0.9", "127.0.0.1"])).post(own(port_of(url)), BODY, [])

    assert len(service.posted) == 1


async def test_what_cannot_be_reached_or_found_is_tried_again() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(ForwardingFailed, match=f"{NAME}:{port} cannot be reached"):
            await Poster(resolve=Names(["127.0.0.1"])).post(own(port), BODY, [])
    with pytest.raises(ForwardingFailed, match="no address"):
        await Poster(resolve=Names([])).post(own(port), BODY, [])

    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(ForwardingFailed, match="cannot be found"):
        await Poster(resolve=unknown).post(own(port), BODY, [])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    inside = Service()
    with others.running(inside) as there:
        service = Service(Reply(status, headers={"location": f"{there}/inside"}))
        with others.running(service) as url:
            answer = await Poster(resolve=Names(["127.0.0.1"])).post(own(port_of(url)), BODY, [])

    assert answer.status == status
    assert inside.posted == []


async def test_no_proxy_of_the_environment_gets_to_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, service = Service(), Service()
    with others.running(proxy) as there, others.running(service) as url:
        for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, there)
        await Poster(resolve=Names(["127.0.0.1"])).post(own(port_of(url)), BODY, [])

    assert (len(proxy.posted), len(service.posted)) == (0, 1)


async def test_no_logger_is_told_the_url(caplog: pytest.LogCaptureFixture) -> None:
    service = Service(Reply(500, b"x"))
    with caplog.at_level(logging.DEBUG), others.running(service) as url:
        target = own(port_of(url), path="/services/T0CANARY?key=K0CANARY")
        await Poster(resolve=Names(["127.0.0.1"])).post(target, BODY, [("Authorization", "Bearer A0CANARY")])

    assert [record for record in caplog.records if record.name.startswith("httpcore2")]  # they talk
    assert "CANARY" not in caplog.text


# Answers that no service should give.


async def test_of_a_huge_answer_only_the_beginning_is_read() -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 400 Bad\r\n\r\n")
        while sent < 200_000_000:
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async with others.talking(talk) as port:
        answer = await Poster(resolve=Names(["127.0.0.1"])).post(own(port), BODY, [])

    assert (answer.status, answer.text) == (400, "x" * 4096)
    assert sent < 16_000_000


async def test_a_packed_answer_is_not_unpacked() -> None:
    packed = b"\x1f\x8b" + b"\x00" * 20
    service = Service(Reply(400, packed, {"content-encoding": "gzip"}))
    with others.running(service) as url:
        answer = await Poster(resolve=Names(["127.0.0.1"])).post(own(port_of(url)), BODY, [])

    assert answer.text == packed.decode(errors="replace")
    assert service.posted[0].headers["accept-encoding"] == "identity"


async def test_an_answer_whose_body_never_ends_is_known_by_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morag_client.forwarding.posting._READ_SECONDS", 0.3)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 410 Gone\r\nContent-Length: 1000\r\n\r\nchannel_is_archived")
        await asyncio.sleep(20)

    began = time.monotonic()
    async with others.talking(talk) as port:
        answer = await Poster(resolve=Names(["127.0.0.1"])).post(own(port), BODY, [])

    assert (answer.status, answer.text) == (410, "channel_is_archived")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 ", b"SSH-2.0-CANARY\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad CANARY header\r\n\r\n"]
)
async def test_what_is_no_answer_is_a_failure_that_quotes_nothing(said: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async with others.talking(talk) as port:
        with pytest.raises(ForwardingFailed, match="did not answer") as failed:
            await Poster(resolve=Names(["127.0.0.1"])).post(own(port), BODY, [])

    assert "CANARY" not in str(failed.value)
    assert failed.value.__suppress_context__


async def test_whoever_waits_can_stop_waiting() -> None:
    gone = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        gone.set()

    async with others.talking(talk) as port:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await Poster(resolve=Names(["127.0.0.1"])).post(own(port), BODY, [])
        await asyncio.wait_for(gone.wait(), 5)


# TLS: the certificate has to be for the name, though the connection is to an address.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of its own for NAME, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    files = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    extensions = ["-addext", f"subjectAltName=DNS:{NAME}", "-addext", "basicConstraints=critical,CA:TRUE"]
    subprocess.run([*command, *extensions, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files


@contextlib.asynccontextmanager
async def tls_server(files: tuple[Path, Path], names: list[Any]) -> AsyncIterator[int]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*files)
    context.sni_callback = lambda _connection, name, _context: names.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            names.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_tls_asks_for_the_name_and_checks_it(certificate: tuple[Path, Path]) -> None:
    heard: list[Any] = []
    poster = Poster(resolve=Names(["127.0.0.1"]), trust=lambda: ssl.create_default_context(cafile=str(certificate[0])))
    async with tls_server(certificate, heard) as port:
        answer = await poster.post(own(port, scheme="https"), BODY, [])
        assert answer.status == 200
        assert heard[0] == NAME
        assert f"Host: {NAME}:{port}".encode() in heard[1]
        # another name at the same address, and the address itself, have no such certificate
        for host in ("other.example.test", "127.0.0.1"):
            heard.clear()
            with pytest.raises(ForwardingFailed, match="certificate verify failed"):
                await poster.post(own(port, scheme="https", host=host), BODY, [])
            assert not any(isinstance(one, bytes) for one in heard)


async def test_a_certificate_that_nobody_vouches_for_is_not_believed(certificate: tuple[Path, Path]) -> None:
    heard: list[Any] = []
    async with tls_server(certificate, heard) as port:
        with pytest.raises(ForwardingFailed, match="certificate verify failed"):
            await Poster(resolve=Names(["127.0.0.1"])).post(own(port, scheme="https"), BODY, [])

    assert not any(isinstance(one, bytes) for one in heard)
