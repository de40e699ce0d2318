"""Item 8: whose source address a directly carried connection leaves with."""
import contextlib
import socket

import pytest

from lab import Upstream, answer_to, split_address, wait_for
from test_carry import MODES, REAL, fake, flag

V4, V6 = socket.AF_INET, socket.AF_INET6
LAN4, GUA, ULA = "192.168.77.2", "2001:db8:77::2", "fd77::2"
ROUTER = {V4: "10.99.0.1", V6: "2001:db8:99::1"}
# Not the router's, so that masquerading never takes it.
SPARE = {V4: "10.99.0.7", V6: "2001:db8:99::7"}
OWN = "own"  # this host's: they begin at TUN's address
CONFIG = {"egress": {"always": {"type": "direct", "upstream": "wan", "masquerade": "yes"},
                     "never": {"type": "direct", "upstream": "wan", "masquerade": "no"}},
          "rules": [{"name": "a", "domain": ["a.real.test"], "answer": "fake", "egress": "always"},
                    {"name": "n", "domain": ["shop.test"], "answer": "fake", "egress": "never"},
                    {"name": "rest", "answer": "fake", "egress": "direct"}]}
NAMES = {"auto": "web.test", "yes": "a.real.test", "no": "shop.test"}
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
ECHO = {V4: (1, 8), V6: (58, 128)}


@pytest.fixture(scope="module", params=MODES)
def gw(request, module_gateway):
    gateway = module_gateway(CONFIG, request.param)
    yield gateway
    if gateway.running():
        gateway.stop()


def leaves_as(gw, lab, how, client, family=None):
    """The one source with which TCP, UDP and pings of a client arrive in wan; a set if they differ."""
    family = family or split_address(client)[0]
    part = "gw" if client == OWN else "cl"
    target = fake(gw, NAMES[how], family, part)
    bound = [] if client == OWN else [("::" if family == V6 else "", client)]
    seen = {}
    with lab.watch("wan") as wire:
        with lab.socket(part, family, socket.SOCK_STREAM) as tcp, lab.socket(part, family) as udp:
            for sock in (tcp, udp):
                if bound:
                    sock.bind((client, 0))
            tcp.setblocking(False)
            tcp.connect_ex((target, 80))
            udp.sendto(b"whose am I", (target, 7777))
            ping = lab.popen(part, "ping", flag(family), "-c", "1", "-W", "2", "-q",
                             *([] if client == OWN else ["-I", client]), target, stdout=-3)

            def all_there():
                for packet in wire.packets():
                    kind, = ([packet.protocol] if packet.protocol in (TCP, UDP) else
                             ["ping"] if (packet.protocol, packet.payload[0]) == ECHO[family] else [None])
                    if kind and packet.target == REAL[family] and packet.target_port in (0, 80, 7777):
                        seen.setdefault(kind, packet.source)
                return len(seen) == 3
            wait_for(all_there, f"all three arrive: {seen}")
            ping.kill()
            ping.wait()
    return seen[TCP] if len(set(seen.values())) == 1 else seen


@pytest.mark.parametrize("how, client, source", [
    ("auto", LAN4, LAN4), ("auto", GUA, GUA), ("auto", ULA, ROUTER[V6]),
    ("yes", LAN4, ROUTER[V4]), ("yes", GUA, ROUTER[V6]), ("yes", ULA, ROUTER[V6]),
    ("no", LAN4, LAN4), ("no", GUA, GUA), ("no", ULA, ULA)])
def test_masquerade(gw, lab, how, client, source):
    assert leaves_as(gw, lab, how, client) == source


@pytest.mark.parametrize("how", ["auto", "yes"])
@pytest.mark.parametrize("family", [V4, V6], ids=["v4", "v6"])
def test_this_hosts_own_leave_with_the_uplinks_address(gw, lab, how, family):
    """TUN's address, which nobody outside could answer, is not seen there."""
    assert leaves_as(gw, lab, how, OWN, family) == ROUTER[family]


def test_a_ula_stays_where_the_far_end_is_one(gw, lab):
    """As at a server of the same site."""
    lab.run("wan", "ip", "addr", "add", "fd99::10/64", "dev", "eth0", "nodad")
    lab.run("wan", "ip", "route", "add", "fd77::/64", "via", "2001:db8:99::1")
    lab.run("gw", "ip", "route", "add", "fd99::/64", "via", "2001:db8:99::2")
    try:
        with Upstream(lab, lambda wire, client, send: send(answer_to(wire, "60 AAAA fd99::10")), "10.99.0.2",
                      port=5355):
            gw.rewrite({**CONFIG, "upstreams": {"wan": {"servers": ["udp://10.99.0.2:5355"]}}},
                       gw.config["gateway"]["intercept"])
            gw.result("reload")
            target = fake(gw, "site.test", V6)
            with lab.watch("wan") as wire, lab.connect(target, port=7777, source=ULA) as sock:
                sock.send(b"x")
                wait_for(lambda: [p for p in wire.packets() if p.target == "fd99::10" and p.protocol == UDP],
                         "it arrives")
                assert {p.source for p in wire.packets() if p.target == "fd99::10" and p.protocol == UDP} == {ULA}
    finally:
        lab.run("wan", "ip", "addr", "del", "fd99::10/64", "dev", "eth0")
        lab.run("wan", "ip", "route", "del", "fd77::/64")
        lab.run("gw", "ip", "route", "del", "fd99::/64")
        gw.rewrite(CONFIG, gw.config["gateway"]["intercept"])
        gw.result("reload")


@contextlib.contextmanager
def the_users(lab, *rules):
    """Rules of the user's own, as fw4 has them."""
    lab.nft("table inet fw { chain srcnat { type nat hook postrouting priority srcnat; policy accept; "
            + "; ".join(rules) + "; }; }")
    try:
        yield
    finally:
        lab.nft("delete table inet fw")


@pytest.mark.parametrize("how", ["auto", "no"])
@pytest.mark.parametrize("client", [LAN4, GUA, ULA])
def test_the_users_own_rule_stays_as_it_is(gw, lab, how, client):
    with the_users(lab, f'oifname "wan0" snat ip to {SPARE[V4]}', f'oifname "wan0" snat ip6 to {SPARE[V6]}'):
        assert leaves_as(gw, lab, how, client) == SPARE[split_address(client)[0]]


@pytest.mark.parametrize("client", [LAN4, GUA, ULA])
def test_the_users_own_rule_may_look_at_the_real_address(gw, lab, client):
    with the_users(lab, f"ip daddr {REAL[V4]} snat ip to {SPARE[V4]}", f"ip6 daddr {REAL[V6]} snat ip6 to {SPARE[V6]}"):
        assert leaves_as(gw, lab, "auto", client) == SPARE[split_address(client)[0]]


@pytest.mark.parametrize("client, source", [(LAN4, ROUTER[V4]), (GUA, GUA), (ULA, ROUTER[V6])])
def test_the_usual_router(gw, lab, client, source):
    """IPv4 is masqueraded by the host, IPv6 is not."""
    with the_users(lab, 'oifname "wan0" meta nfproto ipv4 masquerade'):
        assert leaves_as(gw, lab, "auto", client) == source
