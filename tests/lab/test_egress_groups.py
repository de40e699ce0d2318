"""Item 9: groups of egresses."""
import socket

import pytest

from lab import addresses, is_fake, wait_for
from proxies import Http, Socks5, egress_status
from waiting import moment

AT_ONCE_S = 0.5


def group(strategy="sequential", of=("one", "two"), check="1s", **egresses):
    members = {"one": {"type": "socks5", "server": "10.99.0.2:1081", "connect_timeout": "1s"},
               "two": {"type": "socks5", "server": "10.99.0.2:1082", "connect_timeout": "1s"}}
    return {"egress": {**members, **egresses,
                       "pick": {"type": "group", "of": list(of), "strategy": strategy, "check": check}},
            "rules": [{"name": "rest", "answer": "fake", "egress": "pick"}]}


@pytest.fixture
def one(lab):
    with Socks5(lab, port=1081) as proxy:
        yield proxy


@pytest.fixture
def two(lab):
    with Socks5(lab, port=1082) as proxy:
        yield proxy


def fake(gw, name="group.test", family=socket.AF_INET):
    address, = addresses(gw.ask(name, "A" if family == socket.AF_INET else "AAAA"))
    assert is_fake([address])
    return address


def dial(gw, proxy, name="group.test"):
    """A connection that is expected to leave by this proxy: its two ends."""
    before = len(proxy.requests)
    start = moment()
    client = gw.lab.connect(fake(gw, name), tcp=True, port=7)
    took_s = moment() - start
    assert len(proxy.requests) == before + 1 and took_s < AT_ONCE_S, took_s
    return client, proxy.take()


def works(client, far):
    client.sendall(b"ping")
    far.sendall(b"pong")
    return (far.recv(10), client.recv(10)) == (b"ping", b"pong")


@pytest.mark.parametrize("intercept", ["tun", "tproxy"])
def test_sequential_takes_the_first_that_is_up(gateway, one, two, intercept):
    """The next within one dial; live flows stay; back to the first when it is back."""
    gw = gateway(group(), intercept)
    ends = [dial(gw, one)]
    assert egress_status(gw, "pick")["member"] == "one" and egress_status(gw, "one")["flows"] == 1
    one.deaf()
    ends.append(dial(gw, two))  # nobody has seen yet that the first is gone: this dial finds out
    ends.append(dial(gw, two))
    assert egress_status(gw, "pick")["member"] == "two" and egress_status(gw, "pick")["up"]
    assert not egress_status(gw, "one")["up"] and egress_status(gw, "one")["failures"] >= 1
    assert all(works(*pair) for pair in ends)  # the first's, too
    one.listen()
    wait_for(lambda: egress_status(gw, "one")["up"], "the first is found by itself")
    ends.append(dial(gw, one))
    assert egress_status(gw, "pick")["member"] == "one"
    assert all(works(*pair) for pair in ends)
    assert (egress_status(gw, "one")["flows"], egress_status(gw, "two")["flows"]) == (2, 2)
    for pair in ends:
        for sock in pair:
            sock.close()
    wait_for(lambda: egress_status(gw, "one")["flows"] + egress_status(gw, "two")["flows"] == 0, "no flow")


def test_a_check_finds_what_no_dial_has(gateway, one, two):
    """A member that dies unused is not tried first any more; both gone, and the group is down."""
    gw = gateway(group())
    wait_for(lambda: egress_status(gw, "one")["up"] and egress_status(gw, "two")["up"], "both are up")
    one.deaf()
    wait_for(lambda: not egress_status(gw, "one")["up"], "it is missed")
    assert egress_status(gw, "pick")["up"]
    two.deaf()
    wait_for(lambda: not egress_status(gw, "two")["up"], "it is missed, too")
    assert not egress_status(gw, "pick")["up"]
    start = moment()
    with pytest.raises(ConnectionRefusedError):
        gw.lab.connect(fake(gw), tcp=True, port=7)
    assert moment() - start < AT_ONCE_S
    two.listen()
    wait_for(lambda: egress_status(gw, "pick")["up"], "the group is back")
    for sock in dial(gw, two):
        sock.close()


