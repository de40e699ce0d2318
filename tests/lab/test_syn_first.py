"""Items 7 and 9: a connection to a fake address by a proxy, as the client, the proxy and the wan see it."""
import errno
import select
import socket
import threading

import pytest

from lab import PATIENCE_S, addresses, is_fake, wait_for
from proxies import Proxy, Socks5, echo, egress_status, proxied, reset, wait_no_flows
from waiting import moment

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
PARTS = pytest.mark.parametrize("part", ["cl", "gw"], ids=["lan", "host"])
AT_ONCE_S = 0.5
SYN, RST, SYN_ACK = 0x02, 0x04, 0x12


@pytest.fixture(scope="module", params=["tun", "tproxy", "off"])
def gw(request, module_gateway):
    """off: the addresses of the pools are still carried."""
    config = proxied({"connect_timeout": "2s"}, listen=["udp://192.168.77.1:53", "udp://[fd77::1]:53"])
    gateway = module_gateway(config, intercept=request.param)
    yield gateway
    if gateway.running():
        gateway.stop()


@pytest.fixture(autouse=True)
def ends(lab):
    yield
    lab.end_processes()


def fake(gw, name, family, part="cl"):
    address, = addresses(gw.ask(name, "A" if family == socket.AF_INET else "AAAA", server="192.168.77.1", part=part))
    assert is_fake([address])
    return address


def begin(lab, target, port=7, part="cl"):
    """A socket that is connecting."""
    sock = lab.socket(part, socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    assert sock.connect_ex((target, port)) == errno.EINPROGRESS
    return sock


def finish(sock, timeout_s=PATIENCE_S):
    """The errno of a connect that was begun, 0 if it stands."""
    waiting = select.poll()
    waiting.register(sock, select.POLLOUT)
    assert waiting.poll(timeout_s * 1000), "neither connected nor refused"
    sock.settimeout(PATIENCE_S)
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def outcome(lab, target, port=7, part="cl"):
    """(errno, seconds)"""
    start = moment()
    with begin(lab, target, port, part) as sock:
        return finish(sock), moment() - start


def flags_seen(wire, target):
    return [packet.flags for packet in wire.packets() if packet.protocol == socket.IPPROTO_TCP
            and target in (packet.source, packet.target)]


# --- by name ---

@PARTS
@FAMILIES
def test_the_proxy_is_asked_for_the_name(gw, lab, family, part):
    """Never for an address, and nobody asks the internet for it."""
    name = f"Only-The-Proxy-{part}-{family.name[-1]}.secret.test"
    with Socks5(lab, far=echo) as proxy, lab.watch("wan") as wire:
        with lab.connect(fake(gw, name, family, part), part, tcp=True, port=7) as sock:
            sock.sendall(b"there?")
            assert sock.recv(100) == b"there?"
        assert proxy.requests == [(name.lower(), 7)]
        assert wire.dns_questions() == []
        wait_no_flows(gw)


# --- SYN first ---

@PARTS
@FAMILIES
def test_nothing_is_accepted_before_the_far_end_is(gw, lab, family, part):
    target = fake(gw, "held.test", family, part)
    with Socks5(lab) as proxy, lab.watch(part, {"cl": "eth0", "gw": "tungate0"}[part]) as wire:
        proxy.gate.clear()
        with begin(lab, target, part=part) as sock:
            wait_for(lambda: proxy.requests, "the proxy is asked")
            assert SYN_ACK not in flags_seen(wire, target) and SYN in flags_seen(wire, target)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\2"  # SYN_SENT
            proxy.gate.set()
            assert finish(sock, AT_ONCE_S) == 0
            sock.sendall(b"x")
            assert proxy.take().recv(10) == b"x"
            if part == "cl":
                assert flags_seen(wire, target).count(SYN) == 1


@FAMILIES
def test_a_syn_that_is_sent_again_is_not_dialled_again(gw, lab, family):
    target = fake(gw, "again.test", family)
    with Socks5(lab) as proxy, lab.watch("cl") as wire:
        proxy.gate.clear()
        with begin(lab, target) as sock:
            wait_for(lambda: flags_seen(wire, target).count(SYN) == 2, "it is sent again")
            threading.Timer(0.03, proxy.gate.set).start()
            finish(sock)
            assert proxy.accepted == 1 and len(proxy.requests) == 1


# --- failures, told at once ---

CODES = {1: [errno.EHOSTUNREACH], 2: [errno.EACCES, errno.EHOSTUNREACH], 3: [errno.ENETUNREACH],
         4: [errno.EHOSTUNREACH], 5: [errno.ECONNREFUSED], 6: [errno.EHOSTUNREACH]}  # 2: by IPv6, by IPv4


@PARTS
@FAMILIES
def test_what_the_proxy_says_reaches_the_client(gw, lab, family, part):
    target = fake(gw, "no.test", family, part)
    with Socks5(lab) as proxy, lab.watch(part, {"cl": "eth0", "gw": "lo"}[part]) as wire:
        for code, meant in CODES.items():
            proxy.refuse["no.test"] = code
            error, took_s = outcome(lab, target, part=part)
            assert error in meant and took_s < AT_ONCE_S, (code, error, took_s)
        assert SYN_ACK not in flags_seen(wire, target)
        assert egress_status(gw)["up"]  # it was not the proxy's fault


HOSTILE = {
    "another version": lambda _, sock: sock.sendall(b"\4\0"),
    "no method": lambda _, sock: sock.sendall(b"\5\xff"),
    "a method that nobody offered": lambda _, sock: sock.sendall(b"\5\1"),
    "a web server": lambda _, sock: sock.sendall(b"HTTP/1.1 400 what?\r\n\r\n"),
    "hangs up": lambda _, sock: sock.close(),
    "resets": lambda _, sock: reset(sock),
    "hangs up later": lambda _, sock: (sock.recv(3), sock.sendall(b"\5\0"), sock.recv(100), sock.close()),
    "resets in the middle of its reply": lambda _, sock: (sock.recv(3), sock.sendall(b"\5\0"), sock.recv(100),
                                                          sock.sendall(b"\5\0\0"), reset(sock)),
    "an address of no kind": lambda _, sock: (sock.recv(3), sock.sendall(b"\5\0"), sock.recv(100),
                                              sock.sendall(b"\5\0\0\7" + bytes(300))),
    "the version changes": lambda _, sock: (sock.recv(3), sock.sendall(b"\5\0"), sock.recv(100),
                                            sock.sendall(b"\4\0\0\1" + bytes(6))),
}
ASKED = ["hangs up later", "resets in the middle of its reply"]


@FAMILIES
@pytest.mark.parametrize("script", HOSTILE)
def test_a_broken_proxy_is_a_failure_at_once(gw, lab, script, family):
    target = fake(gw, "broken.test", family)
    failures = egress_status(gw)["failures"]
    with Proxy(lab, HOSTILE[script]), lab.watch("cl") as wire:
        error, took_s = outcome(lab, target)
        assert error in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EACCES) and took_s < AT_ONCE_S, (error, took_s)
        assert SYN_ACK not in flags_seen(wire, target)
        asked = script in ASKED  # hanging up then is how some proxies say that the far end refuses
        assert egress_status(gw)["failures"] == failures + (not asked)
        assert egress_status(gw)["up"] == asked
    with Socks5(lab, far=echo):
        assert outcome(lab, target)[0] == 0
        assert egress_status(gw)["up"]


