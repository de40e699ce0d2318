"""Item 9: datagrams to fake addresses by a SOCKS5 proxy, as the client and the proxy see them."""
import contextlib
import errno
import os
import socket
import time

import pytest

from lab import addresses, is_fake, wait_for
from proxies import Socks5, descriptors, egress_status, proxied, wait_no_flows
from waiting import moment

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
PARTS = pytest.mark.parametrize("part", ["cl", "gw"], ids=["lan", "host"])
AT_ONCE_S = 0.5


@pytest.fixture(scope="module", params=["tun", "tproxy"])
def gw(request, module_gateway):
    gateway = module_gateway(proxied({"connect_timeout": "2s", "idle": "1s"}), intercept=request.param)
    yield gateway
    if gateway.running():
        gateway.stop()


def tell(_proxy, association, host, port, payload, answer):
    """Who was asked, in the answer, which comes from an address that nobody has heard of."""
    answer(f"{host} {port} ".encode() + payload)


@pytest.fixture
def proxy(gw, lab):
    """The gateway's; when it hangs up after the test, nothing of it is left in the gateway."""
    before = descriptors(gw)
    with Socks5(lab, udp=tell) as proxy:
        yield proxy
        proxy.hang_up()
        wait_no_flows(gw)
        assert gw.status()["relay"]["udp"]["live"] == 0
        wait_for(lambda: descriptors(gw) <= before, "no descriptor stays")


def fake(gw, name, family=socket.AF_INET, part="cl"):
    address, = addresses(gw.ask(name, "A" if family == socket.AF_INET else "AAAA", part=part))
    assert is_fake([address])
    return address


def udp(lab, family=socket.AF_INET, part="cl"):
    """Not connected: answers from anybody come in."""
    sock = lab.socket(part, family)
    sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
    return sock


def refusal(lab, target, port=7, part="cl"):
    """What a datagram is answered with: (errno, seconds)."""
    start = moment()
    with lab.connect(target, part, port=port) as sock:
        sock.send(b"x")
        with pytest.raises(OSError) as raised:
            sock.recv(10)
    return raised.value.errno, moment() - start


def told_unreachable(wire, target):
    """The code of an ICMP "unreachable" seen about a packet to the target; a UDP socket does not tell of each."""
    wanted = socket.inet_pton(socket.AF_INET6 if ":" in target else socket.AF_INET, target)
    return [packet.payload[1] + 1 for packet in wire.packets()
            if (packet.protocol, packet.payload[:1]) in ((1, b"\3"), (58, b"\1")) and wanted in packet.payload]


# --- there and back ---

@PARTS
@FAMILIES
def test_by_name_there_and_back(gw, lab, proxy, family, part):
    """The first datagrams wait for the association; all arrive, by name, and answers come from the fake address."""
    name = f"echo-{part}-{family.name[-1]}.test".lower()
    with lab.watch("wan") as wire, lab.connect(fake(gw, name, family, part), part, port=7777) as sock:
        for i in range(5):
            sock.send(b"%d" % i)
        assert [sock.recv(100) for _ in range(5)] == [f"{name} 7777 {i}".encode() for i in range(5)]
        for i in range(100):
            sock.send(b"%d" % i)
            assert sock.recv(100) == f"{name} 7777 {i}".encode()
        assert wire.dns_questions() == []
        assert proxy.associated == 1 == len(proxy.associations)
        assert egress_status(gw)["flows"] == 1
        assert {(host, port) for _, host, port, _ in proxy.datagrams} == {(name, 7777)}


@FAMILIES
def test_one_socket_to_many_fake_addresses(gw, lab, proxy, family):
    """Each answer comes from the address and port that were asked, whatever the far end calls itself."""
    targets = {fake(gw, f"many{i}.test", family): f"many{i}.test" for i in range(10)}
    with udp(lab, family) as sock:
        for target in targets:
            sock.sendto(b"?", (target, 1000))
        got = set()
        for _ in targets:
            data, source = sock.recvfrom(100)
            got.add((data.decode(), source[0], source[1]))
        assert got == {(f"{name} 1000 ?", target, 1000) for target, name in targets.items()}
    assert len(proxy.associations) == 10 == len({(number, name) for number, name, _, _ in proxy.datagrams})


def test_two_sockets_have_two_associations(gw, lab, proxy):
    target = fake(gw, "two.test")
    with lab.connect(target, port=7) as one, lab.connect(target, port=7) as other:
        for sock in (one, other, one, other):
            sock.send(b"x")
            assert sock.recv(100) == b"two.test 7 x"
    assert len(proxy.associations) == 2


