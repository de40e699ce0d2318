"""Item 4: rules for clients: by address, MAC, lease, interface, and groups of them."""
import contextlib
import os
import time

import dns.message
import pytest

from lab import PROGRAM, addresses, greeter, is_fake, rcode, wait_for
from proxies import Socks5

MODES = pytest.mark.parametrize("intercept", ["tun", "tproxy"])
MAC, KID_MAC = "02:00:00:00:77:02", "02:00:00:00:78:02"
ADULT = ("192.168.77.2", "fd77::2", "2001:db8:77::2")  # on lan0
KID = ("192.168.78.2", "fd78::2", "2001:db8:78::2")  # on lan1
REST = {"name": "rest", "answer": "fake", "egress": "direct"}
LANS = {"lan": ["lan0", "lan1"]}
BLOCK = {"answer": "block"}
SERVERS = {4: "8.8.8.8", 6: "2001:4860:4860::8888"}


@pytest.fixture(scope="module", autouse=True)
def second_lan(lab):
    """A LAN of its own on lan1: what comes from the client's addresses there comes from another MAC."""
    cl = lab.namespace("cl")
    lab.run("cl", "ip", "link", "set", "eth0", "address", MAC)
    lab.run("gw", "ip", "link", "add", "lan1", "type", "veth", "peer", "name", "eth1", "netns", cl)
    lab.run("cl", "ip", "link", "set", "eth1", "address", KID_MAC, "up")
    lab.run("gw", "ip", "link", "set", "lan1", "up")
    for part, link, host in (("gw", "lan1", 1), ("cl", "eth1", 2)):
        lab.run(part, "ip", "addr", "add", f"192.168.78.{host}/24", "dev", link)
        for prefix in ("fd78::", "2001:db8:78::"):
            lab.run(part, "ip", "addr", "add", f"{prefix}{host}/64", "dev", link, "nodad")
    lab.run("cl", "ip", "rule", "add", "from", "192.168.78.2", "lookup", "78")
    lab.run("cl", "ip", "route", "add", "default", "via", "192.168.78.1", "table", "78")
    for address in ("fd78::2", "2001:db8:78::2"):
        lab.run("cl", "ip", "-6", "rule", "add", "from", address, "lookup", "78")
    lab.run("cl", "ip", "-6", "route", "add", "default", "via", "fd78::1", "dev", "eth1", "table", "78")
    lab.run("wan", "ip", "route", "add", "192.168.78.0/24", "via", "10.99.0.1")
    lab.run("wan", "ip", "-6", "route", "add", "2001:db8:78::/64", "via", "2001:db8:99::1")


@pytest.fixture(autouse=True)
def known(lab):
    """Clients that have spoken to the router, as each does before its first question."""
    for source, target in ((ADULT[0], "192.168.77.1"), (KID[0], "192.168.78.1"), (ADULT[1], "fd77::1"),
                           (KID[1], "fd78::1"),
                           (ADULT[2], "2001:db8:77::1"), (KID[2], "2001:db8:78::1")):
        lab.run("cl", "ping", "-c1", "-W20", "-I", source, target)


def config(rules, **sections):
    return {"fakeip": {"store": ""}, "rules": [*rules, REST], **sections,
            "gateway": {**LANS, **sections.get("gateway", {})}}


def ask(gw, source, name="x.test", rdtype="A", **how):
    return gw.ask(name, rdtype, SERVERS[6 if ":" in source else 4], source=source, **how)


def blocked(gw, source, name="x.test", **how):
    reply = ask(gw, source, name, **how)
    assert rcode(reply) == "NXDOMAIN" or is_fake(addresses(reply)), reply
    return rcode(reply) == "NXDOMAIN"


def blocked_ones(gw, **how):
    return [source for source in (*ADULT, *KID) if blocked(gw, source, **how)]


# --- addresses ---

