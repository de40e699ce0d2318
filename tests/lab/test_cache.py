"""Item 4 of resolve: what is kept of upstreams' answers, for whom and how long."""
import threading
import time

import dns.flags
import dns.message
import dns.rrset
import pytest

from asking import ask_all
from caching import (asked, cached, over, questions, real_rule, state, stats, taking, up,  # noqa: F401: up is a fixture
                     wait_gone)
from lab import (Upstream, addresses, ede, framed, has_soa, question, rcode, rdata, read_message, ttls, wait_for)
from scripted import Scripted
from waiting import moment

OFF = {"serve_stale": "off"}


# --- the key ---

def test_types_that_differ_in_their_upper_byte_only(gateway, up):
    up.set_zone({"x.test": ["60 A 10.50.0.1", '60 CAA 0 issue "ca.test"', "60 TXT only"]})  # types 1 and 257
    gw = gateway(over(up))
    for _ in range(2):
        assert rdata(gw.ask("x.test", "A")) == ["10.50.0.1"]
        assert rdata(gw.ask("x.test", "CAA")) == ['0 issue "ca.test"']
        assert rdata(gw.ask("x.test", "TXT")) == ['"only"']
        assert rdata(gw.ask("x.test", "MX")) == []
        assert rdata(gw.ask("x.test", "TYPE513")) == []
    assert asked(up, "x.test") == ["A", "CAA", "TXT", "MX", "TYPE513"]


def test_do_and_cd_are_apart_and_nothing_else_is(gateway, up):
    gw = gateway(over(up))
    ways = [(False, False), (True, False), (False, True), (True, True)]

    def ask(do, cd, flags=0):
        query = question("x.test", edns=True, flags=dns.flags.RD | (dns.flags.CD if cd else 0) | flags)
        query.want_dnssec(do)
        reply = gw.lab.exchange(query)
        assert addresses(reply) == ["10.50.0.1"]
        assert (bool(reply.flags & dns.flags.CD), bool(reply.ednsflags & dns.flags.DO)) == (cd, do)
        return reply

    for _ in range(3):
        for do, cd in ways:
            ask(do, cd)
    ask(False, False, dns.flags.AD)
    assert len(up.queries(name="x.test")) == 4
    assert sorted(("CD" in q["flags"], q["edns"]["do"]) for q in up.queries()) == sorted((cd, do) for do, cd in ways)
    assert stats(gw)["entries"] == 4


def test_the_case_of_a_name_does_not_matter_and_comes_back_as_asked(gateway, up):
    gw = gateway(over(up))
    for name in ("x.test", "X.TEST", "x.TeSt", "X.test"):
        for tcp in (False, True):
            query = question(name)
            reply = gw.lab.exchange(query, tcp=tcp)
            assert reply.question[0].name.labels == query.question[0].name.labels
            assert addresses(reply) == ["10.50.0.1"]
    assert len(up.queries()) == 1
    assert len(gw.result("cache.show", name="X.Test")) == 1


def test_names_that_look_alike_are_others(gateway, up):
    """A dot within a label, an escaped letter, one label more: same text, almost."""
    gw = gateway(over(up))
    names = ["a.b.test", "a\\.b.test", "ab.test", "a.b.test.test", "\\000a.b.test", "a\\000.b.test"]
    up.set_zone({"*": ["60 TXT x"], **{name: [f"60 A 10.50.0.{i}"] for i, name in enumerate(names)}})
    for _ in range(2):
        for i, name in enumerate(names):
            assert addresses(gw.ask(name)) == [f"10.50.0.{i}"]
    assert len(up.queries()) == len(names)


def test_id_and_rd_are_the_askers(gateway, up):
    gw = gateway(over(up))
    for number in (0, 1, 0x1234, 0xffff):
        for flags in (0, dns.flags.RD):
            query = question("x.test", flags=flags)
            query.id = number
            reply = gw.lab.exchange(query)
            assert reply.flags & dns.flags.RD == flags and addresses(reply) == ["10.50.0.1"]
            assert reply.flags & dns.flags.QR and reply.flags & dns.flags.RA and not reply.flags & dns.flags.AA
    assert len(up.queries()) == 1
    assert "RD" in up.queries()[0]["flags"]


def test_opt_is_each_clients_own(gateway, up):
    up.fault("options")
    gw = gateway(over(up))
    assert gw.ask("x.test", edns=True).options == ()  # nothing of the server's is relayed
    assert gw.ask("x.test").edns == -1
    assert gw.ask("x.test", edns=True).edns == 0
    assert len(up.queries()) == 1