@FAMILIES
@pytest.mark.parametrize("size", [0, 1, 1200, 1400, 1452])
def test_datagrams_of_every_size(gw, lab, proxy, size, family):
    """Nothing is cut off or changed."""
    got, noise = [], os.urandom(size)
    proxy.udp = lambda _p, _a, host, port, payload, answer: (got.append(payload), answer(payload))
    with lab.connect(fake(gw, "sizes.test", family), port=7) as sock:
        for _ in range(3):
            sock.send(noise)
            assert sock.recv(65535) == noise
    assert got == [noise] * 3


@FAMILIES
def test_long_answers_arrive_in_pieces(gw, lab, proxy, family):
    noise = os.urandom(2000)
    proxy.udp = lambda _p, _a, host, port, payload, answer: answer(noise)
    with lab.connect(fake(gw, "long.test", family), port=7) as sock, lab.watch("cl") as wire:
        sock.send(b"x")
        assert sock.recv(65535) == noise
        assert any(packet.fragment for packet in wire.packets())


@FAMILIES
@pytest.mark.parametrize("size", [1600, 8000])
def test_datagrams_in_pieces(gw, lab, proxy, size, family):
    """They arrive whole where the kernel has put them together; where not, the client hears so."""
    target, noise = fake(gw, "pieces.test", family), os.urandom(size)
    with lab.connect(target, port=7) as sock, lab.watch("cl") as wire:
        sock.send(noise)
        wait_for(lambda: told_unreachable(wire, target) or proxy.datagrams, "an ICMP error, or it arrives")
        arrived = [payload for _, _, _, payload in proxy.datagrams]
        assert arrived == ([] if told_unreachable(wire, target) else [noise])


@FAMILIES
def test_answers_that_nobody_asked_for_arrive(gw, lab, proxy, family):
    """A hundred to one datagram, at once."""
    def many(_proxy, _association, host, port, payload, answer):
        for i in range(100):
            answer(b"%d" % i, host="2001:db8::7" if i % 2 else "mirror.test")
    proxy.udp = many
    with lab.connect(fake(gw, "stream.test", family), port=7) as sock:
        sock.send(b"play")
        assert [int(sock.recv(100)) for _ in range(100)] == list(range(100))


def test_nonsense_from_the_relay_is_dropped(gw, lab, proxy):
    """Short ones, fragments, unknown kinds of address; what is whole still arrives."""
    def nonsense(proxy, _association, host, port, payload, answer):
        client = next(iter(proxy.associations))
        for bad in (b"", b"\0", b"\0\0\0", b"\0\0\1\1\1\2\3\4\0\7frag", b"\0\0\0\7\1\2\3\4\0\7kind",
                    b"\0\0\0\3\xffshort", b"\0\0\0\1\1\2", os.urandom(3)):
            proxy._relay.sendto(bad, client)
        answer(b"good")
    proxy.udp = nonsense
    with lab.connect(fake(gw, "nonsense.test"), port=7) as sock:
        for _ in range(3):
            sock.send(b"x")
            assert sock.recv(100) == b"good"


def test_others_than_the_relay_are_not_heard(gw, lab, proxy):
    """Whoever guesses the association's port."""
    with lab.connect(fake(gw, "guess.test"), port=7) as sock, lab.socket("wan") as stranger:
        sock.send(b"x")
        assert sock.recv(100) == b"guess.test 7 x"
        stranger.bind(("10.99.0.10", 0))
        stranger.sendto(b"\0\0\0\1\1\2\3\4\0\7bad", next(iter(proxy.associations)))
        sock.send(b"y")
        assert sock.recv(100) == b"guess.test 7 y"


# --- the end of an association ---

@FAMILIES
def test_the_control_connections_end_is_the_associations(gw, lab, proxy, family):
    """The client is told if it has just sent; the next datagram opens another."""
    with lab.connect(fake(gw, "over.test", family), port=7) as sock:
        for n in range(1, 4):
            sock.send(b"x")
            assert sock.recv(100) == b"over.test 7 x"
            assert proxy.associated == n
            proxy.hang_up()
            with pytest.raises(OSError) as raised:
                sock.recv(100)
            assert raised.value.errno in (errno.ECONNREFUSED, errno.EHOSTUNREACH)


def test_an_idle_association_ends(gw, lab, proxy):
    """Not while something moves; a new datagram opens another."""
    with lab.connect(fake(gw, "idle.test"), port=7) as sock:
        end = time.monotonic() + 2.2
        while time.monotonic() < end:
            sock.send(b"x")
            assert sock.recv(100) == b"idle.test 7 x"
            pause = time.monotonic() + 0.3
            wait_for(lambda: time.monotonic() > pause, "a moment")
        assert proxy.associated == 1
        wait_for(lambda: proxy.live_controls() == 0, "it is over", 5)
        sock.send(b"y")
        assert sock.recv(100) == b"idle.test 7 y"
        assert proxy.associated == 2


# --- refused ---