@MODES
def test_networks_and_exceptions(gateway, intercept, lab):
    lab.run("cl", "ip", "addr", "replace", "192.168.78.3/24", "dev", "eth1")
    gw = gateway(config([
        {"name": "one", "domain": "one.test", "client": "192.168.78.2", **BLOCK},
        {"name": "net", "domain": "net.test", "client": ["192.168.78.0/24", "2001:db8:78::/64"], **BLOCK},
        {"name": "but", "domain": "but.test", "client": ["192.168.0.0/16", "!192.168.78.0/24", "fd00::/8", "!fd78::2"],
         **BLOCK},
        {"name": "not", "domain": "not.test", "client": ["!192.168.78.2", "!2001:db8::/32"], **BLOCK},
        {"name": "group", "domain": "group.test", "client": ["office", "!192.168.77.2"], **BLOCK},
    ], clients={"tv": "192.168.78.2", "desk": ["192.168.77.0/24", "fd77::2"], "office": ["desk", "tv"]}), intercept)
    for tcp in (False, True):
        assert blocked_ones(gw, name="one.test", tcp=tcp) == [KID[0]]
        assert blocked_ones(gw, name="net.test", tcp=tcp) == [KID[0], KID[2]]
        assert blocked_ones(gw, name="but.test", tcp=tcp) == [ADULT[0], ADULT[1]]
        assert blocked_ones(gw, name="not.test", tcp=tcp) == [*ADULT[:2], KID[1]]
        assert blocked_ones(gw, name="group.test", tcp=tcp) == [ADULT[1], KID[0]]


def test_a_group_that_holds_itself_is_an_error(lab):
    file = lab.dir / "circle.yaml"
    file.write_text("upstreams: {wan: {servers: [udp://10.99.0.53]}}\nclients: {a: [b], b: [a], c: nobody}\n"
                    "rules: [{name: r, client: [a, c, wrong], answer: block}]\n")
    done = lab.run("gw", PROGRAM, "check", "-c", file, check=False)
    assert done.returncode == 1
    assert "circle.yaml:2:" in done.stderr and "circle.yaml:3:" in done.stderr


# --- MAC addresses ---

@MODES
def test_a_mac_address_is_all_its_addresses(gateway, intercept):
    gw = gateway(config([{"name": "kid", "client": KID_MAC.upper(), **BLOCK}]), intercept)
    for tcp in (False, True):
        assert blocked_ones(gw, tcp=tcp) == list(KID)
    told = gw.result("explain", name="x.test", client=KID[2])
    assert told["rule"] == "kid" and KID_MAC in told["rules"][0]["why"]
    assert gw.result("explain", name="x.test", client=ADULT[0])["rule"] == "rest"
    assert gw.result("explain", name="x.test", client="192.168.78.77")["rule"] == "rest"  # nobody is there


@MODES
def test_a_group_with_a_mac(gateway, intercept):
    gw = gateway(config([{"name": "kids", "client": "kids", **BLOCK}], clients={"kids": [KID_MAC, "fd77::/64"]}),
                 intercept)
    assert blocked_ones(gw) == [ADULT[1], *KID]


@MODES
def test_a_new_address_of_the_same_host(gateway, lab, intercept):
    """IPv6 hosts take a new one every day."""
    gw = gateway(config([{"name": "kid", "client": KID_MAC, **BLOCK}]), intercept)
    new = "2001:db8:78::abcd"
    lab.run("cl", "ip", "addr", "add", f"{new}/64", "dev", "eth1", "nodad")
    lab.run("cl", "ip", "-6", "rule", "add", "from", new, "lookup", "78")
    try:
        lab.run("cl", "ping", "-c1", "-W20", "-I", new, "2001:db8:78::1")
        wait_for(lambda: blocked(gw, new), "it is known", 2)
    finally:
        lab.run("cl", "ip", "addr", "del", f"{new}/64", "dev", "eth1")
        lab.run("cl", "ip", "-6", "rule", "del", "from", new, "lookup", "78")


@MODES
def test_a_neighbour_that_the_kernel_forgets(gateway, lab, intercept):
    gw = gateway(config([{"name": "kid", "client": KID_MAC, **BLOCK}]), intercept)
    assert blocked(gw, KID[0])
    for _ in range(3):
        lab.run("gw", "ip", "neigh", "flush", "dev", "lan1")
        lab.run("gw", "ip", "neigh", "flush", "dev", "lan1", "nud", "all")
        wait_for(lambda: blocked(gw, KID[0]), "it is known again", 2)  # the answer itself makes the kernel ask
        assert blocked(gw, KID[0])


