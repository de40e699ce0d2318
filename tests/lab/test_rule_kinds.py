"""Item 4: every kind of condition and of answer."""
import contextlib

import dns.flags
import dns.message
import dns.rdatatype
import pytest

from lab import (Upstream, addresses, answer_to, ede, greeted, greeter, has_fake_address, has_soa, is_fake, rcode,
                 rdata, ttls, wait_for)
from proxies import Socks5
from test_unless import tell
from waiting import moment

MODES = pytest.mark.parametrize("intercept", ["tun", "tproxy"])
KIDS = "192.168.77.3"
REAL4, REAL6 = "10.99.0.10", "2001:db8:99::10"
REST = {"name": "rest", "answer": "fake", "egress": "direct"}
WAN = {"answer": "real", "upstream": "wan"}


@pytest.fixture(scope="module")
def gw(module_gateway, lab):
    lab.run("cl", "ip", "addr", "replace", f"{KIDS}/24", "dev", "eth0")
    return module_gateway({"fakeip": {"store": ""}})


@pytest.fixture
def changed(gw):
    """changed(rules, **sections): in force from now on, until the test ends."""
    def change(rules, intercept="tun", **sections):
        gw.rewrite({"fakeip": {"store": ""}, "rules": rules, **sections}, intercept)
        gw.result("reload")
        return gw
    yield change
    if gw.running():  # what it put into sets is not put in again for the next one
        change([REST])


@pytest.fixture
def gateway(gw, gateway):  # noqa: F811
    """One of its own; that of the module pauses."""
    gw.stop()
    yield gateway
    for other in gateway.made:
        if other.running():
            other.stop()
    gw.start()


def blocked(gw, name, rdtype="A", **how):
    return rcode(gw.ask(name, rdtype, **how)) == "NXDOMAIN"


# --- conditions ---

def test_except_takes_lists_and_names(gw, lab, changed):
    (lab.dir / "ads.txt").write_text("ads.test\nshop.test\nlisted.test\n")
    (lab.dir / "fine.txt").write_text("fine.ads.test\nfull:listed.test\n")
    changed([{"name": "ads", "list": "ads", "domain": "own.test", "answer": "block",
              "except": ["fine", "good.ads.test", "full:shop.test", "keyword:love", "regexp:^r[0-9]+\\.ads"]}, REST],
            lists={"ads": "ads.txt", "fine": "fine.txt"})
    for name in ("ads.test", "x.ads.test", "x.shop.test", "a.listed.test", "own.test", "x.own.test", "rx.ads.test",
                 "xgood.ads.test"):
        assert blocked(gw, name), name
    for name in ("fine.ads.test", "x.fine.ads.test", "good.ads.test", "a.good.ads.test", "shop.test", "listed.test",
                 "glove.ads.test", "love.own.test", "r7.ads.test", "R77.ADS.test", "elsewhere.test"):
        assert has_fake_address(gw.ask(name)), name


def test_except_without_names_of_its_own(gw, changed):
    """Every name but these."""
    changed([{"name": "but", "except": ["regexp:(^|\\.)test$", "full:example", "example.com"], "answer": "block"},
             REST])
    assert blocked(gw, "x.org") and blocked(gw, "www.example") and blocked(gw, "testx")
    assert has_fake_address(gw.ask("a.test")) and has_fake_address(gw.ask("www.example.com"))
    assert rcode(gw.ask("printer")) == "NXDOMAIN" and gw.result("explain", name="example")["rule"] == "rest"


def test_keyword_and_regexp(gw, changed):
    changed([{"name": "words", "domain": ["keyword:track", "regexp:^ad[sz]?[0-9]*\\.", "regexp:(^|\\.)end\\.test$"],
              "answer": "block"}, REST])
    for name in ("track.test", "xtrackx.test", "a.b.TRACKer.org", "ad.test", "ads1.x.test", "ADZ99.test", "end.test",
                 "x.end.test"):
        assert blocked(gw, name), name
    for name in ("trac.k.test", "adx.test", "a.ads.test", "xend.test", "end.test.org"):
        assert has_fake_address(gw.ask(name)), name


