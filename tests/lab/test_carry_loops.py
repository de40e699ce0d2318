"""Item 12: an egress that leads back to this gateway. The client hears of it at once, one line tells the user, and the
gateway stays idle."""
import contextlib
import os
import re
import socket
import time

import pytest

from lab import Upstream, addresses, answer_to, greeter, is_fake, wait_for
from proxies import descriptors, egress_status
from test_unless import asked
from waiting import moment

MODES = pytest.mark.parametrize("intercept", ["tun", "tproxy"])
FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
PARTS = pytest.mark.parametrize("part", ["cl", "gw"], ids=["lan", "host"])
REAL = {socket.AF_INET: "10.99.0.10", socket.AF_INET6: "2001:db8:99::10"}
PORT = 9000
NOBODY = 65534
RESOLVERS = 6  # sockets to upstreams that are kept
IP_RECVERR = 11


def proxied(server, kind="socks5", rules=None, **sections):
    return {"egress": {"proxy": {"type": kind, "server": server}},
            "rules": rules or [{"name": "real", "domain": ["a.real.test"], "answer": "real", "upstream": "wan",
                                "egress": "proxy"},
                               {"name": "rest", "answer": "fake", "egress": "proxy"}], **sections}


def cpu_s(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resolved(lab, name, family=socket.AF_INET, part="cl"):
    rdtype, server = ("A", "8.8.8.8") if family == socket.AF_INET else ("AAAA", "2001:4860:4860::8888")
    return addresses(lab.ask(name, rdtype, server, part=part))[0]


def fails(lab, target, part="cl", port=PORT):
    """How long it takes until the client knows that there is nothing."""
    start = moment()
    with pytest.raises(OSError):
        with lab.connect(target, part, tcp=True, port=port, timeout_s=5) as sock:
            if sock.recv(1) == b"":
                raise ConnectionResetError
    return moment() - start


@contextlib.contextmanager
def stopped(gw):
    """What happens meanwhile is a loop that is stopped, and costs next to nothing."""
    fds, began_s, before = descriptors(gw), cpu_s(gw.pid), gw.status()["loops_stopped"]
    yield
    assert gw.status()["loops_stopped"] > before
    assert len(gw.log_lines("loop:", "would lead back")) == 1, gw.log()
    wait_for(lambda: egress_status(gw)["flows"] == 0, "no flow stays")
    wait_for(lambda: descriptors(gw) <= fds + RESOLVERS, "no descriptor stays")
    calm_s = cpu_s(gw.pid)
    end = time.monotonic() + 0.5
    wait_for(lambda: time.monotonic() > end, "half a second")
    assert cpu_s(gw.pid) - calm_s <= 0.1, "it turns in a circle"
    assert calm_s - began_s < 1
    assert is_fake(addresses(gw.ask("still.test")))


def relay_ports(lab, gw):
    """Where the gateway itself listens."""
    lines = lab.run("gw", "ss", "-Hltnp").stdout.splitlines()
    return sorted({int(re.search(r":(\d+)\s", line).group(1)) for line in lines if f"pid={gw.pid}," in line})


# --- an egress that is the gateway ---

@MODES
@PARTS
def test_the_proxy_is_our_own_listener(lab, gateway, intercept, part):
    """Each port that the gateway listens on, by each address of this host."""
    listen = {"listen": ["tcp://192.168.77.1:5399"]}
    gw = gateway(proxied("192.168.77.1:5399", **listen), intercept)
    with stopped(gw):
        assert fails(lab, resolved(lab, "loop.test", part=part), part) < 1
        assert fails(lab, resolved(lab, "loop.test", socket.AF_INET6, part), part) < 1
        ports = relay_ports(lab, gw)
        assert 5399 in ports and len(ports) > 1
        for port in ports:
            for host in ("192.168.77.1", "127.0.0.1", "[fd77::1]"):
                gw.rewrite(proxied(f"{host}:{port}", **listen), intercept)
                gw.result("reload")
                assert fails(lab, resolved(lab, "loop.test", part=part), part) < 1, (host, port)


@MODES
def test_the_proxy_is_a_fake_address(lab, gateway, intercept):
    """By a name that resolves into the pool. (By its number it is an error of the configuration.)"""
    with Upstream(lab, lambda wire, _, send: send(answer_to(wire, *(
            ["5 A 198.18.0.77"] if asked(wire)[1] == "A" else ["5 AAAA fd00:198:18::77"]))), "10.99.0.2"):
        config = proxied("proxy.test:1080", upstreams={"lying": {"servers": ["udp://10.99.0.2:5354"]}})
        config["egress"]["proxy"]["bootstrap"] = "lying"
        gw = gateway(config, intercept)
        with stopped(gw):
            assert fails(lab, resolved(lab, "loop.test")) < 1
            assert fails(lab, resolved(lab, "loop.test", socket.AF_INET6)) < 1


@MODES
@PARTS
def test_a_name_that_is_this_host(lab, gateway, intercept, part):
    """Directly: what resolves to this host, to loopback or to a fake address is nobody's."""
    zone = {"own.test": "192.168.77.1", "wan0.test": "10.99.0.1", "loopback.test": "127.0.0.1", "pool.test": "198.18.0.3",
            "zero.test": "0.0.0.0", "many.test": "224.0.0.1", "all.test": "255.255.255.255"}
    with Upstream(lab, lambda wire, _, send: send(answer_to(wire, *(
            [f"5 A {zone[asked(wire)[0]]}"] if asked(wire)[1] == "A" else []))), "10.99.0.2"):
        gw = gateway({"upstreams": {"near": {"servers": ["udp://10.99.0.2:5354"]}},
                      "egress": {"direct": {"type": "direct", "upstream": "near"}}}, intercept)
        fds = descriptors(gw)
        for name in zone:
            assert fails(lab, resolved(lab, name, part=part), part, 80) < 1, name
            with lab.connect(resolved(lab, name, part=part), part, port=7) as sock:
                sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)  # else the kernel keeps "unreachable" to itself
                start = moment()
                sock.send(b"x")
                with pytest.raises(OSError):
                    sock.recv(1)
                assert moment() - start < 1
        assert descriptors(gw) <= fds + RESOLVERS