SILENT = [
    lambda _, sock: sock.recv(1),
    lambda _, sock: (sock.recv(3), sock.sendall(b"\5\0")),
    lambda _, sock: (sock.recv(3), sock.sendall(b"\5\0"), sock.recv(100), sock.sendall(b"\5\0\0\3\xff")),
]


def test_a_silent_proxy_is_waited_for_no_longer_than_connect_timeout(gw, lab):
    """Each in a step of its own."""
    target, scripts = fake(gw, "silent.test", socket.AF_INET), iter(SILENT)
    with Proxy(lab, lambda proxy, sock: next(scripts)(proxy, sock)) as proxy:
        start = moment()
        socks = [begin(lab, target) for _ in SILENT]
        for sock in socks:
            assert finish(sock) == errno.EHOSTUNREACH
            assert 1.9 < moment() - start < 2.9
            sock.close()
        assert proxy.accepted == len(SILENT)


def test_a_slow_proxy_is_not_a_broken_one(gw, lab):
    """Its words come byte by byte, and what the far end says at once behind them is kept."""
    with Socks5(lab, slowly=True, far=lambda sock, host, port: (sock.sendall(b"220 hello"), echo(sock, host, port))):
        with lab.connect(fake(gw, "slow.test", socket.AF_INET), tcp=True, port=7) as sock:
            sock.sendall(b"!")
            got = b""
            while len(got) < 10:
                got += sock.recv(100)
            assert got == b"220 hello!"


@PARTS
@FAMILIES
def test_no_proxy_at_all(gw, lab, family, part):
    """Nobody listens: refused at once, each time; `status` tells; it recovers by itself."""
    target = fake(gw, "dead.test", family, part)
    failures = egress_status(gw)["failures"]
    for n in range(1, 11):
        error, took_s = outcome(lab, target, part=part)
        assert error == errno.ECONNREFUSED and took_s < AT_ONCE_S, (error, took_s)
        assert egress_status(gw)["failures"] >= failures + n
    assert not egress_status(gw)["up"]
    with Socks5(lab, far=echo) as proxy:
        if (family, part) == (socket.AF_INET, "cl"):
            wait_for(lambda: egress_status(gw)["up"], "it is found by itself")
            assert proxy.requests == []
        assert outcome(lab, target, part=part)[0] == 0


@PARTS
@FAMILIES
def test_a_scan_finds_what_is_open_there(gw, lab, family, part):
    target = fake(gw, "scan.test", family, part)
    with Socks5(lab) as proxy:
        proxy.refuse |= {("scan.test", port): 5 for port in range(1000, 1020) if port != 1007}
        socks = {port: begin(lab, target, port, part) for port in range(1000, 1020)}
        found = {port: finish(sock) for port, sock in socks.items()}
        for sock in socks.values():
            sock.close()
        assert found == {port: 0 if port == 1007 else errno.ECONNREFUSED for port in range(1000, 1020)}


@PARTS
@FAMILIES
def test_a_client_that_leaves_at_once(gw, lab, family, part):
    """Gone before the gateway could look who it was: what was dialled for it does not wait for anybody."""
    target = fake(gw, "hasty.test", family, part)
    with Socks5(lab, far=echo) as proxy:
        for _ in range(20):
            sock = begin(lab, target, part=part)
            assert finish(sock) == 0
            reset(sock)
        wait_for(lambda: egress_status(gw)["flows"] == 0, "no flow by proxy", 2)
        assert proxy.requests == [("hasty.test", 7)] * 20