def test_a_regexp_that_would_take_ages_is_cut_short(gw, changed):
    changed([{"name": "slow", "domain": ["regexp:^(a+)+$", "regexp:(x+x+)+y"], "answer": "block"}, REST])
    start = moment()
    for _ in range(5):
        gw.ask("a" * 60 + "." + "a" * 60 + ".b")
        gw.ask("x" * 63 + "." + "x" * 63 + ".test")
    assert moment() - start < 2
    assert blocked(gw, "aaa")


def test_unqualified(gw, changed):
    changed([{"name": "bare", "domain": ["unqualified", "more.test"], "answer": "block"}, REST])
    assert blocked(gw, "nas") and blocked(gw, "PRINTER") and blocked(gw, "x.more.test")
    assert has_fake_address(gw.ask("nas.test"))


def test_types(gw, changed):
    changed([{"name": "no", "domain": "web.test", "type": ["HTTPS", "svcb", "TYPE65280", "ANY"], "answer": "block",
              "block": "nodata"},
             {"name": "mx", "type": "MX", "answer": "block", "block": "refused"}, {"name": "all", **WAN}])
    for rdtype in ("HTTPS", "SVCB", "TYPE65280", "ANY"):
        reply = gw.ask("web.test", rdtype)
        assert rcode(reply) == "NOERROR" and not reply.answer and has_soa(reply)
    assert addresses(gw.ask("web.test", "A")) == [REAL4] and addresses(gw.ask("web.test", "AAAA")) == [REAL6]
    assert rcode(gw.ask("any.thing.test", "MX")) == "REFUSED"
    assert rdata(gw.ask("shop.test", "HTTPS"))


@MODES
def test_listener(gateway, lab, intercept):
    rules = [{"name": kind, "listener": kind, "answer": "local", "address": address}
             for kind, address in (("tun", "10.0.0.1"), ("tproxy", "10.0.0.2"), ("udp", "10.0.0.3"),
                                   ("tcp", "10.0.0.4"))]
    gw = gateway({"rules": rules, "listen": ["udp://192.168.77.1:5300", "tcp://192.168.77.1:5300",
                                             "udp://[fd77::1]:5300"],
                  "fakeip": {"store": ""}}, intercept, name="listener")
    for server in ("8.8.8.8", "2001:4860:4860::8888"):
        assert addresses(gw.ask("x.test", server=server)) == ["10.0.0.1" if intercept == "tun" else "10.0.0.2"]
        assert addresses(gw.ask("x.test", server=server, tcp=True)) == ["10.0.0.2"]
    assert addresses(gw.ask("x.test", server="192.168.77.1")) == ["10.0.0.2"]
    assert lab.dig("x.test") == ["10.0.0.2"]
    assert addresses(gw.ask("x.test", server="192.168.77.1", port=5300)) == ["10.0.0.3"]
    assert addresses(gw.ask("x.test", server="fd77::1", port=5300)) == ["10.0.0.3"]
    assert addresses(gw.ask("x.test", server="192.168.77.1", port=5300, tcp=True)) == ["10.0.0.4"]
    told = gw.result("explain", name="x.test")  # takes for granted what most clients do
    assert told["rule"] == intercept and f"listener {intercept}, " in told["rules"][-1]["why"]


# --- also ---

TABLE = """
table inet user {
	set all4 { type ipv4_addr; flags timeout; }
	set all6 { type ipv6_addr; flags timeout; }
	set tv4 { type ipv4_addr; flags timeout; }
	set own4 { type ipv4_addr; flags timeout; }
}
"""


@pytest.fixture
def table(lab):
    lab.nft(TABLE)
    yield
    lab.nft("delete table inet user")


