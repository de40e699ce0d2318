"""Issue 6, item 2: the WAN gets another address, goes away and comes back, loses its NAT, while names are asked for."""
import contextlib
import itertools
import select
import struct
import threading
import time

import pytest

from asking import query
from lab import addresses, rcode, wait_for
from scripted import Scripted
from upstreams import STREAMS, answered, behind, numbers, server
from waiting import moment

pytestmark = pytest.mark.by_the_clock

AT, FAR = "10.99.0.54", "203.0.113.54"
OLD, NEW = "10.99.0.1", "10.99.0.77"
KINDS = ["udp", "tcp", "tls", "https"]
BOTH_WAYS = pytest.mark.parametrize("transport, intercept", [
    ("udp", "tun"), ("tcp", "tproxy"), ("tls", "tproxy"), ("https", "tun")])
ANSWER = "10.50.0.1"
PERIOD_S = 0.05


@pytest.fixture
def start(lab):
    with contextlib.ExitStack() as stack:
        yield lambda at=AT, ttl=60: stack.enter_context(Scripted(lab, {"*": [f"{ttl} A {ANSWER}"]}, at))


@pytest.fixture(autouse=True)
def wan_as_it_was(lab):
    yield
    lab.run("gw", "ip", "link", "set", "wan0", "up")
    lab.run("wan", "ip", "link", "set", "eth0", "up")
    lab.run("gw", "ip", "addr", "del", NEW + "/24", "dev", "wan0", check=False)
    lab.run("gw", "ip", "addr", "replace", OLD + "/24", "dev", "wan0")
    lab.run("gw", "ip", "addr", "replace", "2001:db8:99::1/64", "dev", "wan0", "nodad")
    lab.run("wan", "ip", "addr", "replace", "2001:db8:99::2/64", "dev", "eth0", "nodad")
    lab.run("gw", "ip", "route", "replace", "default", "via", "10.99.0.2")
    lab.run("gw", "ip", "-6", "route", "replace", "default", "via", "2001:db8:99::2")


def behind_one(up, transport, workers=1, **options):
    config = behind(server(up, transport), lab=up.lab, **options)
    config["gateway"]["workers"] = workers
    return config


class Asking:
    """A client that asks for 20 names a second, once each. .all: [name, when it was asked by time.monotonic(), rcode or
    None, how long that took]."""

    def __init__(self, lab, names, server="8.8.8.8"):
        self.names, self.all, self.by_number = names, [], {}
        self.sock = lab.connect(server)
        self.sock.setblocking(False)
        self.stopping = False
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        due, numbers_ = time.monotonic(), itertools.count(1)
        while not self.stopping or self._waiting():
            now = time.monotonic()
            if not self.stopping and now >= due:
                due += PERIOD_S
                name, number = next(self.names), next(numbers_)
                asked = moment()
                one = [name, asked.at_s, None, None]
                self.by_number[number] = one, asked
                self.all.append(one)
                with contextlib.suppress(OSError):  # no way, for a moment
                    self.sock.send(query(name, "A", number))
            if select.select([self.sock], [], [], max(0, min(due - now, 0.02)))[0]:
                with contextlib.suppress(OSError):
                    while True:
                        got = self.sock.recv(4096)
                        one, asked = self.by_number[struct.unpack_from("!H", got)[0]]
                        if one[2] is None:
                            one[2], one[3] = got[3] & 15, moment() - asked

    def _waiting(self):
        now = time.monotonic()
        return any(one[2] is None and now - one[1] < 6 for one in self.all)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        self.thread.join()
        self.sock.close()

    def since(self, when, until=float("inf")):
        return [one for one in self.all if when <= one[1] < until]


def is_fine(one):
    return one[2] == 0


def took_s(one):
    return one[3] if one[2] is not None else 99


def well_since(asking, when):
    """Seconds from then until all that were asked for later got an answer, within half a second each."""
    bad = [one for one in asking.all if one[1] >= when and not (is_fine(one) and took_s(one) < 0.5)]
    return max((one[1] - when for one in bad), default=0)


def report(what, asking, when):
    late = [one for one in asking.all if not is_fine(one)]
    slowest = max((took_s(one) for one in asking.all if is_fine(one)), default=0)
    print(f"{what}: {len(asking.all)} asked, {len(late)} without an answer, the slowest {slowest * 1000:.0f} ms,"
          f" all well after {well_since(asking, when):.2f} s")


def fresh(tag="n"):
    return (f"{tag}{i}.test" for i in itertools.count())


