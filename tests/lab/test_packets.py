"""Item 12: each kind of packet to a fake address gets what it should, at once; none loops, none is met by silence."""
import contextlib
import random
import socket
import time

import pytest
from scapy.layers.inet import ICMP as ICMP4, TCP as Tcp, UDP as Udp, fragment
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6ExtHdrFragment, fragment6
from scapy.packet import Raw

from lab import addresses, greeter, wait_for
from packets import (ACK, ECHO_REPLY, EXCEEDED, FIN, HOST_UNREACHABLE, ICMP, PORT_UNREACHABLE, PROHIBITED,
                     PROTOCOL_UNREACHABLE, PSH, RST, SYN, V4, V6, Wire, checksum_is_right)
from proxies import Socks5, echo
from test_carry import FAMILIES, MODES, REAL, UNMAPPED, fake, flag, tcp_connect
from waiting import moment

EGRESSES = {"egress": {"proxy": {"type": "socks5", "server": "10.99.0.2:1080"},
                       "polite": {"type": "socks5", "server": "10.99.0.2:1080", "ping": "local"},
                       "never": {"type": "reject"}},
            "rules": [{"name": "p", "domain": ["proxied.test"], "answer": "fake", "egress": "proxy"},
                      {"name": "l", "domain": ["polite.test"], "answer": "fake", "egress": "polite"},
                      {"name": "n", "domain": ["rejected.test"], "answer": "fake", "egress": "never"},
                      {"name": "rest", "answer": "fake", "egress": "direct"}]}
AT_ONCE_S = 0.5
TUN = {V4: "198.18.0.1", V6: "fd00:198:18::1"}
EDGES = {V4: ["198.18.0.0", "198.19.255.255"], V6: ["fd00:198:18::", "fd00:198:18:0:ffff:ffff:ffff:ffff"]}
STRAY = {"ack": ACK, "fin": FIN | ACK, "data": PSH | ACK, "syn-ack": SYN | ACK, "nothing": 0, "fin alone": FIN,
         "all": 0xff & ~RST}
DIRECT, PROXIED, POLITE = "web.test", "proxied.test", "polite.test"


@pytest.fixture(scope="module", params=MODES)
def gw(request, module_gateway):
    gateway = module_gateway(EGRESSES, request.param)
    yield gateway
    if gateway.running():
        gateway.stop()


@pytest.fixture(autouse=True)
def nothing_loops(gw, lab):
    """What a test's few packets cost is few packets."""
    def moved():
        stats = lab.ip("-s", "link", "show", "dev", "tungate0")[0]["stats64"]
        return stats["rx"]["packets"] + stats["tx"]["packets"]
    before, strays, last = moved(), gw.status()["stray"], [-1]
    yield
    assert gw.running()

    def is_still():
        now, last[0] = last[0], moved()
        return now == last[0]
    with lab.watch("gw", "tungate0") as seen:
        try:
            wait_for(is_still, "nothing moves any more", 5)
        except AssertionError as error:
            raise AssertionError(f"{error}: {gw.status()['stray'] - strays} strays, {moved() - before} packets, of"
                                 f" these {len(seen.packets())} now: {seen.packets()[-8:]}") from None
    if not getattr(gw, "flooded", False):
        assert moved() - before < 1000 and gw.status()["stray"] - strays < 100
    gw.flooded = False


@pytest.fixture
def wire(lab, family):
    with Wire(lab, family) as wire:
        yield wire


def echo_request(family, data=b"", number=7):
    kind = ICMP4(type=8, id=number, seq=1) if family == V4 else ICMPv6EchoRequest(id=number, seq=1)
    return kind / Raw(data) if data else kind


# --- pings ---

@FAMILIES
def test_a_ping_to_a_proxied_name_is_unreachable(gw, lab, wire, family):
    target = fake(gw, PROXIED, family)
    for _ in range(5):  # each: the kernel would tell one a second
        wire.send(wire.ip(target) / echo_request(family, b"anybody?"))
        error = wire.answer(wire.is_error(HOST_UNREACHABLE, target))
        assert checksum_is_right(error)
    for _ in range(2):
        done = lab.run("cl", "ping", flag(family), "-c", "1", "-W", "20", target, check=False)
        assert "+1 errors" in done.stdout, done.stdout


