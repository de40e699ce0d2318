"""Item 9: what passes through the TCP relay; the test is both ends."""
import hashlib
import os
import socket
import threading
import time

import pytest

from lab import PATIENCE_S, addresses, is_fake, read_exactly, wait_for
from proxies import Socks5, descriptors, echo, egress_status, proxied, reset, wait_no_flows
from waiting import moment

FAMILIES = pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["v4", "v6"])
SIDES = pytest.mark.parametrize("side", ["client", "server"])
PARTS = pytest.mark.parametrize("part", ["cl", "gw"], ids=["lan", "host"])


@pytest.fixture(scope="module", params=["tun", "tproxy"])
def gw(request, module_gateway):
    gateway = module_gateway(proxied(), intercept=request.param)
    yield gateway
    if gateway.running():
        gateway.stop()


@pytest.fixture
def proxy(gw, lab):
    """The gateway's; when the test is over, nothing of it is left in the gateway."""
    before = descriptors(gw)
    with Socks5(lab) as proxy:
        yield proxy
        wait_no_flows(gw)
        assert gw.status()["relay"]["tcp"]["live"] == 0
        wait_for(lambda: descriptors(gw) <= before, "no descriptor stays")


def fake(gw, name, family=socket.AF_INET, part="cl"):
    address, = addresses(gw.ask(name, "A" if family == socket.AF_INET else "AAAA", part=part))
    assert is_fake([address])
    return address


def pair(gw, proxy, family=socket.AF_INET, part="cl"):
    """A connection's two ends: the client's, the far one's."""
    client = gw.lab.connect(fake(gw, "relay.test", family, part), part, tcp=True, port=7)
    return client, proxy.take()


def read_all(sock):
    got = b""
    while data := sock.recv(1 << 20):
        got += data
    return got


def tcp_state(sock):
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


# --- bytes ---

