"""Where a host's name leads, and which addresses may be posted to.

A URL that leads inside (to this machine, its network, a cloud's metadata) would make the receiver ask there with its
own rights. So the addresses are looked at and not the name, and the connection goes to an address that was looked at.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""A host's addresses, by its name and port. Raises OSError."""

_ON_REQUEST: Final = frozenset({"private", "loopback"})
_PRIVATE: Final = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
_METADATA: Final = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"))
)
_GLOBAL_UNICAST: Final = ipaddress.ip_network("2000::/3")
_TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/96")


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host as this machine knows them, each once. Raises OSError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is too long or empty
        raise OSError("the name cannot be looked up") from None
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def refusal(address: str, *, private: bool) -> str | None:
    """What an address is that may not be posted to, None where it may. `private` lets private ones and loopback pass.

    Multicast, link-local, reserved and clouds' metadata addresses never do. Raises ValueError for what is no address.
    """
    kind = _kind(_innermost(ipaddress.ip_address(address)))
    return None if kind is None or (private and kind in _ON_REQUEST) else kind


def _innermost(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _TRANSLATED:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _kind(address: Address) -> str | None:
    if address in _METADATA:
        return "a cloud's metadata service"
    if address.is_link_local:
        return "link-local"
    if address.is_loopback:
        return "loopback"
    if any(address in network for network in _PRIVATE):
        return "private"
    is_public = address.is_global and not address.is_multicast and not address.is_reserved
    # Whatever is not given to anybody yet may be somebody's own, and Pythons differ in what they know of it.
    if address.version == 6:  # noqa: PLR2004
        is_public = is_public and address in _GLOBAL_UNICAST
    return None if is_public else "reserved or multicast"