def connections_of(lab, address):
    """TCP connections of the router that stand on it."""
    found = lab.run("gw", "ss", "-Htn", "state", "connected", "src", address).stdout.splitlines()
    return [line for line in found if "TIME-WAIT" not in line]


# --- another address ---

def redial(lab, gap_s):
    lab.run("gw", "ip", "addr", "del", OLD + "/24", "dev", "wan0")
    time.sleep(gap_s)
    lab.run("gw", "ip", "addr", "add", NEW + "/24", "dev", "wan0")
    lab.run("gw", "ip", "route", "replace", "default", "via", "10.99.0.2")


@pytest.mark.parametrize("gap_s", [0, 1])
@pytest.mark.parametrize("transport", KINDS)
def test_another_address(gateway, lab, start, transport, gap_s):
    """Connections stand, questions are on their way: all of these are answered in time, and none later is lost."""
    up = start()
    up.fault("delay", ms=150)
    gw = gateway(behind_one(up, transport, workers=2))
    with Asking(lab, fresh()) as asking:
        wait_for(lambda: len([one for one in asking.all if is_fine(one)]) > 20, "names are answered")
        began = time.monotonic()
        redial(lab, gap_s)
        there = time.monotonic()
        wait_for(lambda: not connections_of(lab, OLD), "the old connections are gone", 2)
        wait_for(lambda: len(asking.since(there)) > 35, "some more are asked")
    report(f"{transport}, {gap_s} s without an address", asking, there)
    assert well_since(asking, there) < 1.5
    if gap_s == 0:
        assert all(is_fine(one) and took_s(one) < 2.5 for one in asking.all)
    else:  # during it nothing is to be had; but it is said soon
        assert all(is_fine(one) for one in asking.all if one[1] < began - 0.3)
        assert all(one[2] is not None and took_s(one) < 2.5 for one in asking.all)
    assert numbers(gw, up)["up"]
    assert {q["client"] for q in up.queries()[-20:]} == {NEW}


@pytest.mark.parametrize("transport", STREAMS)
def test_idle_connections_of_the_old_address_are_closed(gateway, lab, start, transport):
    """Nobody asks anything; the next question finds a way of its own at once."""
    up = start()
    gateway(behind_one(up, transport, workers=2))
    for name in itertools.islice(fresh(), 10):
        answered(lab.ask(name), ANSWER)
    assert connections_of(lab, OLD)
    redial(lab, 0)
    wait_for(lambda: not connections_of(lab, OLD), "they are gone", 2)
    began = moment()
    answered(lab.ask("next.test"), ANSWER)
    assert moment() - began < 0.5


@pytest.mark.parametrize("transport", STREAMS)
def test_an_address_more_breaks_nothing(gateway, lab, start, transport):
    up = start()
    gateway(behind_one(up, transport))
    answered(lab.ask("a.test"), ANSWER)
    lab.run("gw", "ip", "addr", "add", NEW + "/24", "dev", "wan0")
    time.sleep(0.4)  # it is told of that within 100 ms
    answered(lab.ask("b.test"), ANSWER)
    assert [q["connection"] for q in up.queries()] == [1, 1]


@pytest.mark.parametrize("transport", ["udp", "tls"])
def test_another_address_of_ipv6(gateway, lab, start, transport):
    up = start("2001:db8:99::54")
    gateway(behind_one(up, transport))
    with Asking(lab, fresh()) as asking:
        wait_for(lambda: len([one for one in asking.all if is_fine(one)]) > 10, "names are answered")
        there = time.monotonic()
        lab.run("gw", "ip", "addr", "add", "2001:db8:99::77/64", "dev", "wan0", "nodad")
        lab.run("gw", "ip", "addr", "del", "2001:db8:99::1/64", "dev", "wan0")
        try:
            wait_for(lambda: len(asking.since(there)) > 50, "some more are asked")
            assert not connections_of(lab, "[2001:db8:99::1]")
        finally:
            lab.run("gw", "ip", "addr", "del", "2001:db8:99::77/64", "dev", "wan0")
    report(f"IPv6, {transport}", asking, there)
    assert all(is_fine(one) and took_s(one) < 2.5 for one in asking.all)


