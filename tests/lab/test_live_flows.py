"""Items 12 and 13: what happens to flows that live while something happens to the gateway."""
import random
import socket

import pytest
from scapy.layers.inet import TCP as Tcp

from lab import greeter, has_fake_address, wait_for
from packets import V4, V6, Wire
from test_carry import MODES, REAL, fake, tcp_connect, udp_echo
from waiting import moment

FAMILIES = (V4, V6)
EGRESSES = {"egress": {"proxy": {"type": "socks5", "server": "10.99.0.2:1080"}},
            "rules": [{"name": "p", "domain": ["v4only.test"], "answer": "fake", "egress": "proxy"},
                      {"name": "rest", "answer": "fake", "egress": "direct"}]}
WAYS = {"direct": "web.test", "relayed": "v4only.test"}
PORT = 9000
INTERCEPT = pytest.mark.parametrize("intercept", MODES)


@pytest.fixture
def far(lab):
    """web.test's hosts, which greet and echo, and a proxy that reaches them."""
    lab.microsocks()
    with greeter(lab, REAL[V4], PORT), greeter(lab, REAL[V6], PORT), udp_echo(lab, V4, REAL[V4]), \
            udp_echo(lab, V6, REAL[V6]):
        yield


def connected(gw, name, family, source_port=0):
    sock = gw.lab.socket("cl", family, socket.SOCK_STREAM)
    if source_port:
        sock.bind(("::" if family == V6 else "", source_port))
    sock.connect((fake(gw, name, family), PORT))
    assert sock.recv(100).startswith(b"10.99.0.10 " if name == WAYS["relayed"] else REAL[family].encode())
    return sock


def echoes(sock, word=b"still there?"):
    sock.sendall(word)
    return sock.recv(100) == word


class Flows:
    """A connection of each way in each family, and datagrams."""

    def __init__(self, gw):
        self.gw = gw
        self.tcp = {(way, family): connected(gw, name, family) for way, name in WAYS.items() for family in FAMILIES}
        self.udp = {}
        for family in FAMILIES:
            self.udp[family] = gw.lab.connect(fake(gw, "web.test", family), port=7777)
        assert self.direct_live() and self.relayed_live()

    def direct_live(self):
        for family, sock in self.udp.items():
            sock.send(b"ping")
            assert sock.recv(100).endswith(b" ping"), family
        return all(echoes(sock) for (way, _), sock in self.tcp.items() if way == "direct")

    def relayed_live(self):
        return all(echoes(sock) for (way, _), sock in self.tcp.items() if way == "relayed")

    def new_ones_stand(self):
        for name in WAYS.values():
            for family in FAMILIES:
                with connected(self.gw, name, family) as sock:
                    assert echoes(sock)
        return True

    def close(self):
        for sock in (*self.tcp.values(), *self.udp.values()):
            sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@INTERCEPT
def test_the_device_is_deleted(gateway, lab, far, intercept):
    gw = gateway(EGRESSES, intercept)
    with Flows(gw) as flows:
        for _ in range(3):
            old = lab.ip("link", "show", "dev", "tungate0")[0]["ifindex"]
            lab.run("gw", "ip", "link", "del", "tungate0")
            assert flows.relayed_live()

            def is_back():
                links = [link for link in lab.ip("link") if link["ifname"] == "tungate0"]
                return links and links[0]["ifindex"] != old and "UP" in links[0]["flags"]
            wait_for(is_back, "the device is there again", 3)
            wait_for(lambda: has_fake_address(gw.ask("web.test", timeout_s=1)), "names are answered by it", 3)
            assert flows.direct_live() and flows.relayed_live()
            wait_for(lambda: isinstance(connects(gw, "shop.test"), socket.socket), "a new name is carried", 3)
            assert flows.new_ones_stand()


def connects(gw, name):
    outcome, _ = tcp_connect(gw.lab, fake(gw, name, V4), port=PORT, timeout_s=1)
    if isinstance(outcome, socket.socket):
        outcome.close()
    return outcome


