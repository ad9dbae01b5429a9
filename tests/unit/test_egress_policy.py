"""The policy of egress, as properties: what is private stays private, however it is spelled or embedded."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandyard.domain.specs import EgressPolicy
from sandyard.egress.addresses import is_private
from sandyard.egress.policy import Refused, Rules, read_destination, read_entry

PRIVATE = ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.0.9", "100.64.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255"]
PUBLIC = Rules.of(EgressPolicy())
private_v4 = st.sampled_from(["10.0.0.0", "127.0.0.0", "172.16.0.0", "192.168.0.0"]).flatmap(
    lambda base: st.integers(0, 0xFFFF).map(lambda low: IPv4Address(int(IPv4Address(base)) + low))
)


def refused(rules: Rules, authority: str) -> str | None:
    try:
        rules.check_name(read_destination(authority))
    except Refused as refusal:
        return str(refusal)
    return None


def spellings(address: IPv4Address) -> list[str]:
    number, parts = int(address), str(address).split(".")
    return [
        str(address),
        f"{address}.",
        str(number),
        hex(number),
        f"0{number:o}",
        ".".join(hex(int(part)) for part in parts),
        ".".join(f"0{int(part):o}" for part in parts),
        f"{parts[0]}.{number & 0xFFFFFF}",
        f"0X{number:08X}",
        f"[::ffff:{address}]",
        f"[::{address}]",
        f"[64:ff9b::{address}]",
        f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::1]",
        f"[fe80::5efe:{address}]",
    ]


@pytest.mark.promise("egress.private")
@given(private_v4)
def test_private_addresses_are_refused_in_every_spelling(address: IPv4Address) -> None:
    for spelling in spellings(address):
        assert refused(PUBLIC, f"{spelling}:80") is not None, spelling


@pytest.mark.promise("egress.private")
@pytest.mark.parametrize("text", [*PRIVATE, "::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "64:ff9b:1::1"])
def test_each_private_range(text: str) -> None:
    assert is_private(ip_address(text))


@pytest.mark.promise("egress.private")
@pytest.mark.parametrize("text", ["203.0.113.7", "198.51.100.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1", "2001:db8::1"])
def test_documentation_and_public_addresses_are_not_private(text: str) -> None:
    assert not is_private(ip_address(text))


@pytest.mark.promise("egress.private")
@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_embedding_is_as_private_as_what_it_embeds(address: IPv4Address) -> None:
    mapped = IPv6Address(f"::ffff:{address}")
    assert is_private(mapped) == is_private(address)


@pytest.mark.promise("egress.private")
@given(st.lists(private_v4, min_size=1, max_size=4))
def test_a_name_that_resolves_to_private_addresses_only_is_refused(addresses: list[IPv4Address]) -> None:
    destination = read_destination("rebind.example:80")
    with pytest.raises(Refused, match="private"):
        PUBLIC.check_addresses(destination, list(addresses))
    public = ip_address("203.0.113.1")
    assert PUBLIC.check_addresses(destination, [*addresses, public]) == [public]


@pytest.mark.promise("egress.malformed")
@pytest.mark.parametrize(
    "authority",
    ["", "host", "host:0", "host:65536", "host:80:90", "user@host:80", "user:pw@host:80", "[fe80::1%eth0]:80", "[::1:80", "1.2.3.4.5:80",
     "256.1.1.1:80", "ho st:80", "host\r\n:80", "host:8a", "[example.com]:80", ".:80", "a..b:80", "hö.example:80"],
)  # fmt: skip
def test_malformed_destinations(authority: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_destination(authority)


@pytest.mark.promise("egress.allow")
@pytest.mark.parametrize(
    ("entry", "authority", "allowed"),
    [
        ("example.com", "example.com:443", True),
        ("example.com", "EXAMPLE.com.:443", True),
        ("example.com:443", "example.com:80", False),
        ("example.com", "sub.example.com:443", False),
        ("*.example.com", "a.b.example.com:443", True),
        ("*.example.com", "example.com:443", False),
        ("*.example.com", "evilexample.com:443", False),
        ("*.example.com:443", "a.example.com:444", False),
        ("10.0.0.0/8", "10.9.9.9:1", True),
        ("10.0.0.5:8000", "10.0.0.5:8000", True),
        ("10.0.0.5:8000", "10.0.0.5:8001", False),
        ("127.0.0.1", "0x7f000001:80", True),
        ("[fd00::1]:80", "[fd00::1]:80", True),
        ("fd00::/8", "[fd12::1]:9", True),
    ],
)
def test_allow_entries(entry: str, authority: str, allowed: bool) -> None:
    closed = Rules.of(EgressPolicy(public=False, allow=(entry,)))
    assert (refused(closed, authority) is None) is allowed


@pytest.mark.promise("egress.deny")
@given(st.sampled_from(["example.com:443", "10.0.0.5:80", "203.0.113.9:80", "a.example.com:1"]))
def test_deny_beats_allow(authority: str) -> None:
    everything = ("example.com", "*.example.com", "10.0.0.0/8", "203.0.113.0/24")
    assert refused(Rules.of(EgressPolicy(allow=everything, deny=everything)), authority) is not None
    assert refused(Rules.of(EgressPolicy(allow=everything)), authority) is None


@pytest.mark.promise("egress.deny")
def test_a_denied_network_is_denied_behind_an_allowed_name() -> None:
    rules = Rules.of(EgressPolicy(allow=("example.com",), deny=("203.0.113.0/24",)))
    with pytest.raises(Refused, match="deny list"):
        rules.check_addresses(read_destination("example.com:80"), [ip_address("203.0.113.1")])


@pytest.mark.parametrize("entry", ["", "host:0", "host:99999", "a b", "*", "http://x", "user@host"])
def test_malformed_entries(entry: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_entry(entry)


@given(st.text(max_size=40))
def test_reading_never_fails_otherwise(text: str) -> None:
    try:
        destination = read_destination(text)
    except ValueError:
        return
    assert 0 < destination.port < 65536
    assert str(destination).isascii()
    assert not set(str(destination)) & set(" \r\n\t/@%\0")