# --- a proxy on this host, whose own traffic comes back ---

def start_proxy(lab, kind, uid=None):
    """On the router, as a user of its own if one is given."""
    if kind == "socks5":
        command, port = ["microsocks", "-i", "192.168.77.1", "-p", "1080"], 1080
    else:
        port, file = 8080, lab.dir / "tinyproxy-loop.conf"
        file.write_text("Port 8080\nTimeout 60\nMaxClients 1000\nLogLevel Critical\n")
        command = ["tinyproxy", "-d", "-c", file]
    with open(lab.dir / "proxy.log", "wb") as log:
        process = lab.popen("gw", *command, uid=uid, gid=uid, stdout=log, stderr=log)
    wait_for(lambda: lab.run("gw", "ss", "-Hltn", f"sport = :{port}").stdout, "the proxy listens")
    return process, f"192.168.77.1:{port}"


@MODES
@pytest.mark.parametrize("kind", ["socks5", "http"])
@pytest.mark.parametrize("name", ["web.test", "a.real.test"])
def test_a_proxy_that_is_not_exempt(lab, gateway, intercept, kind, name):
    """Its own connection to the name comes back as this host's: to a fake address or to a real one."""
    process, server = start_proxy(lab, kind)
    gw = gateway(proxied(server, kind), intercept)
    with stopped(gw):
        assert fails(lab, resolved(lab, name)) < 2  # 64 connections to and fro, on a busy machine
    assert process.poll() is None


@MODES
def test_a_client_that_leaves_at_once(lab, gateway, intercept):
    """What it has begun does not go on without it."""
    _, server = start_proxy(lab, "socks5")
    gw = gateway(proxied(server), intercept)
    with stopped(gw):
        for _ in range(20):
            with contextlib.suppress(ConnectionResetError):  # it is stopped already
                lab.connect(resolved(lab, "a.real.test"), tcp=True, port=PORT).close()
        gw.wait_log("loop:", "would lead back")


@MODES
@pytest.mark.parametrize("kind", ["socks5", "http"])
def test_exempt_it_works(lab, gateway, intercept, kind):
    _, server = start_proxy(lab, kind, NOBODY)
    gw = gateway(proxied(server, kind, gateway={"exempt": {"uid": [NOBODY]}}), intercept)
    with greeter(lab, REAL[socket.AF_INET]), greeter(lab, REAL[socket.AF_INET6]):
        for name in ("web.test", "a.real.test"):
            for family in REAL:
                for part in ("cl", "gw"):
                    with lab.connect(resolved(lab, name, family, part), part, tcp=True, port=PORT) as sock:
                        assert sock.recv(100).decode().split()[0] in REAL.values()
    assert gw.status()["loops_stopped"] == 0 and gw.log_lines("loop") == []


@MODES
@pytest.mark.parametrize("name", ["web.test", "a.real.test"])
def test_datagrams_that_come_back(lab, gateway, intercept, name):
    """A SOCKS5 server on this host with UDP: its datagrams to the name are this host's again."""
    lab.dante("gw", port=1082)
    config = proxied("192.168.77.1:1082")
    config["egress"]["proxy"]["idle"] = "1s"
    gw = gateway(config, intercept)
    with stopped(gw):
        with lab.connect(resolved(lab, name), port=7777) as sock:
            sock.send(b"x")
            gw.wait_log("loop:", "would lead back")
    assert gw.status()["relay"]["udp"]["live"] == 0 and gw.status()["relay"]["udp"]["flows"] < 200
