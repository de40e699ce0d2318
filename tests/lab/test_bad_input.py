"""Bad input: whatever comes, the daemon stays up, answers what the RFC says or nothing, and goes on answering others.

With TUNGATE_ASAN naming a build under AddressSanitizer all of it is done with that one, too."""
import contextlib
import os
import pathlib
import random
import socket
import struct
import tarfile
import time

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_RR, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.packet import Raw

from lab import PROGRAM, addresses, framed, has_fake_address, question, rcode, read_message, split_address
from waiting import moment

ASAN = os.environ.get("TUNGATE_ASAN", "")
SHARED = pathlib.Path("/work/shared/data/packets/unified.tar.gz")
MARKER = 0xffff
HOST4, HOST6 = "8.8.8.8", "2001:4860:4860::8888"
TARGETS = [(HOST4, 53), (HOST6, 53), ("192.168.77.1", 53), ("192.168.77.1", 5300), ("fd77::1", 5300)]
PROGRAMS = {"plain": PROGRAM, **({"asan": pathlib.Path(ASAN).absolute()} if ASAN and os.path.exists(ASAN) else {})}


@pytest.fixture(scope="module", params=[(mode, program) for program in PROGRAMS for mode in ("tun", "tproxy")],
                ids=lambda p: "-".join(p))
def gw(request, module_gateway):
    """The ASan build tells of leaks when it ends: Gateway.stop() looks at its exit status and its log."""
    mode, program = request.param
    gateway = module_gateway({"listen": ["udp://192.168.77.1:5300", "tcp://192.168.77.1:5300", "udp://[fd77::1]:5300",
                                         "tcp://[fd77::1]:5300"]}, mode, program=PROGRAMS[program])
    gateway.mode = mode
    yield gateway
    if gateway.running():
        gateway.stop()


@pytest.fixture(autouse=True)
def stays_up(gw):
    pid = gw.status()["pid"]
    yield
    assert gw.running(), gw.log()
    assert "Sanitizer" not in gw.log() and "runtime error" not in gw.log(), gw.log()
    for tcp in (False, True):
        for server in (HOST4, HOST6):
            assert has_fake_address(gw.ask("after.test", server=server, tcp=tcp))
            assert addresses(gw.ask("a.real.test", server=server, tcp=tcp)) == ["10.99.0.10"]
    status = gw.status()
    assert status["pid"] == pid and status["state"] == "running"


# --- messages ---

def header(flags=0x0100, qd=1, an=0, ns=0, ar=0):
    return struct.pack("!6H", 0, flags, qd, an, ns, ar)


