"""Issue 6, item 2: which server of a group is asked first, who else and when, and what comes after it has failed."""
import contextlib
import statistics
import time

import dns.message
import pytest

from asking import ask_all
from lab import Upstream, addresses, rcode, rdata, wait_for
from scripted import Scripted, ca_of
from scripted_certificates import make_certificates
from upstreams import answered, behind, numbers, server
from waiting import moment

pytestmark = pytest.mark.by_the_clock

A, B, C = "10.99.0.54", "10.99.0.55", "10.99.0.56"
OF = {A: "10.50.0.1", B: "10.50.0.2", C: "10.50.0.3"}  # what each answers, so that one can tell them apart


@pytest.fixture
def start(lab):
    """start(A, B): scripted upstreams at these addresses."""
    with contextlib.ExitStack() as stack:
        yield lambda *where: [stack.enter_context(Scripted(lab, {"*": [f"60 A {OF[at]}"]}, at)) for at in where]


def slow_down(up, ms):
    """All its answers from now on; nothing else is wrong with it any more."""
    up.clear()
    if ms:
        up.fault("delay", ms=ms)


def group(*ups, transport="udp", **options):
    return behind(*(server(up, transport) for up in ups), lab=ups[0].lab, **options)


class Client:
    """Asks new names; of each answer: who gave it, and how long it took."""

    def __init__(self, lab, tag="n"):
        self.lab, self.tag, self.count = lab, tag, 0

    def ask(self, number=1, window=1, patience_s=10):
        names = [f"{self.tag}{self.count + i}.test" for i in range(number)]
        self.count += number
        with self.lab.connect("8.8.8.8") as sock:
            got = ask_all(sock, [(name, "A") for name in names], window, patience_s)
        assert all(one and one.rcode == 0 for one in got), [one and one.rcode for one in got]
        self.took_s = [one.took_s for one in got]
        self.by = [OF_BACK[addresses(dns.message.from_wire(one.wire))[0]] for one in got]
        return self


OF_BACK = {answer: at for at, answer in OF.items()}


def asked(up):
    """The names that clients asked for."""
    return [q["name"] for q in up.queries() if q["type"] != "NS"]


# --- race ---

@pytest.mark.parametrize("transport", ["udp", "tls"])
def test_race_asks_all_at_once_and_the_first_wins(gateway, lab, start, transport):
    a, b, c = start(A, B, C)
    for up, ms in ((a, 400), (b, 40), (c, 300)):
        slow_down(up, ms)
    gateway(group(a, b, c, transport=transport, strategy="race"))
    client = Client(lab).ask(12)
    assert client.by == [B] * 12
    assert statistics.median_high(client.took_s) < 0.15
    wait_for(lambda: all(len(asked(up)) == 12 for up in (a, b, c)), "each was asked for everything")
    at = [{q["name"]: q["time"] for q in up.queries()} for up in (a, b, c)]
    apart = [max(times) - min(times) for times in ([one[name] for one in at] for name in at[0])]
    assert statistics.median_high(apart) < 0.05


@pytest.mark.parametrize("fault", ["silence", "gone", "SERVFAIL"])
def test_race_loses_nothing_by_one_that_is_no_help(gateway, lab, start, fault):
    """Not even the first question."""
    a, b = start(A, B)
    slow_down(b, 60)
    if fault == "silence":
        a.fault("silence")
    elif fault == "gone":
        a.end()
    else:
        a.fault("rcode", rcode="SERVFAIL")
    gateway(group(a, b, strategy="race"))
    client = Client(lab).ask(20)
    assert client.by == [B] * 20
    assert max(client.took_s) < 0.35


# --- sequential, random, round_robin ---

@pytest.mark.parametrize("transport", ["udp", "https"])
def test_sequential_keeps_the_order(gateway, lab, start, transport):
    """The second is asked when the first fails, the third when both do; each though another one were quicker."""
    a, b, c = start(A, B, C)
    slow_down(a, 60)
    gateway(group(a, b, c, transport=transport))
    client = Client(lab)
    assert client.ask(30, window=5).by.count(A) >= 27  # when one was late, the second is asked
    assert len(asked(b)) <= 3 and not asked(c)
    a.fault("rcode", rcode="REFUSED")
    assert client.ask(10).by == [B] * 10 and len(asked(c)) <= 3
    b.fault("rcode", rcode="SERVFAIL")
    assert client.ask(10).by == [C] * 10
    a.clear()
    assert client.ask(10).by.count(A) >= 8