@FAMILIES
@pytest.mark.parametrize("size", [0, 1, 56, 1400])
def test_a_local_reply(gw, wire, family, size):
    """Its bytes come back, from the fake address."""
    target, data = fake(gw, POLITE, family), random.randbytes(size)
    wire.send(wire.ip(target) / echo_request(family, data))
    reply = wire.answer(lambda p: p.protocol == ICMP[family] and tuple(p.payload[:2]) == ECHO_REPLY[family])
    assert reply.source == target and reply.payload[4:] == b"\0\7\0\1" + data and checksum_is_right(reply)


@FAMILIES
def test_ping_believes_a_local_reply(gw, lab, family):
    target = fake(gw, POLITE, family)
    for _ in range(5):  # one at a time: of several it does not wait for the last ones
        done = lab.run("cl", "ping", flag(family), "-c", "1", "-W", "20", "-p", "a5", target)
        assert " 1 received" in done.stdout and "wrong" not in done.stdout, done.stdout


@FAMILIES
@pytest.mark.parametrize("name", [DIRECT, POLITE, PROXIED], ids=["direct", "local", "proxied"])
def test_a_ping_in_fragments(gw, lab, wire, family, name):
    """4,000 bytes: answered whole, or refused at once."""
    target, start = fake(gw, name, family), moment()
    for _ in range(2):
        done = lab.run("cl", "ping", flag(family), "-c", "1", "-W", "20", "-s", "4000", target, check=False)
        assert " 1 received" in done.stdout or (name != DIRECT and "+1 errors" in done.stdout), done.stdout
        assert "wrong" not in done.stdout
    assert moment() - start < 2


@FAMILIES
def test_a_rejected_name(gw, wire, family):
    """Whatever is sent to it is prohibited, and each time."""
    target = fake(gw, "rejected.test", family)
    for kind in (Tcp(sport=19000, dport=80, flags="S"), Udp(sport=19000, dport=80) / Raw(b"x"), echo_request(family)) * 3:
        wire.send(wire.ip(target) / kind)
        wire.answer(wire.is_error(PROHIBITED, target), f"prohibited, {kind.summary()}")


# --- fragments and other protocols ---

def fragments_of(family, packet, size=1000):
    if family == V4:
        packet.id = random.randrange(1, 1 << 16)
        return fragment(packet, size)
    packet.payload = IPv6ExtHdrFragment(id=random.randrange(1 << 32)) / packet.payload
    return fragment6(packet, size + 40)


@FAMILIES
def test_fragments_of_a_datagram_to_a_direct_name(gw, lab, wire, family):
    """Also the first packets to that name at all."""
    name = f"fragments{family}.flood.test" if family == V4 else "shop.test"
    real = "10.99.2.2" if family == V4 else REAL[V6]
    target, data = fake(gw, name, family), random.randbytes(3000)
    if family == V4:
        lab.run("wan", "ip", "addr", "replace", "10.99.2.2/32", "dev", "lo")
        lab.run("gw", "ip", "route", "replace", "10.99.2.2", "via", "10.99.0.2")
    with lab.socket("wan", family) as sock:
        sock.bind((real, 7777))
        for _ in range(2):
            for part in fragments_of(family, wire.ip(target) / Udp(sport=4444, dport=7777) / Raw(data)):
                wire.send(part, target)
            assert sock.recv(5000) == data


@FAMILIES
def test_fragments_of_a_datagram_to_a_proxied_name(gw, lab, wire, family):
    """They arrive whole, or are refused at once."""
    target, data = fake(gw, PROXIED, family), random.randbytes(3000)
    with Socks5(lab, udp=lambda proxy, n, host, port, payload, answer: answer(payload[:1000])) as proxy:
        for part in fragments_of(family, wire.ip(target) / Udp(sport=4445, dport=7777) / Raw(data)):
            wire.send(part, target)
        wire.answer(lambda p: wire.is_error(HOST_UNREACHABLE, target)(p) or p.source == target)
        assert proxy.datagrams in ([], [(0, PROXIED, 7777, data)])