def built_in():
    """Small, by hand: each breaks one thing."""
    name, a_in = b"\3www\4test\0", b"\0\1\0\1"
    good = header() + name + a_in
    opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
    yield from (good[:n] for n in range(len(good)))  # cut at each byte
    yield from (good + opt[:n] for n in range(1, len(opt)))
    yield header(ar=1) + name + a_in  # an OPT that is not there
    yield header(qd=0)
    yield header(qd=2) + name + a_in + name + a_in
    yield header(qd=2) + name + a_in
    yield from (header(qd=n) + name + a_in for n in (3, 255, 65535))
    yield from (header(an=n, ns=n, ar=n) + name + a_in for n in (1, 65535))
    # names: pointers to itself, forward, into the header, to each other, beyond the end; reserved label types
    yield header() + b"\xc0\x0c" + a_in
    yield header() + b"\xc0\x0e" + b"\xc0\x0c" + a_in
    yield header() + b"\xc0\x00" + a_in
    yield header() + b"\xff\xff" + a_in
    yield header() + b"\3www\xc0\x0c" + a_in
    yield header() + b"\x40" + b"x" * 64 + b"\0" + a_in
    yield header() + b"\x80abc\0" + a_in
    yield header() + b"\x41\x02ab\0" + a_in
    yield header() + (b"\x3f" + b"x" * 63) * 4 + b"\0" + a_in  # 257 bytes
    yield header() + b"\1x" * 127 + b"\0" + a_in  # 255 bytes: the longest that is right
    yield header() + b"\1x" * 128 + b"\0" + a_in
    yield header() + (b"\x3f" + b"x" * 63) * 16 + b"\0" + a_in
    yield header() + b"\3www"
    yield header() + b"\0" + a_in
    yield header() + b"\4\0\1\xff.\2..\0" + a_in  # any byte may be in a label
    # classes and types
    yield from (header() + name + struct.pack("!2H", t, c) for t in (0, 41, 249, 250, 251, 252, 255, 65535)
                for c in (0, 1, 3, 254, 255, 65535))
    # OPT: twice, with a name, in another section, longer than the message, broken options
    yield header(ar=2) + name + a_in + opt + opt
    yield header(ar=1) + name + a_in + b"\1x" + opt
    yield header(an=1) + name + a_in + opt
    yield header(ar=1) + name + a_in + opt[:-2] + b"\xff\xff"
    yield header(ar=1) + name + a_in + opt[:-2] + b"\0\4\0\x08\xff\xff"
    yield header(ar=1) + name + a_in + opt[:-2] + b"\0\3\0\x08\0"
    yield header(ar=1) + name + a_in + b"\0\0\x29\0\0\0\0\0\0\0\0"  # 0 bytes of payload
    yield header(ar=1) + name + a_in + b"\xc0\x0c\0\x29\x04\xd0\0\0\0\0\0\0"
    # answers, other opcodes, all flags
    yield from (header(flags) + name + a_in for flags in (0x8000, 0x8180, 0x8580, 0xffff, 0x8183))
    yield from (header(opcode << 11) + name + a_in for opcode in range(16))
    yield from (header(1 << bit) + name + a_in for bit in range(15))
    # trailing bytes, and large ones
    yield good + b"\0"
    yield good + b"x" * 400
    yield good + bytes(8000)
    yield bytes(65000)
    yield b"\xff" * 1400
    mix = random.Random(53)
    for size in (1, 2, 3, 11, 12, 13, 17, 40, 200, 512, 1232, 1400):
        yield from (mix.randbytes(size) for _ in range(20))
    for _ in range(600):  # a good one with a few bytes changed
        wire = bytearray(header(ar=1) + name + a_in + opt)
        for _ in range(mix.randint(1, 4)):
            wire[mix.randrange(2, len(wire))] = mix.choice((0, 1, 0x3f, 0x40, 0xc0, 0xff, mix.randrange(256)))
        yield bytes(wire)


def shared():
    with tarfile.open(SHARED) as archive:
        for member in archive:
            if member.isfile():
                yield archive.extractfile(member).read()


CORPORA = {"built-in": built_in, **({"shared": shared} if SHARED.exists() else {})}


def with_id(packet, message_id):
    return struct.pack("!H", message_id) + packet[2:] if len(packet) >= 2 else packet


def is_query(packet):
    return len(packet) < 3 or not packet[2] & 0x80


def must_be_answered(packet):
    """A query that nobody can find anything wrong with."""
    try:
        message = dns.message.from_wire(packet)
    except Exception:  # dnspython has its own ideas of what to raise
        return False
    return (len(message.question) == 1 and message.opcode() == dns.opcode.QUERY and not message.flags & dns.flags.QR
            and message.rcode() == 0 and message.question[0].rdclass == 1 and message.edns <= 0
            and not message.answer and not message.authority and not message.additional and not message.had_tsig)


def parse(reply):
    """It must be well made. dnspython knows only opcodes that are assigned."""
    return dns.message.from_wire(reply[:2] + bytes([reply[2] & ~0x78]) + reply[3:], raise_on_truncation=False)


