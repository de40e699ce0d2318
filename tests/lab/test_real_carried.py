"""Item 11: a real answer whose egress is a proxy or has a mark takes its traffic along."""
import contextlib
import itertools
import os
import socket
import ssl

import dns.message
import pytest

from lab import addresses, greeter, split_address, wait_for
from proxies import Socks5, descriptors, egress_status
from test_uplinks import second_uplink  # noqa: F401 (a fixture)
from test_unless import Zone, tell, tell_udp
from waiting import moment

MODES = pytest.mark.parametrize("intercept", ["tun", "tproxy"])
PARTS = pytest.mark.parametrize("part", ["cl", "gw"], ids=["lan", "host"])
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
REAL = {socket.AF_INET: "10.99.0.10", socket.AF_INET6: "2001:db8:99::10"}
OTHER = {socket.AF_INET: "10.99.0.53", socket.AF_INET6: "2001:db8:99::53"}
STRANGER = {socket.AF_INET: "192.168.77.12", socket.AF_INET6: "2001:db8:77::12"}  # a client that is told nothing
PORT = 9000

ZONE = {"a.p.test": tuple(REAL.values()), "b.p.test": tuple(REAL.values()), "c.d.test": tuple(REAL.values()),
        "own.p.test": ("192.168.77.1", "127.0.0.1", "0.0.0.0", "198.18.0.9", "10.99.0.10"),
        "a.v.test": tuple(REAL.values()), "n.n.test": tuple(REAL.values())}


def rules(order=("p.test", "d.test", "v.test", "n.test")):
    all_rules = {
        "p.test": {"name": "proxied", "domain": ["p.test"], "answer": "real", "egress": "proxy"},
        "d.test": {"name": "plain", "domain": ["d.test"], "answer": "real", "upstream": "near"},
        "v.test": {"name": "marked", "domain": ["v.test"], "answer": "real", "egress": "vpn"},
        "n.test": {"name": "left", "domain": ["n.test"], "answer": "real", "egress": "proxy", "carry": False}}
    return [all_rules[name] for name in order] + [{"name": "rest", "answer": "fake", "egress": "other"}]


def configured(rules=rules(), **sections):
    return {"upstreams": {"near": {"servers": ["udp://10.99.0.2:5354"]}},
            "egress": {"proxy": {"type": "socks5", "server": "10.99.0.2:1080", "upstream": "near"},
                       "other": {"type": "socks5", "server": "10.99.0.2:1088", "upstream": "near"},
                       "vpn": {"type": "direct", "mark": "0x20", "upstream": "near"}},
            "rules": rules, **sections}


def tell_other(sock, host, port):
    sock.sendall(f"other {host}\n".encode())
    while data := sock.recv(100):
        sock.sendall(data)


@pytest.fixture
def zone(lab):
    with Zone(lab, dict(ZONE)) as zone:
        yield zone


@pytest.fixture
def far(lab):
    """(the proxy, the other one); and at the real addresses somebody who tells that he was reached."""
    with contextlib.ExitStack() as stack:
        for address in (*REAL.values(), *OTHER.values()):
            stack.enter_context(greeter(lab, address, PORT))
        yield (stack.enter_context(Socks5(lab, far=tell, udp=tell_udp)),
               stack.enter_context(Socks5(lab, far=tell_other, port=1088)))


@pytest.fixture
def stranger(lab):
    for address, length in zip(STRANGER.values(), ("24", "64")):
        lab.ip("addr", "add", f"{address}/{length}", "dev", "eth0", *(["nodad"] if ":" in address else []), part="cl")
    yield STRANGER
    for address, length in zip(STRANGER.values(), ("24", "64")):
        lab.ip("addr", "del", f"{address}/{length}", "dev", "eth0", part="cl")


def ask(lab, name, family=socket.AF_INET, part="cl", **how):
    """By the family that is asked for: the client's address is who it is."""
    rdtype, server = ("A", "8.8.8.8") if family == socket.AF_INET else ("AAAA", "2001:4860:4860::8888")
    return addresses(lab.ask(name, rdtype, server, part=part, **how))[0]


def greeting(sock):
    return sock.recv(4096).split(b"\n")[0].decode()