@FAMILIES
def test_a_fragment_without_its_others(gw, wire, family):
    """Nothing is known of it: it waits for the rest in the kernel, or is dropped, and harms nobody."""
    for name in (DIRECT, PROXIED):
        target = fake(gw, name, family)
        parts = fragments_of(family, wire.ip(target) / Udp(sport=4446, dport=7777) / Raw(bytes(3000)))
        wire.send(parts[-1], target)
        wire.send(parts[0], target)
    assert addresses(gw.ask("after.test"))


@FAMILIES
@pytest.mark.parametrize("protocol", [47, 50, 253], ids=["gre", "esp", "unknown"])
def test_another_protocol(gw, lab, wire, family, protocol):
    """Direct: carried. By a proxy: no such protocol. Without a name: unreachable."""
    data = Raw(bytes(8) + b"whatever it is")
    head = {"proto": protocol} if family == V4 else {"nh": protocol}
    wire.send(wire.ip(fake(gw, PROXIED, family), **head) / data)
    assert checksum_is_right(wire.answer(wire.is_error(PROTOCOL_UNREACHABLE, fake(gw, PROXIED, family))))
    wire.send(wire.ip(UNMAPPED[family], **head) / data)
    wire.answer(wire.is_error(HOST_UNREACHABLE, UNMAPPED[family]))
    with lab.watch("wan") as far:
        for _ in range(2):
            wire.send(wire.ip(fake(gw, DIRECT, family), **head) / data)
        arrived = wait_for(lambda: [p for p in far.packets() if p.protocol == protocol][1:], "both arrive", 2)
        assert arrived[0].target == REAL[family] and arrived[0].payload == bytes(data)


# --- stray segments ---

def stray(wire, target, flags, port, sport, seq=1000):
    data = Raw(b"hello?") if flags & PSH else None
    packet = wire.ip(target) / Tcp(sport=sport, dport=port, flags=flags, seq=seq, ack=77 if flags & ACK else 0)
    wire.send(packet / data if data else packet)


@FAMILIES
@pytest.mark.parametrize("name", [DIRECT, PROXIED, "fresh", "unmapped"])
def test_a_stray_segment_is_reset(gw, lab, wire, family, name):
    """Before and after the kernel knows the address; and the next connection from that port stands."""
    if name == "fresh":
        target = fake(gw, f"stray{family}.games.test" if family == V4 else "elsewhere.test", family)
    else:
        target = UNMAPPED[family] if name == "unmapped" else fake(gw, name, family)
    if name == DIRECT:
        tcp_connect(lab, target)[0].close()
    for i, (what, flags) in enumerate(STRAY.items()):
        stray(wire, target, flags, 80, 20000 + i)
        reset = wire.answer(wire.is_reset(target, 20000 + i), f"a RST for {what}")
        assert checksum_is_right_of_tcp(reset)


def checksum_is_right_of_tcp(packet):
    return packet.flags & RST and not packet.payload  # the kernel's own checksum test is the next connection's


@FAMILIES
def test_a_reset_is_not_answered(gw, wire, family):
    targets = [fake(gw, DIRECT, family), fake(gw, PROXIED, family), UNMAPPED[family]]
    for target in targets:
        stray(wire, target, RST, 80, 21000)
        stray(wire, target, RST | ACK, 80, 21000)
    stray(wire, UNMAPPED[family], ACK, 80, 21001)
    wire.answer(wire.is_reset(UNMAPPED[family], 21001))  # by now the others were looked at, too
    assert not wire.new(lambda p: p.target_port == 21000)


@FAMILIES
@pytest.mark.parametrize("name", [DIRECT, PROXIED])
@pytest.mark.parametrize("what", ["ack", "data"])
def test_after_a_stray_segment_the_port_is_as_good_as_new(gw, lab, wire, family, name, what):
    target, port = fake(gw, name, family), 23000 + random.randrange(8000)
    with Socks5(lab, far=echo), greeter(lab, REAL[family], 9000):
        stray(wire, target, STRAY[what], 9000, port)
        wire.answer(wire.is_reset(target, port))
        with lab.socket("cl", family, socket.SOCK_STREAM) as sock:
            sock.bind(("::" if family == V6 else "", port))
            start = moment()
            sock.connect((target, 9000))
            assert moment() - start < 0.9
            if name == DIRECT:
                assert sock.recv(100).decode().split()[0] == REAL[family]
            sock.sendall(b"good")
            assert sock.recv(100) == b"good"