@FAMILIES
@PARTS
def test_a_proxy_without_udp(forgetful, lab, family, part):
    """Refused at once and remembered: no second question within a minute; TCP is not touched."""
    gw = forgetful
    with Socks5(lab) as proxy:
        for _ in range(5):
            error, took_s = refusal(lab, fake(gw, "noudp.test", family, part), part=part)
            assert error == errno.ECONNREFUSED and took_s < AT_ONCE_S, (errno.errorcode[error], took_s)
        assert proxy.associated == 1
        assert egress_status(gw)["up"] and egress_status(gw)["flows"] == 0
        with lab.connect(fake(gw, "noudp.test", family, part), part, tcp=True, port=7):
            pass


@pytest.fixture
def forgetful(gw):
    """The module's gateway, that has forgotten which proxy takes no UDP: its egress was another one meanwhile."""
    def use(config):
        gw.rewrite(config, gw.config["gateway"]["intercept"])
        gw.result("reload")
    usual = proxied({"connect_timeout": "2s", "idle": "1s"})
    use({"egress": {"other": {"type": "reject"}}, "rules": [{"name": "rest", "answer": "fake", "egress": "other"}]})
    use(usual)
    yield gw
    use({"egress": {"other": {"type": "reject"}}, "rules": [{"name": "rest", "answer": "fake", "egress": "other"}]})
    use(usual)


@FAMILIES
def test_no_proxy(forgetful, lab, family):
    error, took_s = refusal(lab, fake(forgetful, "dead.test", family))
    assert error in (errno.ECONNREFUSED, errno.EHOSTUNREACH) and took_s < AT_ONCE_S, (error, took_s)


def test_a_proxy_that_hangs(forgetful, lab):
    """The client hears so after connect_timeout."""
    gw = forgetful
    gw.rewrite(proxied({"connect_timeout": "2s"}), gw.config["gateway"]["intercept"])
    gw.result("reload")
    target = fake(gw, "hangs.test")
    with Socks5(lab, script=lambda _, sock: sock.recv(1)), lab.watch("cl") as wire, lab.connect(target, port=7) as sock:
        start = moment()
        sock.send(b"x")
        wait_for(lambda: told_unreachable(wire, target), "an ICMP error")
        assert 1.9 < moment() - start < 2.9


@pytest.mark.parametrize("egress, refused, taken", [
    ({"udp": "reject"}, [853, 443, 7], []),
    ({"quic": "reject"}, [443], [853, 7]),
    ({"type": "http", "server": "10.99.0.2:8080"}, [853, 443, 7], []),
], ids=["udp", "quic", "http"])
@FAMILIES
def test_what_is_rejected(forgetful, lab, proxy, egress, refused, taken, family):
    """By ICMP, at once, so that QUIC falls back; nobody asks the proxy."""
    gw = forgetful
    gw.rewrite(proxied({**egress, "idle": "1s"}), gw.config["gateway"]["intercept"])
    gw.result("reload")
    for part in ("cl", "gw"):
        target = fake(gw, "reject.test", family, part)
        for port in refused:
            error, took_s = refusal(lab, target, port, part)
            assert error == errno.ECONNREFUSED and took_s < AT_ONCE_S, (error, took_s)
        assert proxy.associated == 0
    for port in taken:
        with lab.connect(target, part, port=port) as sock:
            sock.send(b"x")
            assert sock.recv(100) == f"reject.test {port} x".encode()


# --- many ---

@FAMILIES
def test_three_thousand_sockets(forgetful, lab, proxy, family):
    """All at a time, each with an association; the gateway answers all the while, and nothing stays behind."""
    gw = forgetful
    gw.rewrite(proxied(), gw.config["gateway"]["intercept"])
    gw.result("reload")
    target, socks = fake(gw, "crowd.test", family), []
    try:
        for _ in range(10):  # more than 1,024 dials of one client at a time to one name might be a loop
            some = [lab.connect(target, port=7, timeout_s=1) for _ in range(300)]
            socks += some
            for i, sock in enumerate(some):
                sock.send(b"%d" % i)
            for i, sock in enumerate(some):
                assert answered(sock, b"%d" % i) == f"crowd.test 7 {i}".encode()
        assert gw.status()["relay"]["udp"]["live"] == 3000 == egress_status(gw)["flows"]
        for i, sock in enumerate(socks[::100]):
            sock.send(b"again %d" % i)
            assert answered(sock, b"again %d" % i) == f"crowd.test 7 again {i}".encode()
        assert len(proxy.associations) == 3000
        assert is_fake(addresses(gw.ask("still.test")))
    finally:
        for sock in socks:
            sock.close()


def answered(sock, data):
    """The answer to what was sent; a burst may overrun a queue of the kernel's, and clients send again."""
    for _ in range(5):
        with contextlib.suppress(TimeoutError):
            return sock.recv(100)
        sock.send(data)
    return None
