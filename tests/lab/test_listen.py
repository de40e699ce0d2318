"""Items 1 and 9: listeners and LAN interfaces of all kinds, workers, clients that were there before the gateway."""
import socket

import dns.message
import pytest

from lab import addresses, framed, is_fake, question, rcode, read_message

REAL = ["10.99.0.10"]
MODES = pytest.mark.parametrize("intercept", ["tun", "tproxy"])


@pytest.mark.parametrize("intercept", ["off", "tun"])
def test_listeners_answer_by_the_same_rules(gateway, intercept):
    gw = gateway({"listen": ["udp://192.168.77.1:5300", "tcp://192.168.77.1:5300", "udp://[fd77::1]:5300",
                             "tcp://[fd77::1]:5300", "udp://127.0.0.1:5301", "tcp://[::1]:5301"]}, intercept)
    for server in ("192.168.77.1", "fd77::1"):
        for tcp in (False, True):
            how = {"server": server, "port": 5300, "tcp": tcp}
            assert is_fake(addresses(gw.ask("web.test", **how)))
            assert addresses(gw.ask("a.real.test", **how)) == REAL
            assert rcode(gw.ask("ads.test", **how)) == "NXDOMAIN"
    assert is_fake(addresses(gw.ask("web.test", server="127.0.0.1", port=5301, part="gw")))
    assert is_fake(addresses(gw.ask("web.test", server="::1", port=5301, part="gw", tcp=True)))


def test_a_wildcard_listener_answers_from_the_asked_address(gateway):
    gw = gateway({"listen": ["udp://0.0.0.0:5300", "udp://[::]:5300"]}, "off")
    for server in ("192.168.77.1", "10.99.0.1", "fd77::1", "2001:db8:77::1", "2001:db8:99::1", "fe80::1%eth0"):
        assert is_fake(addresses(gw.ask("web.test", server=server, port=5300)))
        assert addresses(gw.ask("a.real.test", server=server, port=5300)) == REAL


def test_listeners_on_port_53_with_interception_off(gateway):
    gw = gateway({"listen": ["udp://192.168.77.1", "tcp://192.168.77.1"]}, "off")
    for tcp in (False, True):
        assert is_fake(addresses(gw.ask("web.test", server="192.168.77.1", tcp=tcp)))
        assert addresses(gw.ask("web.test", server="8.8.8.8", tcp=tcp)) == REAL


@MODES
@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_workers(gateway, lab, intercept, workers):
    gw = gateway({"gateway": {"workers": workers}}, intercept)
    assert gw.status()["workers"] == workers
    pairs = {}
    for turn in range(2):  # from many ports, so that each worker has its share; one table for all
        for i in range(40):
            got = addresses(gw.ask(f"w{i}.test", tcp=i % 4 == 0))
            assert is_fake(got)
            assert pairs.setdefault(i, got) == got
    assert len({pair[0] for pair in pairs.values()}) == 40
    assert addresses(gw.ask("a.real.test")) == REAL


@MODES
@pytest.mark.parametrize("server", ["8.8.8.8", "2001:4860:4860::8888"])
def test_a_client_that_keeps_its_socket_over_start_and_stop(gateway, lab, intercept, server):
    """Connection tracking must not hold it to the way it went before."""
    with lab.connect(server) as sock:
        def ask():
            sock.send(question("web.test").to_wire())
            return addresses(dns.message.from_wire(sock.recv(4096)))

        for _ in range(2):
            assert ask() == REAL
            gw = gateway(intercept=intercept)
            assert is_fake(ask())
            gw.stop()
        assert ask() == REAL


@MODES
def test_a_lan_of_several_interfaces(gateway, lab, intercept):
    lab.run("gw", "ip", "link", "add", "lan1", "type", "veth", "peer", "name", "eth1", "netns", lab.namespace("cl"))
    try:
        for part, device, address in (("gw", "lan1", "192.168.78.1/24"), ("cl", "eth1", "192.168.78.2/24")):
            lab.run(part, "ip", "addr", "add", address, "dev", device)
            lab.run(part, "ip", "link", "set", device, "up")
        gw = gateway({"gateway": {"lan": ["lan*"]}}, intercept)
        for server in ("192.168.78.1", "192.168.77.1", "8.8.8.8"):
            for tcp in (False, True):
                assert is_fake(addresses(gw.ask("web.test", server=server, tcp=tcp)))
        gw.rewrite({"gateway": {"lan": ["lan0"]}}, intercept)
        gw.result("reload")
        with pytest.raises(ConnectionRefusedError):
            gw.ask("web.test", server="192.168.78.1")
        assert is_fake(addresses(gw.ask("web.test", server="192.168.77.1")))
    finally:
        lab.run("gw", "ip", "link", "del", "lan1")