def test_clients_of_other_rules_and_groups_share_nothing(gateway, lab, up):
    with Scripted(lab, {"*": ["60 A 10.50.0.2"]}, address="10.99.0.55") as other:
        gw = gateway(over(up, rules=[
            {"name": "guests", "client": ["192.168.77.99"], "answer": "real", "upstream": "second"},
            {"name": "kids", "client": ["192.168.77.98"], "answer": "real", "upstream": "wan", "ttl": {"max": 20}},
            real_rule()], upstreams={"second": {"servers": [other.udp]}}))
        for address in ("192.168.77.99", "192.168.77.98"):
            lab.run("cl", "ip", "addr", "add", f"{address}/24", "dev", "eth0")
        try:
            for _ in range(3):
                assert addresses(gw.ask("x.test")) == ["10.50.0.1"]
                assert addresses(gw.ask("x.test", source="192.168.77.99")) == ["10.50.0.2"]
                assert ttls(gw.ask("x.test", source="192.168.77.98"))[0] <= 20
                assert ttls(gw.ask("x.test"))[0] > 50
        finally:
            for address in ("192.168.77.99", "192.168.77.98"):
                lab.run("cl", "ip", "addr", "del", f"{address}/24", "dev", "eth0")
        assert (len(up.queries()), len(other.queries())) == (2, 1)
        assert stats(gw)["entries"] == 3


def test_rules_that_ask_alike_share(gateway, lab, up):
    gw = gateway(over(up, rules=[
        {"name": "router", "client": ["10.99.0.1"], "answer": "real", "upstream": "wan"}, real_rule()]))
    assert addresses(gw.ask("x.test")) == addresses(gw.ask("x.test", part="gw"))
    assert len(up.queries()) == 1


# --- how long ---

def test_ttls_count_down(gateway, up):
    up.set_zone({"x.test": ["30 A 10.50.0.1"]})
    gw = gateway(over(up))
    began = time.monotonic()
    assert ttls(gw.ask("x.test")) == [30]
    seen = set()

    def has_counted():
        ttl, = ttls(gw.ask("x.test"))
        age = time.monotonic() - began
        assert 30 - age - 1 <= ttl <= 31 - age, (ttl, age)
        seen.add(ttl)
        return ttl <= 27
    wait_for(has_counted, "the TTL is 27")
    assert {29, 28, 27} <= seen
    assert len(up.queries()) == 1


def test_an_answer_ends_with_its_ttl(gateway, up):
    up.set_zone({"x.test": ["2 A 10.50.0.1"]})
    gw = gateway(over(up, OFF))
    with taking(0.9, 3):
        assert ttls(gw.ask("x.test")) == [2]
        wait_for(lambda: gw.ask("x.test") and len(up.queries()) > 1, "it is asked again")
    assert ttls(gw.ask("x.test"))[0] in (1, 2)


@pytest.mark.parametrize("ttl", [0, 0x80000000, 0xffffffff])
def test_ttls_that_are_none(gateway, up, ttl):
    """RFC 2181 8: one with its highest bit set is 0, and 0 is not kept."""
    up.fault("ttl", ttl=ttl)
    gw = gateway(over(up))
    for _ in range(3):
        assert ttls(gw.ask("x.test")) == [0]
    assert len(up.queries()) == 3
    assert gw.result("cache.show", name="x.test") == []


def test_the_longest_ttl_is_bounded(gateway, up):
    up.fault("ttl", ttl=0x7fffffff)
    gw = gateway(over(up))
    for _ in range(2):
        assert 86398 <= ttls(gw.ask("x.test"))[0] <= 86400
    assert len(up.queries()) == 1


def test_an_rrset_has_one_ttl(gateway, lab):
    """RFC 2181 5.2; by a server whose records differ."""
    def handler(wire, client, send):
        reply = dns.message.make_response(dns.message.from_wire(wire))
        name = reply.question[0].name
        for ttl, address in ((50, "10.50.0.1"), (20, "10.50.0.2"), (90, "10.50.0.3")):
            reply.answer.append(dns.rrset.from_text(name, ttl, "IN", "A", address))
        send(reply.to_wire())
    lab.run("wan", "ip", "addr", "add", "10.99.0.54/24", "dev", "eth0")
    try:
        with Upstream(lab, handler) as server:
            gw = gateway({"gateway": {"workers": 1}, "upstreams": {"wan": {"servers": ["udp://10.99.0.54:5354"]}},
                          "rules": [real_rule()]})
            for _ in range(2):
                wire = lab.exchange_bytes(question("x.test").to_wire())
                reply = dns.message.from_wire(wire, one_rr_per_rrset=True)
                assert len(reply.answer) == 3 and max(ttls(reply)) == min(ttls(reply)) <= 20
                assert ttls(reply)[0] >= 18
            assert len(server.queries) == 1
            assert cached(gw, "x.test")["A"]["ttl_s"] <= 20
    finally:
        lab.run("wan", "ip", "addr", "del", "10.99.0.54/24", "dev", "eth0")


