"""Items 2 to 4: no address is free, and to whom one is given next; no space is left for the table's file.

Two labs of their own begin with the file and are looked at when it ends, as what they show takes half a minute."""
import contextlib
import itertools
import time

import pytest

import lab as lab_module
from conftest import _Maker
from lab import Upstream, addresses, answer_to, ede, greeted, greeter, is_fake, mounted, rcode, rdata, wait_for

TTL_S, HOLD_S = 1, 2
RETRY_S = 30  # so long after a failure the table's file is tried again
TOLD_S = 10  # a pool is called full so long after a name found no address
ELEMENT_S = 20  # the kernel's element of a name with a shorter TTL
SMALL = {"pool4": "198.18.0.0/28", "pool6": "off", "ttl": f"{TTL_S}s", "hold": f"{HOLD_S}s"}
REAL = ["10.99.0.10"]


def four(gw, name):
    return addresses(gw.ask(name, "A"))


def given(gw, names):
    """{name: address}, each its own."""
    answers = {name: four(gw, name) for name in names}
    assert all(is_fake(found) for found in answers.values())
    assert len({found[0] for found in answers.values()}) == len(answers)
    return {name: found[0] for name, found in answers.items()}


def fill(gw, tag):
    """New names until no address is left. Without a file, up to half of a pool is an earlier run's."""
    size = gw.status()["fakeip"]["size"]
    names = list(itertools.takewhile(lambda name: is_fake(four(gw, name)), (f"{tag}{i}.fill.test" for i in range(size))))
    assert len(names) >= size / 2
    return given(gw, names)


def told(gw, *words):
    return [text for text in gw.status()["problems"] if all(word in text for word in words)]


def problem(gw):
    return told(gw, "fake addresses are in use")


# --- an idle connection: begun here, looked at in a later test ---

PROXIED = {
    "egress": {"proxy": {"type": "socks5", "server": "10.99.0.2:1080", "upstream": "wan"}},
    "rules": [{"name": "far", "domain": ["v4only.test", "far.public.test"], "answer": "fake", "egress": "proxy"},
              {"name": "rest", "answer": "fake", "egress": "direct"}]}


@pytest.fixture(scope="module", autouse=True)
def idle():
    """A lab of its own, with connections that send nothing, one the kernel's, one the relay's: (gateway, {name: (socket,
    fake address)})."""
    own_lab = lab_module.Lab("idle")
    make = _Maker(own_lab)
    try:
        own_lab.microsocks()
        gw = make({"fakeip": SMALL, **PROXIED})
        with greeter(own_lab, REAL[0]), contextlib.ExitStack() as stack:
            connections = {}
            for name in ("short.test", "v4only.test"):
                target, = four(gw, name)
                sock = stack.enter_context(own_lab.connect(target, tcp=True, port=9000))
                assert sock.recv(100).decode().split()[0] == REAL[0]
                connections[name] = sock, target
            yield gw, connections
        make.finish()
    finally:
        own_lab.close()


# --- no space: begun here, looked at in the last test ---

@pytest.fixture(scope="module", autouse=True)
def full_disk():
    """A lab of its own, whose gateway's file is on a full disk: (gateway, what it answered, the file that fills it)."""
    own_lab = lab_module.Lab("full")
    make = _Maker(own_lab)
    try:
        with mounted(own_lab.dir / "disk", "-t", "tmpfs", "-o", "size=64k", "none") as disk:
            gw = make({"fakeip": {"store": str(disk / "table.db")}})
            answers = given(gw, [f"before{i}.test" for i in range(20)])
            ballast = disk / "ballast"
            with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as out:
                while out.write(b"x" * 1024):
                    pass
            began = time.monotonic()
            answers |= given(gw, [f"{'x' * 60}{i}.store.test" for i in range(100)])  # more than fits into the file's last page
            yield gw, answers, ballast, began
            make.finish()
    finally:
        own_lab.close()