@pytest.mark.parametrize("transport", KINDS)
def test_an_address_to_bind_to_goes_and_comes(gateway, lab, start, transport):
    """Meanwhile the next server helps out; the server is not held to be dead for what is our own fault."""
    lab.run("gw", "ip", "addr", "add", NEW + "/24", "dev", "wan0")
    up, other = start(), start("10.99.0.55")
    gw = gateway(behind(server(up, transport, bind=NEW), server(other, transport), lab=lab, health="off"))
    answered(lab.ask("a.test"), ANSWER)
    lab.run("gw", "ip", "addr", "del", NEW + "/24", "dev", "wan0")
    for name in itertools.islice(fresh(), 10):
        began = moment()
        answered(lab.ask(name), ANSWER)
        assert moment() - began < 0.8
    assert len(other.queries()) >= 10 and not connections_of(lab, NEW)
    lab.run("gw", "ip", "addr", "add", NEW + "/24", "dev", "wan0")
    names = fresh("back")
    wait_for(lambda: lab.ask(next(names)) and up.queries()[-1]["name"].startswith("back"), "it is asked again", 2)
    assert up.queries()[-1]["client"] == NEW and numbers(gw, up)["up"]


# --- away and back ---

@BOTH_WAYS
def test_the_default_route_flaps(gateway, lab, start, transport, intercept):
    """The server is beyond it."""
    up = start(FAR)
    gateway(behind_one(up, transport, workers=2), intercept)
    with Asking(lab, fresh()) as asking:
        wait_for(lambda: len([one for one in asking.all if is_fine(one)]) > 10, "names are answered")
        lab.run("gw", "ip", "route", "del", "default")
        time.sleep(1)
        lab.run("gw", "ip", "route", "add", "default", "via", "10.99.0.2")
        back = time.monotonic()
        wait_for(lambda: len(asking.since(back)) > 35, "some more are asked")
    report(f"route, {transport}, {intercept}", asking, back)
    assert well_since(asking, back) < 1.5
    assert all(one[2] is not None and took_s(one) < 5.5 for one in asking.all)


@pytest.mark.parametrize("transport", KINDS)
def test_the_link_flaps(gateway, lab, start, transport):
    up = start()
    gateway(behind_one(up, transport, workers=2))
    with Asking(lab, fresh()) as asking:
        wait_for(lambda: len([one for one in asking.all if is_fine(one)]) > 10, "names are answered")
        lab.run("gw", "ip", "link", "set", "wan0", "down")
        time.sleep(1)
        lab.run("gw", "ip", "link", "set", "wan0", "up")
        lab.run("gw", "ip", "route", "replace", "default", "via", "10.99.0.2")
        back = time.monotonic()
        wait_for(lambda: len(asking.since(back)) > 45, "some more are asked")
    report(f"link, {transport}", asking, back)
    assert well_since(asking, back) < 2


@pytest.mark.parametrize("transport", KINDS)
def test_the_upstream_reboots(gateway, lab, start, transport):
    """The cable has no carrier for 2 s, and what comes back knows none of the connections."""
    up = start()
    gateway(behind_one(up, transport, workers=2))
    with Asking(lab, fresh()) as asking:
        wait_for(lambda: len([one for one in asking.all if is_fine(one)]) > 10, "names are answered")
        lab.run("wan", "ip", "link", "set", "eth0", "down")
        up.end()
        time.sleep(2)
        again = start()
        lab.run("wan", "ip", "link", "set", "eth0", "up")
        back = time.monotonic()
        wait_for(lambda: len(asking.since(back)) > 55, "some more are asked")
    report(f"reboot, {transport}", asking, back)
    assert well_since(asking, back) < 2.5
    assert again.queries(transport)


def dropped(lab, what):
    """The wan's firewall drops it without a word: packets that come in."""
    lab.nft(f"table inet lost {{ chain c {{ type filter hook input priority 0; {what} drop; }}; }}", part="wan")


@contextlib.contextmanager
def silence_on_the_way(lab, what):
    dropped(lab, what)
    try:
        yield
    finally:
        lab.nft("delete table inet lost", part="wan")


@pytest.mark.parametrize("transport", STREAMS)
def test_a_lost_nat_entry_costs_one_question(gateway, lab, start, transport):
    """A connection that only we still know of: its packets are dropped on the way."""
    up = start()
    gw = gateway(behind_one(up, transport))
    for name in itertools.islice(fresh("warm"), 5):
        answered(lab.ask(name), ANSWER)
    port = up.queries()[-1]["port"]
    with silence_on_the_way(lab, f"tcp sport {port}"):
        times = []
        for name in itertools.islice(fresh(), 10):
            began = moment()
            answered(lab.ask(name), ANSWER)
            times.append(moment() - began)
        print(f"{transport}: the first {times[0] * 1000:.0f} ms, then at most {max(times[1:]) * 1000:.0f} ms")
        assert times[0] <= 1.5 and max(times[1:]) < 0.3
        assert numbers(gw, up)["up"]
        wait_for(lambda: not [c for c in connections_of(lab, OLD) if c.split()[3].endswith(f":{port}")],
                 "it is closed", 10)


