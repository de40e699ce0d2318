"""More than one worker: nothing is lost between them, and they agree."""
import collections
import os
import signal
import socket
import threading

import dns.message
import pytest

from lab import PATIENCE_S, Upstream, addresses, answer_to, framed, is_fake, question, read_message, wait_for

MODES = pytest.mark.parametrize("intercept", ["tun", "tproxy"])
WORKERS = pytest.mark.parametrize("workers", [2, 4])
N_SOCKETS, N_NAMES = 60, 30


def with_workers(n, **more):
    return {"gateway": {"workers": n}, "fakeip": {"store": ""}, **more}


def threads_of(gw):
    return len(os.listdir(f"/proc/{gw.pid}/task"))


@pytest.fixture
def sockets(lab):
    """Connected UDP sockets of both families, so many that each worker gets its share."""
    made = [lab.connect(("8.8.8.8", "2001:4860:4860::8888", "192.168.77.1")[i % 3]) for i in range(N_SOCKETS)]
    yield made
    for sock in made:
        sock.close()


def ask_everywhere(sockets, names):
    """Each socket asks for each name, all at a time: {name: {addresses that were answered}}."""
    seen = collections.defaultdict(set)
    for start in range(0, len(names), 10):
        part = names[start:start + 10]
        for sock in sockets:
            for name in part:
                sock.send(question(name).to_wire())
        for sock in sockets:
            left = collections.Counter(part)
            while left.total():
                reply = dns.message.from_wire(sock.recv(4096))
                name = reply.question[0].name.to_text(omit_final_dot=True)
                assert left[name] > 0
                left[name] -= 1
                seen[name].add(tuple(addresses(reply)))
    return seen


@MODES
@WORKERS
def test_all_are_answered_alike(gateway, sockets, workers, intercept):
    """New names race at all workers at once: one pair for each, and the counters add up."""
    gw = gateway(with_workers(workers), intercept)
    assert gw.status()["workers"] == workers and threads_of(gw) >= workers
    names = [f"w{i}.race.test" for i in range(N_NAMES)]
    seen = ask_everywhere(sockets, names)
    assert set(seen) == set(names) and all(len(answers) == 1 for answers in seen.values())
    assert len({answers for one in seen.values() for answers in one}) == N_NAMES
    status = gw.status()
    assert status["queries"]["total"] == status["queries"]["fake"] == N_SOCKETS * N_NAMES
    assert status["fakeip"]["used"] == N_NAMES
    assert len(gw.result("fakeip.list")) == N_NAMES


@MODES
@WORKERS
def test_each_worker_works(gateway, lab, sockets, workers, intercept):
    """CPU time is spread over as many threads as there are workers."""
    gw = gateway(with_workers(workers), intercept)

    def switches():
        """Voluntary context switches: a thread that was woken for work has some."""
        result = {}
        for task in os.listdir(f"/proc/{gw.pid}/task"):
            with open(f"/proc/{gw.pid}/task/{task}/status") as lines:
                result[task] = sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))
        return result
    before = switches()
    for i in range(40):
        ask_everywhere(sockets, [f"s{i}.spread.test"])
    after = switches()
    busy = [task for task in after if after[task] - before.get(task, 0) >= 30]
    assert len(busy) >= workers, (before, after)


@MODES
def test_real_answers_and_sets_of_all_workers(gateway, lab, sockets, intercept):
    lab.nft("table inet user {\nset v4 { type ipv4_addr; flags timeout; }\n}")
    try:
        gw = gateway(with_workers(4, rules=[
            {"name": "office", "domain": ["real.test"], "answer": "real", "upstream": "wan",
             "nftset": "4#inet#user#v4"},
            {"name": "rest", "answer": "fake", "egress": "direct"}]), intercept)
        for sock in sockets:
            for name in ("a.real.test", "many.real.test", "none.real.test", "fake.test"):
                sock.send(question(name).to_wire())
        for sock in sockets:
            got = {}
            while len(got) < 4:
                reply = dns.message.from_wire(sock.recv(4096))
                got[reply.question[0].name.to_text()] = addresses(reply)
            assert got["a.real.test."] == ["10.99.0.10"] and len(got["many.real.test."]) == 3
            assert got["none.real.test."] == [] and is_fake(got["fake.test."])
        queries = gw.status()["queries"]
        assert queries == {"total": 4 * N_SOCKETS, "fake": N_SOCKETS, "real": 3 * N_SOCKETS, "block": 0, "local": 0,
                           "failed": 0, "rerouted": 0}
        assert sum(u["queries"] for u in gw.status()["upstreams"]) <= 3 * N_SOCKETS
        listing = lab.nft_json("list", "set", "inet", "user", "v4")
        elements = [item["set"]["elem"] for item in listing if "set" in item][0]
        assert {e["elem"]["val"] for e in elements} == {"10.99.0.10", "10.99.1.1", "10.99.1.2", "10.99.1.3"}
    finally:
        lab.nft("delete table inet user")


