"""What was answered, or failed, before something changed: an upstream lives again, the WAN comes up, a reload. With the
cache as it is by default."""
import contextlib
import socket

import dns.rcode
import pytest

from lab import Upstream, addresses, answer_to, rcode, wait_for
from test_carry import fake, tcp_connect
from test_unless import HERE, Zone, configured, far, way  # noqa: F401: far is a fixture
from test_upstreams import addresses_in_wan, answers, real_rules, scripted  # noqa: F401: fixtures
from waiting import moment

SOON_S = 3  # a probe's interval, 2 s, and what a loaded machine takes
SERVER = "udp://10.99.0.54:5354"


@pytest.fixture
def flaky(scripted):  # noqa: F811
    """An upstream that says nothing while .silent is true, and SERVFAIL while .broken is."""
    def handler(wire, client, send):
        if upstream.broken:
            send(answer_to(wire, rcode=dns.rcode.SERVFAIL))
        elif not upstream.silent:
            send(answer_to(wire, "300 A 10.99.0.10"))

    def names():
        return [wire[12:wire.index(b"\0", 12)] for wire, _ in upstream.queries]
    upstream = scripted(handler)
    upstream.silent, upstream.broken, upstream.names = True, False, names
    return upstream


def is_answered(gw, name, **how):
    return addresses(gw.ask(name, **how)) == ["10.99.0.10"]


# --- an upstream that lives again ---

def test_its_names_are_answered_soon(gateway, flaky):
    """Those that failed just before, too: it was probed, and what is remembered of the time when it was down is worth
    nothing any more."""
    gw = gateway(real_rules(SERVER, timeout="300ms", total="1s"))
    for i in range(5):
        assert rcode(gw.ask(f"a{i}.real.test")) == "SERVFAIL"
    assert not gw.status()["upstreams"][0]["up"]
    flaky.silent = False
    wait_for(lambda: all([is_answered(gw, f"a{i}.real.test") for i in range(5)]), "all are answered", SOON_S)
    assert gw.status()["upstreams"][0]["up"]


def test_another_name_brings_it_back(gateway, flaky):
    """Without probes: a question that nobody has asked yet goes to a server that looks dead, and frees the others."""
    gw = gateway(real_rules(SERVER, timeout="300ms", total="1s", health="off"))
    for i in range(5):
        assert rcode(gw.ask(f"a{i}.real.test")) == "SERVFAIL"
    assert not gw.status()["upstreams"][0]["up"]
    flaky.silent = False
    assert is_answered(gw, "other.real.test")
    for i in range(5):
        assert is_answered(gw, f"a{i}.real.test")


def test_a_failure_is_remembered_while_it_is_down(gateway, flaky):
    """At once, and without a packet; but no longer than failure_ttl."""
    gw = gateway({**real_rules(SERVER, timeout="300ms", total="1s"), "cache": {"failure_ttl": "2s"}})
    assert rcode(gw.ask("a.real.test")) == "SERVFAIL"
    before, start = flaky.names().count(b"\1a\4real\4test"), moment()
    for _ in range(20):
        assert rcode(gw.ask("a.real.test")) == "SERVFAIL"
    assert moment() - start < 1
    assert flaky.names().count(b"\1a\4real\4test") == before > 0
    wait_for(lambda: rcode(gw.ask("a.real.test")) == "SERVFAIL"
             and flaky.names().count(b"\1a\4real\4test") > before, "it is asked again", SOON_S)


def test_one_name_that_fails_is_not_dead_for_long(gateway, flaky):
    """The server lives, this name's own ones did not: SERVFAIL, then an answer."""
    flaky.silent, flaky.broken = False, True
    gw = gateway(real_rules(SERVER))
    assert rcode(gw.ask("a.real.test")) == "SERVFAIL"
    flaky.broken = False
    assert is_answered(gw, "b.real.test")
    wait_for(lambda: is_answered(gw, "a.real.test"), "a is answered", 7)


