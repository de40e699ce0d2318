"""Item 9: egresses of type socks5 and http, with real proxies at their far end."""
import base64
import errno
import select
import socket

import pytest

from lab import PATIENCE_S, addresses, is_fake, read_exactly, wait_for
from proxies import Http, Socks5, descriptors, echo, egress_status, is_open, proxied, wait_no_flows
from waiting import moment

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
MODES = pytest.mark.parametrize("intercept", ["tun", "tproxy"])
AT_ONCE_S = 0.5
PAGE = "hello from web.test\n"
LOGIN = {"user": "alice", "password": "open sesame: ö"}
REFUSED, CANNOT = 7, 56  # curl


def fake(gw, name, family=socket.AF_INET, part="cl"):
    address, = addresses(gw.ask(name, "A" if family == socket.AF_INET else "AAAA", part=part))
    assert is_fake([address])
    return address


def page(lab, family=socket.AF_INET, part="cl", url="http://web.test/", check=True):
    done = lab.curl(url, "-4" if family == socket.AF_INET else "-6", part=part, check=check)
    return done.stdout if check else done


def connect_error(lab, target, port=80, part="cl"):
    """(errno or 0, seconds)"""
    start = moment()
    try:
        lab.connect(target, part, tcp=True, port=port).close()
        return 0, moment() - start
    except OSError as error:
        return error.errno, moment() - start


# --- there ---

@MODES
@pytest.mark.parametrize("make", ["microsocks", "dante", "http_proxy"])
def test_pages(gateway, lab, make, intercept):
    """By both families, of the client and of this host; the proxy alone asks for the name."""
    far_end = getattr(lab, make)()
    kind = "http" if make == "http_proxy" else "socks5"
    gw = gateway(proxied({"type": kind, "server": far_end.server}), intercept)
    with lab.watch("wan") as wire:
        for family in (socket.AF_INET, socket.AF_INET6):
            for part in ("cl", "gw"):
                assert page(lab, family, part) == PAGE
        assert wire.dns_questions() == []
        assert not [packet for packet in wire.packets() if packet.target in ("10.99.0.10", "2001:db8:99::10")]
    wait_no_flows(gw)


@pytest.mark.parametrize("make", ["microsocks", "dante"])
def test_only_what_is_open_at_the_far_end_is_open(gateway, lab, make):
    gw = gateway(proxied({"server": getattr(lab, make)().server}))
    for family in (socket.AF_INET, socket.AF_INET6):
        target = fake(gw, "web.test", family)
        for port in range(72, 92):
            error, took_s = connect_error(lab, target, port)
            assert error == (0 if port == 80 else errno.ECONNREFUSED) and took_s < AT_ONCE_S, (port, error, took_s)
    assert egress_status(gw)["up"]


@pytest.mark.parametrize("make", ["microsocks", "dante", "http_proxy"])
def test_a_name_that_nobody_knows_fails_at_once(gateway, lab, make):
    kind = "http" if make == "http_proxy" else "socks5"
    gw = gateway(proxied({"type": kind, "server": getattr(lab, make)().server}))
    error, took_s = connect_error(lab, fake(gw, "nosuch.test"))
    assert error in (errno.EHOSTUNREACH, errno.ECONNREFUSED) and took_s < AT_ONCE_S, (error, took_s)
    assert egress_status(gw)["up"]


@pytest.mark.parametrize("make", ["microsocks", "dante", "http_proxy"])
def test_a_proxy_by_ipv6(gateway, lab, make):
    kind = "http" if make == "http_proxy" else "socks5"
    gateway(proxied({"type": kind, "server": getattr(lab, make)().server6}))
    assert page(lab) == PAGE


# --- logins ---

@pytest.mark.parametrize("make", [
    lambda lab, login: ("socks5", lab.microsocks(**login)),
    lambda lab, login: ("socks5", lab.dante(users={login["user"]: login["password"]})),
    lambda lab, login: ("http", lab.http_proxy(**login)),
], ids=["microsocks", "dante", "tinyproxy"])
def test_logins(gateway, lab, make):
    """The right one gets in; a wrong one, and none, are refused at once and seen in `status`, without the password."""
    login = {"user": "alice", "password": "sesame"}
    kind, far_end = make(lab, login)
    secret = lab.dir / "secret"
    secret.write_text(login["password"] + "\n")
    gw = gateway(proxied({"type": kind, "server": far_end.server, **login}))
    assert page(lab) == PAGE
    target = fake(gw, "web.test")
    for egress in ({**login, "password": "Sesame"}, {}):
        gw.rewrite(proxied({"type": kind, "server": far_end.server, **egress}))
        gw.result("reload")
        error, took_s = connect_error(lab, target)
        assert error in (errno.EHOSTUNREACH, errno.ECONNREFUSED) and took_s < AT_ONCE_S, (error, took_s)
        assert not egress_status(gw)["up"] and egress_status(gw)["failures"] > 0
        assert "esame" not in str(gw.status()) + gw.log()
    gw.rewrite(proxied({"type": kind, "server": far_end.server, "user": "alice", "password_file": str(secret)}))
    gw.result("reload")
    assert page(lab) == PAGE and egress_status(gw)["up"]


def test_what_is_sent_as_a_login(gateway, lab):
    """Bytes beyond ASCII and a colon arrive as they were written."""
    with Socks5(lab, far=echo, **LOGIN), Http(lab, far=echo) as http:
        for egress in ({"server": "10.99.0.2:1080"}, {"type": "http", "server": "10.99.0.2:8080"}):
            gw = gateway(proxied({**egress, **LOGIN}))
            assert connect_error(lab, fake(gw, "login.test"))[0] == 0
            gw.stop()
        wanted = base64.b64encode("alice:open sesame: ö".encode()).decode()
        assert http.heads[0][:2] == ["CONNECT login.test:80 HTTP/1.1", "Host: login.test:80"]
        assert f"Proxy-Authorization: Basic {wanted}" in http.heads[0]