def test_round_robin_takes_turns(gateway, lab, start):
    ups = start(A, B, C)
    gateway({**group(*ups, strategy="round_robin"), "gateway": {"workers": 2}})
    by = Client(lab).ask(300, window=4).by
    assert all(90 <= by.count(at) <= 110 for at in (A, B, C))
    assert by[:99].count(A) > 25  # not one after the other


def test_random_is_spread(gateway, lab, start):
    ups = start(A, B, C)
    gateway(group(*ups, strategy="random"))
    by = Client(lab).ask(300, window=4).by
    assert all(60 <= by.count(at) <= 140 for at in (A, B, C))
    runs = sum(x != y for x, y in zip(by, by[1:]))
    assert 150 <= runs <= 250  # two of three; in turns, all of them


# --- fastest ---

@pytest.mark.parametrize("transport", ["udp", "tls", "https"])
def test_fastest_asks_the_quicker_one(gateway, lab, start, transport):
    slow, quick = start(A, B)
    slow_down(slow, 80)
    gateway(group(slow, quick, transport=transport, strategy="fastest"))
    client = Client(lab).ask(20)
    assert {A, B} == {*client.by}  # one that is not known is tried
    slow.forget()
    client.ask(200, window=4)
    assert client.by.count(B) >= 180
    assert 1 <= len(asked(slow)) <= 30  # but it is looked at


def test_fastest_finds_out_that_the_quick_one_is_slow(gateway, lab, start):
    a, b = start(A, B)
    slow_down(a, 60)
    gateway(group(a, b, strategy="fastest"))
    client = Client(lab).ask(40)
    slow_down(a, 0)
    slow_down(b, 150)
    client.ask(40)
    assert statistics.median_high(client.took_s) < 0.1
    b.forget()
    client.ask(100, window=4)
    assert client.by.count(A) >= 90 and len(asked(b)) <= 15


def test_fastest_finds_out_that_the_slow_one_is_quick(gateway, lab, start):
    a, b = start(A, B)
    slow_down(a, 100)
    slow_down(b, 25)
    gateway(group(a, b, strategy="fastest"))
    client = Client(lab).ask(60, window=4)
    assert client.by[20:].count(B) >= 36
    slow_down(a, 0)
    for _ in range(30):
        if client.ask(40, window=8).by.count(A) >= 35:
            break
    assert client.count <= 60 + 800
    assert client.ask(100, window=8).by.count(A) >= 85


def test_fastest_tries_one_that_is_new(gateway, lab, start):
    """And what was known of the others is still known."""
    a, b, c = start(A, B, C)
    slow_down(a, 80)
    slow_down(b, 30)
    gw = gateway(group(a, b, strategy="fastest"))
    client = Client(lab).ask(30)
    gw.rewrite(group(a, b, c, strategy="fastest"))
    gw.result("reload")
    a.forget()
    client.ask(20)
    assert client.by.count(C) >= 16 and C in client.by[:3]
    assert len(asked(a)) <= 6


def test_fastest_gives_up_one_that_was_never_there(gateway, lab, start):
    """Unknown ones come first, but not for ever."""
    dead, good = start(A, B)
    dead.fault("silence")
    gw = gateway(group(dead, good, strategy="fastest", timeout="400ms"))
    client = Client(lab).ask(8)
    assert set(client.by) == {B} and max(client.took_s) < 0.6
    wait_for(lambda: not numbers(gw, dead)["up"], "it looks dead", 3)
    assert max(client.ask(40).took_s) < 0.2


# --- hedging ---

