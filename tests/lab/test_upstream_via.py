"""Issue 6, item 1: upstreams that are reached through an egress: proxies, marks, groups."""
import select

import pytest

from lab import rcode, wait_for
from proxies import Socks5
from scripted import Scripted
from upstreams import SECURE, TRANSPORTS, answered, behind, counter, numbers, on_the_wire, server, wait_asked

AT, NAME = "10.99.0.10", "web.test"  # the lab's resolver knows it, which is the proxies' one
GOOD = "10.50.0.1"
PROXIES = ["microsocks", "dante", "http_proxy"]


@pytest.fixture
def up(lab):
    with Scripted(lab, zone={"*": [f"60 A {GOOD}"]}, address=AT, names=[NAME],
                  more=["2001:db8:99::10"]) as up:  # proxies may prefer IPv6
        yield up


def through(far_end, make, **options):
    return {"proxy": {"type": "http" if make == "http_proxy" else "socks5", "server": far_end.server, **options}}


@pytest.mark.parametrize("make", PROXIES)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_by_address(gateway, lab, up, make, transport):
    """The proxy asks, over TCP also for udp:// and dns://."""
    far_end = getattr(lab, make)()
    gw = gateway(behind(server(up, transport), lab=lab, via="proxy", egress=through(far_end, make)))
    with lab.watch("gw", "wan0") as wire:
        for i in range(5):
            answered(gw.ask(f"q{i}.test"), GOOD)
        assert not [packet for packet in wire.packets() if AT in (packet.source, packet.target)]
    asked = up.queries()
    assert [q["name"] for q in asked] == [f"q{i}.test" for i in range(5)]
    expected = "tcp" if on_the_wire(transport) == "udp" else on_the_wire(transport)
    assert {q["transport"] for q in asked} == {expected} and "10.99.0.1" not in {q["client"] for q in asked}
    assert len({q["connection"] for q in asked}) == 1
    assert numbers(gw, up)["failures"] == 0


@pytest.mark.parametrize("make", PROXIES)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_by_name(gateway, lab, up, make, transport):
    """The proxy is told the name; nobody here resolves it."""
    far_end = getattr(lab, make)()
    kind = {"https_get": "https"}.get(transport, transport)
    one = getattr(up, kind + "_by_name") if kind in SECURE else getattr(up, kind).replace(AT, NAME)
    gw = gateway(behind({"url": one, **({"method": "get"} if transport == "https_get" else {})}, lab=lab, via="proxy",
                        egress=through(far_end, make)))
    with lab.watch("gw", "wan0") as wire:
        answered(gw.ask("a.test"), GOOD)
        assert wire.dns_questions() == []
        told = [packet for packet in wire.packets() if packet.target_port == far_end.port and
                NAME.encode() in packet.payload]
        assert told
    if kind in SECURE:
        assert up.queries()[0]["tls"]["sni"] == NAME


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_the_proxy_is_asked(gateway, lab, up, transport):
    """One CONNECT, by the name if there is one."""
    wire = on_the_wire(transport)
    port = up.port[{"udp": "tcp"}.get(wire, wire)]
    for by in (AT, NAME):
        one = server(up, transport)
        one["url"] = one["url"].replace("@" + NAME, "").replace(AT, by)

        def relay(sock, _host, port):
            pump(lab, sock, port)
        with Socks5(lab, far=relay) as proxy:
            gw = gateway(behind(one, lab=lab, via="proxy",
                                egress={"proxy": {"type": "socks5", "server": "10.99.0.2:1080"}}))
            for i in range(3):
                answered(gw.ask(f"q{i}.test"), GOOD)
            assert proxy.requests == [(by, port)]
            gw.stop()


def pump(lab, sock, port):
    """Between the proxy's client and the upstream."""
    with lab.connect(AT, "wan", tcp=True, port=port) as far:
        while True:
            for ready in select.select([sock, far], [], [], 20)[0]:
                data = ready.recv(65536)
                if not data:
                    return
                (far if ready is sock else sock).sendall(data)