# --- a proxy that has a name ---

def test_a_proxy_by_name(gateway, lab):
    """Its own name is asked for at its bootstrap group, the name of the target at nobody."""
    lab.microsocks()
    gw = gateway(proxied({"server": "web.test:1080", "bootstrap": "wan"}))
    with lab.watch("wan") as wire:
        assert page(lab, url="http://v4only.test/") == PAGE
        assert page(lab, socket.AF_INET6, url="http://shop.test/") == PAGE
        assert sorted(wire.dns_questions()) == [("web.test", "A"), ("web.test", "AAAA")]
    assert egress_status(gw)["up"]


def test_a_proxy_whose_name_is_unknown(gateway, lab):
    gw = gateway(proxied({"server": "nosuch.test:1080", "bootstrap": "wan"}))
    error, took_s = connect_error(lab, fake(gw, "web.test"))
    assert error == errno.EHOSTUNREACH and took_s < AT_ONCE_S, (error, took_s)
    assert not egress_status(gw)["up"]


# --- health ---

@pytest.mark.parametrize("make", ["microsocks", "http_proxy"])
def test_a_proxy_that_dies_and_comes_back(gateway, lab, make):
    kind = "http" if make == "http_proxy" else "socks5"
    far_end = getattr(lab, make)()
    gw = gateway(proxied({"type": kind, "server": far_end.server, "connect_timeout": "1s"}))
    assert page(lab) == PAGE and egress_status(gw)["up"]
    target = fake(gw, "web.test")
    far_end.freeze()
    error, took_s = connect_error(lab, target)
    assert error == errno.EHOSTUNREACH and 0.9 < took_s < 1.5, (error, took_s)
    failures = egress_status(gw)["failures"]
    assert kind == "http" or failures == 1 and not egress_status(gw)["up"]  # http: the target may be the silent one
    far_end.end()
    for n in range(10):
        error, took_s = connect_error(lab, target)
        assert error == errno.ECONNREFUSED and took_s < AT_ONCE_S, (error, took_s)
        assert egress_status(gw)["failures"] == failures + n + 1
    assert not egress_status(gw)["up"]
    getattr(lab, make)()
    wait_for(lambda: egress_status(gw)["up"], "it is found by itself")
    assert page(lab) == PAGE


# --- many ---

@FAMILIES
@MODES
def test_two_hundred_at_a_time_over_four_workers(gateway, lab, family, intercept):
    """The worker that accepts a connection is mostly not the one that held its SYN. Each gets its own far end."""
    def tell(sock, host, port):
        sock.sendall(f"{host} {port}\n".encode())
        echo(sock, host, port)
    gw = gateway(proxied({}, gateway={"workers": 4}), intercept)
    before = descriptors(gw)
    with Socks5(lab, far=tell) as proxy:
        names = [f"many{i}.test" for i in range(20)]
        targets = {name: fake(gw, name, family) for name in names}
        socks = []
        for i in range(200):
            sock = lab.socket("cl", family, socket.SOCK_STREAM)
            sock.setblocking(False)
            sock.connect_ex((targets[names[i % 20]], 5000 + i))
            socks.append(sock)
        for i, sock in enumerate(socks):
            sock.settimeout(PATIENCE_S)
            wanted = f"{names[i % 20]} {5000 + i}\n".encode()
            sock.sendall(b"%d" % i) if select.select([], [sock], [], PATIENCE_S)[1] else pytest.fail("not connected")
            assert read_exactly(sock, len(wanted) + len(str(i))) == wanted + b"%d" % i
        assert egress_status(gw)["flows"] == 200
        assert len(proxy.requests) == 200 == len(set(proxy.requests))
        for sock in socks:
            sock.close()
        wait_no_flows(gw)
        wait_for(lambda: descriptors(gw) <= before, "no descriptor stays")


def test_a_client_that_gives_up_while_it_is_dialled(gateway, lab):
    """Nothing of it stays: neither the connections to the proxy nor descriptors."""
    gw = gateway(proxied())
    target, before = fake(gw, "gone.test"), descriptors(gw)
    with Socks5(lab) as proxy:
        proxy.gate.clear()
        for _ in range(20):
            with lab.socket("cl", socket.AF_INET, socket.SOCK_STREAM) as sock:
                sock.setblocking(False)
                assert sock.connect_ex((target, 7)) == errno.EINPROGRESS
        wait_for(lambda: len(proxy.requests) == 20, "all are dialled")
        proxy.gate.set()
        fars = [proxy.take() for _ in range(20)]
        wait_for(lambda: not any(is_open(far) for far in fars), "all are closed", 15)
        wait_no_flows(gw)
        wait_for(lambda: descriptors(gw) <= before, "no descriptor stays")


# --- reject ---

@FAMILIES
@MODES
def test_the_egress_that_rejects(gateway, lab, family, intercept):
    gw = gateway({"egress": {"no": {"type": "reject"}}, "rules": [{"name": "rest", "answer": "fake", "egress": "no"}]},
                 intercept)
    for part in ("cl", "gw"):
        target = fake(gw, "reject.test", family, part)
        error, took_s = connect_error(lab, target, part=part)
        assert error in (errno.EHOSTUNREACH, errno.EACCES) and took_s < AT_ONCE_S, (error, took_s)
        with lab.connect(target, part, port=443) as sock:
            sock.send(b"x")
            with pytest.raises(OSError) as raised:
                sock.recv(10)
            assert raised.value.errno in (errno.EHOSTUNREACH, errno.EACCES, errno.ECONNREFUSED), raised.value