# --- addresses without a name ---

@FAMILIES
def test_the_edges_of_the_pool(gw, lab, wire, family):
    """Its network address, its broadcast address or last one."""
    for target in EDGES[family]:
        wire.send(wire.ip(target) / Tcp(sport=30001, dport=80, flags="S"))
        wire.answer(wire.is_reset(target, 30001), f"{target} resets")
        wire.send(wire.ip(target) / Udp(sport=30001, dport=80) / Raw(b"x"))
        wire.answer(wire.is_error(PORT_UNREACHABLE, target), f"{target} has no port")
        wire.send(wire.ip(target) / echo_request(family))
        wire.answer(wire.is_error(HOST_UNREACHABLE, target), f"{target} is unreachable")


@FAMILIES
def test_tuns_own_address(gw, lab, wire, family):
    """It is this host's: nothing listens there."""
    target = TUN[family]
    wire.send(wire.ip(target) / Tcp(sport=30002, dport=4, flags="S"))
    wire.answer(wire.is_reset(target, 30002))
    stray(wire, target, ACK, 4, 30003)
    wire.answer(wire.is_reset(target, 30003))
    wire.send(wire.ip(target) / Udp(sport=30002, dport=4) / Raw(b"x"))
    wire.answer(wire.is_error(PORT_UNREACHABLE, target))
    wire.send(wire.ip(target) / echo_request(family, b"you?"))
    wire.answer(lambda p: p.protocol == ICMP[family] and tuple(p.payload[:2]) == ECHO_REPLY[family])


# --- hops ---