def held_by(lab, name):
    return next({e["elem"]["val"] if isinstance(e, dict) else e for e in item["set"].get("elem", [])}
                for item in lab.nft_json("list", "set", "inet", "user", name) if "set" in item)


ALSO = [{"name": "everything", "also": True, "nftset": ["4#inet#user#all4", "6#inet#user#all6"]},
        {"name": "tv", "also": True, "client": KIDS, "domain": "real.test", "nftset": "inet#user#tv4"},
        {"name": "office", "domain": "real.test", **WAN, "nftset": "4#inet#user#own4"},
        {"name": "ads", "domain": "ads.test", "answer": "block"},
        {"name": "late", "also": True, "nftset": "4#inet#user#tv4"}, REST]


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_also_rules_add_their_sets_and_do_not_decide(gw, lab, changed, table, tcp):
    changed(ALSO)
    assert addresses(gw.ask("a.real.test", tcp=tcp)) == [REAL4]
    for name in ("all4", "own4"):  # before the answer left
        assert held_by(lab, name) == {REAL4}
    assert held_by(lab, "tv4") == set()  # another client, and behind the winner
    assert addresses(gw.ask("a.real.test", "AAAA", tcp=tcp)) == [REAL6]
    assert held_by(lab, "all6") == {REAL6}
    assert len(addresses(gw.ask("many.real.test", source=KIDS, tcp=tcp))) == 3
    assert held_by(lab, "tv4") == {"10.99.1.1", "10.99.1.2", "10.99.1.3"}
    assert held_by(lab, "all4") == held_by(lab, "own4") == {REAL4, *held_by(lab, "tv4")}


def test_also_rules_put_nothing_in_for_other_answers(gw, lab, changed, table):
    changed(ALSO)
    assert blocked(gw, "ads.test") and has_fake_address(gw.ask("web.test"))
    assert rcode(gw.ask("printer.local")) == "NXDOMAIN"
    for name in ("all4", "all6", "tv4", "own4"):
        assert held_by(lab, name) == set()
    told = gw.result("explain", name="ads.test", client=KIDS)
    assert told["sets"] == [] and [(r["name"], r["matched"]) for r in told["rules"]][0] == ("everything", True)


def test_a_name_that_no_rule_decides_fills_the_also_sets(gw, lab, changed, table):
    changed(ALSO[:1])
    assert addresses(gw.ask("www.example.com")) == ["10.99.2.3"]
    assert held_by(lab, "all4") == {"10.99.2.3"}


def test_also_of_a_client_that_comes_later_gets_its_own(gw, lab, changed, table):
    """The set of one client's rule is filled by its own question, not by another's."""
    changed([{"name": "tv", "also": True, "client": KIDS, "nftset": "4#inet#user#tv4"}, {"name": "all", **WAN}])
    for _ in range(3):
        gw.ask("a.real.test")
    assert held_by(lab, "tv4") == set()
    gw.ask("a.real.test", source=KIDS)
    assert held_by(lab, "tv4") == {REAL4}


# --- answer: local ---

def test_local_addresses(gw, lab, changed):
    changed([{"name": "nas", "domain": "nas.test", "answer": "local",
              "address": ["192.168.77.9", "192.168.77.10", "fd77::9"]},
             {"name": "four", "domain": "four.test", "answer": "local", "address": "192.168.77.9"}, REST])
    with lab.watch("wan") as wan:
        for how in ({}, {"tcp": True}, {"edns": True}):
            for name in ("nas.test", "x.NAS.test"):
                assert addresses(gw.ask(name, **how)) == ["192.168.77.9", "192.168.77.10"]
                assert addresses(gw.ask(name, "AAAA", **how)) == ["fd77::9"]
            for name, rdtype in (("nas.test", "HTTPS"), ("nas.test", "MX"), ("four.test", "AAAA"),
                                 ("four.test", "TXT")):
                reply = gw.ask(name, rdtype, **how)
                assert rcode(reply) == "NOERROR" and not reply.answer and has_soa(reply)
        assert wan.dns_questions() == []
    reply = gw.ask("nas.test")
    assert reply.flags & dns.flags.AA and not reply.flags & dns.flags.AD and ttls(reply)[0] > 0
    assert gw.result("explain", name="nas.test")["answer"] == "local"


