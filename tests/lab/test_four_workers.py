"""Four workers that carry at once, in every way there is, over reloads and to the end: connections and datagrams meet the
worker that the kernel chooses, whichever held the first packet. Run under TSan, too (scripts/test)."""
import contextlib
import itertools
import os
import signal
import socket
import threading

import dns.message
import dns.rdatatype
import pytest

from lab import PATIENCE_S, Upstream, addresses, answer_to, greeter, is_fake, read_exactly, wait_for
from proxies import Socks5, echo, egress_status

HERE = "10.99.0.10"  # in the list of `unless`
PORT = 9000
N_HELD, N_NAMES, WORD_BYTES = 200, 20, 3000


def configured(lab, turn):
    """Each turn numbers the egresses anew, and answers with another TTL."""
    (lab.dir / "here.txt").write_text(f"{HERE}/32\n")
    unless = {"resolves_in": "here-ip", "egress": "marked", "within": "2s"}
    return {
        "gateway": {"workers": 4, "lame_duck": "1s"},
        "fakeip": {"store": "", "ttl": f"{5 + turn}s"},
        "upstreams": {"near": {"servers": ["udp://10.99.0.2:5354"]}},
        "egress": {
            "direct": {"type": "direct", "upstream": "near"},
            **{f"spare{i}": {"type": "direct", "upstream": "near", "mark": "0x40"} for i in range(turn)},
            "marked": {"type": "direct", "upstream": "near", "mark": "0x20"},
            "proxy": {"type": "socks5", "server": "10.99.0.2:1080"},
            "dante": {"type": "socks5", "server": "10.99.0.2:1081"}},
        "lists": {"here-ip": ["here.txt"]},
        "rules": [{"name": "udp", "domain": ["v4only.test"], "answer": "fake", "egress": "dante"},
                  {"name": "far", "domain": ["far.test"], "answer": "fake", "egress": "proxy"},
                  {"name": "maybe", "domain": ["maybe.test"], "answer": "fake", "egress": "proxy", "unless": unless},
                  {"name": "rest", "answer": "fake", "egress": "direct"}]}


def near(wire, _client, send):
    """Names with "there" are elsewhere, all others here; none has IPv6."""
    question = dns.message.from_wire(wire).question[0]
    address = "203.0.113.5" if "there" in question.name.to_text() else HERE
    send(answer_to(wire, *([f"60 A {address}"] if question.rdtype == dns.rdatatype.A else [])))


def tell(sock, host, port):
    sock.sendall(f"proxy {host}\n".encode())
    echo(sock, host, port)


@pytest.fixture
def far_ends(lab):
    """An upstream, a proxy and a real one, and at HERE what echoes."""
    def answer():
        while not over.is_set():
            with contextlib.suppress(TimeoutError):
                data, client = sock.recvfrom(2048)
                sock.sendto(data, client)
    over = threading.Event()
    lab.dante()
    with Upstream(lab, near, "10.99.0.2", port=5354), Socks5(lab, far=tell) as proxy, greeter(lab, HERE, PORT), \
            lab.socket("wan", timeout_s=0.05) as sock:
        sock.bind((HERE, PORT))
        thread = threading.Thread(target=answer)
        thread.start()
        yield proxy
        over.set()
        thread.join()


class Jobs:
    """What is done again and again, each in a thread of its own, until stop(); the first that fails is told there."""

    def __init__(self, *jobs):
        self.rounds, self.failures, self._over = [0] * len(jobs), [], threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i, job)) for i, job in enumerate(jobs)]
        for thread in self._threads:
            thread.start()

    def _run(self, i, job):
        try:
            while not self._over.is_set():
                job(self.rounds[i])
                self.rounds[i] += 1
        except BaseException as failure:  # of the thread; pytest's are among them
            self.failures.append((job, failure))

    def wait_rounds(self, n):
        before = list(self.rounds)
        wait_for(lambda: self.failures or all(now - then >= n for now, then in zip(self.rounds, before)), "each goes on")
        assert not self.failures

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        assert not self.failures and not any(thread.is_alive() for thread in self._threads)