def test_the_first_server_is_used_again(gateway, lab, scripted, flaky):  # noqa: F811
    """sequential: the second one helps out, and no client waits for the first while it is down."""
    second = scripted(answers("10.50.0.2"), "10.99.0.55")
    gw = gateway(real_rules(SERVER, "udp://10.99.0.55:5354", strategy="sequential", timeout="500ms"))
    names = (f"n{i}.real.test" for i in range(1000))
    wait_for(lambda: addresses(gw.ask(next(names))) and not gw.status()["upstreams"][0]["up"], "the first is down")
    for _ in range(20):
        start = moment()
        assert addresses(gw.ask(next(names))) == ["10.50.0.2"]
        assert moment() - start < 0.2
    flaky.silent = False
    wait_for(lambda: is_answered(gw, next(names)), "the first answers", 2 * SOON_S)  # one probe may have been in vain
    before = len(second.queries)
    for _ in range(10):
        assert is_answered(gw, next(names))
    assert len(second.queries) == before


# --- the WAN goes and comes ---

@contextlib.contextmanager
def without(lab, what, *words):
    """A route or an address of the router that goes; the block may put it back itself."""
    family = ["-6"] if ":" in words[-1] else []
    lab.run("gw", "ip", *family, what, "del", *words)
    there = []

    def back():
        lab.run("gw", "ip", *family, what, "add", *words)
        there.append(True)
    try:
        yield back
    finally:
        if not there:
            back()


FAR = "203.0.113.53"  # a server beyond the default route


@pytest.fixture
def far_server(lab, flaky):  # noqa: F811
    flaky.silent = False
    lab.run("wan", "ip", "addr", "add", f"{FAR}/32", "dev", "lo")
    with Upstream(lab, flaky.handler, FAR) as upstream:
        yield upstream
    lab.run("wan", "ip", "addr", "del", f"{FAR}/32", "dev", "lo")


@pytest.mark.parametrize("intercept", ["tun", "tproxy"])
def test_names_that_failed_without_a_route(gateway, lab, far_server, intercept):
    """At once when the default route is there; that alone has changed."""
    gw = gateway(real_rules(f"udp://{FAR}:5354", timeout="300ms", total="600ms", health="off"), intercept)
    with without(lab, "route", "default", "via", "10.99.0.2") as back:
        time_of = moment()
        for i in range(5):
            assert rcode(gw.ask(f"a{i}.real.test", server="192.168.77.1")) == "SERVFAIL"
        assert moment() - time_of < 4
        back()
        for i in range(5):
            wait_for(lambda: is_answered(gw, f"a{i}.real.test", server="192.168.77.1"), f"a{i} is answered", 1)


def test_connections_that_failed_without_a_route(gateway, lab, far_server):
    """To the fake address that the client has already."""
    gw = gateway(real_rules(f"udp://{FAR}:5354", timeout="300ms", total="600ms", health="off"))
    target = fake(gw, "web.test", socket.AF_INET)
    with without(lab, "route", "default", "via", "10.99.0.2") as back:
        error, _ = tcp_connect(lab, target)
        assert isinstance(error, OSError)
        back()

        def connects():
            sock, _ = tcp_connect(lab, target)
            if isinstance(sock, OSError):
                return False
            sock.close()
            return True
        wait_for(connects, "it connects", 1.5)


def test_names_that_failed_without_an_address(gateway, lab, far_server):
    gw = gateway(real_rules(f"udp://{FAR}:5354", timeout="300ms", total="600ms", health="off"))
    with without(lab, "route", "default", "via", "10.99.0.2") as back, \
            without(lab, "addr", "10.99.0.1/24", "dev", "wan0") as address_back:
        assert rcode(gw.ask("a.real.test", server="192.168.77.1")) == "SERVFAIL"
        address_back()
        back()
        wait_for(lambda: is_answered(gw, "a.real.test", server="192.168.77.1"), "it is answered", 1)