def test_bounds_of_the_cache(gateway, up):
    up.set_zone({"short.test": ["3 A 10.50.0.1"], "long.test": ["3600 A 10.50.0.2"], "zero.test": ["0 A 10.50.0.3"],
                 "between.test": ["60 A 10.50.0.4"]})
    gw = gateway(over(up, {"min_ttl": 30, "max_ttl": "2m"}))
    assert [ttls(gw.ask(f"{name}.test")) for name in ("short", "long", "zero", "between")] == [[30], [120], [0], [60]]
    assert cached(gw, "zero.test") == {}
    for name, most in (("short", 30), ("long", 120), ("between", 60)):
        assert most - 2 <= ttls(gw.ask(f"{name}.test"))[0] <= most
        assert most - 2 <= cached(gw, f"{name}.test")["A"]["ttl_s"] <= most
    assert len(up.queries()) == 4


def test_bounds_of_a_rule_go_before_the_caches(gateway, up):
    up.set_zone({"*": ["60 A 10.50.0.1"], "zero.low.test": ["0 A 10.50.0.3"]})
    gw = gateway(over(up, {"min_ttl": 90, "max_ttl": "2m"}, rules=[
        {"name": "low", "domain": ["low.test"], "answer": "real", "upstream": "wan", "ttl": {"min": 5, "max": 10}},
        {"name": "high", "domain": ["high.test"], "answer": "real", "upstream": "wan", "ttl": {"min": "10m"}},
        {"name": "most", "domain": ["most.test"], "answer": "real", "upstream": "wan", "ttl": {"max": 15}},
        real_rule()]))
    for _ in range(2):
        assert 8 <= ttls(gw.ask("x.low.test"))[0] <= 10
        assert 3 <= ttls(gw.ask("zero.low.test"))[0] <= 5
        assert 598 <= ttls(gw.ask("x.high.test"))[0] <= 600
        assert 13 <= ttls(gw.ask("x.most.test"))[0] <= 15
        assert 88 <= ttls(gw.ask("x.test"))[0] <= 90
    assert len(up.queries()) == 5


def test_a_rule_without_a_cache(gateway, up):
    gw = gateway(over(up, rules=[
        {"name": "live", "domain": ["live.test"], "answer": "real", "upstream": "wan", "cache": "no"}, real_rule()]))
    for _ in range(3):
        assert addresses(gw.ask("x.live.test")) == ["10.50.0.1"]
    gw.ask("x.test")
    assert len(asked(up, "x.live.test")) == 3
    assert [entry["name"] for entry in gw.result("cache.show")] == ["x.test"]
    assert (stats(gw)["hits"], stats(gw)["misses"]) == (0, 1)
    # A failure is not kept either: the server is asked each time.
    up.fault("rcode", rcode="SERVFAIL")
    up.forget()
    for _ in range(3):
        assert rcode(gw.ask("y.live.test")) == "SERVFAIL"
    assert len(asked(up, "y.live.test")) >= 3


# --- negative answers ---

SOA_SHORT_TTL, SOA_SHORT_MINIMUM = (f"{ttl} SOA ns.test. root.test. 1 3600 900 86400 {minimum}"
                                    for ttl, minimum in ((20, 300), (300, 20)))


class Negative:
    """An upstream that has nothing, and says so with the authority records that a test gives."""

    def __init__(self, lab):
        self.lab, self.rcode, self.lines = lab, 3, []
        lab.run("wan", "ip", "addr", "add", "10.99.0.54/24", "dev", "eth0")
        self.server = Upstream(lab, self.answer)

    def answer(self, wire, client, send):
        reply = dns.message.make_response(dns.message.from_wire(wire))
        reply.set_rcode(self.rcode)
        for line in self.lines:
            ttl, rdtype, data = line.split(" ", 2)
            reply.authority.append(dns.rrset.from_text("test.", int(ttl), "IN", rdtype, data))
        send(reply.to_wire())

    def config(self, cache=None):
        return {"gateway": {"workers": 1}, "upstreams": {"wan": {"servers": ["udp://10.99.0.54:5354"]}},
                "rules": [real_rule()], "cache": cache or {}}

    def count(self):
        return len(self.server.queries)

    def close(self):
        self.server.close()
        self.lab.run("wan", "ip", "addr", "del", "10.99.0.54/24", "dev", "eth0")


