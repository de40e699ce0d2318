"""Item 1: a query that comes back to us is stopped, and what is sent to all is not ours to answer."""
import socket
import threading

import dns.message
import pytest

from lab import Upstream, addresses, ede, question, rcode, split_address, wait_for
from waiting import moment

MODES = pytest.mark.parametrize("intercept", ["tun", "tproxy"])
THROUGH_US = {"upstreams": {"wan": {"servers": ["udp://127.0.0.1:5300"], "timeout": "4s"}}}


def assert_stopped(gw, lab):
    """A name that goes in a circle is SERVFAIL in bounded time and packets, with one line in the log."""
    with lab.watch("gw", "lo") as lo:
        for i in range(2):
            started = moment()
            reply = gw.ask(f"circle{i}.real.test", edns=True)
            assert moment() - started < 6.5
            assert rcode(reply) == "SERVFAIL"
        circling = sum(1 for p in lo.packets() if p.protocol == socket.IPPROTO_UDP and p.target_port == 5300)
    assert circling < 40
    lines = gw.log_lines("loop")
    assert len(lines) == 1, gw.log()
    return lines[0]


@MODES
def test_a_dnsmasq_that_asks_us_again(gateway, lab, intercept):
    lab.dnsmasq("--port=5300", "--listen-address=127.0.0.1", "--bind-interfaces", "--server=8.8.8.8")
    gw = gateway(THROUGH_US, intercept)
    assert_stopped(gw, lab)
    # Names that need no upstream are as ever.
    assert addresses(gw.ask("web.test"))[0].startswith("198.18.")


@MODES
def test_a_plain_forwarder_that_asks_us_again(gateway, lab, intercept):
    """It forwards each query at once, without thinking: the worst kind."""
    def forward(wire, client, send):
        def ask_on():
            try:
                send(lab.exchange_bytes(wire, "8.8.8.8", part="gw", timeout_s=5))
            except OSError:
                pass
        threading.Thread(target=ask_on, daemon=True).start()

    with Upstream(lab, forward, "127.0.0.1", "gw", 5300) as forwarder:
        gw = gateway(THROUGH_US, intercept)
        assert_stopped(gw, lab)
        assert len(forwarder.queries) < 20


@MODES
def test_the_extended_error_tells(gateway, lab, intercept):
    """What the forwarder is told when its query is the third of one flight."""
    heard = []

    def forward(wire, client, send):
        def ask_on():
            try:
                reply = lab.exchange(wire, "8.8.8.8", part="gw", timeout_s=5)
                heard.append((rcode(reply), ede(reply)))
            except OSError:
                pass
        threading.Thread(target=ask_on, daemon=True).start()

    with Upstream(lab, forward, "127.0.0.1", "gw", 5300):
        gw = gateway(THROUGH_US, intercept)
        assert rcode(gw.ask("told.real.test", edns=True)) == "SERVFAIL"
        wait_for(lambda: heard, "the forwarder hears of it")
    assert ("SERVFAIL", [22]) in heard


@MODES
def test_exempt_there_is_no_loop(gateway, lab, intercept):
    lab.dnsmasq("--port=5300", "--listen-address=127.0.0.1", "--bind-interfaces", "--server=8.8.8.8")
    gw = gateway({**THROUGH_US, "gateway": {"exempt": {"uid": ["nobody"]}}}, intercept)
    assert addresses(gw.ask("a.real.test")) == ["10.99.0.10"]
    assert gw.log_lines("loop") == []


@MODES
def test_clients_that_ask_the_same_at_once_are_no_loop(gateway, lab, intercept):
    """Twenty of the LAN ask one slow name; nobody is told of a loop."""
    held = []
    released = threading.Event()

    def answer(wire, send):
        send(wire[:2] + b"\x81\x83" + wire[4:])  # NXDOMAIN

    def handler(wire, client, send):
        if released.is_set():
            answer(wire, send)
        else:
            held.append((wire, send))

    with Upstream(lab, handler, "10.99.0.2") as upstream:
        gw = gateway({"upstreams": {"wan": {"servers": ["udp://10.99.0.2:5354"], "timeout": "5s"}}}, intercept)
        socks = [lab.connect("8.8.8.8") for _ in range(20)]
        for sock in socks:
            sock.send(question("slow.real.test").to_wire())
        wait_for(lambda: gw.status()["queries"]["total"] >= 20, "all have come in")
        released.set()
        for wire, send in held:
            answer(wire, send)
        for sock in socks:
            with sock:
                assert rcode(dns.message.from_wire(sock.recv(4096))) == "NXDOMAIN"
        assert gw.log_lines("loop") == []
        assert upstream.queries


@MODES
@pytest.mark.parametrize("target", ["192.168.77.255", "255.255.255.255", "224.0.0.251", "ff02::fb%eth0", "ff02::1%eth0",
                                    "ff05::2%eth0"])
def test_queries_to_many_are_not_answered(gateway, lab, intercept, target):
    gw = gateway(intercept=intercept)
    family, host, interface = split_address(target)
    with lab.watch("cl") as wire, lab.socket("cl", family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        with lab.inside("cl"):
            scope = socket.if_nametoindex("eth0")
        if family == socket.AF_INET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
            sock.sendto(question("all.test").to_wire(), (host, 53))
        else:
            sock.sendto(question("all.test").to_wire(), (host, 53, 0, scope))
        assert addresses(gw.ask("one.test"))  # sent later, answered
        assert addresses(gw.ask("one.test", server="fd77::1"))
        packets = wire.packets()
        port = sock.getsockname()[1]
    assert any(p.target == host and p.target_port == 53 for p in packets)
    assert not [p for p in packets if p.source_port == 53 and p.target_port == port]


@MODES
def test_the_gateways_own_queries_are_not_taken(gateway, lab, intercept):
    """The upstream is an address that is taken when anybody else asks it."""
    gw = gateway({"upstreams": {"wan": {"servers": ["udp://8.8.8.8", "tcp://8.8.8.8"]},
                                "six": {"servers": ["udp://[2001:4860:4860::8888]"]}},
                  "rules": [{"name": "six", "domain": ["a.real.test"], "answer": "real", "upstream": "six"},
                            {"name": "four", "domain": ["real.test"], "answer": "real", "upstream": "wan"},
                            {"name": "rest", "answer": "fake", "egress": "direct"}]}, intercept)
    assert addresses(gw.ask("a.real.test")) == ["10.99.0.10"]
    assert addresses(gw.ask("v4only.real.test")) == ["10.99.0.10"]
    assert len(addresses(gw.ask("big.real.test", tcp=True))) == 100
    assert gw.status()["queries"]["total"] == 3
