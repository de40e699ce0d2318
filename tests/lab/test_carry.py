"""Item 6: what clients send to a fake address arrives at the real one, or fails at once."""
import contextlib
import hashlib
import os
import socket
import threading
import time

import pytest

from lab import Upstream, addresses, answer_to, is_fake, read_exactly, split_address, wait_for
from waiting import moment

MODES = ["tun", "tproxy"]
REAL = {socket.AF_INET: "10.99.0.10", socket.AF_INET6: "2001:db8:99::10"}
UNMAPPED = {socket.AF_INET: "198.19.7.7", socket.AF_INET6: "fd00:198:18::1:7777"}
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
PARTS = pytest.mark.parametrize("part", ["cl", "gw"], ids=["lan", "host"])
AT_ONCE_S = 0.5


@pytest.fixture(scope="module", params=MODES)
def gw(request, module_gateway):
    gateway = module_gateway(intercept=request.param)
    yield gateway
    if gateway.running():
        gateway.stop()


def fake(gw, name, family, part="cl"):
    address, = addresses(gw.ask(name, "A" if family == socket.AF_INET else "AAAA", part=part))
    assert is_fake([address])
    return address


def flag(family):
    return "-4" if family == socket.AF_INET else "-6"


def tcp_connect(lab, target, port=80, part="cl", timeout_s=5):
    """(socket or the error, seconds)"""
    sock = lab.socket(part, socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_STREAM, timeout_s)
    start = moment()
    try:
        sock.connect((target, port))
        return sock, moment() - start
    except OSError as error:
        sock.close()
        return error, moment() - start


@contextlib.contextmanager
def udp_echo(lab, family, address, port=7777, part="wan"):
    """Answers each datagram with who sent it and its text."""
    sock = lab.socket(part, family, timeout_s=0.05)
    sock.bind((address, port))
    stopping = threading.Event()

    def serve():
        while not stopping.is_set():
            try:
                data, client = sock.recvfrom(65535)
                sock.sendto(client[0].encode() + b" " + data, client)
            except (TimeoutError, ConnectionRefusedError):
                pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield sock
    finally:
        stopping.set()
        thread.join()
        sock.close()


# --- it arrives ---

@PARTS
@FAMILIES
def test_a_download(gw, lab, part, family):
    """1 MB of noise arrives unharmed."""
    noise = os.urandom(1_000_000)
    (lab.dir / "www" / "noise").write_bytes(noise)
    got = lab.dir / "noise.got"
    lab.curl("http://web.test/noise", flag(family), "-o", str(got), part=part)
    assert hashlib.sha256(got.read_bytes()).digest() == hashlib.sha256(noise).digest()


@PARTS
@FAMILIES
def test_the_first_connection_is_fast_and_so_is_the_next(gw, lab, part, family):
    name = f"first-{part}-{family.name[-1].lower()}.carry.test"
    with web_of_any_name(lab) as settings:
        moved(gw, settings)
        target = fake(gw, name, family, part)
        for _ in range(3):
            sock, took_s = tcp_connect(lab, target, part=part)
            assert isinstance(sock, socket.socket), sock
            sock.close()
            assert took_s < 0.5  # a lost SYN would cost a second


@contextlib.contextmanager
def web_of_any_name(lab, delay_s=0.0):
    """An upstream that knows every name as the web server."""
    def answer(wire, client, send):
        time.sleep(delay_s)
        rdtype = wire[wire.index(b"\0", 12) + 2]
        send(answer_to(wire, {1: f"60 A {REAL[socket.AF_INET]}", 28: f"60 AAAA {REAL[socket.AF_INET6]}"}[rdtype]))
    with Upstream(lab, answer, "10.99.0.2", port=5355) as upstream:
        yield upstream


def moved(gw, upstream):
    """The gateway asks this upstream from now on."""
    gw.rewrite({"upstreams": {"wan": {"servers": ["udp://10.99.0.2:5355"]}}}, gw.config["gateway"]["intercept"])
    gw.result("reload")


@pytest.fixture(autouse=True)
def moved_back(request):
    yield
    if "gw" in request.fixturenames:
        gw = request.getfixturevalue("gw")
        if gw.running() and "10.99.0.2:5355" in gw.config_file.read_text():
            gw.rewrite({}, gw.config["gateway"]["intercept"])
            gw.result("reload")


@FAMILIES
def test_the_first_packet_waits_for_the_name(gw, lab, family):
    """A slow upstream: the SYN is held, not lost, and the connection stands as soon as the name is known."""
    with web_of_any_name(lab, 0.3) as upstream:
        moved(gw, upstream)
        target = fake(gw, f"slow-{family.name[-1].lower()}.carry.test", family)
        assert upstream.queries == []  # the answer waited for nobody
        sock, took_s = tcp_connect(lab, target)
        assert isinstance(sock, socket.socket), sock
        sock.close()
        assert 0.3 <= took_s < 0.9
        assert len(upstream.queries) == 1