@pytest.fixture
def negative(lab):
    upstream = Negative(lab)
    yield upstream
    upstream.close()


@pytest.mark.parametrize("code", [0, 3], ids=["nodata", "nxdomain"])
@pytest.mark.parametrize("line", [SOA_SHORT_TTL, SOA_SHORT_MINIMUM], ids=["ttl", "minimum"])
def test_negative_answers_are_kept_by_their_soa(gateway, negative, code, line):
    """RFC 2308 5: the less of the SOA's TTL and its MINIMUM."""
    negative.rcode, negative.lines = code, [line]
    gw = gateway(negative.config())
    for _ in range(3):
        reply = gw.ask("none.test")
        assert (rcode(reply), has_soa(reply)) == ("NXDOMAIN" if code else "NOERROR", True)
        assert 18 <= reply.authority[0].ttl <= 20
    assert negative.count() == 1
    entry, = gw.result("cache.show", name="none.test")
    assert (entry["rcode"], entry["addresses"]) == (code, []) and 18 <= entry["ttl_s"] <= 20
    gw.ask("none.test", "AAAA")
    assert negative.count() == 2  # NODATA is of the type; NXDOMAIN is not taken for other types either


@pytest.mark.parametrize("code", [0, 3], ids=["nodata", "nxdomain"])
def test_a_negative_answer_counts_down(gateway, negative, code):
    negative.rcode, negative.lines = code, [SOA_SHORT_TTL]
    gw = gateway(negative.config())
    gw.ask("none.test")
    wait_for(lambda: gw.ask("none.test").authority[0].ttl <= 18, "the TTL counts down")
    assert negative.count() == 1


@pytest.mark.parametrize("code", [0, 3], ids=["nodata", "nxdomain"])
@pytest.mark.parametrize("lines", [[], ["300 NS ns.test."]], ids=["nothing", "ns"])
def test_negative_answers_without_soa_are_not_kept(gateway, negative, code, lines):
    negative.rcode, negative.lines = code, lines
    gw = gateway(negative.config())
    for _ in range(3):
        assert rcode(gw.ask("none.test")) == ("NXDOMAIN" if code else "NOERROR")
    assert negative.count() == 3


def test_negative_ttl_bounds(gateway, negative):
    negative.lines = ["86400 SOA ns.test. root.test. 1 3600 900 86400 86400"]
    gw = gateway(negative.config({"negative_ttl": 40}))
    for _ in range(2):
        assert 38 <= gw.ask("none.test").authority[0].ttl <= 40
    assert cached(gw, "none.test")["A"]["ttl_s"] <= 40
    gw.rewrite(negative.config({"negative_ttl": 0}))
    gw.result("reload")
    gw.result("cache.flush")
    before = negative.count()
    for _ in range(2):
        assert rcode(gw.ask("none.test")) == "NXDOMAIN"
    assert negative.count() == before + 2


def test_positive_answers_mind_no_negative_ttl(gateway, up):
    gw = gateway(over(up, {"negative_ttl": 0}))
    for _ in range(2):
        assert ttls(gw.ask("x.test"))[0] >= 58
    assert len(up.queries()) == 1


# --- failures ---

def ask_many(lab, name, n, within_s):
    """n clients, one after the other, over that time; how many answers came."""
    answers = []
    with lab.connect("8.8.8.8") as sock:
        sock.setblocking(False)
        began = time.monotonic()
        for i in range(n):
            query = question(name, edns=bool(i % 2))
            sock.send(query.to_wire())
            while time.monotonic() - began < within_s * (i + 1) / n:
                try:
                    answers.append(dns.message.from_wire(sock.recv(4096)))
                except BlockingIOError:
                    time.sleep(0.002)
        sock.settimeout(8)
        while len(answers) < n:
            answers.append(dns.message.from_wire(sock.recv(4096)))
    return answers


@pytest.mark.parametrize("fault", [("silence", {}), ("rcode", {"rcode": "SERVFAIL"}), ("rcode", {"rcode": "REFUSED"}),
                                   ("garbage", {})], ids=lambda f: f[1].get("rcode", f[0]))
def test_a_dead_upstream_is_asked_a_bounded_number_of_times(gateway, lab, up, fault):
    """RFC 9520: 100 questions within a second."""
    up.fault(fault[0], **fault[1])
    gw = gateway(over(up))
    answers = ask_many(lab, "dead.test", 100, 1)
    assert {rcode(a) for a in answers} <= {"SERVFAIL", "REFUSED"}
    asked_up = up.queries(name="dead.test")
    assert 1 <= len(asked_up) <= 8, len(asked_up)
    for answer in answers:
        assert (answer.edns == 0) or not answer.options
        if answer.edns < 0:
            assert ede(answer) == []
        elif rcode(answer) == "SERVFAIL":
            assert ede(answer) and set(ede(answer)) <= {13, 22, 23}, ede(answer)
    assert gw.running()