def test_local_with_a_filter(gw, changed):
    changed([{"name": "nas", "domain": "nas.test", "answer": "local", "address": ["192.168.77.9", "fd77::9"],
              "filter": "ipv6"}, REST])
    assert addresses(gw.ask("nas.test")) == ["192.168.77.9"]
    reply = gw.ask("nas.test", "AAAA")
    assert rcode(reply) == "NOERROR" and not reply.answer and has_soa(reply)


SAFE = [{"name": "safe", "domain": "full:search.test", "client": "kids", "answer": "local",
         "cname": "safe.search.test"},
        {"name": "target", "domain": "safe.search.test", **WAN, "nftset": "4#inet#user#own4"},
        {"name": "fake-safe", "domain": "video.test", "client": "kids", "answer": "local",
         "cname": "restrict.video.org"},
        REST]


@pytest.fixture
def search(lab):
    """The search engine's own addresses for children, and what it says of HTTPS."""
    def answer(wire, _client, send):
        query = dns.message.from_wire(wire).question[0]
        name, kind = query.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(query.rdtype)
        data = {("safe.search.test", "A"): ["99 A 10.99.0.10"],
                ("safe.search.test", "AAAA"): ["99 AAAA 2001:db8:99::10"],
                ("safe.search.test", "HTTPS"): ["99 HTTPS 1 . alpn=h2"]}
        send(answer_to(wire, *data.get((name, kind), [])))
    with Upstream(lab, answer, tcp=True) as upstream:
        yield upstream


SECTIONS = {"clients": {"kids": KIDS}, "upstreams": {"wan": {"servers": ["udp://10.99.0.54:5354"]}}}


@pytest.fixture
def address_54(lab):
    lab.run("wan", "ip", "addr", "replace", "10.99.0.54/24", "dev", "eth0")


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_safe_search_for_the_children_alone(gw, lab, changed, table, address_54, search, tcp):
    changed(SAFE, **SECTIONS)
    for rdtype, data in (("A", REAL4), ("AAAA", REAL6), ("HTTPS", '1 . alpn="h2"')):
        reply = gw.ask("search.test", rdtype, source=KIDS, tcp=tcp)
        assert rcode(reply) == "NOERROR"
        assert rdata(reply) == ["safe.search.test.", data], reply
        assert [rrset.name.to_text() for rrset in reply.answer] == ["search.test.", "safe.search.test."]
    assert held_by(lab, "own4") == {REAL4}  # the set of the target's rule
    reply = gw.ask("search.test", "CNAME", source=KIDS, tcp=tcp)
    assert rdata(reply) == ["safe.search.test."] and len(search.queries) <= 3
    reply = gw.ask("search.test", "MX", source=KIDS, tcp=tcp)
    assert rdata(reply) == ["safe.search.test."] and has_soa(reply)
    assert has_fake_address(gw.ask("search.test", tcp=tcp))  # the grown-ups
    assert has_fake_address(gw.ask("x.search.test", source=KIDS, tcp=tcp))
    told = gw.result("explain", name="search.test", client=KIDS)
    assert (told["rule"], told["answer"]) == ("safe", "local") and any("safe.search.test" in n for n in told["notes"])


def test_an_alias_that_leads_to_a_fake_name(gw, lab, changed, address_54, search):
    changed(SAFE, **SECTIONS)
    for rdtype in ("A", "AAAA"):
        target, address = rdata(gw.ask("m.video.test", rdtype, source=KIDS))
        assert target == "restrict.video.org." and is_fake([address])
        assert addresses(gw.ask("restrict.video.org", rdtype, source=KIDS)) == [address]
    reply = gw.ask("m.video.test", "HTTPS", source=KIDS)
    assert rdata(reply) == ["restrict.video.org."] and rcode(reply) == "NOERROR" and has_soa(reply)
    assert search.queries == []