@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "https"])
@pytest.mark.parametrize("strategy", ["sequential", "fastest"])
def test_a_second_is_not_waited_for(gateway, lab, start, strategy, transport):
    """A server that suddenly needs 1 s costs little more than the p95 that is known of it."""
    a, b = start(A, B)
    slow_down(a, 10)
    slow_down(b, 40)
    gw = gateway(group(a, b, transport=transport, strategy=strategy))
    client = Client(lab).ask(80, window=2)
    assert client.by[20:].count(A) >= 50
    p95_s = next(s["p95_us"] for s in gw.status()["upstreams"] if A in s["url"]) / 1e6
    assert 0.01 <= p95_s < 0.2
    slow_down(a, 1000)
    client.ask(6)
    print(f"hedging {strategy} {transport}: p95 {p95_s * 1000:.1f} ms; took",
          " ".join(f"{s * 1000:.0f}" for s in client.took_s))
    assert client.by == [B] * 6
    assert statistics.median_high(client.took_s) < max(p95_s, 0.02) + 0.04 + 0.06
    assert max(client.took_s) < p95_s + 0.4


def test_three_at_once_and_no_more(gateway, lab):
    """Of five that are silent, the next one is asked only when one of three has had its time."""
    places = [f"10.99.0.{i}" for i in range(61, 66)]
    seen = []
    with contextlib.ExitStack() as stack:
        for at in places:
            lab.run("wan", "ip", "addr", "add", at + "/24", "dev", "eth0")
            stack.callback(lab.run, "wan", "ip", "addr", "del", at + "/24", "dev", "eth0")
            stack.enter_context(Upstream(lab, lambda *_, at=at: seen.append((time.monotonic(), at)), at))
        gateway(behind(*({"url": f"udp://{at}:5354"} for at in places), timeout="800ms", total="3s"))
        began = moment()
        assert rcode(lab.ask("silent.test")) == "SERVFAIL"
        assert 1.0 < moment() - began < 3.3
    first = sorted({at: min(t for t, where in seen if where == at) for at in places}.values())
    assert len(first) == 5
    for i, begin in enumerate(first):
        assert sum(begin - 0.75 < t <= begin for t in first[:i + 1]) <= 3
    assert first[2] - began.at_s < 0.7  # the third while the others still have time


@pytest.mark.parametrize("strategy", ["sequential", "fastest", "round_robin"])
@pytest.mark.parametrize("transport", ["udp", "tls"])
def test_normal_operation_doubles_nothing(gateway, lab, start, strategy, transport):
    """Answers that take now 10, now 35 ms, and some much longer: fewer than a tenth of the questions is asked twice."""
    ups = start(A, B)
    for up in ups:
        for ms, percent in ((90, 3), (35, 30), (10, 100)):  # the first that matches
            up.fault("delay", ms=ms, percent=percent, seed=ms)
    gateway(group(*ups, transport=transport, strategy=strategy))
    client = Client(lab).ask(100, window=4)
    for up in ups:
        up.forget()
    client.ask(900, window=12)
    extra = sum(len(asked(up)) for up in ups) - 900
    print(f"{strategy} {transport}: {extra} of 900 asked once more")
    assert 0 <= extra < 90


# --- what fails, and what is said then ---

@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"])
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "https"])
def test_who_declines_is_not_waited_for(gateway, lab, start, code, transport):
    a, b = start(A, B)
    a.fault("rcode", rcode=code)
    gw = gateway(group(a, b, transport=transport))
    client = Client(lab).ask(10)
    assert client.by == [B] * 10 and max(client.took_s) < 0.4
    assert len(asked(a)) == len(asked(b)) == 10  # it lives: it is asked first each time
    seen = numbers(gw, a)
    assert seen["up"] and seen["failures"] == 10


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED"])
def test_all_decline(gateway, lab, start, code):
    ups = start(A, B)
    for up in ups:
        up.fault("rcode", rcode=code)
    gateway(group(*ups))
    began = moment()
    assert rcode(lab.ask("no.test")) in {"SERVFAIL", code}
    assert moment() - began < 0.5
    assert [len(asked(up)) for up in ups] == [1, 1]


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "https"])
def test_timeout_is_what_a_client_waits(gateway, lab, start, transport):
    up, = start(A)
    gateway(group(up, transport=transport, timeout="600ms"))
    Client(lab).ask(1)
    up.fault("silence")
    began = moment()
    assert rcode(lab.ask("silent.test")) == "SERVFAIL"
    assert 0.55 < moment() - began < 0.9


@pytest.mark.parametrize("transport", ["udp", "tls"])
def test_total_is_the_end(gateway, lab, start, transport):
    """Each has less than its timeout left when the time of all is over."""
    ups = start(A, B, C)
    for up in ups:
        up.fault("silence")
    gateway(group(*ups, transport=transport, timeout="1s", total="1100ms"))
    began = moment()
    assert rcode(lab.ask("silent.test")) == "SERVFAIL"
    assert 1.0 < moment() - began < 1.4
    assert all(asked(up) for up in ups)


