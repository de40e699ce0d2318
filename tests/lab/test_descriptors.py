"""A limit of file descriptors that a load reaches: the gateway stays usable, tells it, and is well again by itself."""
import contextlib
import os
import socket

import pytest

from lab import addresses, question, rcode, wait_for

NAMES = 200
CLIENTS = 40
ROOM = 12  # half of it is the daemon's own

CONFIG = {"gateway": {"workers": 1}, "fakeip": {"store": ""},
          "rules": [{"name": "all", "answer": "real", "upstream": "wan"}]}


def descriptors(gw):
    return len(os.listdir(f"/proc/{gw.pid}/fd"))


@pytest.fixture
def gw(gateway):
    """Its limit is what it has open once it is ready, and ROOM more."""
    first = gateway(CONFIG, name="roomy")
    limit = descriptors(first) + ROOM
    first.stop()
    return gateway(CONFIG, wrap=["prlimit", f"--nofile={limit}:{limit}"])


def wait_well(gw):
    """By datagram at once; a connection has to wait for those who have more than their share."""
    assert addresses(gw.ask("web.test")) == ["10.99.0.10"]

    def is_accepted():
        try:
            return addresses(gw.ask("web.test", tcp=True)) == ["10.99.0.10"]
        except (EOFError, ConnectionResetError):
            return False
    wait_for(is_accepted, "a connection is taken")


def test_many_questions(lab, gw):
    """Upstream's sockets take no more than their share, neither while they are in use nor when they are kept."""
    for burst in range(3):
        missing = {(query := question(f"n{burst}-{number}.many.test")).id: query for number in range(NAMES)}
        with lab.connect("8.8.8.8", timeout_s=1) as sock:
            def all_answered():
                for query in missing.values():  # again, if a queue on the way was full
                    sock.send(query.to_wire())
                with contextlib.suppress(TimeoutError):
                    while missing:
                        missing.pop(int.from_bytes(sock.recv(4096)[:2], "big"), None)
                return not missing
            wait_for(all_answered, "all are answered")
        assert gw.status()["state"] == "running"
    assert gw.result("reload")
    wait_well(gw)


def test_many_clients(lab, gw):
    """Their connections are refused before anybody else's."""
    before = descriptors(gw)
    with contextlib.ExitStack() as clients:
        for _ in range(CLIENTS):
            clients.enter_context(lab.connect("8.8.8.8", tcp=True))
        told, = wait_for(lambda: gw.status()["problems"], "the problem is told")
        assert "file descriptors" in told and "LimitNOFILE" in told
        assert rcode(gw.ask("while.many.test")) == "NXDOMAIN"
        assert len(gw.log_lines("file descriptors")) == 1
    wait_for(lambda: descriptors(gw) < before + ROOM / 2, "the connections have ended")
    wait_well(gw)