@pytest.mark.parametrize("transport", ["udp", "tls", "https"])
def test_a_login(gateway, lab, up, transport):
    far_end = lab.microsocks(user="alice", password="sesame")
    gw = gateway(behind(server(up, transport), lab=lab, via="proxy",
                        egress=through(far_end, "microsocks", user="alice", password="sesame")))
    answered(gw.ask("a.test"), GOOD)
    gw.stop()
    gw = gateway(behind(server(up, transport), lab=lab, via="proxy", timeout="500ms",
                        egress=through(far_end, "microsocks", user="alice", password="wrong")))
    assert rcode(gw.ask("b.test")) == "SERVFAIL"
    assert len(up.queries()) == 1 and "sesame" not in gw.log()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_proxy_that_dies(gateway, lab, up, transport):
    """Nothing goes around it; when it is back, so are the answers."""
    far_end = lab.microsocks()
    gw = gateway(behind(server(up, transport), lab=lab, via="proxy", timeout="500ms", health="200ms",
                        egress=through(far_end, "microsocks")))
    answered(gw.ask("a.test"), GOOD)
    far_end.end()
    up.forget()
    with lab.watch("gw", "wan0") as wire:
        assert rcode(gw.ask("b.test")) == "SERVFAIL"
        assert not [packet for packet in wire.packets() if AT in (packet.source, packet.target)]
    assert not up.queries()
    lab.microsocks()
    wait_for(lambda: rcode(gw.ask(f"c{len(up.queries())}.test", timeout_s=5)) == "NOERROR", "the proxy is used again")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_mark_of_a_direct_egress(gateway, lab, up, transport):
    first = f"ip daddr {AT} ct state new meta mark & 0xff"
    with counter(lab, f"{first} == 0x21", f"{first} != 0x21") as count:
        gw = gateway(behind(server(up, transport), lab=lab, via="vpn",
                            egress={"vpn": {"type": "direct", "mark": 0x21, "upstream": "wan"}}))
        answered(gw.ask("a.test"), GOOD)
        assert up.queries()[0]["transport"] == on_the_wire(transport)
        marked, others = count()
        assert marked and not others


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_group_whose_first_member_dies(gateway, lab, up, transport):
    """The second one carries questions; those on their way see at most a delay."""
    first, second = lab.microsocks(), lab.dante()
    egress = {"a": {"type": "socks5", "server": first.server}, "b": {"type": "socks5", "server": second.server},
              "both": {"type": "group", "of": ["a", "b"], "strategy": "sequential", "check": "1s"}}
    gw = gateway(behind(server(up, transport), lab=lab, via="both", egress=egress))
    answered(gw.ask("a.test"), GOOD)
    first.end()
    wait_for(lambda: rcode(gw.ask(f"b{len(up.queries())}.test", timeout_s=6)) == "NOERROR", "the second carries")
    for i in range(5):
        answered(gw.ask(f"c{i}.test"), GOOD)
    second.end()
    assert rcode(gw.ask("d.test")) == "SERVFAIL"


@pytest.mark.parametrize("transport", ["udp", "tls"])
def test_a_group_of_a_proxy_and_a_direct_way(gateway, lab, up, transport):
    """When the proxy is known to be dead udp:// is UDP again."""
    far_end = lab.microsocks()
    egress = {**through(far_end, "microsocks"), "plain": {"type": "direct", "upstream": "wan"},
              "both": {"type": "group", "of": ["proxy", "plain"], "strategy": "sequential", "check": "1s"}}
    gw = gateway(behind(server(up, transport), lab=lab, via="both", egress=egress))
    answered(gw.ask("a.test"), GOOD)
    assert wait_asked(up)[0]["client"] != "10.99.0.1"
    far_end.end()

    def is_direct():
        assert rcode(gw.ask(f"b{len(up.queries())}.test", timeout_s=6)) == "NOERROR"
        last = up.queries()[-1]
        return (last["client"], last["transport"]) == ("10.99.0.1", transport)
    wait_for(is_direct, "the direct way is used")


def test_the_proxys_name_is_resolved_by_its_bootstrap(gateway, lab, up):
    """And the upstream behind it by the proxy."""
    far_end = lab.dante()
    with Scripted(lab, zone={"proxy.test": ["60 A 10.99.0.2"]}, address="10.99.0.55") as boot:
        egress = {"proxy": {"type": "socks5", "server": f"proxy.test:{far_end.port}", "bootstrap": "boot"}}
        more = {"boot": {"servers": [boot.udp]}}
        gw = gateway(behind(up.tls_by_name, lab=lab, via="proxy", egress=egress, more=more))
        answered(gw.ask("a.test"), GOOD)
        assert {q["name"] for q in boot.queries()} == {"proxy.test"}