def check_replies(sent, replies):
    """sent and replies: {id: bytes}"""
    for message_id, reply in replies.items():
        packet = sent[message_id]
        assert is_query(packet), f"a response was answered: {packet.hex()} by {reply.hex()}"
        assert reply[2] & 0x80 and len(reply) >= 12
        assert len(reply) <= 1232
        parse(reply)
        assert reply[2] & 0x78 == packet[2] & 0x78  # the opcode
    unanswered = [packet.hex() for message_id, packet in sent.items() if message_id not in replies
                  and len(packet) <= 1400 and must_be_answered(packet)]
    assert not unanswered, (len(unanswered), unanswered[:5])


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: f"{t[0]}.{t[1]}")
@pytest.mark.parametrize("corpus", CORPORA)
def test_messages_over_udp(gw, lab, corpus, target):
    packets = list(CORPORA[corpus]())
    assert len(packets) > 300
    if corpus == "shared" and (target[0] != HOST4 or PROGRAM != gw.program):
        packets = packets[::5]
    sent, replies = {}, {}
    with lab.connect(target[0], port=target[1]) as sock:
        sock.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE

        def receive():
            wire = sock.recv(65535)
            message_id = struct.unpack("!H", wire[:2])[0]
            if message_id != MARKER:
                assert message_id in sent and message_id not in replies
                replies[message_id] = wire
            return message_id
        for start in range(0, len(packets), 64):
            for message_id, packet in enumerate(packets[start:start + 64], start):
                packet = with_id(packet, message_id)
                if len(packet) > 1:
                    sent[message_id] = packet
                with contextlib.suppress(OSError) if len(packet) > 60_000 else contextlib.nullcontext():
                    sock.send(packet)
            sock.send(with_id(question("marker.test").to_wire(), MARKER))
            while receive() != MARKER:
                pass
        sock.settimeout(0.2)
        with contextlib.suppress(TimeoutError):  # those that waited for something
            while True:
                receive()
    check_replies(sent, replies)
    assert len(replies) > 20


@pytest.mark.parametrize("target", TARGETS[:4], ids=lambda t: f"{t[0]}.{t[1]}")
@pytest.mark.parametrize("corpus", CORPORA)
def test_messages_over_tcp(gw, lab, corpus, target):
    """A bad message may end its connection; then the rest goes over the next."""
    packets = [(i, with_id(p, i)) for i, p in enumerate(CORPORA[corpus]())]
    if corpus == "shared":
        packets = packets[::10]
    sent, replies = dict(packets), {}
    while packets:
        batch, packets = packets[:40], packets[40:]
        with lab.connect(target[0], port=target[1], tcp=True) as sock:
            with contextlib.suppress(OSError):  # it is closed
                sock.sendall(b"".join(framed(p) for _, p in batch))
                sock.shutdown(socket.SHUT_WR)
            with contextlib.suppress(EOFError, ConnectionError):
                while True:
                    wire = read_message(sock)
                    message_id = struct.unpack("!H", wire[:2])[0]
                    assert message_id in dict(batch) and is_query(sent[message_id]), wire.hex()
                    assert wire[2] & 0x80
                    parse(wire)
                    replies[message_id] = wire
    assert len(replies) > 10


@pytest.mark.parametrize("wire, rcodes", [
    (header(qd=2) + b"\1x\0\0\1\0\1" * 2, {"FORMERR"}),
    (header() + b"\xc0\x0c\0\1\0\1", {"FORMERR"}),
    (header() + b"\3www", {"FORMERR"}),
    (header(4 << 11) + b"\1x\0\0\1\0\1", {"NOTIMP"}),
    (header(ar=2) + b"\1x\0\0\1\0\1" + b"\0\0\x29\x04\xd0\0\0\0\0\0\0" * 2, {"FORMERR"}),
    (header() + b"\4test\0\0\1\0\3", {"NOTIMP", "REFUSED", "NXDOMAIN", "NOERROR"}),
], ids=["two-questions", "loop", "cut", "opcode", "two-opts", "chaos"])
def test_what_is_said_of_a_broken_query(gw, lab, wire, rcodes):
    for tcp in (False, True):
        got = lab.exchange_bytes(with_id(wire, 4711), tcp=tcp)
        assert got[:2] == with_id(wire, 4711)[:2] and got[2] & 0x80
        assert rcode(dns.message.from_wire(got)) in rcodes