@MODES
def test_a_link_that_goes_down_and_comes_up(gateway, lab, intercept):
    """The kernel forgets all neighbours with it; the first question counts all the same."""
    gw = gateway(config([{"name": "kid", "client": KID_MAC, **BLOCK}]), intercept)
    assert blocked(gw, KID[0])
    lab.run("gw", "ip", "link", "set", "lan1", "down")
    lab.run("gw", "ip", "link", "set", "lan1", "up")
    for prefix in ("fd78::", "2001:db8:78::"):
        lab.run("gw", "ip", "addr", "replace", f"{prefix}1/64", "dev", "lan1", "nodad")

    def answer():
        with contextlib.suppress(TimeoutError):
            return rcode(ask(gw, KID[0], timeout_s=1))
    assert wait_for(answer, "an answer") == "NXDOMAIN"


@MODES
def test_an_address_that_another_host_takes(gateway, lab, intercept):
    gw = gateway(config([{"name": "kid", "client": KID_MAC, **BLOCK}]), intercept)
    assert blocked(gw, KID[0])
    lab.run("cl", "ip", "link", "set", "eth1", "address", "02:00:00:00:78:99")
    try:
        lab.run("cl", "ip", "route", "replace", "default", "via", "192.168.78.1", "table", "78")
        lab.run("cl", "ping", "-c1", "-W2", "-I", KID[0], "192.168.78.1", check=False)
        wait_for(lambda: not blocked(gw, KID[0]), "somebody else has the address", 8)
    finally:
        lab.run("cl", "ip", "link", "set", "eth1", "address", KID_MAC)
        lab.run("cl", "ip", "route", "replace", "default", "via", "192.168.78.1", "table", "78")
        lab.run("cl", "ip", "-6", "route", "replace", "default", "via", "fd78::1", "dev", "eth1", "table", "78")
        lab.run("gw", "ip", "neigh", "flush", "dev", "lan1", "nud", "all")


# --- two clients, two ways ---

def who(lab, target, source, port=9000):
    with lab.connect(target, tcp=True, port=port, source=source) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return sock.recv(100).decode().split()[0]


@MODES
@pytest.mark.parametrize("client", [KID_MAC, "if:lan1", "host:tablet", "192.168.78.0/24 fd78::/64 2001:db8:78::/64"])
def test_two_clients_get_two_pairs_and_each_goes_its_way(gateway, lab, intercept, client):
    (lab.dir / "leases").write_text(f"{int(time.time()) + 3600} {KID_MAC} {KID[0]} tablet *\n")
    sections = {"leases": {"files": [str(lab.dir / "leases")]},
                "egress": {"proxy": {"type": "socks5", "server": "10.99.0.2:1080"}}}
    with greeter(lab, "10.99.0.10"), greeter(lab, "2001:db8:99::10"), \
            Socks5(lab, far=lambda sock, host, port: sock.sendall(b"proxy\n")):
        gw = gateway(config([{"name": "kid", "domain": "web.test", "client": "kid", "answer": "fake",
                              "egress": "proxy"}],
                            clients={"kid": client.split()}, **sections), intercept)
        pairs = {}
        for sources, way in ((ADULT, "direct"), (KID, "proxy")):
            pairs[way] = {(source, rdtype): addresses(ask(gw, source, "web.test", rdtype))[0]
                          for source in sources for rdtype in ("A", "AAAA")}
            assert len(set(pairs[way].values())) == 2  # one pair, however it was asked
            assert all(is_fake([address]) for address in pairs[way].values())
        assert not set(pairs["direct"].values()) & set(pairs["proxy"].values())
        for (source, _), address in [*pairs["direct"].items(), *pairs["proxy"].items()]:
            if (":" in source) == (":" in address) and not source.startswith("fd"):
                expected = "proxy" if source in KID else "10.99.0.10" if "." in source else "2001:db8:99::10"
                assert who(lab, address, source) == expected, (source, address)
        found = gw.result("fakeip.lookup", name="web.test")
        assert sorted(m["egress"] for m in found) == ["direct", "proxy"]
        for source, egress in ((ADULT[0], "direct"), (KID[0], "proxy")):
            told = gw.result("explain", name="web.test", client=source)
            assert told["egress"] == egress and told["fakeip"]["v4"] == addresses(ask(gw, source, "web.test"))[0]


MARK = """
table inet user {
	chain pre {
		type filter hook prerouting priority mangle
		iifname { "lan0", "lan1" } tcp dport 9000 meta mark set mark or 0x400
	}
}
"""


