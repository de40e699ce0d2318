"""How an answer waits for its sets, or does not: from the cache, `push: async`, a kernel that is busy, many rules, and the
old flows of those who ask."""
import contextlib
import os
import socket
import struct
import threading
import time

import pytest

from asking import ask_all
from lab import addresses, ede, rcode, ttls, wait_for
from sets import (LEAST_S, TIMEOUT4, Others, Reader, address_of, ask_numbers, blocks, end_forked, forked, numbered, rule,
                  rules, state, table, text_of)
from waiting import moment

SET4 = "4#inet#user#v4"
LARGE4 = f"{TIMEOUT4} size 65535;"


@pytest.fixture(autouse=True)
def clean(lab):
    table(lab, {"v4": LARGE4})
    yield
    lab.nft("flush ruleset")


@pytest.fixture(scope="module", autouse=True)
def upstreams(lab):
    with blocks(lab) as it:
        yield it


@pytest.fixture
def reader(lab):
    with Reader(lab) as it:
        yield it


@pytest.fixture
def started(gateway, upstreams):
    """gateway() with the upstream of numbers."""
    return lambda config: gateway({**config, **upstreams})


def name(number, zone="real.test"):
    return numbered(number, zone)


def ask(gw, number, zone="real.test", **how):
    """Asked, answered with its address."""
    assert addresses(gw.ask(name(number, zone), **how)) == [text_of(number)]


def pushes(gw):
    return gw.status()["pushes"]


# --- from the cache ---

def test_each_cached_answer_has_its_element(started, reader):
    """Without a word to the kernel, until somebody else takes it out."""
    gw = started(rules(SET4))
    ask(gw, 1)
    before, hits = pushes(gw), gw.status()["cache"]["hits"]
    assert before["waited"] == 1 and before["held"] == 0
    for _ in range(100):
        ask(gw, 1)
        assert reader.has("v4", text_of(1))
    after = pushes(gw)
    assert gw.status()["cache"]["hits"] == hits + 100
    assert after["held"] == 100 and after["waited"] == 1


def test_each_cached_answer_has_its_element_though_others_delete_it(started, lab, reader):
    gw = started(rules(SET4))
    for number in range(20):
        ask(gw, number)
    missed = 0
    for number in range(20):
        lab.nft(f"delete element inet user v4 {{ {text_of(number)} }}")
        ask(gw, number)
        missed += not reader.has("v4", text_of(number))
    assert missed == 0


def test_what_has_less_than_half_left_is_renewed(started, reader):
    gw = started(rules(SET4, set_ttl="2s"))
    ask(gw, 1)
    began = time.monotonic()
    lefts = []
    while time.monotonic() < began + 2.5:
        ask(gw, 1)
        left = reader.left_s("v4", text_of(1))
        assert left is not None, "a cached answer left without its element"
        assert left > 0.8, f"{left} s left of 2"
        lefts.append(left)
        time.sleep(0.05)
    assert gw.status()["cache"]["hits"] >= 20
    assert 2 <= pushes(gw)["waited"] <= 4, pushes(gw)  # the first, and one each second
    assert pushes(gw)["held"] > 5 * pushes(gw)["waited"]
    assert min(lefts) < 1.4, "it was renewed all the time"


# --- push: async ---

def test_async_answers_do_not_wait_and_are_counted(started, lab, reader):
    gw = started(rules(SET4, push="async"))
    for number in range(50):
        ask(gw, number)
    wait_for(lambda: all(reader.has("v4", text_of(number)) for number in range(50)), "all follow", 2)
    assert pushes(gw)["async"] == 50 and pushes(gw)["waited"] == 0 and pushes(gw)["late"] == 0
    wait_for(lambda: pushes(gw)["queued"] == 0, "none is on its way", 2)
    ask(gw, 1)
    assert pushes(gw)["async"] == 50 and pushes(gw)["held"] == 1


