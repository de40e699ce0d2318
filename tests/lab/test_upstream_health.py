"""Issue 6, item 2: servers that are dead, what that costs, and how one finds out that they live again."""
import contextlib
import itertools
import time

import pytest

from lab import addresses, ede, rcode, wait_for
from scripted import Scripted
from upstreams import answered, behind, numbers, server
from waiting import moment

pytestmark = pytest.mark.by_the_clock

A, B = "10.99.0.54", "10.99.0.55"
OF = {A: "10.50.0.1", B: "10.50.0.2"}
TRANSPORTS = ["udp", "tcp", "tls", "https"]


@pytest.fixture
def start(lab):
    with contextlib.ExitStack() as stack:
        yield lambda *where: [stack.enter_context(Scripted(lab, {"*": [f"60 A {OF[at]}"]}, at)) for at in where]


@pytest.fixture
def names():
    return (f"n{i}.test" for i in itertools.count())


def group(*ups, transport="udp", **options):
    return behind(*(server(up, transport) for up in ups), lab=ups[0].lab, **options)


def took(lab, name, at=None):
    """Seconds until its answer, by that server."""
    began = moment()
    reply = lab.ask(name)
    if at:
        answered(reply, OF[at])
    return moment() - began


def wait_used(lab, names, at):
    """Until that server answers: if it is slow for once, another one does."""
    wait_for(lambda: addresses(lab.ask(next(names))) == [OF[at]], f"{at} is used")


def is_up(gw, up):
    return numbers(gw, up)["up"]


def probes(up):
    return [q for q in up.queries() if q["type"] == "NS" and q["name"] in (".", "")]


def asked(up):
    return [q["name"] for q in up.queries() if q["type"] == "A"]


def make_dead(up, how):
    if how == "gone":
        up.end()
    elif how == "frozen":
        up.freeze()
    else:
        up.fault("silence")


# --- what it costs ---