@pytest.fixture
def bridge(lab):
    lab.run("gw", "ip", "link", "add", "br-lan", "type", "bridge")
    lab.run("gw", "ip", "link", "add", "port1", "type", "veth", "peer", "name", "eth1", "netns", lab.namespace("cl"))
    lab.run("gw", "ip", "link", "set", "port1", "master", "br-lan")
    lab.run("gw", "ip", "addr", "add", "192.168.79.1/24", "dev", "br-lan")
    lab.run("cl", "ip", "addr", "add", "192.168.79.2/24", "dev", "eth1")
    for part, device in (("gw", "br-lan"), ("gw", "port1"), ("cl", "eth1")):
        lab.run(part, "ip", "link", "set", device, "up")
    lab.run("cl", "ip", "route", "add", "203.0.113.0/24", "via", "192.168.79.1")
    yield "br-lan"
    lab.run("gw", "ip", "link", "del", "port1")
    lab.run("gw", "ip", "link", "del", "br-lan")


def bridge_netfilter(lab, value):
    """In force where br_netfilter is loaded, else there is nothing to set."""
    lab.run("gw", "sh", "-c", f"! [ -e /proc/sys/net/bridge ] || for n in ip ip6; do "
            f"echo {value} > /proc/sys/net/bridge/bridge-nf-call-${{n}}tables; done")


@MODES
def test_a_bridge_is_an_interface_like_others(gateway, lab, bridge, intercept):
    bridge_netfilter(lab, 0)
    gw = gateway({"gateway": {"lan": [bridge]}}, intercept)
    for server in ("192.168.79.1", "203.0.113.9"):
        for tcp in (False, True):
            assert is_fake(addresses(gw.ask("web.test", server=server, tcp=tcp)))


@MODES
def test_a_bridge_under_br_netfilter(gateway, lab, bridge, intercept):
    """It takes tproxy's packets away (docker loads it): either all works, or the gateway says what to do."""
    bridge_netfilter(lab, 1)
    gw = gateway({"gateway": {"lan": [bridge]}}, intercept)
    if not any("bridge-nf-call-iptables" in p for p in gw.status()["problems"]):
        for server in ("192.168.79.1", "203.0.113.9"):
            for tcp in (False, True):
                assert is_fake(addresses(gw.ask("web.test", server=server, tcp=tcp)))


@MODES
def test_an_interface_that_is_not_there_yet(gateway, lab, intercept):
    """The gateway starts all the same, and says nothing that is not so."""
    gw = gateway({"gateway": {"lan": ["nolan0"]}}, intercept)
    assert addresses(gw.ask("web.test")) == REAL
    assert is_fake(addresses(gw.ask("web.test", part="gw")))


@MODES
def test_a_host_without_ipv6(gateway, lab, intercept):
    lab.run("gw", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
    try:
        gw = gateway(intercept=intercept)
        assert is_fake(addresses(gw.ask("web.test")))
        assert is_fake(addresses(gw.ask("web.test", tcp=True)))
        assert any("IPv6" in p for p in gw.status()["problems"])
        gw.stop()
    finally:
        lab.run("gw", "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0")
        for address in ("fd77::1/64", "2001:db8:77::1/64", "fe80::1/64"):
            lab.run("gw", "ip", "addr", "replace", address, "dev", "lan0", "nodad")
        lab.run("gw", "ip", "addr", "replace", "2001:db8:99::1/64", "dev", "wan0", "nodad")
        lab.run("gw", "ip", "-6", "route", "replace", "default", "via", "2001:db8:99::2")


@MODES
def test_slow_tcp_clients_do_not_hold_up_others(gateway, lab, intercept):
    """One sends half a query and waits, one never reads; the rest are served."""
    gw = gateway({"gateway": {"workers": 1}}, intercept)
    with lab.connect("8.8.8.8", tcp=True) as half, lab.connect("8.8.8.8", tcp=True) as deaf:
        half.sendall(framed(question("half.test"))[:7])
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(0.2)
        try:
            while True:
                deaf.sendall(framed(question("big.real.test")) * 50)
        except (TimeoutError, ConnectionError):
            pass  # the gateway reads no more than it can answer, or has had enough
        for tcp in (False, True):
            assert is_fake(addresses(gw.ask("web.test", tcp=tcp)))
            assert addresses(gw.ask("a.real.test", tcp=tcp)) == REAL
        half.sendall(framed(question("half.test"))[7:])
        assert is_fake(addresses(dns.message.from_wire(read_message(half))))


def test_a_reload_tells_what_only_a_restart_changes(gateway, lab):
    """A listener that moved, and interception that was off at the start; the rest of the reload is in force."""
    def config(port, intercept, ttl):
        return {"listen": [f"udp://192.168.77.1:{port}"], "gateway": {"intercept": intercept}, "fakeip": {"ttl": ttl}}

    gw = gateway(config(5301, "off", "5s"))
    gw.rewrite(config(5302, "tun", "7s"))
    kept = [line.split()[0] for line in gw.result("reload")["changed"] if "needs a restart" in line]
    assert sorted(kept) == ["gateway.intercept", "listen"]
    assert gw.status()["intercept"] == "off"
    assert gw.ask("web.test", server="192.168.77.1", port=5301).answer[0].ttl == 7