def test_an_alias_with_dnssec_bits(gw, changed, address_54, lab):
    """Nobody signed it: no AD, whatever upstream says of the target."""
    def answer(wire, _client, send):
        reply = dns.message.from_wire(answer_to(wire, "99 A 10.99.0.10"))
        reply.flags |= dns.flags.AD
        send(reply.to_wire())
    with Upstream(lab, answer) as upstream:
        changed(SAFE, **SECTIONS)
        query = dns.message.make_query("search.test", "A", want_dnssec=True)
        query.flags |= dns.flags.AD
        reply = gw.lab.exchange(query, source=KIDS)
        assert addresses(reply) == [REAL4] and not reply.flags & dns.flags.AD
        assert reply.ednsflags & dns.flags.DO
        asked = dns.message.from_wire(upstream.queries[0][0])
        assert asked.ednsflags & dns.flags.DO


def test_an_alias_whose_target_is_blocked_or_missing_or_silent(gw, changed, lab):
    def cname(name, target):
        return {"name": name, "domain": f"{name}.test", "answer": "local", "cname": target}
    changed([cname("one", "ads.test"), cname("two", "none.real.test"), cname("three", "printer.local"),
             cname("four", "refused.test"), cname("five", "localhost"), cname("six", "dead.org"),
             {"name": "ads", "domain": "ads.test", "answer": "block"},
             {"name": "refused", "domain": "refused.test", "answer": "block", "block": "refused"},
             {"name": "dead", "domain": "dead.org", "answer": "real", "upstream": "dead"},
             {"name": "office", "domain": "real.test", **WAN}, REST],
            upstreams={"wan": {"servers": ["udp://10.99.0.53"]},
                       "dead": {"servers": ["udp://10.99.0.2:9"], "timeout": "100ms"}})
    for name, code, data in (("one", "NXDOMAIN", ["ads.test."]), ("two", "NXDOMAIN", ["none.real.test."]),
                             ("three", "NXDOMAIN", ["printer.local."]), ("four", "REFUSED", ["refused.test."]),
                             ("five", "NOERROR", ["localhost.", "127.0.0.1"])):
        reply = gw.ask(f"{name}.test")
        assert rcode(reply) == code and rdata(reply) == data, (name, reply)
    assert rcode(gw.ask("six.test", timeout_s=10)) == "SERVFAIL"


def test_an_alias_of_a_large_answer(gw, changed):
    changed([{"name": "big", "domain": "alias.test", "answer": "local", "cname": "big.real.test"},
             {"name": "office", "domain": "real.test", **WAN}, REST])
    reply = gw.ask("alias.test")
    assert reply.flags & dns.flags.TC and reply.wire_size <= 512
    reply = gw.ask("alias.test", edns=True, payload=1232)
    assert reply.flags & dns.flags.TC and reply.wire_size <= 1232
    reply = gw.ask("alias.test", tcp=True)
    assert rdata(reply)[0] == "big.real.test." and len(addresses(reply)) == 100


def test_circles_end(gw, changed):
    def cname(name, target):
        return {"name": name, "domain": f"{name}.test", "answer": "local", "cname": target}
    changed([cname("a", "b.test"), cname("b", "c.test"), cname("c", "a.test"),
             *(cname(f"n{i}", f"n{i + 1}.test") for i in range(6)), REST],
            records={"inline": [{"name": "r.test", "type": "CNAME", "rdata": "back.a.test"}]})
    for name in ("a.test", "b.test", "r.test"):
        start = moment()
        for tcp in (False, True):
            assert rcode(gw.ask(name, tcp=tcp)) == "SERVFAIL", name
        assert moment() - start < 1
    reply = gw.ask("n0.test")
    assert rdata(reply, "CNAME") == [f"n{i}.test." for i in range(1, 7)] and is_fake(rdata(reply, "A"))
    assert has_fake_address(gw.ask("fine.test"))


