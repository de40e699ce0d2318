"""Item 8: a WireGuard-like second uplink, which an egress picks by its mark, carries every protocol."""
import hashlib
import os
import random
import socket
import threading

import pytest
from scapy.packet import Raw

from lab import greeted, greeter, read_exactly, wait_for
from packets import V4, V6, Wire
from test_carry import FAMILIES, MODES, PARTS, REAL, fake, flag, tcp_connect, udp_echo
from tunnel import MTU, Tunnel

MARK = "0x20"
OUTER = 0x40  # of the packets that carry
CONFIG = {"egress": {"vpn": {"type": "direct", "mark": MARK, "upstream": "wan"}},
          "rules": [{"name": "vpn", "domain": ["web.test", "shop.test"], "answer": "fake", "egress": "vpn"},
                    {"name": "rest", "answer": "fake", "egress": "direct"}]}
ROUTER = {V4: "10.88.0.1", V6: "2001:db8:88::1"}


@pytest.fixture(scope="module")
def tunnel(lab):
    """With what its users set up beside it: a rule by mark, a table, masquerading."""
    with Tunnel(lab, "wg0", OUTER) as tunnel:
        for family in ("-4", "-6"):
            lab.run("gw", "ip", family, "route", "add", "default", "dev", "wg0", "table", "88")
            lab.run("gw", "ip", family, "rule", "add", "fwmark", f"{MARK}/{MARK}", "lookup", "88", "priority", "500")
        lab.run("gw", "sysctl", "-qw", "net.ipv4.conf.wg0.rp_filter=2")
        lab.nft("table inet fw { chain srcnat { type nat hook postrouting priority srcnat; "
                'oifname "wg0" masquerade; }; }')
        yield tunnel
        lab.nft("delete table inet fw")
        for family in ("-4", "-6"):
            lab.run("gw", "ip", family, "rule", "del", "priority", "500")


@pytest.fixture(scope="module", params=MODES)
def gw(request, module_gateway, tunnel):
    gateway = module_gateway(CONFIG, request.param)
    yield gateway
    if gateway.running():
        gateway.stop()


@PARTS
@FAMILIES
def test_each_protocol_goes_by_it(gw, lab, part, family):
    """And none by the usual uplink: TCP, UDP, pings, one that no program knows."""
    target = fake(gw, "web.test", family, part)
    with lab.watch("gw", "wg0") as inside, lab.watch("gw", "wan0") as outside, greeter(lab, REAL[family]), \
            udp_echo(lab, family, REAL[family]):
        assert greeted(lab, target, part=part) == (REAL[family], ROUTER[family])
        with lab.connect(target, part, port=7777) as sock:
            for _ in range(3):
                sock.send(b"x")
                assert sock.recv(100).split()[0].decode() == ROUTER[family]
        for _ in range(3):
            assert " 1 received" in lab.run(part, "ping", flag(family), "-c", "1", "-W", "20", target).stdout
        if part == "cl":
            with Wire(lab, family) as wire:
                wire.send(wire.ip(target, **{"proto" if family == V4 else "nh": 253}) / Raw(b"whatever"))
        wanted = {6, 17, 1 if family == V4 else 58} | ({253} if part == "cl" else set())
        wait_for(lambda: {p.protocol for p in inside.packets() if p.target == REAL[family]} == wanted, "all pass")
        assert {p.source for p in inside.packets() if p.target == REAL[family]} == {ROUTER[family]}
        assert not [p for p in outside.packets() if p.target == REAL[family]]


@PARTS
@FAMILIES
def test_its_smaller_packets(gw, lab, part, family):
    """1 MB up, 1 MB down, and datagrams of 4,000 bytes: nobody's packets are lost for being too large."""
    target, noise = fake(gw, "web.test", family, part), os.urandom(1_000_000)
    (lab.dir / "www" / "noise").write_bytes(noise)
    got = lab.dir / "noise.got"
    lab.curl("http://web.test/noise", flag(family), "-o", str(got), part=part)
    assert hashlib.sha256(got.read_bytes()).digest() == hashlib.sha256(noise).digest()
    port = random.randrange(9100, 9900)
    with lab.socket("wan", family, socket.SOCK_STREAM) as listener:
        listener.bind((REAL[family], port))
        listener.listen()
        sock, _ = tcp_connect(lab, target, port=port, part=part)
        far, _ = listener.accept()
        far.settimeout(30)
        with sock, far:
            sender = threading.Thread(target=sock.sendall, args=(noise,))
            sender.start()
            assert read_exactly(far, len(noise)) == noise
            sender.join()
    with udp_echo(lab, family, REAL[family]), lab.connect(target, part, port=7777) as sock:
        sock.send(b"warm")
        assert sock.recv(100)

        def arrives():  # the first may meet "packet too big", which tells the sender
            try:
                sock.settimeout(0.5)
                sock.send(b"y" * 4000)
                return len(sock.recv(8000).split()[1]) == 4000
            except (TimeoutError, OSError):
                return False
        wait_for(arrives, "a large one", 3)


@FAMILIES
def test_a_port_that_is_shut_beyond_it(gw, lab, family):
    error, took_s = tcp_connect(lab, fake(gw, "web.test", family), port=81)
    assert isinstance(error, ConnectionRefusedError) and took_s < 0.9, error


@FAMILIES
def test_other_names_do_not_go_by_it(gw, lab, family):
    """Though they have the same real address."""
    name = "v4only.test" if family == V4 else "elsewhere.test"
    with lab.watch("gw", "wg0") as inside, greeter(lab, REAL[V4]):
        if family == V4:
            assert greeted(lab, fake(gw, name, family)) == (REAL[V4], "192.168.77.2")
        assert not [p for p in inside.packets() if p.target in REAL.values()]


def test_the_tunnel_is_as_narrow_as_it_says(lab, tunnel):
    assert lab.ip("link", "show", "dev", "wg0")[0]["mtu"] == MTU
    assert "NOARP" in lab.ip("link", "show", "dev", "wg0")[0]["flags"]