# --- unless ---

@pytest.mark.parametrize("kind", ["silent", "broken"])
def test_unless_looks_again_soon(lab, gateway, far, kind):  # noqa: F811
    """A name whose upstream failed goes the rule's own way, but not for a minute."""
    name, zone = "late.test", {"late.test": None if kind == "silent" else "SERVFAIL"}
    with Zone(lab, zone) as upstream:
        gateway(configured(lab))
        assert way(lab, name)[0] == "proxy"
        upstream.zone[name] = HERE
        # Failures are remembered for 5 s by the cache, and the verdict made of one for 5 s more.
        wait_for(lambda: way(lab, name)[0] == HERE[0], "it is found out", 13)


# --- a reload ---

CHANGES = {
    "servers": {"servers": ["udp://10.99.0.55:5354"]},
    "mark": {"mark": "0x4"},
    "ignore_ip": {"ignore_ip": "10.99.0.10"},
    "bogus_nxdomain": {"bogus_nxdomain": "10.99.0.10"},
    "rebind": {"rebind": "protect"},
    "ecs": {"ecs": "192.0.2.0/24"},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_group_serves_nothing_of_before(gateway, scripted, flaky, change):  # noqa: F811
    flaky.silent = False
    second = scripted(answers("10.50.0.2"), "10.99.0.55")
    gw = gateway(real_rules(SERVER, timeout="300ms", total="1s"))
    for _ in range(2):
        assert is_answered(gw, "a.real.test")
    before = len(flaky.queries)
    gw.rewrite(real_rules(SERVER, timeout="300ms", total="1s") | {
        "upstreams": {"wan": {"servers": [SERVER], "timeout": "300ms", "total": "1s", **CHANGES[change]}}})
    gw.result("reload")
    reply = gw.ask("a.real.test")
    assert len(flaky.queries) + len(second.queries) > before
    expected = {"servers": ["10.50.0.2"], "mark": ["10.99.0.10"], "ecs": ["10.99.0.10"]}
    assert addresses(reply) == expected.get(change, [])


def test_a_reload_that_changes_nothing_keeps_what_is_known(gateway, flaky):
    flaky.silent = False
    gw = gateway(real_rules(SERVER))
    assert is_answered(gw, "a.real.test")
    gw.config_file.write_text("# another comment\n" + gw.config_file.read_text())
    gw.result("reload")
    for _ in range(5):
        assert is_answered(gw, "a.real.test")
    assert len(flaky.queries) == 1


def test_a_rule_that_names_another_group(gateway, scripted, flaky):  # noqa: F811
    """And back: each group's own answer, which is still there."""
    flaky.silent = False
    second = scripted(answers("10.50.0.2"), "10.99.0.55")
    groups = {"wan": {"servers": [SERVER]}, "other": {"servers": ["udp://10.99.0.55:5354"]}}

    def rules(group):
        return {"upstreams": groups, "rules": [{"name": "all", "answer": "real", "upstream": group}]}
    gw = gateway(rules("wan"))
    for group, expected in (("wan", "10.99.0.10"), ("other", "10.50.0.2"), ("wan", "10.99.0.10")):
        gw.rewrite(rules(group))
        gw.result("reload")
        for _ in range(3):
            assert addresses(gw.ask("a.real.test")) == [expected]
    assert (len(flaky.queries), len(second.queries)) == (1, 1)


def test_a_failure_of_before_does_not_outlive_its_group(gateway, scripted, flaky):  # noqa: F811
    """Who mends the configuration during an outage need not wait."""
    scripted(answers("10.50.0.2"), "10.99.0.55")
    gw = gateway(real_rules(SERVER, timeout="300ms", total="600ms"))
    assert rcode(gw.ask("a.real.test")) == "SERVFAIL"
    gw.rewrite(real_rules("udp://10.99.0.55:5354"))
    gw.result("reload")
    assert addresses(gw.ask("a.real.test")) == ["10.50.0.2"]
