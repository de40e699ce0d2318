"""The proxies that other tests put at the far end of an egress, each asked without a gateway."""
import socket
import struct

import pytest

from lab import read_exactly

PAGE = "hello from web.test\n"
DENIED = 97  # curl: the SOCKS handshake failed; 56 for HTTP


@pytest.fixture(autouse=True)
def ends(lab):
    yield
    far_ends = list(lab.far_ends)
    lab.end_processes()
    assert not any(far_end.listens() for far_end in far_ends)


def page(lab, option, proxy, check=True, url="http://web.test/"):
    """http://web.test/ asked on the router, which gives the proxy the name."""
    return lab.run("gw", "curl", "-sS", "-m", "8", option, proxy, url, check=check)


@pytest.mark.parametrize("make", ["microsocks", "dante"])
def test_socks5_by_name(lab, make):
    proxy = getattr(lab, make)()
    for server in (proxy.server, proxy.server6):
        assert page(lab, "--socks5-hostname", server).stdout == PAGE
    assert page(lab, "--socks5-hostname", proxy.server, False, "http://nosuch.test/").returncode == DENIED
    assert page(lab, "--socks5-hostname", proxy.server, False, "http://web.test:9/").returncode == DENIED
    assert page(lab, "--socks5-hostname", proxy.server, url="http://[2001:db8:99::10]/").stdout == PAGE


@pytest.mark.parametrize("make", [
    lambda lab: lab.microsocks(user="alice", password="open sesame"),
    lambda lab: lab.dante(users={"bob": "x", "alice": "open sesame"}),
], ids=["microsocks", "dante"])
def test_socks5_with_a_login(lab, make):
    proxy = make(lab)
    assert page(lab, "--socks5-hostname", f"alice:open%20sesame@{proxy.server}").stdout == PAGE
    assert page(lab, "--socks5-hostname", f"alice:wrong@{proxy.server}", False).returncode == DENIED
    assert page(lab, "--socks5-hostname", proxy.server, False).returncode == DENIED


@pytest.mark.parametrize("login", [None, ("alice", "sesame")], ids=["open", "login"])
def test_http_connect(lab, login):
    proxy = lab.http_proxy(user=login and login[0], password=login and login[1])
    who = "alice:sesame@" if login else ""
    for server in (proxy.server, proxy.server6):
        done = lab.run("gw", "curl", "-sS", "-m", "8", "--proxytunnel", "--proxy", f"http://{who}{server}",
                       "http://web.test/")
        assert done.stdout == PAGE
    refused = lab.run("gw", "curl", "-sS", "-m", "8", "--proxytunnel", "-o", "/dev/null", "-w", "%{http_connect}",
                      "--proxy", f"http://{'eve:x@' if login else ''}{proxy.server}",
                      "http://web.test/" if login else "http://nosuch.test/", check=False)
    assert int(refused.stdout) >= 400


def associate(lab, proxy):
    """The TCP connection that keeps an association, its reply code and where its datagrams go."""
    control = lab.connect(proxy.address, "gw", tcp=True, port=proxy.port)
    control.sendall(b"\5\1\0")
    assert read_exactly(control, 2) == b"\5\0"
    control.sendall(b"\5\3\0\1" + bytes(6))
    version, code, _, kind = read_exactly(control, 4)
    assert (version, kind) == (5, 1)
    address, port = struct.unpack("!4sH", read_exactly(control, 6))
    return control, code, (socket.inet_ntoa(address), port)


def bound(lab, address):
    sock = lab.socket("wan", socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.bind((address, 5555))
    return sock


def test_udp_associate_by_name_and_from_a_third_peer(lab):
    proxy = lab.dante()
    control, code, relay = associate(lab, proxy)
    mine = lab.socket("gw")
    with control, mine, bound(lab, "10.99.0.10") as asked, bound(lab, "10.99.0.53") as third:
        assert code == 0
        mine.sendto(b"\0\0\0\3\x0bv4only.test" + struct.pack("!H", 5555) + b"ping", relay)
        data, seen = asked.recvfrom(100)
        assert data == b"ping" and seen[0] == proxy.address
        for peer in (asked, third):
            peer.sendto(b"pong", seen)
            reply = mine.recv(100)
            assert reply[:4] == b"\0\0\0\1"
            assert (socket.inet_ntoa(reply[4:8]), reply[10:]) == (peer.getsockname()[0], b"pong")


def test_udp_associate_goes_to_ipv6_where_a_name_has_it(lab):
    proxy = lab.dante()
    control, code, relay = associate(lab, proxy)
    mine = lab.socket("gw")
    with control, mine, bound(lab, "2001:db8:99::10") as asked:
        assert code == 0
        mine.sendto(b"\0\0\0\3\x08web.test" + struct.pack("!H", 5555) + b"ping", relay)
        data, seen = asked.recvfrom(100)
        assert data == b"ping" and seen[0] == proxy.address6
        asked.sendto(b"pong", seen)
        reply = mine.recv(100)
        assert reply[:4] == b"\0\0\0\4"
        assert (socket.inet_ntop(socket.AF_INET6, reply[4:20]), reply[22:]) == ("2001:db8:99::10", b"pong")


def test_udp_associate_is_refused_where_a_test_wants_that(lab):
    for proxy in (lab.dante(udp=False), lab.microsocks()):
        control, code, _ = associate(lab, proxy)
        with control:
            assert code != 0


def test_a_proxy_ends_and_freezes_at_once(lab):
    for proxy in (lab.microsocks(), lab.dante(), lab.http_proxy()):
        with lab.connect(proxy.address, "gw", tcp=True, port=proxy.port):
            pass
        proxy.freeze()
        with lab.connect(proxy.address, "gw", tcp=True, port=proxy.port, timeout_s=0.2) as sock:
            sock.sendall(b"\5\1\0")
            with pytest.raises(TimeoutError):
                sock.recv(2)
        proxy.end()
        assert not proxy.alive()
        with pytest.raises(ConnectionRefusedError):
            lab.connect(proxy.address, "gw", tcp=True, port=proxy.port)