# Twice in a dozen runs on a loaded machine, and never alone, a connection was reset while it was opened.
@pytest.mark.by_the_clock
@MODES
@pytest.mark.parametrize("client", [KID_MAC, "if:lan1", "host:tablet"])
def test_real_traffic_by_its_client(gateway, lab, intercept, client):
    """Addresses that nobody was told: the rules of the client decide, in both families."""
    (lab.dir / "leases").write_text(f"{int(time.time()) + 3600} {KID_MAC} {KID[0]} tablet *\n")
    lab.nft(MARK)
    try:
        with greeter(lab, "10.99.0.10"), greeter(lab, "2001:db8:99::10"), \
                Socks5(lab, far=lambda sock, host, port: sock.sendall(b"proxy\n")), \
                Socks5(lab, far=lambda sock, host, port: sock.sendall(b"other\n"), port=1088):
            gateway({"fakeip": {"store": ""}, "gateway": {**LANS, "relay_mark": "0x400/0x400"},
                     "leases": {"files": [str(lab.dir / "leases")]},
                     "egress": {"proxy": {"type": "socks5", "server": "10.99.0.2:1080"},
                                "other": {"type": "socks5", "server": "10.99.0.2:1088"}},
                     "clients": {"kid": client},
                     "rules": [{"name": "kid", "client": "kid", "answer": "real", "egress": "proxy"},
                               {"name": "all", "answer": "real", "egress": "other"}]}, intercept)
            for adult, kid, target in ((ADULT[0], KID[0], "10.99.0.10"), (ADULT[2], KID[2], "2001:db8:99::10")):
                assert who(lab, target, adult) == "other"
                assert who(lab, target, kid) == "proxy"
    finally:
        lab.nft("delete table inet user")


# --- leases ---

def write(lab, text):
    new = lab.dir / "leases.new"
    new.write_text(text)
    os.replace(new, lab.dir / "leases")


@MODES
def test_a_host_by_its_lease(gateway, lab, intercept):
    soon = int(time.time()) + 3600
    write(lab, f"{soon} {KID_MAC} {KID[0]} Tablet *\n{soon} 02:00:00:00:00:05 192.168.77.50 other *\n")
    gw = gateway(config([{"name": "kids", "client": "kids", **BLOCK},
                         {"name": "long", "domain": "long.test", "client": "long", **BLOCK}],
                        clients={"kids": ["host:tablet", "host:absent"], "long": "host:other.lan"},
                        leases={"files": [str(lab.dir / "leases")]}, gateway={"watch": "200ms"}), intercept)
    assert blocked_ones(gw) == list(KID)  # IPv6 by the MAC of the lease
    told = gw.result("explain", name="x.test", client=KID[1])
    assert told["rule"] == "kids" and "host:tablet" in told["rules"][0]["why"]
    write(lab, f"{soon} {MAC} {ADULT[0]} tablet *\n")  # the host is another one now
    wait_for(lambda: blocked_ones(gw) == list(ADULT), "the new lease")
    write(lab, f"{soon} 02:00:00:00:99:99 {ADULT[0]} tablet *\n")  # another MAC: the address alone
    wait_for(lambda: blocked_ones(gw) == [ADULT[0]], "the next lease")
    write(lab, "")
    wait_for(lambda: blocked_ones(gw) == [], "no lease any more")


# --- interfaces ---

@MODES
def test_an_interface(gateway, lab, intercept):
    """Also behind the TUN device, whose packets do not say where they came in."""
    gw = gateway(config([{"name": "guests", "client": "guests", **BLOCK},
                         {"name": "main", "domain": "main.test", "client": "main", **BLOCK}],
                        clients={"main": ["if:lan0"], "guests": "if:lan1"}), intercept)
    for tcp in (False, True):
        assert blocked_ones(gw, tcp=tcp) == list(KID)
        assert blocked_ones(gw, name="main.test", tcp=tcp) == [*ADULT, *KID]
    assert lab.dig("x.test") != [] and lab.dig("main.test") != []  # this host is on neither
    assert "if:lan1" in gw.result("explain", name="x.test", client=KID[0])["rules"][0]["why"]