# --- streams ---

@pytest.mark.parametrize("target", [TARGETS[0], TARGETS[1], TARGETS[3]], ids=lambda t: f"{t[0]}.{t[1]}")
def test_streams_that_lie_about_lengths(gw, lab, target):
    good = question("stream.test").to_wire()
    with contextlib.ExitStack() as stack:
        for stream in (b"\0\0", b"\0", b"\xff\xff" + good, b"\xff\xff" + bytes(65535), b"\0\1x", b"\0\x0b" + good[:11],
                       b"\0\0" * 1000, struct.pack("!H", len(good) - 1) + good, struct.pack("!H", len(good) + 1) + good,
                       framed(good) + b"\xff", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                       b"\x16\3\1\2\0\1\0\1\xfc\3\3" + bytes(500)):
            sock = stack.enter_context(lab.connect(target[0], port=target[1], tcp=True))
            with contextlib.suppress(ConnectionError):
                sock.sendall(stream)
            # Some stay open, some end at once with a RST.
            if len(stream) % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("2i", 1, 0))
                sock.close()
        assert addresses(gw.ask("web.test", tcp=True))


def test_a_client_that_never_reads(gw, lab):
    """Its answers pile up to a bound, and only for itself."""
    stream = framed(question("txt.real.test", "TXT")) * 100 + framed(question("big.real.test")) * 100
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            sock = stack.enter_context(lab.connect(HOST4, tcp=True))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError, ConnectionError):
                for _ in range(100):
                    sock.send(stream)
        start = moment()
        assert addresses(gw.ask("web.test"))
        assert addresses(gw.ask("a.real.test", tcp=True)) == ["10.99.0.10"]
        assert moment() - start < 2
        if "asan" not in str(gw.program):
            rss_kb, = [int(line.split()[1]) for line in open(f"/proc/{gw.pid}/status") if line.startswith("VmRSS")]
            assert rss_kb < 60_000  # 1,024 questions of each may be on their way (some 6 KB each) while upstream is slow


def test_many_connections_that_say_nothing(gw, lab):
    with contextlib.ExitStack() as stack:
        for i in range(300):
            stack.enter_context(lab.connect((HOST4, HOST6)[i % 2], tcp=True))
        assert addresses(gw.ask("web.test"))
        assert addresses(gw.ask("web.test", tcp=True))


# --- packets ---

@pytest.fixture
def send(lab):
    """send(packet): as it is, from the client's eth0 to the router."""
    mac = bytes.fromhex(lab.ip("link", "show", "lan0")[0]["address"].replace(":", ""))
    sock = lab.socket("cl", socket.AF_PACKET)

    def give(packet, kind=None):
        wire = bytes(packet)
        kind = kind or (0x86dd if wire[:1] and wire[0] >> 4 == 6 else 0x0800)
        with lab.inside("cl"):
            sock.sendto(wire, ("eth0", kind, 0, 0, mac))
    yield give
    sock.close()


PORT = 20053  # below those that sockets are given


@pytest.fixture
def answers(gw, lab):
    """answers(): ports that got DNS answers since the test began."""
    with lab.watch("cl", "eth0") as wire:
        def seen():
            for server in (HOST4, HOST6, "192.168.77.1"):  # what was sent before them has been seen to by now
                gw.ask("marker.test", server=server)
                gw.ask("a.real.test", server=server)
            time.sleep(0.02)
            return sorted(p.target_port for p in wire.packets() if p.protocol == 17 and p.source_port == 53
                          and p.target in ("192.168.77.2", "fd77::2") and p.target_port in range(PORT, PORT + 1000))
        seen.wire = wire
        yield seen


def ip(target=HOST4, **fields):
    if split_address(target)[0] == socket.AF_INET:
        return IP(**{"src": "192.168.77.2", "dst": target, **fields})
    return IPv6(**{"src": "fd77::2", "dst": target, **fields})