def test_a_full_disk_is_told(full_disk):
    gw, _, _, _ = full_disk
    problem, = wait_for(lambda: told(gw, "disk/table.db"), "the problem is told")
    assert "memory only" in problem
    store = gw.status()["fakeip"]["store"]
    assert "memory only" in store
    shown = gw.cli("status").stdout.splitlines()
    assert f"store      {store}" in shown
    assert any(line.startswith("PROBLEMS") and "memory only" in line for line in shown)
    assert gw.log_lines("No space left on device")


def test_a_full_disk_is_no_outage(full_disk):
    gw, answers, ballast, _ = full_disk
    answers |= given(gw, [*answers, *(f"meanwhile{i}.test" for i in range(20))])
    assert len(set(answers.values())) == len(answers)
    ballast.unlink()  # from here on there is room


# --- nothing is free ---

@pytest.mark.parametrize("exhausted, store", [("real", "table.db"), ("servfail", "")])
def test_a_full_pool_and_its_end(gateway, tmp_path, exhausted, store):
    gw = gateway({"fakeip": {**SMALL, "exhausted": exhausted, "store": str(tmp_path / store) if store else ""}})
    names = fill(gw, "a")
    start = time.monotonic()
    kept_name, kept = next(iter(names.items()))
    before = gw.status()["fakeip"]["exhausted"]
    reply = gw.ask("web.test")
    if exhausted == "real":
        assert (rcode(reply), addresses(reply)) == ("NOERROR", REAL)
    else:
        assert (rcode(reply), addresses(reply)) == ("SERVFAIL", [])
    assert gw.log_lines("no address is free for ", exhausted if exhausted == "real" else "SERVFAIL")
    pool = gw.status()["fakeip"]
    assert pool["exhausted"] == before + 1 and pool["used"] == len(names)
    if store:
        assert (pool["exhausted"], pool["size"], pool["free"]) == (1, len(names), 0)
    text, = wait_for(lambda: problem(gw), "the problem is told")
    assert f"all {pool['size']} " in text
    assert any(line.startswith("PROBLEMS") and text in line for line in gw.cli("status").stdout.splitlines())

    def free_again():
        assert four(gw, kept_name) == [kept]  # who asks keeps its own
        return is_fake(four(gw, "web.test"))
    wait_for(free_again, "an address is free")
    assert time.monotonic() - start > TTL_S + HOLD_S
    taken, = four(gw, "web.test")
    assert taken != kept and (not store or taken in names.values())
    assert rdata(gw.ask(lab_pointer(taken), "PTR"), "PTR") == ["web.test."]
    wait_for(lambda: not problem(gw), "the problem is over", TOLD_S + 5)
    assert gw.status()["fakeip"]["free"] > 0


def lab_pointer(address):
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


@pytest.fixture
def small(tmp_path):
    """A small pool with a file, which begins at its first address."""
    return {**SMALL, "store": str(tmp_path / "table.db")}


def test_servfail_tells_why(gateway, small):
    gw = gateway({"fakeip": {**small, "pool4": "198.18.0.0/30", "exhausted": "servfail", "hold": "1h"}})
    fill(gw, "w")
    assert ede(gw.ask("web.test", edns=True)) != []
    before = gw.status()["queries"]["failed"]
    gw.ask("web.test")
    assert gw.status()["queries"]["failed"] == before + 1


def test_a_real_answer_of_a_full_pool_fills_no_address_in(gateway, small):
    """The other family and other types are upstream's too, so that a name is not half faked."""
    gw = gateway({"fakeip": {**small, "pool6": "fd00:198:18::/64", "hold": "1h"}})
    fill(gw, "r")
    assert addresses(gw.ask("web.test", "AAAA")) == ["2001:db8:99::10"]