def test_a_failure_is_remembered_as_long_as_it_says(gateway, up):
    up.fault("rcode", rcode="SERVFAIL")
    gw = gateway(over(up, {"failure_ttl": 2}))
    began = moment()
    reply = gw.ask("dead.test", edns=True)
    assert rcode(reply) == "SERVFAIL" and len(ede(reply)) == 1 and ede(reply)[0] in (22, 23)
    first = len(up.queries())
    assert first >= 1
    reply = gw.ask("dead.test", edns=True)
    assert (rcode(reply), ede(reply)) == ("SERVFAIL", [13])
    assert cached(gw, "dead.test")["A"]["state"] == "failed"
    assert state(gw, "dead.test") == {"state": "miss", "ttl_s": 0}
    assert gw.ask("dead.test").edns == -1
    assert len(up.queries()) == first
    up.clear()
    wait_for(lambda: rcode(gw.ask("dead.test")) == "NOERROR", "the server is asked again")
    assert 1 <= moment() - began <= 3.5
    assert len(up.queries()) == first + 1


def test_failures_of_other_names_and_types_are_their_own(gateway, up):
    up.fault("rcode", rcode="SERVFAIL", name="dead.test", type="A")
    gw = gateway(over(up))
    assert rcode(gw.ask("dead.test")) == "SERVFAIL"
    assert rcode(gw.ask("dead.test", "AAAA")) == rcode(gw.ask("x.test")) == "NOERROR"


def test_failure_ttl_0_remembers_none(gateway, up):
    up.fault("rcode", rcode="SERVFAIL", times=1)
    gw = gateway(over(up, {"failure_ttl": 0}))
    assert rcode(gw.ask("dead.test")) == "SERVFAIL"
    assert rcode(gw.ask("dead.test")) == "NOERROR"


# --- aliases, sizes ---

def test_a_chain_of_aliases_is_kept_as_long_as_its_shortest_link(gateway, up):
    up.set_zone({"a.test": ["60 CNAME b.test."], "b.test": ["2 CNAME c.test."],
                 "c.test": ["60 A 10.50.0.1", "60 AAAA 2001:db8:50::1"]})
    gw = gateway(over(up, OFF))
    for _ in range(2):
        reply = gw.ask("a.test")
        assert rdata(reply) == ["b.test.", "c.test.", "10.50.0.1"]
        assert ttls(reply)[1] in (1, 2) and ttls(reply)[0] >= 58 and ttls(reply)[2] >= 58
    assert len(up.queries()) == 1
    assert cached(gw, "a.test")["A"]["addresses"] == ["10.50.0.1"]
    # What lies at the end of a chain is not taken for an answer to its own name.
    assert gw.result("cache.show", name="c.test") == []
    wait_gone(gw, "a.test")
    gw.ask("a.test")
    assert len(up.queries()) == 2


def test_a_chain_that_ends_in_nothing(gateway, up):
    up.set_zone({"a.test": ["60 CNAME none.test."], "b.test": ["60 CNAME txt.test."], "txt.test": ["60 TXT x"]})
    gw = gateway(over(up))
    for _ in range(2):
        reply = gw.ask("a.test")
        assert (rcode(reply), rdata(reply), has_soa(reply)) == ("NXDOMAIN", ["none.test."], True)
        reply = gw.ask("b.test")
        assert (rcode(reply), rdata(reply), has_soa(reply)) == ("NOERROR", ["txt.test."], True)
    assert len(up.queries()) == 2
    assert cached(gw, "a.test")["A"]["ttl_s"] <= 30


@pytest.mark.parametrize("size", [600, 1232, 1300, 4000, 16384, 60000, 65500])
def test_large_answers_are_one_entry_for_all_ways(gateway, lab, up, size):
    up.fault("size", size=size)
    gw = gateway(over(up))
    first = lab.exchange(question("x.test", "TXT"), tcp=True)
    assert first.wire_size > size - 300 and not first.flags & dns.flags.TC
    before = len(up.queries())
    for payload, limit in ((None, 512), (600, 600), (1232, 1232), (4096, 1232), (65535, 1232)):
        query = question("x.test", "TXT", edns=payload is not None, payload=payload or 0)
        reply = lab.exchange(query)
        assert reply.wire_size <= limit
        assert bool(reply.flags & dns.flags.TC) == (first.wire_size + (11 if payload else 0) > limit), reply.wire_size
        if not reply.flags & dns.flags.TC:
            assert rdata(reply) == rdata(first)
        else:
            assert rdata(reply) == rdata(first)[:len(rdata(reply))]  # whole records
        again = lab.exchange(query, tcp=True)
        assert rdata(again) == rdata(first) and not again.flags & dns.flags.TC
    assert len(up.queries()) == before
    assert len(gw.result("cache.show", name="x.test")) == 1
    assert state(gw, "x.test", type="TXT")["state"] == "hit"