# --- fall-backs ---

def chain(lab, *groups):
    """(server, options) of groups that fall back on each other in this order."""
    names = ["wan", "second", "third", "fourth", "fifth"]
    made = {}
    for i, (servers, options) in enumerate(groups):
        more = {"fallback": names[i + 1]} if i + 1 < len(groups) else {}
        made[names[i]] = {"servers": servers, "ca": str(ca_of(lab)), **more, **options}
    return {"gateway": {"workers": 1}, "upstreams": made,
            "rules": [{"name": "all", "answer": "real", "upstream": "wan"}]}


@pytest.mark.parametrize("fault", ["SERVFAIL", "silence", "gone"])
def test_fall_backs_in_their_order(gateway, lab, start, fault):
    a, b, c = start(A, B, C)

    def fail(up):
        if fault == "gone":
            up.end()
        else:
            up.fault(*(["silence"] if fault == "silence" else ["rcode"]),
                     **({"rcode": fault} if fault == "SERVFAIL" else {}))
    gateway(chain(lab, *(([up.udp], {"timeout": "400ms"}) for up in (a, b, c))))
    client = Client(lab)
    assert client.ask(5).by == [A] * 5 and not asked(b) and not asked(c)
    fail(a)
    client.ask(8)
    assert client.by == [B] * 8 and not asked(c) and max(client.took_s) < 0.7
    assert max(client.took_s[5:]) < 0.2
    fail(b)
    client.ask(8)
    assert client.by == [C] * 8 and max(client.took_s) < 1.1
    assert max(client.took_s[5:]) < 0.2
    if fault != "gone":
        a.clear()
        wait_for(lambda: client.ask(3).by == [A] * 3, "the first is used again", 6)
        b.forget(), c.forget()
        assert client.ask(5).by == [A] * 5 and not asked(b) and not asked(c)


def test_three_fall_backs_are_asked(gateway, lab, start):
    """Not a fourth; and a question's time is over when `total` says so."""
    a, b = start(A, B)
    a.fault("rcode", rcode="SERVFAIL")
    first = [a.udp]
    gw = gateway(chain(lab, *[(first, {})] * 3, ([b.udp], {})))
    assert Client(lab).ask(1).by == [B]
    gw.stop()
    b.forget()
    gateway(chain(lab, *[(first, {})] * 4, ([b.udp], {})))
    assert rcode(lab.ask("fifth.test")) == "SERVFAIL"
    assert not asked(b)


def sent_to(packets, up, transport):
    return [p for p in packets if p.target == up.address and p.target_port == up.port[transport]]


@pytest.mark.parametrize("kind", ["tls", "https"])
def test_no_downgrade(gateway, lab, start, kind):
    """Not one packet to an unencrypted server, for questions of an encrypted group."""
    a, b = start(A, B)
    plain = [b.udp, b.tcp, b.dns]
    # One with only plain servers is refused; here the encrypted one of the fall-back is never there.
    gateway(chain(lab, ([getattr(a, kind)], {"timeout": "300ms"}),
                  ([*plain, "tls://10.99.0.99@x.test"], {"timeout": "300ms"})))
    assert Client(lab).ask(1).by == [A]
    for fault in ({"kind": "rcode", "rcode": "SERVFAIL"}, {"kind": "silence"}, {"kind": "reset"}):
        a.fault(**fault)
        with lab.watch("gw", "wan0") as wan:
            for i in range(3):
                assert rcode(lab.ask(f"{fault['kind']}{i}.secret.test")) == "SERVFAIL"
            packets = wan.packets()
        assert not [p for p in packets if p.target == B], packets
        assert not [p for p in packets if b"secret" in p.payload]
        a.clear()


def test_no_downgrade_leaves_out_only_what_is_plain(gateway, lab, start):
    a, b, c = start(A, B, C)
    a.fault("reset")
    gateway(chain(lab, ([a.tls], {"timeout": "300ms"}), ([b.udp, c.https], {})))
    client = Client(lab).ask(8)
    assert client.by == [C] * 8 and not b.queries()