def who(lab, target, part="cl", first=b"", port=PORT, source=None):
    """Who answers a connection to that address."""
    with lab.connect(target, part, tcp=True, port=port, source=source) as sock:
        sock.sendall(first)
        return greeting(sock)


def client_hello(name):
    outgoing = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def request(name):
    return f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()


def real_set(lab, name, address):
    """The element's seconds that are left; None: it is not there."""
    for item in lab.nft_json("list", "set", "inet", "tungate", name):
        for element in item.get("set", {}).get("elem", []):
            if element["elem"]["val"] == address:
                return element["elem"]["expires"]
    return None


def to(sniffer, *targets):
    return [p for p in sniffer.packets() if p.target in targets]


# --- by the proxy ---

@MODES
@PARTS
@FAMILIES
def test_it_goes_by_the_proxy_and_by_name(lab, gateway, zone, far, intercept, part, family):
    gw = gateway(configured(), intercept)
    with lab.watch("wan") as wan:
        target = ask(lab, "a.p.test", family, part)
        assert target == REAL[family]
        assert who(lab, target, part) == "proxy a.p.test"
        with lab.connect(target, part, port=7777) as sock:
            for _ in range(20):
                sock.send(b"x")
                assert sock.recv(100) == b"proxy a.p.test"
        assert to(wan, target) == []
    assert far[0].requests == [("a.p.test", PORT)]
    assert {(host, port) for _, host, port, _ in far[0].datagrams} == {("a.p.test", 7777)}
    assert gw.result("explain", name="a.p.test")["egress"] == "proxy"


@MODES
def test_no_connection_leaves_before_the_kernel_knows(lab, gateway, zone, far, intercept):
    """Five hundred names, each dialled in the moment in which its answer is there."""
    for i in range(500):
        zone.zone[f"n{i}.p.test"] = (f"10.97.{i >> 8}.{i & 255}", f"2001:db8:97::{i:x}")
    gateway(configured(), intercept)
    with lab.watch("wan") as wan:
        for i in range(500):
            target = ask(lab, f"n{i}.p.test", socket.AF_INET6 if i % 2 else socket.AF_INET, "gw" if i % 5 == 4 else "cl")
            with lab.connect(target, "gw" if i % 5 == 4 else "cl", tcp=True, port=PORT) as sock:
                assert greeting(sock) == f"proxy n{i}.p.test"
        assert [p for p in wan.packets() if p.target.startswith(("10.97.", "2001:db8:97:"))] == []


@MODES
@PARTS
@FAMILIES
def test_carry_no_leaves_it_to_the_kernel(lab, gateway, zone, far, intercept, part, family):
    gateway(configured(), intercept)
    assert who(lab, ask(lab, "n.n.test", family, part), part).startswith(REAL[family])
    assert far[0].accepted == 0


@MODES
def test_what_must_not_be_taken_is_not(lab, gateway, zone, far, intercept):
    """A hostile answer: this host's own address, loopback, a fake one."""
    gateway(configured(), intercept)
    answer = addresses(lab.ask("own.p.test"))
    assert "10.99.0.10" in answer
    held = {e["elem"]["val"] for item in lab.nft_json("list", "set", "inet", "tungate", "carried4")
            for e in item.get("set", {}).get("elem", [])}
    assert held == {"10.99.0.10"}
    assert who(lab, "10.99.0.10") == "proxy own.p.test"
    assert addresses(lab.ask("a.d.test", server="192.168.77.1")) == []


@MODES
@FAMILIES
def test_a_dead_proxy_is_told_at_once(lab, gateway, zone, intercept, family):
    """Never by the other way."""
    gateway(configured(), intercept)
    target = ask(lab, "a.p.test", family)
    with lab.watch("wan") as wan:
        start = moment()
        with pytest.raises(OSError):
            with lab.connect(target, tcp=True, port=PORT) as sock:
                sock.sendall(b"x")
                if not sock.recv(1):
                    raise ConnectionResetError
        assert moment() - start < 1
        assert to(wan, target) == []


# --- by a mark ---