class BusyKernel:
    """Somebody loads elements, one large transaction after the other, each of which holds the lock that all of nft
    commits under."""
    ELEMENTS = 100_000

    def __init__(self, lab):
        self.others, self.stopping = Others(lab, self.ELEMENTS), threading.Event()

    def load(self):
        while not self.stopping.is_set():
            self.others.load()
            self.others.flush()

    def __enter__(self):
        self.thread = threading.Thread(target=self.load, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
        self.others.close()


def timed(gw, number, zone):
    start = moment()
    reply = gw.ask(name(number, zone), edns=True)
    return reply, moment() - start


def test_no_answer_waits_longer_than_push_timeout(started, lab, reader):
    """While the kernel is busy answers leave after push_timeout as on_error says; async ones at once."""
    gw = started({"rules": [
        rule("answer", nftset=SET4, push_timeout="20ms"),
        rule("servfail", nftset=SET4, push_timeout="40ms", on_error="servfail"),
        rule("patient", nftset=SET4, push_timeout="5s", on_error="servfail"),
        rule("later", nftset=SET4, push="async"),
        {"name": "rest", "answer": "fake", "egress": "direct"}]})
    for at, zone in enumerate(("answer", "servfail", "patient", "later")):
        ask(gw, at, f"{zone}.real.test")
    took = {"answer": [], "servfail": [], "later": []}
    late = {"answer": 0, "servfail": 0}
    number, last = 1000, 0
    with BusyKernel(lab):
        end = time.monotonic() + 12
        while time.monotonic() < end and (min(late.values()) < 3):
            for zone in took:
                number += 1
                reply, took_s = timed(gw, number, f"{zone}.real.test")
                took[zone].append(took_s)
                if zone == "servfail" and rcode(reply) == "SERVFAIL":
                    assert ede(reply) and not reply.answer
                    assert took_s > 0.035
                    late[zone] += 1
                else:
                    assert addresses(reply) == [text_of(number)]
                    assert zone != "servfail" or reader.has("v4", text_of(number))
                    late["answer"] += zone == "answer" and not reader.has("v4", text_of(number))
        last = number
        # Who may wait gets the whole truth.
        number += 1
        reply, took_s = timed(gw, number, "patient.real.test")
        assert rcode(reply) != "NOERROR" or reader.has("v4", text_of(number))
    print({zone: f"{len(times)} asked, at most {max(times) * 1000:.0f} ms" for zone, times in took.items()}, late)
    assert min(late.values()) >= 3, "the kernel was never busy"
    assert pushes(gw)["late"] >= sum(late.values())
    # Both within push_timeout and what a loaded machine takes; not the hundreds of ms of a transaction.
    for zone, limit_s in (("answer", 0.02), ("servfail", 0.04), ("later", 0)):
        times = sorted(took[zone])
        assert times[len(times) // 2] < limit_s + 0.1, times
    wait_for(lambda: all(reader.has("v4", text_of(n)) for n in range(1001, last + 1)), "all come in later", 5)
    ask(gw, number + 1, "servfail.real.test")
    assert state(gw, SET4)["state"] == "ok"


def test_the_rest_of_a_late_answer_follows(started, lab, reader):
    """It has more elements than are put in at once: what was not in when it left comes in all the same."""
    names = [f"s{i}" for i in range(6)]
    table(lab, dict.fromkeys(names, LARGE4))
    gw = started(rules([f"4#inet#user#{which}" for which in names], push_timeout="5ms"))
    late, n = 0, 0
    with BusyKernel(lab):
        while late == 0 and n < 5000:
            assert len(addresses(gw.ask(numbered(n, count=25)))) == 25
            late, n = pushes(gw)["late"], n + 25
    assert late, "the kernel was never busy"
    wait_for(lambda: all(reader.count(which) == n for which in names), "all come in without being asked for again", 5)


def test_none_of_many_late_answers_is_lost(started, lab, reader):
    """More than wait at once: their elements come in all the same, without being asked for again."""
    gw = started({**rules(SET4, push_timeout="1ms"), "cache": {"size": 100_000}})
    n = most = 0
    with Others(lab, 400_000) as others, lab.connect("8.8.8.8") as sock:
        while most < 2000 and n < 60_000:
            loading = threading.Thread(target=others.load, daemon=True)
            loading.start()
            before = pushes(gw)["late"]
            while n < 60_000 and (loading.is_alive() or pushes(gw)["late"] == before):
                assert all(ask_all(sock, [(name(n + i), "A") for i in range(500)], window=500, again=True))
                n += 500
            loading.join()
            most = max(most, pushes(gw)["late"] - before)
            others.flush()
    print(f"{most} of {n} late behind one transaction")
    assert most >= 2000, "the kernel was never busy"
    wait_for(lambda: reader.count("v4") == n, "all come in", 60)
    assert pushes(gw)["dropped"] == 0


def test_what_was_put_in_late_is_ours_all_the_same(started, lab, reader):
    """The kernel holds a commit up, told sets are filled again over what is there; all comes back when it is lost."""
    gw = started(rules(SET4))
    n = 20
    with Others(lab, 200_000) as others:
        loading = threading.Thread(target=others.load, daemon=True)
        loading.start()
        try:
            for number in range(n):
                ask(gw, number)
        finally:
            loading.join()
    wait_for(lambda: reader.count("v4") == n, "all come in", 5)
    refilled = pushes(gw)["refilled"]
    table(lab, {"v4": LARGE4})  # told again, nothing is lost
    wait_for(lambda: pushes(gw)["refilled"] >= refilled + n, "what is there is put in again", 2)
    assert reader.count("v4") == n
    lab.nft("flush set inet user v4")
    wait_for(lambda: reader.count("v4") == n, "all are back", 2)


def test_the_queue_of_async_answers_is_bounded(started, lab, reader):
    """Its answers leave all the same; what found no room is counted, and comes in when it is asked for again."""
    gw = started({**rules(SET4, push="async"), "cache": {"size": 40000}})
    questions, dropped = [], 0
    with BusyKernel(lab), lab.connect("8.8.8.8") as sock:
        while dropped == 0 and len(questions) < 30_000:
            new = [(name(len(questions) + i), "A") for i in range(1500)]
            assert [answer and answer.answers for answer in ask_all(sock, new, window=256, again=True)] == [1] * len(new)
            questions += new
            dropped = pushes(gw)["dropped"]
    wait_for(lambda: pushes(gw)["queued"] == 0, "the queue has emptied", 5)
    told, there = pushes(gw), reader.count("v4")
    print(len(questions), told)
    assert told["dropped"] > 0, "the queue was never full"
    # (Who is slow is asked again.)
    assert told["async"] + told["dropped"] >= len(questions) and told["waited"] == 0
    assert len(questions) - told["dropped"] <= there <= told["async"]
    with lab.connect("8.8.8.8") as sock:
        for _ in range(2):  # the second time to what is in, unless the queue was full again
            assert all(ask_all(sock, questions, window=16, again=True))
            wait_for(lambda: pushes(gw)["queued"] == 0, "the queue has emptied", 5)
    assert reader.count("v4") == len(questions)


# --- conntrack: forget ---

def flows(lab, address):
    """Source addresses of the flows to it."""
    listed = lab.run("gw", "conntrack", "-L", "-d", address, "-p", "udp").stdout
    return sorted(line.split("src=")[1].split()[0] for line in listed.splitlines() if "src=" in line)


@contextlib.contextmanager
def flow(lab, address, source, port=5555):
    with lab.connect(address, source=source, port=port) as sock:
        sock.send(b"x")
        wait_for(lambda: source in flows(lab, address), "the flow is known")
        yield sock


@pytest.fixture
def second_client(lab):
    lab.run("cl", "ip", "addr", "add", "192.168.77.3/24", "dev", "eth0")
    yield "192.168.77.3"
    lab.run("cl", "ip", "addr", "del", "192.168.77.3/24", "dev", "eth0")


@pytest.mark.parametrize("push", ["before", "async"])
def test_old_flows_are_forgotten_when_an_address_gets_its_set(started, lab, reader, second_client, push):
    """Those of the client who asks, to this address; and only when it has just got it."""
    lab.nft("table ip seen {\nchain forward { type filter hook forward priority 0; ct state new counter; }\n}")
    lab.run("gw", "conntrack", "-F")
    waits = {"push_timeout": "2s"} if push == "before" else {"push": push}
    gw = started({"rules": [rule("forget", nftset=SET4, conntrack="forget", **waits),
                            rule("keep", nftset=SET4, **waits),
                            {"name": "rest", "answer": "fake", "egress": "direct"}]})
    first, a, b, c = "192.168.77.2", text_of(100), text_of(101), text_of(102)
    with flow(lab, a, first), flow(lab, a, second_client), flow(lab, b, first), flow(lab, c, first):
        assert flows(lab, a) == [first, second_client]
        ask(gw, 100, "forget.real.test", source=first)
        wait_for(lambda: flows(lab, a) == [second_client], "the client's flow is forgotten", 2)
        wait_for(lambda: pushes(gw)["forgotten"] == 1, "it is counted", 2)
        assert flows(lab, b) == flows(lab, c) == [first]
        # `conntrack: keep`, the default.
        ask(gw, 102, "keep.real.test", source=first)
        # What is in the set is routed by it already: a new flow lives on.
        with flow(lab, a, first, 5556):
            for _ in range(3):
                ask(gw, 100, "forget.real.test", source=first)
            ask(gw, 101, "forget.real.test", source=second_client)  # not that client's flow
            wait_for(lambda: reader.has("v4", b), "it is in", 2)
            assert flows(lab, a) == [first, second_client]
        assert flows(lab, b) == flows(lab, c) == [first]
    assert pushes(gw)["forgotten"] == 1


# --- also ---

def test_rules_that_go_on_add_their_sets(started, lab, reader):
    table(lab, {"every": TIMEOUT4, "some": TIMEOUT4, "other": TIMEOUT4,
                "map marks": "type ipv4_addr : mark; flags timeout;"})
    gw = started({"rules": [
        {"name": "all", "also": True, "domain": ["real.test"], "nftset": "4#inet#user#every", "set_ttl": "1h"},
        {"name": "some", "also": True, "domain": ["some.real.test"], "nftset": "4#inet#user#some",
         "nftmap": "4#inet#user#marks = 0x20", "set_ttl": "2h"},
        {"name": "other", "also": True, "domain": ["other.test"], "nftset": "4#inet#user#other"},
        {**rule("some", nftset=SET4), "name": "winner"},
        {"name": "plain", "domain": ["real.test"], "answer": "real", "upstream": "wan"},
        {"name": "rest", "answer": "fake", "egress": "direct"}]})

    def lives(number):
        return {which: round(left / 10) * 10 for which in ("every", "some", "other", "v4", "marks")
                if (left := reader.left_s(which, text_of(number))) is not None}
    for _ in range(2):  # the second from the cache
        ask(gw, 1, "some.real.test")
        assert lives(1) == {"every": 3600, "some": 7200, "v4": LEAST_S, "marks": 7200}
        ask(gw, 2)  # the winner has no sets
        assert lives(2) == {"every": 3600}
    assert pushes(gw)["waited"] == 2 and pushes(gw)["held"] == 2


def test_only_the_sets_of_who_says_servfail_make_it(started, lab, reader):
    """Another rule's set fails: the answer leaves; its own does not."""
    table(lab, {"there": TIMEOUT4})
    gw = started({"rules": [
        {"name": "also-lax", "also": True, "domain": ["lax.real.test"], "nftset": "4#inet#user#nowhere"},
        {"name": "also-strict", "also": True, "domain": ["strict.real.test"], "nftset": "4#inet#user#nowhere",
         "on_error": "servfail"},
        rule("lax", nftset="4#inet#user#there", on_error="servfail", push_timeout="5s"),
        rule("strict", nftset="4#inet#user#there", push_timeout="5s"),
        {"name": "rest", "answer": "fake", "egress": "direct"}]})
    for _ in range(2):  # the second from the cache
        ask(gw, 1, "lax.real.test")
        assert reader.has("there", text_of(1))
        assert rcode(gw.ask(name(2, "strict.real.test"))) == "SERVFAIL"


# --- one configuration after the other ---

def test_an_answer_counts_for_the_sets_of_the_configuration_that_decided_it(started, lab, reader, upstreams):
    """Each names another set; its TTL tells which of them an answer is of."""
    table(lab, {"a": LARGE4, "b": LARGE4})
    configs = []
    for which, ttl in (("a", 10_000), ("b", 20_000)):
        config = rules(f"4#inet#user#{which}", push_timeout="5s", on_error="servfail")
        config["rules"][0]["ttl"] = {"min": ttl, "max": ttl}
        configs.append({**config, **upstreams})
    gw = started(configs[0])
    ended = threading.Event()

    def reload():
        try:
            for turn in range(60):
                gw.rewrite(configs[turn % 2])
                gw.result("reload")
        finally:
            ended.set()
    thread = threading.Thread(target=reload)
    thread.start()
    asked, without, seen = 0, [], set()
    while not ended.is_set() or asked < 100:
        for number in (asked, asked // 2):  # the second from the cache, of either configuration
            ttl, = ttls(gw.ask(name(number)))
            which = "a" if ttl <= 10_000 else "b"
            seen.add(which)
            if not reader.has(which, text_of(number)):
                without.append((number, which))
        asked += 1
    thread.join()
    print(asked, "names")
    assert not without, without[:10]
    assert seen == {"a", "b"} and pushes(gw)["late"] == 0


# --- 200 of them ---

def test_200_rules_with_200_sets(started, lab, reader):
    n = 200
    table(lab, {f"s{i}": TIMEOUT4 for i in range(n)})
    gw = started({"rules": [*(rule(f"r{i}", nftset=f"4#inet#user#s{i}", on_error="servfail", push_timeout="2s")
                              for i in range(n)),
                            {"name": "rest", "answer": "fake", "egress": "direct"}]})
    with lab.connect("8.8.8.8") as sock:
        for first in (0, 1000):
            got = ask_all(sock, [(name(first + i, f"r{i}.real.test"), "A") for i in range(n)], again=True)
            assert [answer and answer.rcode for answer in got] == [0] * n
    for i in range(n):
        assert set(reader.all(f"s{i}")) == {address_of(i), address_of(1000 + i)}
    told = {one["set"]: one for one in gw.status()["sets"]}
    assert told == {f"4#inet#user#s{i}": {"set": f"4#inet#user#s{i}", "state": "ok", "elements": 2, "errors": 0}
                    for i in range(n)}
    lab.nft("".join(f"flush set inet user s{i}\n" for i in range(n)))
    wait_for(lambda: all(reader.count(f"s{i}") == 2 for i in range(n)), "all are filled again", 5)


def test_the_numbers_of_sets(started, lab):
    gw = started({"rules": [rule("a", nftset=[SET4, "4#inet#user#none"]),
                            {"name": "rest", "answer": "fake", "egress": "direct"}]})
    assert state(gw, "4#inet#user#none") == {"set": "4#inet#user#none", "state": "missing", "elements": 0, "errors": 0}
    for number in range(5):
        ask(gw, number, "a.real.test")
        assert state(gw, SET4) == {"set": SET4, "state": "ok", "elements": number + 1, "errors": 0}
        assert state(gw, "4#inet#user#none")["errors"] == number + 1
    assert gw.status()["push_errors"] == 5
    lab.nft(f"delete element inet user v4 {{ {text_of(0)} }}")
    wait_for(lambda: pushes(gw)["refilled"] == 1 and state(gw, SET4)["elements"] == 5, "it is put in again", 2)


# --- sets that come and go under load ---

RATE, LOAD_S = 2000, 2
MADE = f"table inet user {{\nset v4 {{ {LARGE4} }}\n}}\n"


@pytest.mark.parametrize("how", ["at once", "one after the other"])
def test_a_set_that_comes_and_goes_under_load(started, lab, reader, how):
    """No answer is lost and nothing dies; afterwards every name is in the set, also those that were answered while there
    was none."""
    scripts = ["delete set inet user v4\n" + MADE] if how == "at once" else ["delete set inet user v4\n", MADE]
    table(lab, {"calm": LARGE4})
    gw = started({**rules([SET4, "4#inet#user#calm"], push_timeout="2s"), "cache": {"size": 20000}})
    read_end, write_end = os.pipe()
    with lab.connect("8.8.8.8") as load:
        load.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        child = forked(lambda: ask_numbers(load, write_end, RATE, LOAD_S, first=0))
        try:
            os.close(write_end)
            os.set_blocking(read_end, False)
            report, times = None, 0
            while report is None:
                for script in scripts:
                    lab.nft(script)
                times += 1
                with contextlib.suppress(BlockingIOError):
                    report = os.read(read_end, 16) or None
        finally:
            os.close(read_end)
            end_forked(child)
    sent, got, took_s = struct.unpack("!2Id", report)
    missing = gw.log_lines(SET4, "missing")
    print(f"sent {sent}, answered {got} in {took_s:.2f} s; the set was made {times} times, missing {len(missing)} times")
    print(pushes(gw), state(gw, SET4))
    assert sent == RATE * LOAD_S and got == sent and times >= 5
    if how == "at once":
        assert not missing and state(gw, SET4)["errors"] == 0
    else:
        assert missing
    wait_for(lambda: reader.count("v4") == sent, f"{sent} are in the set", 5)
    assert {address_of(i) for i in range(sent)} == set(reader.all("v4")) == set(reader.all("calm"))
    wait_for(lambda: state(gw, SET4)["state"] == "ok" and state(gw, SET4)["elements"] == sent, "it is told so", 2)
    assert state(gw, "4#inet#user#calm")["errors"] == 0