def test_many_aliases_at_once(gw, changed, lab):
    """Each answer is its own question's."""
    changed([*({"name": f"c{i}", "domain": f"c{i}.test", "answer": "local", "cname": f"t{i}.flood.test"}
               for i in range(40)),
             {"name": "flood", "domain": "flood.test", **WAN}, REST])
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(lab.connect("8.8.8.8")) for _ in range(40)]
        for i, sock in enumerate(socks):
            sock.send(dns.message.make_query(f"c{i}.test", "A", id=1000 + i).to_wire())
        for i, sock in enumerate(socks):
            reply = dns.message.from_wire(sock.recv(4096))
            assert reply.id == 1000 + i and rdata(reply) == [f"t{i}.flood.test.", "10.99.2.2"]


def test_aliases_while_the_configuration_changes(gw, changed, lab, address_54):
    """Questions whose target is being asked for when another configuration comes in force are answered all the same."""
    held = []
    rules = [*({"name": f"c{i}", "domain": f"c{i}.test", "answer": "local", "cname": f"t{i}.flood.test"}
               for i in range(20)),
             {"name": "flood", "domain": "flood.test", **WAN}, REST]
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(Upstream(lab, lambda wire, client, send: held.append((wire, send))))
        changed(rules, upstreams=SECTIONS["upstreams"])
        for gone in (5, 0, 3, 0):  # the rules of that many aliases go, and come back
            first = 20 - len([rule for rule in gw.config["rules"] if "cname" in rule])
            socks = [stack.enter_context(lab.connect("8.8.8.8")) for _ in range(first, 20)]
            for i, sock in enumerate(socks, first):
                sock.send(dns.message.make_query(f"c{i}.test", "A", id=1 + i).to_wire())
            wait_for(lambda: len({wire[2:] for wire, _ in held}) >= len(socks), "all are asked upstream")
            changed(rules[gone:], upstreams=SECTIONS["upstreams"])
            while held:
                wire, send = held.pop()
                send(answer_to(wire, "0 A 10.99.2.2"))  # they are all asked for again
            for i, sock in enumerate(socks, first):
                reply = dns.message.from_wire(sock.recv(4096))
                assert reply.id == 1 + i and rdata(reply) == [f"t{i}.flood.test.", "10.99.2.2"], reply
        assert upstream.queries


def test_records_of_a_rule(gw, lab, changed):
    records = [{"type": "A", "rdata": "192.168.77.9", "ttl": 33}, {"type": "TXT", "rdata": "hi"},
               {"type": "MX", "rdata": {"preference": 5, "exchange": "mx.test"}},
               {"type": "HTTPS", "rdata": {"priority": 1, "target": ".", "params": {"alpn": ["h2"]}}}]
    changed([{"name": "own", "domain": "own.test", "answer": "local", "records": records},
             {"name": "alias", "domain": "alias.test", "answer": "local",
              "records": [{"type": "CNAME", "rdata": "own.test"}]},
             {"name": "deny", "domain": "deny.test", "answer": "local", "records": [{"status": "deny"}]}, REST])
    with lab.watch("wan") as wan:
        for name in ("own.test", "x.own.test"):
            reply = gw.ask(name)
            assert rdata(reply) == ["192.168.77.9"] and ttls(reply) == [33]
            assert rdata(gw.ask(name, "TXT")) == ['"hi"']
            assert rdata(gw.ask(name, "MX")) == ["5 mx.test."]
            assert rdata(gw.ask(name, "HTTPS")) == ['1 . alpn="h2"']
            for rdtype in ("AAAA", "SRV"):
                reply = gw.ask(name, rdtype)
                assert rcode(reply) == "NOERROR" and not reply.answer and has_soa(reply)
        assert rdata(gw.ask("x.alias.test")) == ["own.test.", "192.168.77.9"]
        assert rcode(gw.ask("deny.test")) == "REFUSED"
        assert wan.dns_questions() == []