@PARTS
@FAMILIES
def test_both_directions_at_once_byte_by_byte(gw, proxy, family, part):
    client, far = pair(gw, proxy, family, part)
    with client, far:
        noise = {client: os.urandom(8_000_000), far: os.urandom(8_000_000)}
        got = {}

        def send(sock):
            view, step = memoryview(noise[sock]), 1
            while view:
                sock.sendall(view[:step])
                view, step = view[step:], step * 7 % 200_003 + 1
            sock.shutdown(socket.SHUT_WR)

        def receive(sock):
            got[sock] = read_all(sock)
        threads = [threading.Thread(target=job, args=(sock,)) for sock in (client, far) for job in (send, receive)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert hashlib.sha256(got[client]).digest() == hashlib.sha256(noise[far]).digest()
        assert hashlib.sha256(got[far]).digest() == hashlib.sha256(noise[client]).digest()


@SIDES
def test_a_slow_reader_holds_its_writer_up(gw, proxy, side):
    """100 MB to one who does not read: no more is taken than the sockets of both connections hold (tcp_rmem may say
    32 MiB, tcp_wmem 4 MiB), and all of it arrives when he reads."""
    client, far = pair(gw, proxy)
    with client, far:
        writer, reader = (client, far) if side == "server" else (far, client)
        size, block, sent = 100_000_000, os.urandom(1_000_000), [0]

        def write():
            while sent[0] < size:
                writer.sendall(block)
                sent[0] += len(block)
            writer.shutdown(socket.SHUT_WR)
        thread = threading.Thread(target=write)
        thread.start()
        last = -1
        while sent[0] != last:  # until it moves no more
            last = sent[0]
            end = time.monotonic() + 0.3
            wait_for(lambda: sent[0] != last or time.monotonic() > end, "")
        assert sent[0] < 80_000_000
        digest, wanted = hashlib.sha256(), hashlib.sha256(block * (size // len(block)))
        while data := reader.recv(1 << 20):
            digest.update(data)
        thread.join(60)
        assert digest.digest() == wanted.digest()


@SIDES
def test_one_byte_at_a_time_there_and_back(gw, proxy, side):
    client, far = pair(gw, proxy)
    with client, far:
        one, other = (client, far) if side == "client" else (far, client)
        start = moment()
        for i in range(300):
            one.sendall(bytes([i % 256]))
            assert other.recv(10) == bytes([i % 256])
            other.sendall(b"y")
            assert one.recv(10) == b"y"
        assert moment() - start < 3  # no Nagle, no delayed acknowledgement


# --- the end ---

@FAMILIES
@SIDES
def test_half_close(gw, proxy, side, family):
    """One side has said all; the other goes on for as long as it likes."""
    client, far = pair(gw, proxy, family)
    with client, far:
        one, other = (client, far) if side == "client" else (far, client)
        one.sendall(b"that is all")
        one.shutdown(socket.SHUT_WR)
        assert read_all(other) == b"that is all"
        for _ in range(20):
            other.sendall(b"but I" * 1000)
            assert read_exactly(one, 5000) == b"but I" * 1000
        other.sendall(b"the end")
        other.close()
        assert read_all(one) == b"the end"


@SIDES
def test_the_end_behind_much_that_was_not_read_yet(gw, proxy, side):
    client, far = pair(gw, proxy)
    with client, far:
        one, other = (client, far) if side == "client" else (far, client)
        noise = os.urandom(300_000)
        one.sendall(noise)
        one.close()
        end = time.monotonic() + 0.1
        wait_for(lambda: time.monotonic() > end, "a moment")
        assert read_all(other) == noise


@FAMILIES
@SIDES
def test_a_reset_is_passed_on(gw, proxy, side, family):
    client, far = pair(gw, proxy, family)
    with client, far:
        one, other = (client, far) if side == "client" else (far, client)
        one.sendall(b"x")
        assert other.recv(1) == b"x"
        reset(one)
        with pytest.raises(ConnectionResetError):
            other.recv(1)


@SIDES
def test_a_reset_while_much_waits(gw, proxy, side):
    """To one who does not read: both ends are gone, and the memory."""
    client, far = pair(gw, proxy)
    with client, far:
        writer, reader = (client, far) if side == "client" else (far, client)
        writer.setblocking(False)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            try:
                writer.send(bytes(100_000))
            except BlockingIOError:
                wait_for(lambda: time.monotonic() > end, "it is full")
        reset(reader)
        writer.settimeout(30)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while True:
                writer.send(bytes(100_000))


@SIDES
def test_a_reset_after_a_half_close(gw, proxy, side):
    client, far = pair(gw, proxy)
    with client, far:
        one, other = (client, far) if side == "client" else (far, client)
        one.shutdown(socket.SHUT_WR)
        assert other.recv(1) == b""
        reset(other)
        with pytest.raises(ConnectionResetError):
            one.recv(1)


def test_both_hang_up_at_once(gw, proxy):
    for _ in range(20):
        client, far = pair(gw, proxy)
        client.close()
        far.close()


# --- many ---

@FAMILIES
def test_five_hundred_at_a_time(gw, lab, proxy, family):
    """Each gets its own bytes back; memory and descriptors go back, too."""
    proxy.far = echo
    target, socks = fake(gw, "relay.test", family), []
    for _ in range(500):
        sock = lab.socket("cl", family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.connect_ex((target, 7))
        socks.append(sock)
    words = [os.urandom(3000) for _ in socks]
    for sock, word in zip(socks, words):
        sock.settimeout(PATIENCE_S)
        wait_for(lambda: tcp_state(sock) != 2, "it is connected")
        sock.sendall(word)
    assert egress_status(gw)["flows"] == 500 == gw.status()["relay"]["tcp"]["live"]
    for sock, word in zip(socks, words):
        assert read_exactly(sock, 3000) == word
    for i, sock in enumerate(socks):
        reset(sock) if i % 2 else sock.close()


def test_a_hundred_short_ones_after_another(gw, lab, proxy):
    proxy.far = echo
    target = fake(gw, "relay.test")
    for i in range(100):
        with lab.connect(target, tcp=True, port=7) as sock:
            sock.sendall(b"%d" % i)
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == b"%d" % i