def test_what_the_far_end_refuses_is_not_tried_elsewhere(gateway, one, two):
    """That is no fault of the member."""
    one.refuse["shut.test"] = 5
    gw = gateway(group())
    with pytest.raises(ConnectionRefusedError):
        gw.lab.connect(fake(gw, "shut.test"), tcp=True, port=7)
    assert egress_status(gw, "one")["up"] and ("shut.test", 7) not in two.requests


def test_a_member_that_hangs(gateway, lab, two):
    """Within one dial, too: the client waits for the first's share of the time only."""
    with Socks5(lab, script=lambda _, sock: sock.recv(1), port=1081):
        gw = gateway(group(check="30s"))
        start = moment()
        with lab.connect(fake(gw), tcp=True, port=7) as client:
            assert moment() - start < 5
            assert works(client, two.take())
        start = moment()
        with lab.connect(fake(gw), tcp=True, port=7) as client:  # it is known now
            assert moment() - start < AT_ONCE_S


def test_a_member_that_rejects_us(gateway, lab, two):
    with Socks5(lab, port=1081, user="alice", password="x"):
        gw = gateway(group())
        for _ in range(2):
            for sock in dial(gw, two):
                sock.close()
        assert not egress_status(gw, "one")["up"]


LOSSY = """table inet slow {
  chain in {
    type filter hook input priority 0;
    tcp dport 1081 tcp flags & (syn | ack) == syn numgen inc mod 2 == 0 drop
  }
}
"""


def test_fastest(gateway, lab, two):
    """The one that takes least time to connect to; a dead one is no longer it."""
    slow = {"type": "socks5", "server": "10.99.0.2:1081", "connect_timeout": "4s"}
    lab.nft(LOSSY, part="wan")  # each SYN has to be sent twice
    try:
        with Socks5(lab, port=1081) as one:
            gw = gateway(group("fastest", one=slow))
            wait_for(lambda: egress_status(gw, "one")["rtt_us"] > 500_000 and egress_status(gw, "two")["rtt_us"] > 0,
                     "both are measured")
            assert egress_status(gw, "pick")["member"] == "two"
            for _ in range(5):
                for sock in dial(gw, two):
                    sock.close()
            assert one.requests == []
            two.deaf()
            with lab.connect(fake(gw), tcp=True, port=7) as client:
                assert works(client, one.take())
            assert egress_status(gw, "pick")["member"] == "one"
    finally:
        lab.nft("delete table inet slow", part="wan")


def test_members_of_several_kinds(gateway, lab, one):
    """SOCKS5, HTTP and the direct way; a group in a group."""
    with Http(lab, port=8080) as http:
        config = group(of=["one", "inner"], web={"type": "http", "server": "10.99.0.2:8080"},
                       direct={"type": "direct", "upstream": "wan"},
                       inner={"type": "group", "of": ["web", "direct"], "strategy": "sequential", "check": "1s"})
        gw = gateway(config)
        for sock in dial(gw, one, "web.test"):
            sock.close()
        one.deaf()
        for sock in dial(gw, http, "web.test"):
            sock.close()
        http.deaf()
        assert gw.lab.curl("http://web.test/").stdout == "hello from web.test\n"
        assert egress_status(gw, "pick")["up"]


def test_datagrams_go_by_the_member_that_takes_them(gateway, lab, one):
    """The first takes no UDP: the next does, at once and from then on."""
    with Socks5(lab, port=1082, udp=lambda _p, _a, host, port, payload, answer: answer(host.encode())) as two:
        gw = gateway(group())
        for i in range(3):
            with lab.connect(fake(gw, f"udp{i}.test"), port=7) as sock:
                sock.send(b"x")
                assert sock.recv(100) == f"udp{i}.test".encode()
        assert one.associated == 1 and two.associated == 3
        assert egress_status(gw, "one")["up"]
        for sock in dial(gw, one):
            sock.close()


def test_a_group_of_nobody_who_takes_udp(gateway, lab, one, two):
    gw = gateway(group())
    for _ in range(3):
        start = moment()
        with lab.connect(fake(gw), port=443) as sock:
            sock.send(b"x")
            with pytest.raises(ConnectionRefusedError):
                sock.recv(10)
        assert moment() - start < AT_ONCE_S
    assert (one.associated, two.associated) == (1, 1)