@INTERCEPT
def test_the_ruleset_is_flushed_and_the_firewall_loaded_anew(gateway, lab, far, intercept):
    """As fw4 and many scripts do it."""
    firewall = ("table inet fw { chain srcnat { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }; "
                "chain forward { type filter hook forward priority 0; ct state established,related accept; }; }")
    gw = gateway(EGRESSES, intercept)
    with Flows(gw) as flows:
        for script in ("flush ruleset", firewall, "delete table inet fw\n" + firewall, "flush ruleset\n" + firewall,
                       "flush ruleset"):
            lab.nft(script)
            assert flows.direct_live() and flows.relayed_live() and flows.new_ones_stand()


@INTERCEPT
def test_a_restart_after_kill_9(gateway, lab, far, intercept):
    """Direct connections go on; relayed ones hear at their next segment that they are over, and the next connection
    from the very same port stands, at once."""
    gw = gateway(EGRESSES, intercept)
    with Flows(gw) as flows:
        ports = {(way, family): sock.getsockname()[1] for (way, family), sock in flows.tcp.items()}
        gw.kill()
        gw.start()
        assert flows.direct_live()
        for family in FAMILIES:
            sock = flows.tcp["relayed", family]
            wait_for(lambda: is_over(sock), "it is over", 1)
            sock.close()
            start = moment()
            with connected(gw, WAYS["relayed"], family, ports["relayed", family]) as sock:
                assert echoes(sock)
            assert moment() - start < 0.9
        assert flows.direct_live() and flows.new_ones_stand()


def is_over(sock):
    """Whether what is sent on it meets a RST."""
    try:
        sock.send(b"hello?")
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


@INTERCEPT
def test_strays_of_before_a_restart_do_not_harm_what_comes(gateway, lab, far, intercept):
    """A client that was silent while the gateway was down goes on where it was: reset; a new connection from that port
    goes the way of its name, directly or by the relay, whichever it was before."""
    gw = gateway({**EGRESSES, "fakeip": {"store": str(lab.dir / f"strays-{intercept}.db")}}, intercept)
    targets = {(way, family): fake(gw, name, family) for way, name in WAYS.items() for family in FAMILIES}
    gw.stop()
    swapped = [dict(EGRESSES["rules"][0], domain=["web.test"]), EGRESSES["rules"][1]]
    gw.rewrite({**EGRESSES, "rules": swapped, "fakeip": {"store": str(lab.dir / f"strays-{intercept}.db")}}, intercept)
    gw.start()
    for (way, family), target in targets.items():
        port = random.randrange(20000, 30000)
        with Wire(lab, family) as wire:
            wire.send(wire.ip(target) / Tcp(sport=port, dport=PORT, flags="A", seq=5, ack=9))
            wire.answer(wire.is_reset(target, port))
        with lab.socket("cl", family, socket.SOCK_STREAM) as sock:
            sock.bind(("::" if family == V6 else "", port))
            start = moment()
            sock.connect((target, PORT))
            assert moment() - start < 0.9
            assert sock.recv(100).split()[0].decode() in REAL.values()
            assert echoes(sock)


@INTERCEPT
@pytest.mark.parametrize("moment_s", [0, 1])
def test_an_orderly_stop_with_many_live_connections(gateway, lab, far, intercept, moment_s):
    """It ends within the lame-duck moment and 1.5 s, whatever the clients do; they hear of it at once."""
    gw = gateway({**EGRESSES, "gateway": {"lame_duck": f"{moment_s}s"}}, intercept)
    socks = [connected(gw, WAYS["relayed"], V4) for _ in range(100)]
    with Flows(gw) as flows:
        for sock in socks[:50]:  # they have much to say, and nobody listens
            sock.setblocking(False)
            for _ in range(20):
                try:
                    sock.send(bytes(60000))
                except BlockingIOError:
                    break
        start = moment()
        gw.stop()
        assert moment_s <= moment() - start < moment_s + 1.5
        for (way, _), sock in flows.tcp.items():
            if way == "relayed":
                sock.settimeout(30)
                try:
                    assert sock.recv(1) == b""
                except ConnectionResetError:
                    pass
        for sock in socks[50:]:
            sock.settimeout(30)
            try:
                assert sock.recv(1) == b""
            except ConnectionResetError:
                pass
    for sock in socks:
        sock.close()