def udp(n=0, payload=None, **fields):
    payload = question(f"raw{n}.test").to_wire() if payload is None else payload
    return UDP(sport=PORT + n, dport=53, **fields) / Raw(payload)


EACH = pytest.mark.parametrize("target", [HOST4, HOST6, "192.168.77.1", "fd77::1"])


@EACH
def test_a_good_packet_is_answered(send, answers, target):
    """So that silence in the tests below means something."""
    send(ip(target) / udp(1))
    send(ip(target) / udp(2, question("a.real.test").to_wire()))
    assert answers() == [PORT + 1, PORT + 2]


@EACH
def test_bad_udp_checksums_are_not_answered(send, answers, target):
    send(ip(target) / udp(1, chksum=0x1234))
    if ":" in target:
        send(ip(target) / udp(2, chksum=0))  # RFC 8200, 8.1: must not be 0
    send(ip(target) / udp(3))
    assert answers() == [PORT + 3]


def test_no_udp_checksum_over_ipv4_is_fine(send, answers):
    send(ip(HOST4) / udp(1, chksum=0))
    send(ip("192.168.77.1") / udp(2, chksum=0))
    assert answers() == [PORT + 1, PORT + 2]


@EACH
def test_udp_lengths_that_lie(send, answers, target):
    for n, length in enumerate((0, 1, 7, 8, 9, 12, 200, 1500, 65535)):
        send(ip(target) / udp(n, len=length))
    send(ip(target) / udp(20, b""))
    send(ip(target) / udp(21, b"x"))
    send(ip(target) / udp(22))
    # Length 0 over IPv6 is for Linux "as long as the packet" (RFC 2675, 4).
    assert set(answers()) - ({PORT} if ":" in target else set()) == {PORT + 22}


@pytest.mark.parametrize("target", [HOST4, "192.168.77.1"])
def test_ip_options(send, answers, target):
    send(ip(target, options=[IPOption_NOP()] * 4) / udp(1))
    send(ip(target, options=[IPOption_RR(length=39, routers=["0.0.0.0"] * 9)]) / udp(2))
    send(ip(target, ihl=15) / udp(3))  # the "options" are the message
    assert answers() == [PORT + 1, PORT + 2]


@pytest.mark.parametrize("target", [HOST6, "fd77::1"])
def test_extension_headers(send, answers, target):
    send(ip(target) / IPv6ExtHdrDestOpt() / udp(1))
    send(ip(target) / IPv6ExtHdrHopByHop() / udp(2))
    send(ip(target) / IPv6ExtHdrFragment(nh=17, id=7) / udp(3))  # an "atomic" fragment
    for _ in range(20):
        packet = ip(target)
        for _ in range(30):
            packet = packet / IPv6ExtHdrDestOpt()
        send(packet / udp(4))
    send(ip(target, nh=60) / Raw(b"\x11\xff" + bytes(30)))  # longer than the packet
    send(ip(target, nh=0) / Raw(b"\x00"))
    assert set(answers()) <= {PORT + n for n in (1, 2, 3, 4)}


def test_broken_ip_headers(send, answers):
    good = bytes(ip() / udp(1))
    for n in range(len(good)):
        send(good[:n], 0x0800)
    good6 = bytes(ip(HOST6) / udp(1))
    for n in range(len(good6)):
        send(good6[:n], 0x86dd)
    for version in (0, 5, 6, 15):
        send(bytes([version << 4 | 5]) + good[1:], 0x0800)
    send(ip(chksum=1) / udp(2))
    send(ip(len=28) / udp(3))
    send(ip(len=65535) / udp(4))
    send(ip(ihl=4) / udp(5))
    send(ip(ttl=1) / udp(6))
    send(ip(proto=255) / udp(7))
    send(ip(HOST6, plen=1000) / udp(8))
    send(ip(HOST6, plen=8) / udp(9))
    send(ip(HOST6, hlim=0) / udp(10))
    assert set(answers()) <= {PORT + 6, PORT + 10}  # no hop is left, but none is needed