@MODES
@PARTS
@FAMILIES
def test_it_goes_by_the_mark(lab, gateway, second_uplink, zone, far, intercept, part, family):  # noqa: F811
    gateway(configured(), intercept)
    with lab.watch("gw", "wan0") as usual, lab.watch("gw", "wan1") as marked:
        target = ask(lab, "a.v.test", family, part)
        assert who(lab, target, part).startswith(target)
        lab.run(part, "ping", "-4" if family == socket.AF_INET else "-6", "-c", "1", "-W", "20", target)
        assert to(usual, target) == []
        assert {p.protocol for p in to(marked, target)} == {6, 1 if family == socket.AF_INET else 58}
        assert who(lab, OTHER[family], part).startswith(OTHER[family])
        assert to(marked, OTHER[family]) == []


# --- live connections ---

@MODES
@PARTS
def test_a_connection_outlives_its_element(lab, gateway, second_uplink, zone, far, intercept, part):  # noqa: F811
    """By the proxy and by the mark; also over a reload, and a reload that sends the name another way."""
    for name in ("a.p.test", "a.v.test"):
        zone.zone[name] = (REAL[socket.AF_INET] if name[2] == "p" else OTHER[socket.AF_INET],)
    short = [dict(rule, set_ttl={"min": "1s", "grace": "1s"}) if rule["name"] in ("proxied", "marked") else rule for rule in rules()]
    gw = gateway(configured(short), intercept)
    zone_ttl(zone, 1)
    with contextlib.ExitStack() as stack:
        live = {}
        for name, greeted in (("a.p.test", "proxy"), ("a.v.test", OTHER[socket.AF_INET])):
            target = ask(lab, name, part=part)
            live[name] = stack.enter_context(lab.connect(target, part, tcp=True, port=PORT))
            assert greeting(live[name]).startswith(greeted)
            datagram = stack.enter_context(lab.connect(target, part, port=7777))
            datagram.send(b"x")
        proxied_udp = stack.enter_context(lab.connect(REAL[socket.AF_INET], part, port=7777))
        proxied_udp.send(b"x")
        assert proxied_udp.recv(100) == b"proxy a.p.test"
        wait_for(lambda: real_set(lab, "carried4", REAL[socket.AF_INET]) is None, "the relay's element is over")
        marked = vpn_set(lab)
        wait_for(lambda: real_set(lab, marked, OTHER[socket.AF_INET]) is None, "the mark's element is over")
        for word in (b"after it", b"and again"):
            for sock in live.values():
                sock.sendall(word)
                assert sock.recv(100) == word
        proxied_udp.send(b"x")
        assert proxied_udp.recv(100) == b"proxy a.p.test"
        gw.result("reload")
        gw.rewrite(configured([rules()[-1]]), intercept)
        gw.result("reload")
        for sock in live.values():
            sock.sendall(b"over a reload")
            assert sock.recv(100) == b"over a reload"
        proxied_udp.send(b"x")
        assert proxied_udp.recv(100) == b"proxy a.p.test"


def vpn_set(lab):
    name, = [item["set"]["name"] for item in lab.nft_json("list", "sets")
             if item.get("set", {}).get("name", "").startswith("real") and item["set"]["name"].endswith("_4")]
    return name


def zone_ttl(zone, ttl_s):
    def answer(wire, client, send):
        zone._answer(wire, client, lambda reply: send(with_ttl(reply, ttl_s)))
    zone.handler = answer


def with_ttl(wire, ttl_s):
    message = dns.message.from_wire(wire)
    for rrset in message.answer:
        rrset.ttl = ttl_s
    return message.to_wire()


# --- names that share an address ---

@MODES
@PARTS
@FAMILIES
def test_two_names_at_one_address(lab, gateway, zone, far, intercept, part, family):
    """What the client says decides, else the latest answer."""
    gateway(configured(), intercept)
    for names in (("a.p.test", "c.d.test"), ("c.d.test", "a.p.test")):
        for name in names:
            target = ask(lab, name, family, part)
        by_name = {"a.p.test": "proxy a.p.test", "c.d.test": REAL[family]}
        for say in (client_hello, request):
            for name, expected in by_name.items():
                assert who(lab, target, part, say(name)).startswith(expected), (names, say, name)
        # Nothing that tells a name, and nothing at all: the server speaks first.
        for first in (b"SSH-2.0-lab\r\n", b""):
            start = moment()
            assert who(lab, target, part, first).startswith(by_name[names[-1]]), (names, first)
            assert moment() - start < 0.3 + 0.5