def test_no_downgrade_holds_for_the_whole_chain(gateway, lab, start):
    """Of the second, which would allow it for its own questions, too."""
    a, b, c = start(A, B, C)
    for up in (a, b):
        up.fault("rcode", rcode="SERVFAIL")
    config = chain(lab, ([a.tls], {}), ([b.tls], {"downgrade": True}), ([c.udp], {}))
    config["rules"].insert(0, {"name": "own", "domain": ["own.test"], "answer": "real", "upstream": "second"})
    gateway(config)
    assert rcode(lab.ask("secret.test")) == "SERVFAIL" and not c.queries()
    answered(lab.ask("own.test"), OF[C])


def test_downgrade(gateway, lab, start):
    a, b = start(A, B)
    a.fault("reset")
    gateway(chain(lab, ([a.tls], {"downgrade": True}), ([b.udp], {})))
    client = Client(lab).ask(8)
    assert client.by == [B] * 8 and max(client.took_s) < 0.4


def test_plain_groups_fall_back_on_plain_ones(gateway, lab, start):
    """There is nothing to lose."""
    a, b = start(A, B)
    a.fault("rcode", rcode="REFUSED")
    gateway(chain(lab, ([a.udp], {}), ([b.tcp], {})))
    assert Client(lab).ask(3).by == [B] * 3


@pytest.mark.parametrize("now", ["none", "another", "another first"])
def test_what_a_fall_back_said_is_not_the_changed_groups_answer(gateway, lab, start, now):
    a, b, c = start(A, B, C)
    a.fault("rcode", rcode="SERVFAIL")
    gw = gateway(chain(lab, ([a.udp], {}), ([b.udp], {})))
    for _ in range(3):
        answered(gw.ask("kept.test"), OF[B])
    assert len(asked(b)) == 1
    changed = {"none": [([a.udp], {})], "another": [([a.udp], {}), ([c.udp], {})],
               "another first": [([c.udp], {}), ([b.udp], {})]}[now]
    gw.rewrite(chain(lab, *changed))
    gw.result("reload")
    reply = gw.ask("kept.test")
    assert (rcode(reply), addresses(reply)) == (("SERVFAIL", []) if now == "none" else ("NOERROR", [OF[C]]))
    assert len(asked(b)) == 1
    gw.rewrite(chain(lab, ([a.udp], {}), ([b.udp], {})))
    gw.result("reload")
    answered(gw.ask("kept.test"), OF[B])


# --- a rule forwards a zone ---

@pytest.mark.parametrize("intercept", ["tun", "tproxy"])
def test_zones_have_groups_of_their_own(gateway, lab, start, intercept):
    """Names, reverse zones (of private networks, too), types; dnsmasq and unbound, over UDP and as DoT."""
    a, = start(A)
    a.set_zone({"*": [f"60 A {OF[A]}"], "7.77.168.192.in-addr.arpa": ["60 PTR seven.office.test."]})
    lab.run("wan", "ip", "addr", "add", C + "/24", "dev", "eth0")
    try:
        lab.dnsmasq("--port=5355", f"--listen-address={C}", "--bind-interfaces", "--local=/office.test/",
                    "--address=/www.office.test/10.50.0.7", "--ptr-record=9.9.10.in-addr.arpa,nine.office.test",
                    "--host-record=host.office.test,10.9.9.9,2001:db8::9", part="wan")
        dot = unbound_dot(lab, C, 8853)
        gw = gateway({
            "gateway": {"workers": 2},
            "upstreams": {"wan": {"servers": ["udp://10.99.0.53"]}, "scripted": {"servers": [a.udp]},
                          "office": {"servers": [f"udp://{C}:5355"]},
                          "dot": {"servers": [f"tls://{C}:8853@dot.test"], "ca": str(ca_of(lab))}},
            "rules": [
                {"name": "office", "domain": ["office.test", "9.9.10.in-addr.arpa"], "answer": "real",
                 "upstream": "office"},
                {"name": "nets", "domain": ["77.168.192.in-addr.arpa", "full:one.test"], "answer": "real",
                 "upstream": "scripted"},
                {"name": "dot", "domain": ["dot.test"], "answer": "real", "upstream": "dot"},
                {"name": "rest", "answer": "real", "upstream": "wan"}]}, intercept)
        answered(gw.ask("www.office.test"), "10.50.0.7")
        answered(gw.ask("host.office.test", "AAAA"), "2001:db8::9")
        assert rcode(gw.ask("none.office.test")) == "NXDOMAIN"
        assert rdata(gw.ask("9.9.9.10.in-addr.arpa", "PTR")) == ["host.office.test."]
        assert rdata(gw.ask("7.77.168.192.in-addr.arpa", "PTR")) == ["seven.office.test."]
        answered(gw.ask("one.test"), OF[A])
        assert rcode(gw.ask("two.one.test")) == "NXDOMAIN"  # unbound's
        answered(gw.ask("web.test"), "10.99.0.10")
        assert rcode(gw.ask("5.88.168.192.in-addr.arpa", "PTR")) == "NXDOMAIN"  # ours
        for i in range(20):
            answered(gw.ask(f"x{i}.dot.test"), "10.50.0.9")
        assert sorted(set(asked(a))) == ["7.77.168.192.in-addr.arpa", "one.test"]
        servers = {s["group"]: s for s in gw.status()["upstreams"]}
        assert servers["dot"]["queries"] == 20 and servers["dot"]["failures"] == 0
        assert servers["wan"]["queries"] == 2
        dot.terminate()
        dot.wait(10)
        assert rcode(gw.ask("after.dot.test")) == "SERVFAIL"
        answered(gw.ask("www.office.test"), "10.50.0.7")
    finally:
        lab.run("wan", "ip", "addr", "del", C + "/24", "dev", "eth0")