# --- answer: block ---

@pytest.mark.parametrize("block, code, data", [
    ("nxdomain", "NXDOMAIN", {}), ("refused", "REFUSED", {}), ("nodata", "NOERROR", {}),
    ("zero", "NOERROR", {"A": ["0.0.0.0"], "AAAA": ["::"]})])
def test_kinds_of_blocks(gw, lab, changed, block, code, data):
    changed([{"name": "ads", "domain": "ads.test", "answer": "block", "block": block}, REST])
    with lab.watch("wan") as wan:
        for how in ({"edns": True}, {"edns": True, "tcp": True}, {}):
            for rdtype in ("A", "AAAA", "HTTPS", "MX", "ANY", "SOA", "TYPE65280"):
                reply = gw.ask("x.ads.test", rdtype, **how)
                assert rcode(reply) == code and rdata(reply) == data.get(rdtype, []), (rdtype, reply)
                assert ede(reply) == ([15] if how.get("edns") else [])
                assert has_soa(reply) == (block != "refused" and not reply.answer)
        assert wan.dns_questions() == []
    told = gw.result("explain", name="ads.test")
    assert told["answer"] == "block" and any(block in note for note in told["notes"])


# --- to ---

FAR_V4, FAR_V6 = "10.99.0.53", "2001:db8:99::53"
MARK = """
table inet user {
	chain pre {
		type filter hook prerouting priority mangle
		iifname "lan0" meta l4proto { tcp, udp } th dport { 9000, 7777 } meta mark set mark or 0x400
	}
}
"""


@MODES
def test_to_decides_by_the_destination_of_real_traffic(gateway, lab, intercept):
    (lab.dir / "far.txt").write_text("10.99.0.53/32\n2001:db8:99::53/128\n")
    (lab.dir / "near.txt").write_text("10.99.0.0/24\n2001:db8:99::/64\n")
    lab.nft(MARK)
    rules = [{"name": "far", "to": "far", "answer": "real", "egress": "proxy"},
             {"name": "near", "to": ["near"], "domain": ".", "answer": "real", "upstream": "wan"},
             {"name": "unknown", "answer": "real", "egress": "other"}]
    try:
        with contextlib.ExitStack() as stack:
            for address in (REAL4, REAL6, FAR_V4, FAR_V6, "8.8.8.8", "2001:4860:4860::8888"):
                stack.enter_context(greeter(lab, address))
            stack.enter_context(Socks5(lab, far=tell))
            stack.enter_context(Socks5(lab, far=lambda s, h, p: s.sendall(f"other {h}\n".encode()), port=1088))
            gw = gateway({"gateway": {"relay_mark": "0x400/0x400"}, "fakeip": {"store": ""}, "rules": rules,
                          "lists": {"far": "far.txt", "near": "near.txt"},
                          "egress": {"proxy": {"type": "socks5", "server": "10.99.0.2:1080"},
                                     "other": {"type": "socks5", "server": "10.99.0.2:1088"}}}, intercept, name="to")
            assert greeted(lab, FAR_V4) == ("proxy", FAR_V4)
            assert greeted(lab, FAR_V6) == ("proxy", FAR_V6)
            assert greeted(lab, "8.8.8.8") == ("other", "8.8.8.8")
            assert greeted(lab, "2001:4860:4860::8888") == ("other", "2001:4860:4860::8888")
            told = gw.result("explain", name="far.public.test")
            assert told["rule"] == "unknown"
            assert ["never for a query" in rule["why"] for rule in told["rules"]] == [True, True, False]
            # a query never: the addresses of its answer do not count, and all are asked at the default's egress
            assert addresses(gw.ask("a.real.test")) == [REAL4]
    finally:
        lab.nft("delete table inet user")
