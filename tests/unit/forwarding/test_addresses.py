"""Which addresses may be posted to."""

from __future__ import annotations

import pytest

from morag_client.forwarding.addresses import refusal, resolve

PUBLIC = ["93.184.216.34", "8.8.8.8", "172.32.0.1", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
ON_REQUEST = [
    "127.0.0.1",
    "127.8.9.1",
    "::1",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "fc00::1",
    "fd12:3456::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:7f00:1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1",
]
NEVER = [
    "169.254.169.254",
    "169.254.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "::ffff:0.0.0.0",
    "::127.0.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "2001:db8::1",
    "2001::1",
    "fec0::1",
    "100::1",
    "64:ff9b:1::7f00:1",
    "4000::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    assert refusal(address, private=False) is None
    assert refusal(address, private=True) is None


@pytest.mark.parametrize("address", ON_REQUEST)
def test_private_addresses_pass_on_request_only_in_whatever_form(address: str) -> None:
    assert refusal(address, private=False) in {"private", "loopback"}
    assert refusal(address, private=True) is None


@pytest.mark.parametrize("address", NEVER)
def test_what_nobody_posts_to_never_passes(address: str) -> None:
    assert refusal(address, private=False)
    assert refusal(address, private=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "localhost", "::1"])
async def test_however_loopback_is_spelt_it_is_found_to_be_loopback(host: str) -> None:
    try:
        addresses = await resolve(host, 80)
    except OSError:
        pytest.skip("this machine does not know this spelling")
    assert {refusal(address, private=False) for address in addresses} == {"loopback"}


@pytest.mark.parametrize("host", ["a" * 64 + ".test", "a..b"])
async def test_what_cannot_be_looked_up_is_an_os_error(host: str) -> None:
    with pytest.raises(OSError, match=r"[Nn]ame"):
        await resolve(host, 80)