def test_an_entry_of_udp_serves_tcp(gateway, lab, up):
    gw = gateway(over(up))
    assert addresses(gw.ask("x.test")) == addresses(gw.ask("x.test", tcp=True)) == ["10.50.0.1"]
    with lab.connect("8.8.8.8", tcp=True) as sock:  # many at once
        sock.sendall(b"".join(framed(question("x.test")) for _ in range(50)))
        assert all(addresses(dns.message.from_wire(read_message(sock))) == ["10.50.0.1"] for _ in range(50))
    assert len(up.queries()) == 1


def test_what_upstream_truncates_is_not_kept_truncated(gateway, lab, up):
    """udp: the whole answer is fetched over TCP; when that fails nothing of it stays."""
    up.fault("tc", transport="udp")
    up.fault("reset", transport="tcp", at="query", times=20)
    gw = gateway(over(up, {"failure_ttl": 0}))
    gw.ask("x.test")
    up.clear()
    reply = gw.ask("x.test")
    assert addresses(reply) == ["10.50.0.1"] and not reply.flags & dns.flags.TC


# --- at once ---

def clients_at_once(lab, name, n, tcp=False):
    """n clients with sockets of their own ask within a moment; (query, reply) of each."""
    socks = [lab.connect("8.8.8.8", tcp=tcp) for _ in range(n)]
    queries = []
    try:
        for i, sock in enumerate(socks):
            text = "".join(c.upper() if i >> k & 1 else c for k, c in enumerate(name))
            query = question(text, edns=bool(i % 3))
            query.id = (i * 2654435761) % 65536
            queries.append(query)
            sock.sendall(framed(query) if tcp else query.to_wire())
        got = [read_message(sock) if tcp else sock.recv(4096) for sock in socks]
        return [(query, dns.message.from_wire(wire)) for query, wire in zip(queries, got)]
    finally:
        for sock in socks:
            sock.close()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_identical_questions_in_flight_are_one(gateway, lab, up, workers, tcp):
    up.fault("delay", ms=300)
    gateway(over(up, gateway={"workers": workers}))
    for query, reply in clients_at_once(lab, "flight.test", 20, tcp):
        assert reply.id == query.id and reply.question[0].name.labels == query.question[0].name.labels
        assert reply.edns == query.edns
        assert addresses(reply) == ["10.50.0.1"]
    assert 1 <= len(up.queries()) <= workers


def test_flights_that_fail_are_one(gateway, lab, up):
    up.fault("silence")
    gateway(over(up, upstreams={"wan": {"servers": [up.udp], "timeout": "600ms"}}))
    for query, reply in clients_at_once(lab, "flight.test", 20):
        assert reply.id == query.id and rcode(reply) == "SERVFAIL"
    assert len({(q["id"], q["port"]) for q in up.queries()}) <= 2
    assert len(up.queries()) <= 4  # sent again after each quarter of its time


def test_other_keys_are_other_flights(gateway, lab, up):
    up.fault("delay", ms=200)
    gw = gateway(over(up))
    flags = [dns.flags.RD, dns.flags.RD | dns.flags.CD]
    with lab.connect("8.8.8.8") as sock:
        for rdtype in ("A", "AAAA"):
            for value in flags:
                for do in (False, True):
                    query = question("flight.test", rdtype, edns=True, flags=value)
                    query.want_dnssec(do)
                    sock.send(query.to_wire())
        replies = [dns.message.from_wire(sock.recv(4096)) for _ in range(8)]
    assert len({(r.question[0].rdtype, r.flags & dns.flags.CD, r.ednsflags) for r in replies}) == 8
    assert len(up.queries()) == 8 and stats(gw)["entries"] == 8


# --- sizes ---

def fill(lab, prefix, n, **how):
    with lab.connect("8.8.8.8") as sock:
        answers = ask_all(sock, ((f"{prefix}{i}.test", "A") for i in range(n)), again=True, **how)
    assert all(answer and answer.rcode == 0 and answer.answers == 1 for answer in answers)