@FAMILIES
@pytest.mark.parametrize("name", [DIRECT, PROXIED, POLITE, "unmapped"])
def test_the_last_hop(gw, lab, wire, family, name):
    """This host is a hop: traceroute by TCP, UDP and ICMP sees it. Only, where nothing is routed to TUN, what is
    answered here anyway is answered at once."""
    lab.run("gw", "sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
    target = UNMAPPED[family] if name == "unmapped" else fake(gw, name, family)
    is_routed = name == DIRECT or gw.status()["intercept"] == "tun"
    kinds = [Tcp(sport=31000, dport=80, flags="S"), Udp(sport=31000, dport=33434) / Raw(b"x"), echo_request(family)]
    for kind in kinds:
        wire.send(wire.ip(target, hops=1) / kind)
        if is_routed:
            wire.answer(wire.is_error(EXCEEDED, target), f"exceeded, {kind.summary()}")
        else:
            wire.answer(lambda p: p.source == target, f"an answer to {kind.summary()}")


# --- sources that cannot be ---

SPOOFED = {V4: ["192.168.77.1", "198.18.0.1", "127.0.0.1", "0.0.0.7", "255.255.255.255", "224.0.0.1", "10.99.0.1",
                "fake"],
           V6: ["fd77::1", "fd00:198:18::1", "::1", "::", "ff02::1", "2001:db8:99::1", "fe80::1", "fake"]}


@FAMILIES
def test_sources_that_cannot_be(gw, lab, wire, family):
    """The router's own addresses, loopback, none, all, the fake address itself: no loop, no reply in their name to
    anybody, no proxy asked, and others are served."""
    lab.run("gw", "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0")
    with Socks5(lab, far=echo) as proxy, lab.watch("wan") as far:
        for name in (DIRECT, PROXIED, POLITE):
            target = fake(gw, name, family)
            for source in SPOOFED[family]:
                source = target if source == "fake" else source
                for kind in (Tcp(sport=80, dport=80, flags="S"), Tcp(sport=80, dport=80, flags="A"),
                             Udp(sport=7777, dport=7777) / Raw(b"x"), echo_request(family)):
                    try:
                        wire.send(wire.ip(target, source) / kind, target)
                    except OSError:
                        pass  # the client's own kernel does not let it out
        with lab.connect(fake(gw, PROXIED, family), tcp=True, port=7) as sock:
            sock.sendall(b"others")
            assert sock.recv(10) == b"others"
        assert (PROXIED, 7) in proxy.requests
        # The router's own is believed where TUN reads it: there it may be this host's own connection.
        allowed = 0 if gw.status()["intercept"] == "tproxy" else 4 * len([PROXIED, POLITE])
        assert len(proxy.requests) - 1 <= allowed, proxy.requests
        assert len([p for p in far.packets() if p.source in SPOOFED[family] and p.target == REAL[family]]) < 20
    assert addresses(gw.ask("after.test"))


@FAMILIES
@pytest.mark.parametrize("part", ["cl", "gw"], ids=["lan", "host"])
@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
def test_what_conntrack_takes_for_broken(gw, lab, family, part, known):
    """It gets no NAT, so it would be put back and come again: wrong checksums, errors about nothing, a source that is
    the target. Dropped at most once each, and counted; before the kernel knows the address, and after."""
    name = f"broken-{part}-{known}-{gw.config_file.parent.name}.example.com" if family == V4 else "shop.test"
    target = fake(gw, name, family, part)
    about_nothing = (ICMP4(type=3, code=3) if family == V4 else ICMPv6DestUnreach(code=4)) / Raw(bytes(48))
    source = {"cl": None, "gw": TUN[family]}[part]
    with Wire(lab, family, part, {"cl": "eth0", "gw": "lo"}[part], source) as wire:
        if known:
            wire.send(wire.ip(target) / Udp(sport=32000, dport=9) / Raw(b"x"))
            key = "address4" if family == V4 else "address6"
            wait_for(lambda: (gw.result("fakeip.lookup", address=target)["verdict"] or {}).get(key), "it is decided", 2)
        before = gw.status()["stray"]
        for packet in (wire.ip(target) / Udp(sport=32001, dport=9, chksum=0x1234) / Raw(b"x"),
                       wire.ip(target) / Tcp(sport=32001, dport=80, flags="S", chksum=1),
                       wire.ip(target) / about_nothing,
                       wire.ip(target, hops=2) / about_nothing,
                       wire.ip(target, source=target) / Udp(sport=9, dport=9) / Raw(b"x"),
                       wire.ip(target, source=target, hops=2) / echo_request(family)):
            with contextlib.suppress(PermissionError):  # this host's own programs are told at once
                wire.send(packet, target)
        if known:
            wait_for(lambda: gw.status()["stray"] > before, "it is counted")
        assert gw.status()["stray"] - before < 20
    lab.curl("http://web.test/", flag(family), part=part)


# --- many ---

@FAMILIES
def test_a_flood_of_syns_while_the_proxy_hangs(gw, lab, wire, family):
    """20,000 from random ports: memory is bounded, names are answered meanwhile, and it is over when it is over."""
    gw.flooded = True
    target = fake(gw, PROXIED, family)
    packets = [bytes(wire.ip(target) / Tcp(sport=1, dport=7, flags="S", seq=random.randrange(1 << 32)))
               for _ in range(200)]

    def varied(i):  # scapy takes 100 µs a packet; the checksum is not right, and nobody forwards by it
        packet = bytearray(packets[i % len(packets)])
        at = 20 if family == V4 else 40
        packet[at:at + 2] = (1024 + i).to_bytes(2, "big")
        return bytes(packet)
    before = resident_kb(gw)
    with lab.socket("wan", V4, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("10.99.0.2", 1080))
        listener.listen(1)  # and nobody accepts
        slowest = 0.0
        for i in range(20000):
            wire.raw.sendto(varied(i), (target, 0))
            if i % 2000 == 0:
                start = moment()
                assert addresses(gw.ask(f"flood{i}.test"))
                slowest = max(slowest, moment() - start)
        grown = resident_kb(gw) - before
        print(f"slowest answer {slowest * 1000:.1f} ms, grown by {grown} kB,"
              f" {len(wire.sniffer.packets())} packets, {gw.status()['egress']}")
        assert slowest < AT_ONCE_S and grown < 40_000
        sock, took_s = tcp_connect(lab, fake(gw, DIRECT, family))
        assert isinstance(sock, socket.socket) and took_s < 1
        sock.close()


def resident_kb(gw):
    with open(f"/proc/{gw.pid}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