@MODES
@FAMILIES
def test_a_client_that_was_told_nothing(lab, gateway, zone, far, stranger, intercept, family):
    """It dials an address that others were told: what it says decides; else the rules without names."""
    gateway(configured(), intercept)
    told = {socket.AF_INET: "192.168.77.2", socket.AF_INET6: "2001:db8:77::2"}[family]
    target, source = ask(lab, "a.p.test", family, source=told), stranger[family]
    for say in (client_hello, request):
        assert who(lab, target, first=say("b.p.test"), source=source) == "proxy b.p.test"
        assert who(lab, target, first=say("c.d.test"), source=source).startswith(REAL[family])
        assert who(lab, target, first=say("x.unknown.test"), source=source) == "other x.unknown.test"
    start = moment()
    assert who(lab, target, source=source) == f"other {target}"
    assert 0.2 < moment() - start < 0.3 + 0.5
    start = moment()
    assert who(lab, target, first=b"\x00\x01nonsense", source=source) == f"other {target}"
    assert moment() - start < 0.25
    # What was told decides, whatever is said.
    assert who(lab, target, first=client_hello("c.d.test"), source=told) == "proxy a.p.test"


@MODES
@PARTS
def test_asked_by_one_family_and_dialled_by_the_other(lab, gateway, zone, far, intercept, part):
    """Most clients ask for everything by IPv4. This host is one client, of a LAN's nobody knows; there what is said
    decides, else what any client was told so."""
    gateway(configured(), intercept)
    target, = addresses(lab.ask("a.p.test", "AAAA", part=part))
    assert who(lab, target, part) == "proxy a.p.test"
    with lab.connect(target, part, port=7777) as sock:
        sock.send(b"x")
        assert sock.recv(100) == b"proxy a.p.test"
    said = who(lab, target, part, client_hello("c.d.test"))
    assert said == "proxy a.p.test" if part == "gw" else said.startswith(target)


@MODES
def test_first_bytes_that_come_one_by_one(lab, gateway, zone, far, stranger, intercept):
    """A hello that is cut anywhere is still read; nothing of it is lost."""
    gateway(configured(), intercept)
    target, hello = ask(lab, "a.p.test"), client_hello("b.p.test")
    with lab.connect(target, tcp=True, port=PORT, source=stranger[socket.AF_INET]) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(0, len(hello), 40):
            sock.sendall(hello[i:i + 40])
        got = b""
        while len(got) < len(b"proxy b.p.test\n") + len(hello):
            got += sock.recv(4096)
        assert got == b"proxy b.p.test\n" + hello


# --- the end ---

@MODES
def test_killed_while_it_carries(lab, gateway, second_uplink, zone, far, intercept):  # noqa: F811
    """Relayed connections end at once, none hangs; what clients know of real addresses leaves the host's own way; the
    next start carries again."""
    zone.zone["a.v.test"] = (OTHER[socket.AF_INET],)
    gw = gateway(configured(), intercept)
    with lab.connect(ask(lab, "a.p.test"), tcp=True, port=PORT) as relayed, \
            lab.connect(ask(lab, "a.v.test"), tcp=True, port=PORT) as marked:
        assert greeting(relayed) == "proxy a.p.test" and greeting(marked).startswith(OTHER[socket.AF_INET])
        gw.kill()
        start = moment()
        with contextlib.suppress(ConnectionResetError):
            assert relayed.recv(100) == b""
        assert moment() - start < 1
        wait_for(lambda: "tungate" not in lab.run("gw", "nft", "list", "tables").stdout, "the table is gone")
        assert who(lab, REAL[socket.AF_INET]).startswith(REAL[socket.AF_INET])
        gw.start()
        gw.wait_answers()
        assert who(lab, ask(lab, "a.p.test")) == "proxy a.p.test"
        assert who(lab, ask(lab, "a.v.test")).startswith(OTHER[socket.AF_INET])
