"""Item 4: a changed pool over a restart."""
import ipaddress

import pytest

from lab import addresses, has_soa, rcode, rdata

NAMES = [f"p{i}.test" for i in range(20)]


def pair(gw, name):
    return addresses(gw.ask(name, "A")) + addresses(gw.ask(name, "AAAA"))


def restart(gw, **fakeip):
    gw.stop()
    gw.rewrite({"fakeip": {**gw.config["fakeip"], **fakeip}})
    gw.start()


@pytest.fixture
def gw(gateway, tmp_path):
    return gateway({"fakeip": {"store": str(tmp_path / "table.db")}})


def all_in(pairs, *pools):
    networks = [ipaddress.ip_network(pool) for pool in pools]
    return all(any(ipaddress.ip_address(a) in network for network in networks) for p in pairs for a in p)


def mapped(gw):
    return {m["name"] for m in gw.result("fakeip.list")}


def test_a_smaller_pool_of_the_same_base_keeps_all(gw):
    before = {name: pair(gw, name) for name in NAMES}
    restart(gw, pool4="198.18.0.0/16")
    assert gw.log_lines("was written for other pools", "20 mappings fit", "0 are dropped")
    assert {name: pair(gw, name) for name in reversed(NAMES)} == before


def test_a_larger_pool_of_the_same_base_keeps_all(gw):
    restart(gw, pool4="198.18.0.0/16")
    before = {name: pair(gw, name) for name in NAMES}
    restart(gw, pool4="198.18.0.0/15")
    assert {name: pair(gw, name) for name in reversed(NAMES)} == before


def test_another_base_keeps_none_and_nobody_answers_out_of_the_old_range(gw):
    before = {name: pair(gw, name) for name in NAMES}
    restart(gw, pool4="10.200.0.0/16")
    assert gw.log_lines("was written for other pools", "20 are dropped")
    assert mapped(gw) == set()
    after = {name: pair(gw, name) for name in reversed(NAMES)}
    assert all_in(after.values(), "10.200.0.0/16", "fd00:198:18::/64")
    # An IPv6 address that a client still has for one name does not come back as another's.
    old6 = {p[1]: name for name, p in before.items()}
    assert all(old6.get(p[1], name) == name for name, p in after.items())
    pointer = ipaddress.ip_address(before["p0.test"][0]).reverse_pointer
    assert rdata(gw.ask(pointer, "PTR"), "PTR") == []
    restart(gw, pool4="10.200.0.0/16")  # and it is kept from now on
    assert {name: pair(gw, name) for name in NAMES} == after


def test_another_pool6_keeps_none(gw):
    before = {name: pair(gw, name) for name in NAMES}
    restart(gw, pool6="fd00:198:19::/64")
    assert mapped(gw) == set()
    after = {name: pair(gw, name) for name in reversed(NAMES)}
    assert all_in(after.values(), "198.18.0.0/15", "fd00:198:19::/64")
    old4 = {p[0]: name for name, p in before.items()}
    assert all(old4.get(p[0], name) == name for name, p in after.items())


def test_pool6_off_keeps_the_ipv4_addresses(gw):
    before = {name: pair(gw, name) for name in NAMES}
    restart(gw, pool6="off")
    for name in reversed(NAMES):
        assert addresses(gw.ask(name, "A")) == before[name][:1]
    reply = gw.ask("p0.test", "AAAA")
    assert rcode(reply) == "NOERROR" and not addresses(reply) and has_soa(reply)


def test_pool4_off_keeps_the_ipv6_addresses_and_both_come_back(gw):
    before = {name: pair(gw, name) for name in NAMES}
    restart(gw, pool4="off")
    for name in reversed(NAMES):
        assert pair(gw, name) == before[name][1:]
    reply = gw.ask("p0.test", "A")
    assert rcode(reply) == "NOERROR" and has_soa(reply)
    restart(gw, pool4="198.18.0.0/15")
    assert {name: pair(gw, name) for name in reversed(NAMES)} == before


def test_a_part_of_the_pool_keeps_what_lies_in_it(gateway, tmp_path):
    gw = gateway({"fakeip": {"store": str(tmp_path / "table.db"), "pool4": "198.18.0.0/24", "pool6": "off"}})
    names = [f"h{i}.test" for i in range(200)]
    before = {name: addresses(gw.ask(name))[0] for name in names}
    restart(gw, pool4="198.18.0.128/25")
    part = ipaddress.ip_network("198.18.0.128/25")
    fitting = {name for name in names if ipaddress.ip_address(before[name]) in part}
    assert 50 < len(fitting) < 150
    kept = fitting & mapped(gw)
    # The network's own address, the TUN device's and the broadcast address are reserved.
    assert len(fitting - kept) <= 3
    after = {name: addresses(gw.ask(name)) for name in kept}
    assert after == {name: [before[name]] for name in kept}
    for name in names:
        got = addresses(gw.ask(name))
        # While those that were dropped may still be in use, their addresses are nobody's.
        assert got == ["10.99.0.10"] or not got or ipaddress.ip_address(got[0]) in part
        if got and name not in kept:
            assert got[0] not in {before[other] for other in kept}