def fake(lab, name):
    address, = addresses(lab.ask(name))
    assert is_fake([address])
    return address


def said_again(sock, word):
    sock.sendall(word)
    return read_exactly(sock, len(word)) == word


def connections(lab, names, n):
    """So many at once over these names by the proxy; each has told whom it reached."""
    targets, socks = [fake(lab, name) for name in names], []
    for i in range(n):
        sock = lab.socket("cl", socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.connect_ex((targets[i % len(names)], PORT))
        socks.append(sock)
    for i, sock in enumerate(socks):
        sock.settimeout(PATIENCE_S)
        wanted = f"proxy {names[i % len(names)]}\n".encode()
        assert read_exactly(sock, len(wanted)) == wanted
    return socks


def all_say_again(socks):
    """All words are under way at once."""
    words = [os.urandom(WORD_BYTES) for _ in socks]
    for sock, word in zip(socks, words):
        sock.sendall(word)
    for sock, word in zip(socks, words):
        assert read_exactly(sock, WORD_BYTES) == word


def short_ones(lab):
    def job(number):
        for sock in connections(lab, [f"short{number}.far.test"], 5):
            with sock:
                assert said_again(sock, b"short")
    return job


def by_name(lab, zone, names, wanted):
    """A new name, one of these and a number: whoever is reached says so. names: in turn."""
    def job(number):
        name = f"{names[number % len(names)]}{number}.{zone}"
        with lab.connect(fake(lab, name), tcp=True, port=PORT) as sock:
            assert sock.recv(100).decode().split()[0] == wanted[number % len(names)]
            assert said_again(sock, b"hello")
    return job


def answered(sock, word):
    """Datagrams may be lost; clients send again."""
    for _ in range(10):
        sock.send(word)
        with contextlib.suppress(TimeoutError):
            while (got := sock.recv(2048)) != word:
                assert got.startswith(b"d")  # an older one's answer
            return True
    return False


def datagrams(lab, target):
    """Four sockets for each round: each is an association of the real proxy's."""
    def job(number):
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(lab.connect(target, port=PORT, timeout_s=0.5)) for _ in range(4)]
            for i, sock in itertools.product(range(3), socks):
                assert answered(sock, b"d%d.%d" % (number, i))
    return job


@pytest.mark.parametrize("intercept", ["tun", "tproxy"])
def test_everything_at_once(gateway, lab, far_ends, intercept):
    gw = gateway(configured(lab, 0), intercept)
    names = [f"held{i}.far.test" for i in range(N_NAMES)]
    held = connections(lab, names, N_HELD)
    jobs = Jobs(lambda number: all_say_again(held),
                short_ones(lab),
                by_name(lab, "test", ["direct"], [HERE]),
                by_name(lab, "maybe.test", ["here", "there"], [HERE, "proxy"]),
                datagrams(lab, fake(lab, "v4only.test")))
    try:
        jobs.wait_rounds(2)
        for turn in range(1, 7):
            gw.rewrite(configured(lab, turn), intercept)
            gw.result("reload")
            jobs.wait_rounds(3)
        assert egress_status(gw)["flows"] >= N_HELD and egress_status(gw, "dante")["up"]
    finally:
        jobs.stop()
    requests = set(far_ends.requests)
    assert {(name, PORT) for name in names} <= requests
    assert not any(name.startswith(("here", "direct")) for name, _ in requests)
    # The end: what lives goes on until the moment is over, and nobody waits behind it.
    gw.signal(signal.SIGTERM)
    wait_for(lambda: gw.status()["state"] == "lame_duck", "the state is told")
    all_say_again(held)
    assert gw.end() == 0
    assert "Sanitizer" not in gw.log()
    gw.assert_nothing_left()
    for sock in held:
        with sock, contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