def test_size_0_turns_it_off(gateway, up):
    gw = gateway(over(up, {"size": 0}))
    for _ in range(3):
        assert ttls(gw.ask("x.test")) == [60]
    assert len(up.queries()) == 3
    assert stats(gw)["entries"] == 0 and gw.result("cache.show") == []
    assert gw.result("cache.flush") == {"flushed": 0}


def test_few_entries(gateway, lab, up):
    gw = gateway(over(up, {"size": 10}))
    fill(lab, "few", 100)
    shown = gw.result("cache.show")
    assert stats(gw)["entries"] == len(shown) == 10
    assert stats(gw)["evicted"] >= 90
    for _ in range(2):
        assert addresses(gw.ask("last.test")) == ["10.50.0.1"]
    assert len(asked(up, "last.test")) == 1


def test_one_entry(gateway, up):
    gw = gateway(over(up, {"size": 1}))
    for name in ("a.test", "b.test", "b.test"):
        assert addresses(gw.ask(name)) == ["10.50.0.1"]
    assert [e["name"] for e in gw.result("cache.show")] == ["b.test"]
    assert len(up.queries()) == 2


@pytest.mark.parametrize("cache, entries, size", [({"size": "1k"}, 1000, None),
                                                  ({"size": "100k", "bytes": "200k"}, 100000, 200_000),
                                                  ({"size": "100k", "bytes": 1}, 100000, None)])
def test_bounds_under_5000_names(gateway, lab, up, cache, entries, size):
    gw = gateway(over(up, cache))
    for part in range(5):
        fill(lab, f"n{part}-", 1000)
        now = stats(gw)
        assert now["entries"] <= entries, now
        assert size is None or now["bytes"] <= size, now
    assert stats(gw)["evicted"] + stats(gw)["entries"] <= 5000
    if size:
        assert stats(gw)["entries"] > 500  # the bound is used


def test_a_scan_does_not_push_out_what_is_asked_again_and_again(gateway, lab, up):
    up.set_zone({"*": ["3600 A 10.50.0.1"]})
    gw = gateway(over(up, {"size": "1k"}))
    hot = [f"hot{i}.test" for i in range(10)]
    for part in range(10):
        for name in hot * (2 if part == 0 else 1):
            assert addresses(gw.ask(name)) == ["10.50.0.1"]
        fill(lab, f"scan{part}-", 1000)
    assert [len(asked(up, name)) for name in hot] == [1] * 10
    assert stats(gw)["entries"] <= 1000


def test_large_answers_do_not_push_out_what_is_asked_again_and_again(gateway, lab, up):
    up.fault("size", size=60000, name="huge*.test")
    gw = gateway(over(up, {"size": "10k", "bytes": "256k"}))
    fill(lab, "n", 100)
    for i in range(20):
        fill(lab, "n", 100)
        assert rcode(lab.exchange(question(f"huge{i}.test", "TXT"), tcp=True)) == "NOERROR"
    assert stats(gw)["bytes"] <= 256_000
    assert len([query for query in questions(up) if query["type"] == "A"]) == 100


# --- the policy changes ---

def reload(gw, config):
    gw.rewrite(config)
    return gw.result("reload")["changed"]


@pytest.mark.parametrize("change", [
    {"ecs": "192.0.2.0/24"}, {"rebind": "protect"}, {"ignore_ip": ["203.0.113.0/24"]},
    {"bogus_nxdomain": ["203.0.113.0/24"]}, {"fallback": "second"}, {"require_edns": "yes"},
    {"servers": ["udp://10.99.0.54:5354", "udp://10.99.0.53"]}, {"servers": ["tcp://10.99.0.54:5354"]}],
    ids=lambda change: next(iter(change)))
def test_a_changed_group_is_asked_anew(gateway, up, change):
    config = over(up, upstreams={"second": {"servers": ["udp://10.99.0.53"]}})
    up.set_zone({"*": ["60 A 192.0.2.1"]})
    gw = gateway(config)
    gw.ask("x.test")
    gw.ask("x.test")
    assert stats(gw)["misses"] == 1
    config["upstreams"]["wan"] = {**config["upstreams"]["wan"], **change}
    reload(gw, config)
    for _ in range(2):
        gw.ask("x.test")
        assert stats(gw)["misses"] == 2


def test_rebind_protection_reaches_what_was_kept(gateway, up):
    up.set_zone({"*": ["60 A 192.168.1.1"]})
    config = over(up)
    gw = gateway(config)
    assert addresses(gw.ask("x.test")) == ["192.168.1.1"]
    config["upstreams"]["wan"]["rebind"] = "protect"
    reload(gw, config)
    for _ in range(2):
        assert addresses(gw.ask("x.test")) == []
    config["rules"][0]["rebind"] = "allow"
    reload(gw, config)
    assert addresses(gw.ask("x.test")) == ["192.168.1.1"]