@pytest.mark.parametrize("transport", STREAMS)
def test_a_lost_nat_entry_under_load(gateway, lab, start, transport):
    """All that were on it are answered within 1.5 s, too."""
    up = start()
    gateway(behind_one(up, transport))
    with Asking(lab, fresh()) as asking:
        wait_for(lambda: len([one for one in asking.all if is_fine(one)]) > 20, "names are answered")
        lost = time.monotonic()
        with silence_on_the_way(lab, f"tcp sport {up.queries()[-1]['port']}"):
            wait_for(lambda: len(asking.since(lost)) > 60, "some more are asked")
            time.sleep(0.3)
    report(f"NAT under load, {transport}", asking, lost)
    assert all(is_fine(one) and took_s(one) <= 1.6 for one in asking.all)
    assert well_since(asking, lost) < 1.2


# --- nothing goes for long ---

@pytest.mark.parametrize("transport, intercept, seconds", [
    ("udp", "tun", 10), ("tcp", "tproxy", 6), ("tls", "tproxy", 6), ("https", "tun", 10)])
def test_seconds_without_a_wan(gateway, lab, start, transport, intercept, seconds):
    """Packets are lost somewhere beyond us, so no news of the kernel tells. What was known is answered; new names fail,
    soon; and a moment after the end all is well."""
    up = start(ttl=1)
    gateway({**behind_one(up, transport, workers=2, timeout="1s", total="2s"), "cache": {"serve_stale": "1h"}},
            intercept)
    known = [f"known{i}.test" for i in range(5)]
    for name in known:
        answered(lab.ask(name), ANSWER)
    time.sleep(1.1)  # their TTL is over
    mixed = (name for pair in zip(itertools.cycle(known), fresh("new")) for name in pair)
    with silence_on_the_way(lab, f"ip daddr {AT}"):
        with Asking(lab, mixed) as asking:
            began = time.monotonic()
            while time.monotonic() - began < seconds:
                time.sleep(0.05)
            dropped_until = time.monotonic()
            lab.nft("flush table inet lost", part="wan")
            wait_for(lambda: len(asking.since(dropped_until)) > 65, "some more are asked")
    during = asking.since(began, dropped_until - 2.2)
    stale = [one for one in during if one[0].startswith("known")]
    new = [one for one in during if one[0].startswith("new")]
    late = [one for one in stale if took_s(one) > 0.3]
    print(f"{transport} {intercept}: stale answers wait {max(map(took_s, stale)):.2f} s at most, {len(late)} of"
          f" {len(stale)} do; new names fail after {max(map(took_s, new)):.2f} s at most;"
          f" all well {well_since(asking, dropped_until):.2f} s after the end")
    assert all(is_fine(one) and took_s(one) < 2.2 for one in stale)
    assert max(map(took_s, [one for one in stale if one[1] > began + 3])) < 0.3
    assert all(one[2] == 2 and took_s(one) < 2.3 for one in new)
    assert well_since(asking, dropped_until) < 3


def test_a_name_that_failed_is_asked_again_when_the_wan_is_back(gateway, lab, start):
    """Though nothing but an answer of the upstream tells so, and not only when failure_ttl is over."""
    up = start()
    gateway({**behind_one(up, "udp", timeout="400ms", total="800ms"), "cache": {"failure_ttl": "1m"}})
    with silence_on_the_way(lab, f"ip daddr {AT}"):
        for name in itertools.islice(fresh("failed"), 5):
            assert rcode(lab.ask(name)) == "SERVFAIL"
    began = moment()
    for name in itertools.islice(fresh("failed"), 5):
        wait_for(lambda: addresses(lab.ask(name)) == [ANSWER], f"{name} is answered", 5)
    print(f"failed names are answered after {moment() - began:.2f} s")


@pytest.mark.parametrize("workers", [1, 4])
def test_two_providers(gateway, lab, start, workers):
    """One's server is lost, the other's is not: no client waits for long, and none in vain."""
    near, far = start(), start(FAR)
    config = behind(server(far, "tls"), server(near, "https"), lab=lab)
    config["gateway"]["workers"] = workers
    gateway(config)
    with Asking(lab, fresh()) as asking:
        wait_for(lambda: len([one for one in asking.all if is_fine(one)]) > 40, "names are answered")
        lost = time.monotonic()
        with silence_on_the_way(lab, f"ip daddr {FAR}"):
            wait_for(lambda: len(asking.since(lost)) > 60, "some more are asked")
    report(f"two providers, {workers} workers", asking, lost)
    assert all(is_fine(one) and took_s(one) < 1 for one in asking.all)