@FAMILIES
def test_many_first_connections_at_a_time(gw, lab, family):
    with web_of_any_name(lab) as upstream:
        moved(gw, upstream)
        targets = [fake(gw, f"many{i}-{family.name[-1].lower()}.carry.test", family) for i in range(100)]
        assert len(set(targets)) == 100
        socks, start = [], moment()
        for target in targets:
            sock = lab.socket("cl", family, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.connect_ex((target, 80))
            socks.append(sock)
        for sock in socks:
            sock.settimeout(30)
            sock.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
        for sock in socks:
            assert b"200 OK" in sock.recv(4096)
            sock.close()
        assert moment() - start < 3


@PARTS
@FAMILIES
def test_udp_there_and_back(gw, lab, part, family):
    """Each datagram of a burst to a new fake address arrives, the held first ones too, and the answers come from it."""
    with udp_echo(lab, family, REAL[family]), web_of_any_name(lab) as upstream:
        moved(gw, upstream)
        target = fake(gw, f"udp-{part}-{family.name[-1].lower()}.carry.test", family, part)
        with lab.connect(target, part, port=7777) as sock:  # connected: no other source counts
            sock.send(b"first")
            assert sock.recv(100).endswith(b" first")
            for i in range(50):
                sock.send(b"%d" % i)
            assert sorted(int(sock.recv(100).split()[1]) for _ in range(50)) == list(range(50))


@pytest.mark.parametrize("source, seen", [("192.168.77.2", "192.168.77.2"), ("2001:db8:77::2", "2001:db8:77::2"),
                                          ("fd77::2", "2001:db8:99::1")])
def test_whom_the_far_end_sees(gw, lab, source, seen):
    """The client, if this host's own firewall leaves it so; but a ULA does not leave by an uplink without one."""
    family = split_address(source)[0]
    with udp_echo(lab, family, REAL[family]):
        with lab.connect(fake(gw, "web.test", family), port=7777, source=source) as sock:
            sock.send(b"who am I")
            assert sock.recv(100).split()[0].decode() == seen


@PARTS
@FAMILIES
def test_ping(gw, lab, part, family):
    with web_of_any_name(lab) as upstream:
        moved(gw, upstream)
        target = fake(gw, f"ping-{part}-{family.name[-1].lower()}.carry.test", family, part)
        for _ in range(3):  # one at a time: of several it does not wait for the last ones
            assert " 1 received" in lab.run(part, "ping", flag(family), "-c", "1", "-W", "20", target).stdout


@FAMILIES
def test_large_datagrams_arrive(gw, lab, family):
    with udp_echo(lab, family, REAL[family]):
        with lab.connect(fake(gw, "web.test", family), port=7777) as sock:
            sock.send(b"warm")
            sock.recv(100)
            sock.send(b"x" * 4000)
            assert len(sock.recv(8000).split()[1]) == 4000


@contextlib.contextmanager
def narrow_uplink(lab, mtu):
    """The far end knows nothing of it and offers segments that are too large; the router has to tell the client."""
    lab.run("gw", "ip", "link", "set", "wan0", "mtu", mtu)
    try:
        yield
    finally:
        lab.run("gw", "ip", "link", "set", "wan0", "mtu", 1500)
        for part in ("cl", "gw"):
            for family in ("-4", "-6"):
                lab.run(part, "ip", family, "route", "flush", "cache")


@FAMILIES
def test_an_upload_through_a_narrow_uplink(gw, lab, family):
    """"Packet too big" reaches the client, and speaks of the fake address."""
    noise = os.urandom(1_000_000)
    with lab.socket("wan", family, socket.SOCK_STREAM) as listener, narrow_uplink(lab, 1300), lab.watch("cl") as wire:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((REAL[family], 9001))
        listener.listen()
        sock, _ = tcp_connect(lab, fake(gw, "web.test", family), port=9001)
        assert isinstance(sock, socket.socket), sock
        far, _ = listener.accept()
        far.settimeout(30)
        with sock, far:
            sender = threading.Thread(target=sock.sendall, args=(noise,))
            sender.start()
            assert read_exactly(far, len(noise)) == noise
            sender.join()
        too_big = [p.payload for p in wire.packets() if (p.protocol, p.payload[:1]) in ((1, b"\3"), (58, b"\2"))]
        inner = socket.inet_pton(family, fake(gw, "web.test", family))
        assert too_big and all(inner in payload for payload in too_big)


# --- it fails at once ---

@PARTS
@FAMILIES
def test_an_unmapped_address_refuses_tcp(gw, lab, part, family):
    before = gw.status()["unmapped"]
    error, took_s = tcp_connect(lab, UNMAPPED[family], part=part)
    assert isinstance(error, ConnectionRefusedError), error
    assert took_s < AT_ONCE_S
    assert gw.status()["unmapped"] > before


@PARTS
@FAMILIES
def test_an_unmapped_address_has_no_udp_port(gw, lab, part, family):
    start = moment()
    with lab.connect(UNMAPPED[family], part, port=7777) as sock:
        sock.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(100)
    assert moment() - start < AT_ONCE_S


@PARTS
@FAMILIES
def test_an_unmapped_address_is_unreachable_by_ping(gw, lab, part, family):
    start = moment()
    done = lab.run(part, "ping", flag(family), "-c", "1", "-W", "3", UNMAPPED[family], check=False)
    assert "nreachable" in done.stdout and "+1 errors" in done.stdout, done.stdout
    assert moment() - start < AT_ONCE_S + 0.3  # and ping itself


@FAMILIES
def test_many_errors_are_not_limited(gw, lab, family):
    """The kernel would send one a second; the daemon answers each."""
    start = moment()
    for _ in range(20):
        error, _ = tcp_connect(lab, UNMAPPED[family])
        assert isinstance(error, ConnectionRefusedError), error
    assert moment() - start < 1


@PARTS
@FAMILIES
def test_a_name_that_does_not_resolve_is_unreachable(gw, lab, part, family):
    error, took_s = tcp_connect(lab, fake(gw, "nowhere.test", family, part), part=part)
    assert isinstance(error, OSError) and error.errno in (113,), error  # EHOSTUNREACH
    assert took_s < AT_ONCE_S


# --- the real side has only the other family: the relay carries ---

@contextlib.contextmanager
def half_an_upstream(gw, lab, real_family):
    """Every name has addresses of that family alone."""
    kind, number = ("A", 1) if real_family == socket.AF_INET else ("AAAA", 28)

    def answer(wire, client, send):
        asked = wire[wire.index(b"\0", 12) + 2]
        send(answer_to(wire, *([f"60 {kind} {REAL[real_family]}"] if asked == number else [])))
    with Upstream(lab, answer, "10.99.0.2", port=5355) as upstream:
        moved(gw, upstream)
        yield upstream


@PARTS
@FAMILIES
def test_the_other_family_carries(gw, lab, part, family):
    """family: of the fake address. TCP and UDP arrive, one question for each type tells all of them; a closed port is
    refused; a ping is unreachable, at once. The family that there is goes straight."""
    other = socket.AF_INET6 if family == socket.AF_INET else socket.AF_INET
    name = f"half-{part}-{family.name[-1].lower()}.carry.test"
    with half_an_upstream(gw, lab, other) as upstream, udp_echo(lab, other, REAL[other]):
        target = fake(gw, name, family, part)
        for _ in range(3):
            assert "hello" in lab.curl(f"http://{name}/", flag(family), part=part).stdout
            with lab.connect(target, part, port=7777) as sock:
                for i in range(3):
                    sock.send(b"%d" % i)
                    assert sock.recv(100).endswith(b" %d" % i)
        error, took_s = tcp_connect(lab, target, port=81, part=part)
        assert isinstance(error, ConnectionRefusedError) and took_s < AT_ONCE_S, error
        done = lab.run(part, "ping", flag(family), "-c", "1", "-W", "3", target, check=False)
        assert "nreachable" in done.stdout and "+1 errors" in done.stdout, done.stdout
        straight = fake(gw, name, other, part)
        assert " 1 received" in lab.run(part, "ping", flag(other), "-c", "1", "-W", "20", straight).stdout
        assert len(upstream.queries) == 2  # the verdict of the pair's other address knows them from the cache


@FAMILIES
def test_the_other_family_carries_a_download(gw, lab, family):
    noise = os.urandom(1_000_000)
    (lab.dir / "www" / "noise").write_bytes(noise)
    got = lab.dir / "noise.got"
    with half_an_upstream(gw, lab, socket.AF_INET6 if family == socket.AF_INET else socket.AF_INET):
        lab.curl(f"http://half-noise-{family.name[-1].lower()}.carry.test/noise", flag(family), "-o", str(got))
    assert hashlib.sha256(got.read_bytes()).digest() == hashlib.sha256(noise).digest()


def test_a_browser_does_not_wait_for_the_family_that_is_missing(gw, lab):
    page, took = lab.curl("http://v4only.test/", "-w", "%{time_total}").stdout.rsplit("\n", 1)
    assert page == "hello from web.test" and float(took) < 0.8


@FAMILIES
def test_a_port_that_is_shut_at_the_far_end_is_refused(gw, lab, family):
    error, took_s = tcp_connect(lab, fake(gw, "web.test", family), port=81)
    assert isinstance(error, ConnectionRefusedError) and took_s < 1, error


@PARTS
@FAMILIES
def test_a_udp_port_that_is_shut_at_the_far_end_is_refused(gw, lab, part, family):
    """The far end's ICMP error arrives as one of the fake address."""
    target = fake(gw, "web.test", family, part)

    def refused():  # the far end's kernel tells so only so often
        with lab.connect(target, part, port=9, timeout_s=0.5) as sock:
            sock.send(b"x")
            try:
                sock.recv(100)
            except ConnectionRefusedError:
                return True
            except TimeoutError:
                return False
    wait_for(refused, "it is refused", 5)


@FAMILIES
def test_a_packet_that_has_no_hop_left(gw, lab, family):
    """As traceroute wants it: this host tells, and does so for the first packet to an address, too."""
    with web_of_any_name(lab) as upstream:
        moved(gw, upstream)
        target = fake(gw, f"hops-{family.name[-1].lower()}.carry.test", family)
        for _ in range(2):
            done = lab.run("cl", "ping", flag(family), "-c", "1", "-t", "1", "-W", "3", target, check=False)
            assert "exceeded" in done.stdout, done.stdout


@FAMILIES
def test_a_silent_upstream_ends_the_wait(gw, lab, family):
    """No answer at all: the client hears so when the upstream's time is over, and does not hang."""
    with Upstream(lab, lambda wire, client, send: None, "10.99.0.2", port=5355) as upstream:
        moved(gw, upstream)
        error, took_s = tcp_connect(lab, fake(gw, f"silent-{family.name[-1]}.carry.test", family), timeout_s=9)
        assert isinstance(error, OSError) and error.errno == 113, error
        assert took_s < 6


# --- what is never dialled ---

@pytest.mark.parametrize("family, real", [
    (socket.AF_INET, "198.18.9.9"), (socket.AF_INET, "198.18.0.1"), (socket.AF_INET, "127.0.0.1"),
    (socket.AF_INET, "192.168.77.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET, "255.255.255.255"),
    (socket.AF_INET6, "fd00:198:18::99"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "fd77::1"),
    (socket.AF_INET6, "::"), (socket.AF_INET6, "ff02::1"), (socket.AF_INET6, "::ffff:127.0.0.1")])
def test_ourselves_are_not_dialled(gw, lab, family, real):
    """A name whose real address is a fake one, or the router's own."""
    kind = "A" if family == socket.AF_INET else "AAAA"
    with lab.socket("gw", family, socket.SOCK_STREAM) as listener, \
            Upstream(lab, lambda wire, client, send: send(answer_to(wire, f"60 {kind} {real}")), "10.99.0.2",
                     port=5355) as upstream:
        listener.bind(("0.0.0.0" if family == socket.AF_INET else "::", 8088))
        listener.listen()
        moved(gw, upstream)
        name = f"own-{real.replace('.', '-').replace(':', '-')}x.carry.test"
        error, took_s = tcp_connect(lab, fake(gw, name, family), port=8088)
        assert isinstance(error, OSError) and not isinstance(error, TimeoutError) and took_s < 1, (error, took_s)
        listener.settimeout(0.05)
        with pytest.raises(TimeoutError):
            listener.accept()


@FAMILIES
def test_packets_from_the_wan_side_are_dropped_and_counted(gw, lab, family):
    target = fake(gw, "web.test", family)
    lab.curl("http://web.test/", flag(family))  # mapped in the kernel, too
    lab.run("wan", "ip", flag(family), "route", "add", target, "via",
            "10.99.0.1" if family == socket.AF_INET else "2001:db8:99::1")
    try:
        before = gw.status()
        with lab.watch("wan") as wire, lab.connect(target, "wan", port=9999) as sock:
            for _ in range(5):
                sock.send(b"from outside")
            error, _ = tcp_connect(lab, target, part="wan", timeout_s=0.3)
            assert isinstance(error, TimeoutError)
            wait_for(lambda: gw.status()["outside"] >= before["outside"] + 6, "they are counted")
            assert not [p for p in wire.packets() if p.source == target or p.target == REAL[family]
                        and p.target_port == 9999]
        assert gw.status()["unmapped"] == before["unmapped"]
    finally:
        lab.run("wan", "ip", flag(family), "route", "del", target)