def test_a_rule_that_asks_another_group_asks_anew(gateway, lab, up):
    with Scripted(lab, {"*": ["60 A 10.50.0.2"]}, address="10.99.0.55") as other:
        config = over(up, upstreams={"second": {"servers": [other.udp]}})
        gw = gateway(config)
        assert addresses(gw.ask("x.test")) == ["10.50.0.1"]
        config["rules"] = [real_rule(upstream="second")]
        reload(gw, config)
        for _ in range(2):
            assert addresses(gw.ask("x.test")) == ["10.50.0.2"]
        # And back: what the first had said is still true.
        config["rules"] = [real_rule()]
        reload(gw, config)
        assert addresses(gw.ask("x.test")) == ["10.50.0.1"]
        assert (len(up.queries()), len(other.queries())) == (1, 1)


def test_a_name_that_a_list_moves_is_asked_where_it_belongs(gateway, lab, up):
    names = lab.dir / "moved.txt"
    names.write_text("full:other.test\n")
    with Scripted(lab, {"*": ["60 A 10.50.0.2"]}, address="10.99.0.55") as other:
        gw = gateway(over(up, rules=[{"name": "moved", "list": ["moved"], "answer": "real", "upstream": "second"},
                                     {"name": "ads", "list": ["ads"], "answer": "block"}, real_rule()],
                          upstreams={"second": {"servers": [other.udp]}}, gateway={"watch": "100ms"},
                          lists={"moved": [str(names)], "ads": {"path": str(lab.dir / "ads.txt"), "optional": True}}))
        assert addresses(gw.ask("x.test")) == ["10.50.0.1"]
        names.write_text("full:x.test\n")
        wait_for(lambda: addresses(gw.ask("x.test")) == ["10.50.0.2"], "the list is in force")
        assert addresses(gw.ask("x.test")) == ["10.50.0.2"]
        (lab.dir / "ads.txt").write_text("full:x.test\nfull:other.test\n")
        names.write_text("full:other.test\n")
        wait_for(lambda: rcode(gw.ask("x.test")) == "NXDOMAIN", "it is blocked")
        (lab.dir / "ads.txt").unlink()


@pytest.mark.parametrize("change", [{}, {"cache": {"max_ttl": "1d", "prefetch": "10%"}}, {"log": {"level": "debug"}},
                                    {"records": {"lines": {}, "ttl": "20s"}}],
                         ids=["nothing", "cache", "log", "records"])
def test_a_reload_that_changes_nothing_of_it_keeps_the_entries(gateway, up, change):
    config = over(up, {"size": 1000})
    gw = gateway(config)
    gw.ask("x.test")
    config["rules"] = [{"name": "new", "domain": ["new.test"], "answer": "block"}, real_rule()]
    for key, value in change.items():
        config[key] = {**config.get(key, {}), **value}
    for _ in range(3):
        reload(gw, config)
        assert addresses(gw.ask("x.test")) == ["10.50.0.1"]
    assert len(up.queries()) == 1


def test_a_changed_size_keeps_what_fits(gateway, lab, up):
    config = over(up, {"size": 1000})
    gw = gateway(config)
    fill(lab, "n", 200)
    for size, left in ((500, 200), (150, 150), (5000, 150), (20, 20), (0, 0), (100, 0)):
        config["cache"]["size"] = size
        reload(gw, config)
        assert stats(gw)["entries"] == left, size
        kept = [entry["name"] for entry in gw.result("cache.show")]
        assert len(kept) == left
        before = len(up.queries())
        for name in kept[:5]:
            assert addresses(gw.ask(name)) == ["10.50.0.1"]
        assert len(up.queries()) == before
    fill(lab, "m", 200)
    assert stats(gw)["entries"] == 100


def test_reloads_while_many_ask(gateway, lab, up):
    """Sizes go up and down, nobody waits and nobody gets a wrong answer."""
    config = over(up, {"size": 1000}, gateway={"workers": 2})
    gw = gateway(config)
    stopping = threading.Event()

    def reloads():
        sizes = [50, 20000, 0, 700, 10]
        while not stopping.is_set():
            config["cache"]["size"] = sizes[0]
            sizes.append(sizes.pop(0))
            reload(gw, config)
    thread = threading.Thread(target=reloads)
    thread.start()
    try:
        for _ in range(3):
            fill(lab, "busy", 500)
    finally:
        stopping.set()
        thread.join()
    assert gw.running()
