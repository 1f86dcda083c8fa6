"""Posting over HTTP: to an address that was looked at, once, without redirects, proxies, cookies or a pool.

The transport is used without httpx2's client around it: that would log the URL, which is a secret, follow the
environment's proxies and keep cookies. A connection serves one event, so that none is shared between hosts, outlives
its event loop or goes where the name led yesterday.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable, Sequence
from typing import Final

import httpx2

from morag_client.forwarding.addresses import Resolve, refusal, resolve
from morag_client.forwarding.answers import Answer, ForwardingFailed, ForwardingRefused
from morag_client.forwarding.target import Target

_CONNECT_SECONDS: Final = 10.0
_READ_SECONDS: Final = 5.0
_READ_BYTES: Final = 4096
Headers = Sequence[tuple[str, str]]


@functools.cache
def certificates() -> ssl.SSLContext:
    """Whom to trust: read once in a process, since that takes longer than a request."""
    return httpx2.create_ssl_context()


class Poster:
    """Posts bodies. How long it may take is for the caller to say, by cancelling it."""

    def __init__(self, *, resolve: Resolve = resolve, trust: Callable[[], ssl.SSLContext] = certificates) -> None:
        self._resolve = resolve
        self._trust = trust

    async def post(self, target: Target, body: bytes, headers: Headers) -> Answer:
        """The answer, whatever it is.

        Raises ForwardingFailed where there is none, and ForwardingRefused where an address may not be posted to.
        """
        failure = "it has no address"
        for address in await self._addresses(target):
            try:
                return await self._post_to(address, target, body, headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:  # nothing was sent: another one will do
                failure = _said(error)
            except httpx2.TransportError as error:
                raise ForwardingFailed(f"{target.shown} did not answer: {_said(error)}") from None
        raise ForwardingFailed(f"{target.shown} cannot be reached: {failure}")

    async def _addresses(self, target: Target) -> Sequence[str]:
        try:
            addresses = await self._resolve(target.host, target.port)
        except OSError as error:
            raise ForwardingFailed(f"{target.shown} cannot be found: {error}") from None
        for address in addresses:
            kind = refusal(address, private=target.private)
            if kind is not None:
                raise ForwardingRefused(
                    f"{target.shown} leads to {address}, which is {kind}: nothing was sent; private addresses are"
                    " allowed by naming the host in allow_private="
                )
        return addresses

    async def _post_to(self, address: str, target: Target, body: bytes, headers: Headers) -> Answer:
        request = httpx2.Request(
            "POST",
            httpx2.URL(scheme=target.scheme, host=address, port=target.port, raw_path=target.path.encode()),
            headers=[("Host", target.shown), ("Accept-Encoding", "identity"), ("Connection", "close"), *headers],
            content=body,
            # The certificate is checked for this name, too, and not for the address.
            extensions={"sni_hostname": target.host, "timeout": {"connect": _CONNECT_SECONDS}},
        )
        async with httpx2.AsyncHTTPTransport(verify=self._trust(), trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            try:
                text = "" if response.is_success else await _beginning(response)
            finally:
                await response.aclose()
        return Answer(response.status_code, text, response.headers.get("retry-after"))


async def _beginning(response: httpx2.Response) -> str:
    """What of a body comes in good time, up to some kilobytes: it is for people to read, and never decompressed."""
    read = b""
    try:
        async with asyncio.timeout(_READ_SECONDS):
            async for part in response.aiter_raw():
                read += part
                if len(read) >= _READ_BYTES:
                    break
    except (TimeoutError, httpx2.TransportError):
        pass
    return read[:_READ_BYTES].decode(errors="replace")


def _said(error: Exception) -> str:
    if isinstance(error, httpx2.ProtocolError):  # it quotes what came, and that may quote what was sent
        return "what came is no HTTP"
    return str(error) or type(error).__name__