@EACH
def test_sources_and_ports_that_cannot_be(gw, lab, send, answers, target):
    """Nothing goes out to where nobody can be."""
    sources4 = ("127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "192.168.77.1", "192.168.77.255", "198.18.0.1",
                "198.18.0.77", "198.19.255.255", "240.0.0.1")
    sources6 = ("::1", "::", "ff02::1", "fd77::1", "fe80::1", "fd00:198:18::1", "fd00:198:18::77", "::ffff:127.0.0.1")
    for source in sources4 if "." in target else sources6:
        send(ip(target, src=source) / udp(1))
    send(ip(target) / UDP(sport=0, dport=53) / Raw(question("port0.test").to_wire()))
    send(ip(target) / UDP(sport=53, dport=53) / Raw(question("port53.test").to_wire()))
    response = bytearray(question("qr.test").to_wire())
    response[2] |= 0x80
    for sport in (53, PORT + 2, 5353):
        send(ip(target) / UDP(sport=sport, dport=53) / Raw(bytes(response)))
    assert answers() == []
    dns_out = [p for p in answers.wire.packets() if p.protocol == 17 and p.source_port == 53]
    to_us = [p for p in dns_out if p.target_port == 53 and p.source == target]
    assert len(to_us) == 1 and not [p for p in dns_out if p.source == target and p.target_port in (0, 5353)]
    assert gw.status()["loops_stopped"] == 0


def test_broadcast_and_multicast_are_not_taken(send, answers):
    for target in ("255.255.255.255", "192.168.77.255", "224.0.0.251", "ff02::fb", "ff02::1"):
        send(ip(target) / udp(1))
    assert answers() == []


@pytest.mark.parametrize("target", [HOST4, "192.168.77.1"])
def test_fragments_in_any_order_and_broken_ones(send, answers, target):
    def cut(n, size):
        query = question("x" * 60 + ".test")
        query.use_edns(0, options=[dns.edns.GenericOption(12, bytes(2 * size - 120))])
        pieces = fragment(ip(target, id=1000 + n) / udp(n, query.to_wire()), size)
        assert len(pieces) == 2
        return pieces
    for piece in reversed(cut(1, 552)):  # 552: what the smallest MTU of the internet leaves
        send(piece)
    for n, size in ((2, 552), (12, 120)):
        send(cut(n, size)[0])  # the rest never comes
        send(cut(n + 1, size)[1])  # the first never comes
        for piece in cut(n + 2, size)[:1] * 2 + cut(n + 2, size)[1:]:
            send(piece)
        for m, offset in ((3, 0), (4, 1), (5, 3), (6, 8189)):  # overlapping, and beyond 64 KiB
            first, second = cut(n + m, size)
            second.frag, second.flags = offset, 0
            del second.chksum, second.len
            send(first)
            send(IP(bytes(second)))
    # The kernel puts whole ones together; broken ones never make an answer. Pieces smaller than any link's need none.
    assert {PORT + 1} <= set(answers()) <= {PORT + 1, PORT + 4, PORT + 14}


def test_tcp_segments_from_nowhere(gw, send, answers):
    pairs = [(HOST4, 53), (HOST6, 53), ("192.168.77.1", 53), ("198.18.0.9", 80), ("fd00:198:18::9", 80),
             ("198.18.0.1", 53)]
    payload = framed(question("syn.test").to_wire())
    for target, port in pairs:
        for flags in ("", "F", "SF", "SR", "FPU", "A", "PA", "R", "RA", "SA", "SFRPAU", "SEC"):
            send(ip(target) / TCP(sport=PORT, dport=port, flags=flags, seq=1, ack=1) / Raw(payload))
        send(ip(target) / TCP(sport=PORT + 1, dport=port, flags="S", dataofs=15))
        send(ip(target) / TCP(sport=PORT + 1, dport=port, flags="S", dataofs=1))
        send(ip(target) / TCP(sport=PORT + 1, dport=port, flags="S", chksum=1))
        send(bytes(ip(target) / TCP(sport=PORT + 1, dport=port, flags="S"))[:-8])
    assert answers() == []
    # A RST answers no RST (RFC 9293, 3.10.7).
    assert not [p for p in answers.wire.packets() if p.protocol == 6 and p.source in ("198.18.0.9", "fd00:198:18::9")
                and p.target_port == 0]