@MODES
def test_link_local_clients_of_an_interface(gateway, lab, intercept):
    gw = gateway(config([{"name": "guests", "client": "guests", **BLOCK}], clients={"guests": "if:lan1"}), intercept)
    assert rcode(gw.ask("x.test", server="fe80::1%eth0")) == "NOERROR"
    lab.run("gw", "ip", "addr", "replace", "fe80::78/64", "dev", "lan1", "nodad")
    wait_for(lambda: rcode(gw.ask("x.test", server="fe80::78%eth1")) == "NXDOMAIN", "the guests' rule", 2)


@MODES
def test_an_interface_whose_network_moves(gateway, lab, intercept):
    gw = gateway(config([{"name": "guests", "client": "guests", **BLOCK}], clients={"guests": "if:lan1"}), intercept)
    lab.run("gw", "ip", "addr", "add", "192.168.79.1/24", "dev", "lan1")
    lab.run("cl", "ip", "addr", "add", "192.168.79.2/24", "dev", "eth1")
    lab.run("cl", "ip", "rule", "add", "from", "192.168.79.2", "lookup", "78")
    try:
        wait_for(lambda: blocked(gw, "192.168.79.2"), "the new network", 2)
        # one who has not spoken yet, too
        wait_for(lambda: gw.result("explain", name="x.test", client="192.168.79.200")["rule"] == "guests", "its prefix")
    finally:
        lab.run("gw", "ip", "addr", "del", "192.168.79.1/24", "dev", "lan1")
        lab.run("cl", "ip", "addr", "del", "192.168.79.2/24", "dev", "eth1")
        lab.run("cl", "ip", "rule", "del", "from", "192.168.79.2", "lookup", "78")


# --- relay_clients ---

@MODES
def test_relay_clients_by_a_group(gateway, lab, intercept):
    with greeter(lab, "10.99.0.10"), greeter(lab, "2001:db8:99::10"), \
            Socks5(lab, far=lambda sock, host, port: sock.sendall(b"proxy\n")):
        gw = gateway({"fakeip": {"store": ""}, "gateway": {**LANS, "relay_clients": ["consoles"]},
                      "clients": {"consoles": ["boxes"], "boxes": [KID_MAC, "192.168.77.9"]},
                      "egress": {"proxy": {"type": "socks5", "server": "10.99.0.2:1080"}},
                      "rules": [{"name": "all", "answer": "real", "egress": "proxy"}]}, intercept)
        for kid, adult, target in ((KID[0], ADULT[0], "10.99.0.10"), (KID[2], ADULT[2], "2001:db8:99::10")):
            assert who(lab, target, kid) == "proxy"
            assert who(lab, target, adult) == target
        assert not gw.log_lines("warn")


def test_relay_clients_take_no_hosts_and_no_interfaces(lab):
    file = lab.dir / "relay.yaml"
    for member in ("host:box", "if:lan1"):
        file.write_text(f"gateway: {{relay_clients: [box]}}\nclients: {{box: ['{member}']}}\n")
        done = lab.run("gw", PROGRAM, "check", "-c", file, check=False)
        assert done.returncode == 1 and "relay_clients" in done.stderr, done.stderr


# --- many ---

def test_many_clients_at_once(gateway, lab):
    """A crowd on one interface, each by its own MAC rule or none, in one burst."""
    crowd = [f"192.168.78.{i}" for i in range(20, 60)]
    for address in crowd:
        lab.run("cl", "ip", "addr", "replace", f"{address}/24", "dev", "eth1")
    lab.run("cl", "ip", "rule", "add", "from", "192.168.78.0/24", "lookup", "78")
    try:
        gw = gateway(config([{"name": "kid", "domain": "k.test", "client": KID_MAC, **BLOCK}]))
        for address in crowd:
            lab.run("gw", "ip", "neigh", "replace", address, "lladdr", KID_MAC, "dev", "lan1", "nud", "stale")
        wait_for(lambda: blocked(gw, crowd[-1], "k.test"), "the last one is known", 2)
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(lab.connect("8.8.8.8", source=address)) for address in crowd]
            for sock in socks:
                sock.send(dns.message.make_query("a.k.test", "A").to_wire())
            assert {rcode(dns.message.from_wire(sock.recv(4096))) for sock in socks} == {"NXDOMAIN"}
    finally:
        lab.run("cl", "ip", "rule", "del", "from", "192.168.78.0/24", "lookup", "78")
        for address in crowd:
            lab.run("cl", "ip", "addr", "del", f"{address}/24", "dev", "eth1")
