"""Item 6: what clients send to a fake address leaves by the uplink that the mark of its egress picks."""
import socket
import time

import pytest

from lab import wait_for
from test_carry import FAMILIES, MODES, PARTS, REAL, fake, flag, tcp_connect, udp_echo


@pytest.fixture
def second_uplink(lab):
    """wan1 of the router, with a way of its own by mark 0x20: 10.88.0.2 and 2001:db8:88::2 at its far end."""
    lab.run("gw", "ip", "link", "add", "wan1", "type", "veth", "peer", "name", "eth1", "netns",
            lab.namespace("wan"))
    for part, device, four, six in (("gw", "wan1", "10.88.0.1/24", "2001:db8:88::1/64"),
                                    ("wan", "eth1", "10.88.0.2/24", "2001:db8:88::2/64")):
        lab.run(part, "ip", "link", "set", device, "up")
        lab.run(part, "ip", "addr", "add", four, "dev", device)
        lab.run(part, "ip", "addr", "add", six, "dev", device, "nodad")
    for family, via in (("-4", "10.88.0.2"), ("-6", "2001:db8:88::2")):
        lab.run("gw", "ip", family, "route", "add", "default", "via", via, "table", "88")
        lab.run("gw", "ip", family, "rule", "add", "fwmark", "0x20/0x20", "lookup", "88", "priority", "500")
    yield
    for family in ("-4", "-6"):
        lab.run("gw", "ip", family, "rule", "del", "priority", "500")
    lab.run("gw", "ip", "link", "del", "wan1")


MARKED = {"egress": {"vpn": {"type": "direct", "mark": "0x20", "upstream": "wan"}},
          "rules": [{"name": "vpn", "domain": ["v4only.test", "web.test"], "answer": "fake", "egress": "vpn"},
                    {"name": "rest", "answer": "fake", "egress": "direct"}]}


@pytest.mark.parametrize("intercept", MODES)
@PARTS
@FAMILIES
def test_the_mark_of_an_egress_picks_the_uplink(gateway, lab, second_uplink, intercept, part, family):
    gw = gateway(MARKED, intercept)
    plain = {"egress": MARKED["egress"], "rules": MARKED["rules"][1:]}
    with lab.watch("gw", "wan1") as marked, lab.watch("gw", "wan0") as usual, udp_echo(lab, family, REAL[family]):
        def packets(of):
            return [p for p in of.packets() if p.target == REAL[family] and (
                p.target_port in (80, 7777) or p.protocol in (1, 58) and p.payload[0] in (8, 128))]  # echo requests
        target = fake(gw, "web.test", family, part)
        assert "hello" in lab.curl("http://web.test/", flag(family), part=part).stdout
        with lab.connect(target, part, port=7777) as sock:
            sock.send(b"x")
            assert sock.recv(100)
        lab.run(part, "ping", flag(family), "-c", "1", "-W", "20", target)
        seen = packets(marked)
        assert len(seen) > 5 and {p.protocol for p in seen} in ({6, 17, 1}, {6, 17, 58}) and packets(usual) == []
        # New connections go the new way after a reload; the pair stays.
        gw.rewrite(plain, intercept)
        gw.result("reload")
        assert fake(gw, "web.test", family, part) == target
        assert "hello" in lab.curl("http://web.test/", flag(family), part=part).stdout
        assert len(packets(usual)) > 3 and len(packets(marked)) == len(seen)


@pytest.mark.parametrize("intercept", MODES)
def test_a_reload_keeps_live_connections(gateway, lab, second_uplink, intercept):
    gw = gateway(MARKED, intercept)
    target = fake(gw, "web.test", socket.AF_INET)
    sock, _ = tcp_connect(lab, target)
    with sock:
        gw.rewrite({"egress": MARKED["egress"], "rules": MARKED["rules"][1:]}, intercept)
        gw.result("reload")
        sock.sendall(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n")
        assert b"200 OK" in sock.recv(4096)
        assert fake(gw, "web.test", socket.AF_INET) == target
        assert gw.result("fakeip.lookup", name="web.test")["egress"] == "direct"
        sock.sendall(b"GET / HTTP/1.0\r\nHost: web.test\r\n\r\n")
        wait_for(lambda: sock.recv(4096) == b"", "the connection ends in order")


@pytest.mark.parametrize("intercept", MODES)
def test_two_uplinks_at_a_time(gateway, lab, second_uplink, intercept):
    """v4only.test by the mark, web.test without: both have one real address, each goes its own way."""
    rules = [dict(MARKED["rules"][0], domain=["v4only.test"]), MARKED["rules"][1]]
    gw = gateway({"egress": MARKED["egress"], "rules": rules}, intercept)
    with lab.watch("gw", "wan1") as marked, lab.watch("gw", "wan0") as usual:
        for name, busy, quiet in (("v4only.test", marked, usual), ("web.test", usual, marked)) * 2:
            time.sleep(0.2)  # the last packets of the connection before are through
            before = [len([p for p in w.packets() if p.target_port == 80]) for w in (busy, quiet)]
            assert "hello" in lab.curl(f"http://{name}/", "-4").stdout
            after = [len([p for p in w.packets() if p.target_port == 80]) for w in (busy, quiet)]
            assert after[0] > before[0] + 3 and after[1] == before[1]


@pytest.mark.parametrize("intercept", MODES)
@FAMILIES
def test_the_kernel_is_told_the_real_address_for_as_long_as_it_holds(gateway, lab, intercept, family):
    gw = gateway(intercept=intercept)
    lab.curl("http://web.test/", flag(family))
    name = "nat4" if family == socket.AF_INET else "nat6"
    mapped = [item["map"]["elem"] for item in lab.nft_json("list", "map", "inet", "tungate", name) if "map" in item]
    (key, real), = mapped[0]
    assert key["elem"]["val"] == fake(gw, "web.test", family) and real == REAL[family]
    assert 0 < key["elem"]["timeout"] <= 600