def test_a_rst_is_not_answered(lab, send, answers):
    unmapped = ("198.19.250.99", "fd00:198:18::ffff:99")
    for target in unmapped:
        send(ip(target) / TCP(sport=PORT + 5, dport=80, flags="R", seq=1))
        send(ip(target) / TCP(sport=PORT + 6, dport=80, flags="S", seq=1))
    answers()
    resets = [p.target_port for p in answers.wire.packets() if p.protocol == 6 and p.source in unmapped]
    assert resets == [PORT + 6, PORT + 6]


def test_other_protocols_to_fake_addresses(gw, lab, send, answers):
    mapped4, = addresses(gw.ask("web.test"))
    mapped6, = addresses(gw.ask("web.test", "AAAA"))
    for target in (mapped4, mapped6, "198.19.3.3", "fd00:198:18::1:3", "198.18.0.0", "198.19.255.255", "198.18.0.1"):
        for protocol in (0, 1, 2, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 89, 103, 132, 136, 255):
            key = {"proto": protocol} if "." in target else {"nh": protocol}
            for payload in (b"", b"\0", b"\x08\0" + bytes(6), bytes(40), b"\xff" * 60):
                send(ip(target, **key) / Raw(payload))
    # Errors about packets that nobody sent, errors about errors
    inner = IP(src=mapped4, dst="192.168.77.2") / UDP(sport=80, dport=PORT)
    for kind, code in ((3, 1), (3, 3), (3, 4), (11, 0), (5, 0), (12, 0)):
        send(ip(mapped4) / ICMP(type=kind, code=code) / Raw(bytes(inner)))
        send(ip("198.19.3.3") / ICMP(type=kind, code=code) / Raw(bytes(inner)[:20]))
    send(ip(mapped6) / ICMPv6EchoRequest(data=b"x" * 1200))
    assert answers() == []
    # RFC 1122, 3.2.2: no error about an error.
    told = [p.payload for p in answers.wire.packets() if p.protocol == 1 and p.payload[:1] == b"\3"
            and p.target == "192.168.77.2"]
    assert told and not [t for t in told if len(t) > 28 and t[17] == 1 and t[28] in (3, 4, 5, 11, 12)]


def test_noise(send, answers):
    """Headers that lead to us, the rest at random; then packets with a few bytes changed."""
    mix = random.Random(198)
    targets = [HOST4, HOST6, "192.168.77.1", "fd77::1", "198.18.0.7", "fd00:198:18::7", "198.18.0.1"]
    seeds = [bytes(ip(t) / udp(900)) for t in targets] + [
        bytes(ip(t) / TCP(sport=PORT, dport=mix.choice((53, 80)), flags="S", options=[("MSS", 1460)])) for t in targets]
    for target in targets:
        for _ in range(60):
            key = {"proto": mix.choice((1, 6, 17, 58))} if "." in target else {"nh": mix.choice((0, 6, 17, 44, 58, 60))}
            send(ip(target, **key) / Raw(mix.randbytes(mix.choice((0, 1, 4, 8, 20, 60, 600)))))
    for _ in range(1500):
        wire = bytearray(mix.choice(seeds))
        start = 20 if wire[0] >> 4 == 4 else 40
        for _ in range(mix.randint(1, 5)):
            wire[mix.randrange(1, len(wire))] = mix.randrange(256)
        if mix.random() < 0.5:
            del wire[mix.randrange(start, len(wire)):]
        send(bytes(wire))
    answers()