def unbound_dot(lab, address, port):
    """An unbound that answers over TLS only."""
    at = lab.dir / f"unbound-{port}"
    at.mkdir(exist_ok=True)
    ca_of(lab)
    make_certificates(lab.dir, at, ["dot.test"], [address])
    (at / "conf").write_text(f"""server:
    interface: {address}@{port}
    tls-port: {port}
    tls-service-key: {at}/good.pem
    tls-service-pem: {at}/good.pem
    access-control: 0.0.0.0/0 allow
    username: ""
    chroot: ""
    directory: "{at}"
    pidfile: ""
    use-syslog: no
    do-daemonize: no
    module-config: "iterator"
    root-hints: ""
    local-zone: "." static
    local-zone: "dot.test." redirect
    local-data: "dot.test. 60 IN A 10.50.0.9"
remote-control:
    control-enable: no
""")
    process = lab.popen("wan", "unbound", "-c", at / "conf", stderr=open(at / "log", "wb"))
    wait_for(lambda: process.poll() is not None or f"{address}:{port}" in lab.run("wan", "ss", "-Hltn").stdout,
             "unbound listens")
    assert process.poll() is None, (at / "log").read_text()
    return process


@pytest.mark.parametrize("intercept", ["tun", "tproxy"])
def test_real_servers_beside_a_scripted_one(gateway, lab, start, intercept):
    """One group of dnsmasq, unbound and a dead one: any strategy, any of two workers."""
    dead, = start(A)
    dead.fault("silence")
    lab.run("wan", "ip", "addr", "add", C + "/24", "dev", "eth0")
    try:
        lab.dnsmasq("--port=5355", f"--listen-address={C}", "--bind-interfaces", "--address=/flood.test/10.99.2.2",
                    part="wan")
        for strategy in ("race", "sequential", "random", "round_robin", "fastest"):
            gw = gateway({"gateway": {"workers": 2},
                          "upstreams": {"wan": {"servers": [dead.udp, f"udp://{C}:5355", "udp://10.99.0.53"],
                                                "strategy": strategy, "timeout": "500ms"}},
                          "rules": [{"name": "all", "answer": "real", "upstream": "wan"}]}, intercept)
            with contextlib.ExitStack() as stack:
                socks = [stack.enter_context(lab.connect("8.8.8.8")) for _ in range(4)]
                for i, sock in enumerate(socks):
                    got = ask_all(sock, [(f"{strategy}{i}-{k}.flood.test", "A") for k in range(30)], 4)
                    assert all(one and one.rcode == 0 and one.answers == 1 for one in got)
            gw.stop()
    finally:
        lab.run("wan", "ip", "addr", "del", C + "/24", "dev", "eth0")