@WORKERS
def test_tcp_connections_over_all_workers(gateway, lab, workers):
    gw = gateway(with_workers(workers))
    socks = [lab.connect(("8.8.8.8", "fd77::1")[i % 2], tcp=True) for i in range(80)]
    try:
        for i, sock in enumerate(socks):
            sock.sendall(framed(question(f"c{i % 7}.test")) + framed(question("a.real.test")))
        seen = collections.defaultdict(set)
        for sock in socks:
            for _ in range(2):
                reply = dns.message.from_wire(read_message(sock))
                seen[reply.question[0].name.to_text()].add(tuple(addresses(reply)))
        assert len(seen) == 8 and all(len(answers) == 1 for answers in seen.values())
    finally:
        for sock in socks:
            sock.close()
    wait_for(lambda: gw.status()["queries"]["total"] == 160, "all are counted")


@MODES
@WORKERS
def test_carrying_by_all_workers(gateway, lab, workers, intercept):
    """First packets to new fake addresses come to all workers, whoever answered the name."""
    def answer(wire, client, send):
        send(answer_to(wire, "60 A 10.99.0.10"))
    with Upstream(lab, answer, "10.99.0.2", port=5354):
        gateway(with_workers(workers, upstreams={"wan": {"servers": ["udp://10.99.0.2:5354"]}}), intercept)
        targets = [addresses(lab.ask(f"t{i}.carry.test"))[0] for i in range(60)]
        socks = []
        try:
            for target in targets:
                sock = lab.socket("cl", socket.AF_INET, socket.SOCK_STREAM)
                sock.setblocking(False)
                sock.connect_ex((target, 80))
                socks.append(sock)
            for sock in socks:
                sock.settimeout(30)
                sock.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
                assert b"200 OK" in sock.recv(4096)
        finally:
            for sock in socks:
                sock.close()


@WORKERS
def test_kill_9_while_all_workers_give_addresses(gateway, lab, sockets, workers, tmp_path):
    """What any worker answered is in the one log."""
    gw = gateway({"gateway": {"workers": workers}, "fakeip": {"store": str(tmp_path / "table.db")}})
    seen = {}
    stop = threading.Event()

    def ask(part):
        number = 0
        while not stop.is_set():
            for sock in part:
                sock.settimeout(0.2)
                try:
                    sock.send(question(f"k{sock.fileno()}n{number}.test").to_wire())
                    reply = dns.message.from_wire(sock.recv(4096))
                except OSError:
                    return
                got = addresses(reply)
                if is_fake(got):
                    seen[reply.question[0].name.to_text(omit_final_dot=True)] = got[0]
            number += 1
    threads = [threading.Thread(target=ask, args=(sockets[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: len(seen) > 500, "500 names are answered")
        gw.signal(signal.SIGKILL)
        gw.process.wait(PATIENCE_S)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    gw.start()
    with lab.connect("8.8.8.8") as sock:
        for name in reversed(seen):
            sock.send(question(name).to_wire())
            assert addresses(dns.message.from_wire(sock.recv(4096))) == [seen[name]]
    assert len(set(seen.values())) == len(seen)


@WORKERS
def test_reloads_while_all_workers_answer(gateway, sockets, workers):
    gw = gateway(with_workers(workers))
    for turn in range(10):
        gw.rewrite(with_workers(workers, fakeip={"store": "", "ttl": f"{turn + 1}s"}))
        for i, sock in enumerate(sockets):
            sock.send(question("a.real.test" if i % 2 else f"r{i}.test").to_wire())
        gw.result("reload")
        for sock in sockets:
            assert len(addresses(dns.message.from_wire(sock.recv(4096)))) == 1
        for sock in sockets:  # now each worker has the new policy
            sock.send(question("ttl.test").to_wire())
        assert {dns.message.from_wire(sock.recv(4096)).answer[0].ttl for sock in sockets} == {turn + 1}


def test_auto_takes_a_worker_for_each_processor(gateway):
    gw = gateway({"gateway": {"workers": "auto"}})
    assert gw.status()["workers"] == min(4, len(os.sched_getaffinity(0)))


def test_many_workers(gateway, sockets):
    """More than there are processors, and than a device's queues for most."""
    gw = gateway(with_workers(16))
    seen = ask_everywhere(sockets, ["m0.test", "m1.test"])
    assert all(len(answers) == 1 for answers in seen.values())
    assert gw.status()["queries"]["total"] == 2 * N_SOCKETS