@pytest.mark.parametrize("how", ["silence", "gone", "frozen"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_dead_from_the_start(gateway, lab, start, names, transport, how):
    """The first few questions wait for the second server, at most a quarter of the timeout; the others do not."""
    dead, good = start(A, B)
    make_dead(dead, how)
    gw = gateway(group(dead, good, transport=transport, timeout="800ms"))
    first = [took(lab, next(names), B) for _ in range(6)]
    assert max(first) < 0.55
    wait_for(lambda: not is_up(gw, dead), "it looks dead", 3)
    then = [took(lab, next(names), B) for _ in range(40)]
    print(f"{transport} {how}: first {[round(s * 1000) for s in first]} ms, then at most {max(then) * 1000:.0f} ms")
    assert max(then) < 0.2


@pytest.mark.parametrize("how", ["silence", "gone", "frozen"])
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_dies_while_it_is_used(gateway, lab, start, names, transport, how):
    """Each question costs what the server usually takes, and a little more."""
    dead, good = start(A, B)
    gw = gateway(group(dead, good, transport=transport, timeout="800ms"))
    for _ in range(30):
        took(lab, next(names))
    make_dead(dead, how)
    first = [took(lab, next(names), B) for _ in range(6)]
    assert max(first) < 0.3
    wait_for(lambda: not is_up(gw, dead), "it looks dead", 3)
    assert max(took(lab, next(names), B) for _ in range(40)) < 0.2
    assert is_up(gw, good) and numbers(gw, good)["failures"] == 0


def test_one_answer_that_is_lost_is_no_death(gateway, lab, start, names):
    """Nor are two in a row."""
    a, b = start(A, B)
    gw = gateway(group(a, b, transport="tls", timeout="400ms", health="100ms"))
    for _ in range(25):
        took(lab, next(names))
    for _ in range(5):
        a.fault("silence", times=2)
        for _ in range(2):
            took(lab, next(names), B)
        time.sleep(0.45)  # until they are over
        took(lab, next(names))
        assert is_up(gw, a)
    assert not probes(a)


def test_a_server_that_declines_lives(gateway, lab, start, names):
    a, b = start(A, B)
    a.fault("rcode", rcode="SERVFAIL")
    gw = gateway(group(a, b, health="100ms"))
    for _ in range(20):
        took(lab, next(names), B)
    assert is_up(gw, a) and len(asked(a)) == 20 and not probes(a)


# --- probes ---

def take_down(gw, lab, up, names):
    """By questions that others answer, or nobody."""
    def is_down():
        lab.ask(next(names))
        return not is_up(gw, up)
    wait_for(is_down, "it looks dead")
    return time.time()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_probes_double(gateway, lab, start, names, transport):
    """After the interval, then after twice as long, …: `. NS`, and no question of a client."""
    dead, good = start(A, B)
    took_part = {"timeout": "300ms", "health": "400ms"}
    gw = gateway(group(dead, good, transport=transport, **took_part))
    wait_used(lab, names, A)
    dead.fault("silence")
    down_at = take_down(gw, lab, dead, names)

    def seen():  # one is sent again after half of its time
        times = []
        for q in probes(dead):
            if not times or q["time"] - times[-1] > 0.25:
                times.append(q["time"])
        return times
    wait_for(lambda: len(seen()) >= 3, "three probes", 8)
    gaps = [b - a for a, b in zip([down_at, *seen()], seen())][:3]
    print(f"{transport}: probes after {[round(gap, 2) for gap in gaps]} s")
    assert 0.3 < gaps[0] < 0.9  # a try of before may have ended a little later
    # The interval begins when the probe's time is over; up to an eighth is added, and the clock that looks is coarse.
    assert 0.8 <= gaps[1] < 0.8 * 1.125 + 0.3 + 0.35
    assert 1.6 <= gaps[2] < 1.6 * 1.125 + 0.3 + 0.45
    assert {q["class"] for q in probes(dead)} == {"IN"}
    assert not probes(good)
    for q in probes(dead):
        assert transport in ("udp", "tcp") or q["size"] % 128 == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("how", ["silence", "gone"])
def test_it_is_used_again_soon(gateway, lab, start, names, transport, how):
    """Within the interval after it is back, where that was soon; nobody need ask for it."""
    dead, good = start(A, B)
    gw = gateway(group(dead, good, transport=transport, timeout="300ms", health="1s"))
    wait_used(lab, names, A)
    make_dead(dead, how)
    take_down(gw, lab, dead, names)
    time.sleep(0.35)  # tries that are under way are over
    if how == "gone":
        dead, = start(A)
    else:
        dead.forget(), dead.clear()
    began = moment()
    wait_for(lambda: is_up(gw, dead), "it is up", 2)
    print(f"{transport} {how}: up after {moment() - began:.2f} s")
    assert moment() - began < 1.125 + 0.25 + 0.3
    assert len(probes(dead)) == 1
    assert sum(addresses(lab.ask(next(names))) == [OF[A]] for _ in range(10)) >= 8  # one may be late
    assert len(probes(dead)) == 1  # no more of them


def test_probes_go_to_all_that_are_down_and_to_no_other(gateway, lab, start, names):
    dead, good = start(A, B)
    gw = gateway(behind(server(dead, "udp"), server(dead, "tcp"), server(dead, "tls"), server(good, "udp"), lab=lab,
                        timeout="300ms", health="300ms"))
    dead.fault("silence")
    take_down(gw, lab, dead, names)
    wait_for(lambda: {q["transport"] for q in probes(dead)} == {"udp", "tcp", "tls"}, "each is probed", 8)
    dead.clear()
    wait_for(lambda: is_up(gw, dead), "all are up", 8)
    assert not probes(good)


def test_an_error_is_an_answer_to_a_probe(gateway, lab, start, names):
    """Some refuse `.`: they live."""
    dead, good = start(A, B)
    gw = gateway(group(dead, good, timeout="300ms", health="300ms"))
    silence = dead.fault("silence")
    take_down(gw, lab, dead, names)
    dead.fault("rcode", rcode="REFUSED", type="NS")
    dead.clear(silence)
    wait_for(lambda: is_up(gw, dead), "it is up", 3)
    wait_used(lab, names, A)


def test_health_off(gateway, lab, start, names):
    """No probes: one question in ten seconds is asked there, too (or one for which the other is late), and its client
    waits for nobody."""
    dead, good = start(A, B)
    gw = gateway(group(dead, good, timeout="300ms", health="off"))
    dead.fault("silence")
    take_down(gw, lab, dead, names)
    time.sleep(0.3)
    dead.clear()
    dead.forget()
    began = moment()
    while not is_up(gw, dead):
        assert moment() - began < 13
        assert took(lab, next(names)) < 0.2
        time.sleep(0.05)
    assert not probes(dead) and len(asked(dead)) <= 2
    wait_used(lab, names, A)


# --- all are down ---

def make_all_down(gw, lab, ups, names):
    for up in ups:
        up.fault("silence")
    wait_for(lambda: lab.ask(next(names)) and not any(is_up(gw, up) for up in ups), "all look dead", 15)
    time.sleep(0.35)  # tries that are under way are over


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_spray(gateway, lab, start, names, transport):
    """All are asked all the same, at once; and who answers is used again."""
    ups = start(A, B)
    gw = gateway(group(*ups, transport=transport, timeout="300ms", health="off"))
    make_all_down(gw, lab, ups, names)
    ups[0].forget(), ups[1].forget()
    ups[1].clear()
    name = next(names)
    assert took(lab, name, B) < 0.3
    wait_for(lambda: name in asked(ups[0]) and name in asked(ups[1]), "both were asked", 1)
    assert is_up(gw, ups[1]) and not is_up(gw, ups[0])
    assert max(took(lab, next(names), B) for _ in range(20)) < 0.2


@pytest.mark.parametrize("intercept", ["tun", "tproxy"])
@pytest.mark.parametrize("tcp", [False, True])
def test_none_fails_at_once(gateway, lab, start, names, intercept, tcp):
    """With the reason, and without a packet."""
    ups = start(A, B)
    gw = gateway(group(*ups, timeout="300ms", health="off", all_down="none"), intercept)
    make_all_down(gw, lab, ups, names)
    for up in ups:
        up.forget()
    for _ in range(20):
        began = moment()
        reply = lab.ask(next(names), edns=True, tcp=tcp)
        assert moment() - began < 0.15
        assert rcode(reply) == "SERVFAIL" and set(ede(reply)) & {22, 23}
    assert not asked(ups[0]) and not asked(ups[1])


def test_none_comes_back_by_probes(gateway, lab, start, names):
    ups = start(A, B)
    gw = gateway(group(*ups, timeout="300ms", health="300ms", all_down="none"))
    make_all_down(gw, lab, ups, names)
    for up in ups:
        up.clear()
    wait_for(lambda: addresses(lab.ask(next(names))) == [OF[A]], "it is used again", 5)


def test_none_with_a_fall_back(gateway, lab, start, names):
    dead, good = start(A, B)
    gw = gateway(group(dead, timeout="300ms", health="off", all_down="none", fallback="other",
                       more={"other": {"servers": [good.udp]}}))
    dead.fault("silence")
    take_down(gw, lab, dead, names)
    dead.forget()
    assert max(took(lab, next(names), B) for _ in range(20)) < 0.2
    assert not asked(dead)


# --- what others see of it ---

@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("intercept", ["tun", "tproxy"])
def test_all_workers_know(gateway, lab, start, names, workers, intercept):
    """That it is dead, and that it is back: what one has found out is no news to the next."""
    dead, good = start(A, B)
    config = group(dead, good, transport="tls", timeout="400ms", health="1s")
    config["gateway"]["workers"] = workers
    gw = gateway(config, intercept)
    dead.fault("silence")
    take_down(gw, lab, dead, names)
    # Each question has a socket of its own, so they come to all workers.
    assert max(took(lab, next(names), B) for _ in range(40)) < 0.2
    dead.clear()
    wait_for(lambda: is_up(gw, dead), "it is up", 8)
    assert len({q["time"] for q in probes(dead)}) <= 4  # one worker probes
    wait_for(lambda: all(addresses(lab.ask(next(names))) == [OF[A]] for _ in range(20)), "each worker uses it")


def test_a_reload_keeps_what_is_known(gateway, lab, start, names):
    """A dead server is no new one for being in another place of the list."""
    dead, good = start(A, B)
    gw = gateway(group(dead, good, timeout="400ms", health="30s"))
    dead.fault("silence")
    take_down(gw, lab, dead, names)
    config = group(dead, good, timeout="400ms", health="30s")
    config["upstreams"]["wan"]["servers"].append({"url": "udp://10.99.0.53"})
    gw.rewrite(config)
    gw.result("reload")
    assert not is_up(gw, dead)
    assert max(took(lab, next(names), B) for _ in range(10)) < 0.2