def test_a_real_answer_of_a_full_pool_takes_the_egress_of_its_rule(gateway, lab, small):
    lab.microsocks()
    gw = gateway({"fakeip": {**small, "pool4": "198.18.0.0/30", "hold": "1h"}, **PROXIED})
    fill(gw, "e")
    with greeter(lab, "1.1.1.1"), greeter(lab, REAL[0]):
        assert four(gw, "near.public.test") == ["1.1.1.1"]  # of a direct rule, and so carried by nobody
        assert greeted(lab, "1.1.1.1") == ("1.1.1.1", "192.168.77.2")
        assert four(gw, "far.public.test") == ["1.1.1.1"]
        assert greeted(lab, "1.1.1.1")[1] != "192.168.77.2"  # the proxy's connection
        assert four(gw, "v4only.test") == REAL  # a private address is the house's own
        assert greeted(lab, REAL[0]) == (REAL[0], "192.168.77.2")


def test_another_name_on_an_address_is_carried_to_its_own_place(gateway, lab, small):
    """What was decided for the first name (that the relay carries it, and where to) is not the second's."""
    def answer(wire, client, send):
        first = wire[13:14] == b"a"
        is_a = wire[wire.index(b"\0", 12) + 2] == 1
        send(answer_to(wire, *(["300 A " + ("10.99.0.10" if first else "10.99.0.2")] if is_a else [])))
    with Upstream(lab, answer, "10.99.0.2", port=5355), \
            greeter(lab, "10.99.0.10"), greeter(lab, "10.99.0.2"):
        gw = gateway({"fakeip": {**small, "pool4": "198.18.0.0/29", "pool6": "fd00:198:18::/64"},
                      "upstreams": {"wan": {"servers": ["udp://10.99.0.2:5355"]}}})

        first, = addresses(gw.ask("a.test", "AAAA"))
        assert greeted(lab, first)[0] == "10.99.0.10"
        assert gw.result("fakeip.lookup", address=first)["verdict"]["address6"] == "10.99.0.10"
        lab.run("gw", "conntrack", "-F")  # else its end is remembered for two minutes

        def given_to_another():
            for i in range(40):
                if addresses(gw.ask(f"b{i}.test", "AAAA")) == [first]:
                    return f"b{i}.test"
        name = wait_for(given_to_another, "the address means another name")
        assert gw.result("fakeip.lookup", address=first)["name"] == name
        assert greeted(lab, first)[0] == "10.99.0.2"
        assert gw.result("fakeip.lookup", address=first)["verdict"]["address6"] == "10.99.0.2"


# --- the idle connections ---

def test_idle_connections_keep_their_addresses(idle):
    gw, connections = idle
    kept = {target: name for name, (_, target) in connections.items()}

    def in_kernel():
        table = gw.lab.run("gw", "nft", "list", "table", "inet", "tungate").stdout
        return any(target in table for target in kept)
    wait_for(lambda: not in_kernel(), "their elements in the kernel are over", ELEMENT_S + 5)
    others = gw.status()["fakeip"]["size"] - len(kept)
    turns = itertools.count()

    def new_names():
        turn = next(turns)
        return [found[0] for i in range(others + 2) if is_fake(found := four(gw, f"t{turn}n{i}.test"))]

    def all_others():
        for address in new_names():
            seen[address] = seen.get(address, 0) + 1
        return len(seen) >= others and min(seen.values()) >= 2
    seen = {}
    wait_for(all_others, "the other addresses were given out twice")
    assert not set(seen) & set(kept)
    for name, (sock, target) in connections.items():
        assert gw.result("fakeip.lookup", address=target)["name"] == name
        sock.sendall(b"still here")
        assert sock.recv(100) == b"still here"
        sock.close()
    gw.lab.run("gw", "conntrack", "-F")  # else their ends are remembered for two minutes
    ended = set()

    def given():
        ended.update(set(new_names()) & set(kept))
        return len(ended) == len(kept)
    wait_for(given, "without their flows the addresses are given to other names")


# --- no space, once there is some again ---

def test_a_disk_with_space_again_is_written_again(full_disk):
    gw, answers, _, began = full_disk
    wait_for(lambda: not told(gw, "table.db"), "the file is written again", began + RETRY_S + 5 - time.monotonic())
    assert gw.status()["fakeip"]["store"] == gw.config["fakeip"]["store"]
    assert gw.log_lines("written again")
    gw.kill()
    gw.start()
    gw.wait_answers()
    assert given(gw, reversed(answers)) == answers
