"""`check`: the addresses of a real answer send the name to another rule, whose answer is the first that leaves."""
import socket
import struct

import dns.flags
import pytest

from capture import Capture
from lab import addresses, ede, greeter, has_fake_address, rcode, rdata
from proxies import Socks5
from scripted import Scripted
from sets import elements, table

HOME, ABROAD = "10.99.0.54", "10.99.0.55"
CLIENT, OTHER_CLIENT = "192.168.77.2", "192.168.77.20"
INSIDE, INSIDE6 = "10.50.0.1", "2001:db8:50::1"  # in cn-ip
BAD, BAD6 = "203.0.113.5", "2001:db8:bad::5"  # what is answered at home instead of the truth
WORSE = "203.0.113.200"  # in worse-ip
BAD_ABROAD = "198.51.100.9"  # as bad, but the other rule's
TRUE, TRUE6 = "10.60.0.1", "2001:db8:60::1"  # what is answered abroad
THERE, THERE6 = "10.99.0.10", "2001:db8:99::10"  # the same, and somebody listens there
OURS = [f"10.1.2.{i}" for i in range(1, 41)]
PORT = 9000

AT_HOME = {
    "*": [f"60 A {BAD}", f"60 AAAA {BAD6}", '60 TXT "home"'],
    **{f"inside.{zone}.test": [f"60 A {INSIDE}", f"60 AAAA {INSIDE6}", "60 HTTPS 1 . alpn=h2 ipv4hint=10.50.0.7"]
       for zone in ("flow", "in-any", "in-all", "out-any", "out-all", "listed")},
    **{f"mixed.{zone}.test": [f"60 A {INSIDE}", f"60 A {BAD}"] for zone in ("in-any", "in-all", "out-any", "out-all")},
    "mapped-in.flow.test": [f"60 AAAA ::ffff:{INSIDE}"],
    "mapped-out.flow.test": [f"60 AAAA ::ffff:{BAD}"],
    "hints.flow.test": ["60 HTTPS 1 . alpn=h2 ipv4hint=203.0.113.5"],
    "hints6.flow.test": ["60 HTTPS 1 . alpn=h2 ipv6hint=2001:db8:bad::5"],
    "bare.flow.test": ["60 HTTPS 1 . alpn=h2"],
    "hints.to-fake.test": ["60 HTTPS 1 . alpn=h2 ipv4hint=203.0.113.5"],
    "alias-out.flow.test": ["60 CNAME cdn.example."], "cdn.example": [f"60 A {BAD}", f"60 AAAA {BAD6}"],
    "alias-in.flow.test": ["60 CNAME near.example."], "near.example": ["60 A 10.50.0.9"],
    "nodata.flow.test": [f"60 A {BAD}"],
    "a.both.test": [f"60 A {WORSE}"], "b.both.test": [f"60 A {BAD}"], "c.both.test": [f"60 A {INSIDE}"],
    "many.flow.test": [f"60 A 203.0.113.{i}" for i in range(1, 101)],
    "last.out-any.test": [f"60 A 10.50.1.{i}" for i in range(1, 100)] + [f"60 A {BAD}"],
}
FROM_ABROAD = {
    "*": [f"60 A {TRUE}", f"60 AAAA {TRUE6}", '60 TXT "abroad"', "60 HTTPS 1 . alpn=h3 ipv4hint=10.60.0.7"],
    **{f"first{i}.flow.test": [f"60 A 10.60.2.{i}", f"60 AAAA 2001:db8:60:2::{i}"] for i in (1, 2)},
    **{name: [f"60 A 10.60.3.{i}", f"60 AAAA 2001:db8:60:3::{i}"]
       for i, name in enumerate(("alias-out.flow.test", "target.flow.test", "added.flow.test"), 1)},
    "hints.flow.test": ["60 HTTPS 1 . alpn=h3 ipv4hint=10.60.0.7"],
    "hints6.flow.test": ["60 HTTPS 1 . alpn=h3 ipv6hint=2001:db8:60::7"],
    "many.flow.test": [f"60 A 10.60.1.{i}" for i in range(1, 101)],
    "some.flow.test": [f"60 A 10.60.4.{i}" for i in range(1, 51)],
    "poor.flow.test": [f"60 A {BAD_ABROAD}"],
    "web.carried.test": [f"60 A {THERE}", f"60 AAAA {THERE6}"],
}


def owner(name, check, **more):
    return {"name": name, "domain": [f"{name}.test"], "answer": "real", "upstream": "home", "check": check, **more}


def out(rule, **more):
    return {"answers": "out", "of": "cn-ip", "rule": rule, **more}


def rules(lab):
    """Those with sets wait for the kernel however busy this machine is."""
    return [{**rule, "push_timeout": "1s"} if "nftset" in rule else rule for rule in all_rules(lab)]


def all_rules(lab):
    """Those that are sent to have names of their own only; then one for each kind of check, by its zone."""
    learn = str(lab.dir / "learned.txt")
    return [
        {"name": "far", "domain": ["far.example"], "answer": "real", "upstream": "abroad",
         "nftset": ["4#inet#user#far4", "6#inet#user#far6"]},
        {"name": "tunnel", "domain": ["tunnel.example"], "answer": "real", "upstream": "abroad", "egress": "proxy"},
        {"name": "faked", "domain": ["faked.example"], "answer": "fake", "egress": "proxy"},
        {"name": "blocked", "domain": ["blocked.example"], "answer": "block", "block": "refused"},
        {"name": "ours", "domain": ["ours.example"], "answer": "local", "address": OURS},
        {"name": "elsewhere", "domain": ["elsewhere.example"], "answer": "local", "cname": "x.far.example"},
        {"name": "down", "domain": ["down.example"], "answer": "real", "upstream": "down"},
        {"name": "strictly", "domain": ["strictly.example"], "answer": "real", "upstream": "strict"},
        {"name": "filtered", "domain": ["filtered.example"], "answer": "real", "upstream": "abroad", "filter": "ipv6"},
        {"name": "other-client", "domain": ["client.example"], "client": [f"{OTHER_CLIENT}/32"], "answer": "block"},
        {"name": "only-six", "domain": ["six.example"], "type": ["AAAA"], "answer": "real", "upstream": "abroad"},
        {"name": "middle", "domain": ["middle.test"], "answer": "real", "upstream": "home2", "check": out("far")},
        {"name": "more", "also": True, "domain": ["flow.test"], "nftset": ["4#inet#user#also4"]},
        {"name": "alias", "domain": ["alias.test"], "answer": "local", "cname": "target.flow.test"},
        owner("flow", out("far"), nftset=["4#inet#user#home4", "6#inet#user#home6"]),
        *(owner(f"{answers}-{match}", {"answers": answers, "of": "cn-ip", "match": match, "rule": "far"})
          for answers in ("in", "out") for match in ("any", "all")),
        owner("both", [{"answers": "in", "of": ["nobody-ip", "worse-ip"], "rule": "blocked"}, out("far")]),
        owner("to-tunnel", out("tunnel"), domain=["carried.test"]), owner("to-fake", out("faked")),
        owner("to-block", out("blocked")), owner("to-ours", out("ours")), owner("to-elsewhere", out("elsewhere")),
        owner("to-down", out("down"), nftset=["4#inet#user#home4"]), owner("to-strict", out("strictly")),
        owner("to-filter", out("filtered")),
        owner("once", out("middle")), owner("once-learned", out("middle", learn=str(lab.dir / "once.txt"))),
        owner("clients", [out("other-client"), out("far")]), owner("types", out("only-six")),
        owner("told", out("far", learn=learn)),
        owner("strict-owner", out("far"), upstream="strict"),
        {"name": "rest", "answer": "real", "upstream": "home"}]


def configured(lab, home, abroad):
    for name, lines in (("cn", ["10.50.0.0/16", "2001:db8:50::/48"]), ("worse", ["203.0.113.128/25"]),
                        ("nobody", ["192.0.2.0/24"])):
        lab.dir.joinpath(f"{name}.txt").write_text("\n".join(lines) + "\n")
    lab.dir.joinpath("inland.txt").write_text("inside.strict-owner.test\n")
    return {
        "upstreams": {"home": {"servers": [home.dns]}, "home2": {"servers": [home.dns]},
                      "abroad": {"servers": [abroad.dns]},
                      "down": {"servers": ["udp://10.99.0.2:5399"], "timeout": "300ms", "total": "400ms"},
                      "strict": {"servers": [home.dns], "leak": "strict", "lists": ["inland"], "strict_to": "abroad"}},
        "egress": {"direct": {"type": "direct", "upstream": "home"},
                   "proxy": {"type": "socks5", "server": "10.99.0.2:1080", "upstream": "abroad"}},
        "lists": {"cn-ip": ["cn.txt"], "worse-ip": ["worse.txt"], "nobody-ip": ["nobody.txt"],
                  "inland": ["inland.txt"]},
        "rules": rules(lab)}


@pytest.fixture(scope="module")
def home(lab):
    with Scripted(lab, AT_HOME, HOME) as server:
        yield server


@pytest.fixture(scope="module")
def abroad(lab):
    with Scripted(lab, FROM_ABROAD, ABROAD) as server:
        yield server


@pytest.fixture(scope="module", params=["tun", "tproxy"])
def gw(request, lab, module_gateway, home, abroad):
    lab.nft("add table inet user; delete table inet user")
    table(lab, {f"{name}{family}": f"type ipv{family}_addr; flags timeout;"
                for name in ("far", "home", "also") for family in "46"})
    for name in ("learned.txt", "once.txt"):
        lab.dir.joinpath(name).unlink(missing_ok=True)
    gw = module_gateway(configured(lab, home, abroad), request.param)
    yield gw
    gw.stop()


@pytest.fixture(autouse=True)
def no_set_has_what_was_checked(gw, lab, home, abroad):
    for server in (home, abroad):
        server.clear()
        server.forget()
    yield
    bad = {address for address in in_sets(lab, "home", "far", "also") if address.startswith(("203.0.113.", BAD6))}
    assert not bad


def in_sets(lab, *names):
    return {address for name in names for family in "46" for address in elements(lab, name + family)}


def asked_at(server, name):
    return [q["type"] for q in server.queries(name=name)]


# --- which rule's answer it is ---

@pytest.mark.parametrize("number, tcp", [(1, False), (2, True)], ids=["udp", "tcp"])
def test_the_first_answer_is_the_other_rules(gw, lab, home, abroad, number, tcp):
    """And its addresses are in the other rule's sets."""
    name, true, true6 = f"first{number}.flow.test", f"10.60.2.{number}", f"2001:db8:60:2::{number}"
    assert addresses(gw.ask(name, tcp=tcp)) == [true]
    assert true in elements(lab, "far4")
    assert addresses(gw.ask(name, "AAAA", tcp=tcp)) == [true6]
    assert true6 in elements(lab, "far6")
    assert not {true, true6} & in_sets(lab, "home")
    assert asked_at(home, name) == asked_at(abroad, name) == ["A", "AAAA"]


def test_an_answer_that_is_in_order_is_its_own_rules(gw, lab, abroad):
    assert addresses(gw.ask("inside.flow.test")) == [INSIDE]
    assert addresses(gw.ask("inside.flow.test", "AAAA")) == [INSIDE6]
    assert {INSIDE, INSIDE6} <= in_sets(lab, "home") and not {INSIDE, INSIDE6} & in_sets(lab, "far")
    assert not abroad.queries()


def test_answers_of_the_cache_are_checked_too(gw, home, abroad):
    """Each time: nothing was learned."""
    for _ in range(5):
        assert addresses(gw.ask("again.flow.test")) == [TRUE]
    assert asked_at(home, "again.flow.test") == asked_at(abroad, "again.flow.test") == ["A"]
    told = gw.result("explain", name="again.flow.test")
    assert told["rule"] == "flow"
    assert "check: by the addresses of the answer that is kept (list cn-ip), rule far answers instead" in told["notes"]
    gw.ask("inside.flow.test")
    assert not gw.result("explain", name="inside.flow.test")["notes"]


@pytest.mark.parametrize("answers, match, went", [
    ("in", "any", {"inside", "mixed"}), ("in", "all", {"inside"}),
    ("out", "any", {"mixed", "outside"}), ("out", "all", {"outside"})])
def test_in_and_out_any_and_all(gw, abroad, answers, match, went):
    zone = f"{answers}-{match}.test"
    for kind, own in (("inside", {INSIDE}), ("mixed", {INSIDE, BAD}), ("outside", {BAD})):
        assert set(addresses(gw.ask(f"{kind}.{zone}"))) == ({TRUE} if kind in went else own), kind
    assert {q["name"].split(".")[0] for q in abroad.queries()} == went


def test_the_last_of_many_addresses_counts(gw):
    assert addresses(gw.ask("last.out-any.test", tcp=True)) == [TRUE]


def test_the_first_check_that_holds_wins(gw):
    assert rcode(gw.ask("a.both.test")) == "REFUSED"  # both hold
    assert addresses(gw.ask("b.both.test")) == [TRUE]
    assert addresses(gw.ask("c.both.test")) == [INSIDE]


def test_a_mapped_address_is_the_one_in_it(gw):
    assert addresses(gw.ask("mapped-in.flow.test", "AAAA")) == [f"::ffff:{INSIDE}"]
    assert addresses(gw.ask("mapped-out.flow.test", "AAAA")) == [TRUE6]


@pytest.mark.parametrize("name, hint, of", [("hints", "10.60.0.7", "far4"), ("hints6", "2001:db8:60::7", "far6")])
def test_hints_count(gw, lab, name, hint, of):
    told, = rdata(gw.ask(f"{name}.flow.test", "HTTPS"))
    assert "h3" in told and hint in told
    assert hint in elements(lab, of) and hint not in in_sets(lab, "home")
    told, = rdata(gw.ask("inside.flow.test", "HTTPS"))
    assert "h2" in told and "10.50.0.7" in told


def test_targets_of_aliases_count(gw, lab):
    assert addresses(gw.ask("alias-out.flow.test")) == ["10.60.3.1"]
    assert addresses(gw.ask("alias-out.flow.test", "AAAA")) == ["2001:db8:60:3::1"]
    assert {"10.60.3.1", "2001:db8:60:3::1"} <= in_sets(lab, "far")
    assert rdata(gw.ask("alias-in.flow.test")) == ["near.example.", "10.50.0.9"]
    assert "10.50.0.9" in elements(lab, "home4")


def test_what_has_no_address_is_not_checked(gw, abroad):
    assert rcode(gw.ask("nodata.flow.test", "AAAA")) == "NOERROR"
    assert rdata(gw.ask("words.flow.test", "TXT")) == ['"home"']
    assert ["h2" in told for told in rdata(gw.ask("bare.flow.test", "HTTPS"))] == [True]
    assert not abroad.queries()


def test_behind_an_alias_of_ours(gw, lab):
    """The target is asked by the rules, and checked."""
    for tcp in (False, True):
        reply = gw.ask("alias.test", tcp=tcp)
        assert rdata(reply) == ["target.flow.test.", "10.60.3.2"]
    assert "10.60.3.2" in elements(lab, "far4")


def test_a_large_answer(gw, lab):
    """As large as its own way takes, at first and from the cache."""
    for _ in range(2):
        assert set(addresses(gw.ask("many.flow.test", tcp=True))) == {f"10.60.1.{i}" for i in range(1, 101)}
        assert gw.ask("many.flow.test").flags & dns.flags.TC
    assert len(addresses(gw.ask("some.flow.test", edns=True))) == 50
    assert {f"10.60.1.{i}" for i in range(1, 101)} <= in_sets(lab, "far")


def test_many_at_once(gw, lab, home):
    """While they wait at home, and after it, nobody gets another's answer."""
    home.fault("delay", ms=100, name="*.flow.test")
    with lab.connect("8.8.8.8") as sock:
        for i in range(200):
            head = f"{'inside' if i % 4 == 0 else f'at-once{i}'}"
            sock.send(struct.pack("!6H", i, 0x100, 1, 0, 0, 0) + bytes([len(head)]) + head.encode()
                      + b"\4flow\4test\0\0\1\0\1")
        got = {struct.unpack_from("!H", reply)[0]: reply[-4:] for reply in (sock.recv(512) for _ in range(200))}
    assert got == {i: socket.inet_aton(INSIDE if i % 4 == 0 else TRUE) for i in range(200)}


# --- what the other rule is ---

def test_a_fake_rule(gw):
    for rdtype in ("A", "AAAA"):
        assert has_fake_address(gw.ask("a.to-fake.test", rdtype))
    hints = rdata(gw.ask("hints.to-fake.test", "HTTPS"))
    assert not any("203.0.113" in hint for hint in hints), hints
    assert gw.result("fakeip.lookup", name="a.to-fake.test")["rule"] == "faked"


def test_a_blocking_rule(gw):
    for _ in range(2):
        reply = gw.ask("a.to-block.test")
        assert rcode(reply) == "REFUSED" and not reply.answer


def test_a_local_rule(gw):
    assert addresses(gw.ask("a.to-ours.test", tcp=True)) == OURS
    assert gw.ask("b.to-ours.test").flags & dns.flags.TC
    reply = gw.ask("a.to-ours.test", "AAAA")
    assert rcode(reply) == "NOERROR" and not reply.answer  # the bad one is not told either


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_an_alias_of_the_other_rule(gw, tcp):
    assert rdata(gw.ask(f"a{int(tcp)}.to-elsewhere.test", tcp=tcp)) == ["x.far.example.", TRUE]


def test_a_rule_that_filters(gw):
    assert addresses(gw.ask("a.to-filter.test")) == [TRUE]
    reply = gw.ask("a.to-filter.test", "AAAA")
    assert rcode(reply) == "NOERROR" and not reply.answer


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_rule_whose_upstream_is_down(gw, name):
    """Never what was answered at home, not even from the cache."""
    for _ in range(2):
        reply = gw.ask(f"{name}.to-down.test", edns=True)
        assert rcode(reply) == "SERVFAIL" and not reply.answer and ede(reply)


def test_an_answer_of_the_other_rule_that_is_bad_itself(gw, lab):
    """It is not checked by this one: it is the other's."""
    assert addresses(gw.ask("poor.flow.test")) == [BAD_ABROAD]
    assert BAD_ABROAD in elements(lab, "far4") and BAD_ABROAD not in in_sets(lab, "home")


def test_once(gw, home, abroad):
    """What was sent to `middle` is not sent on by the check of `middle`; its own names are."""
    for _ in range(2):
        assert addresses(gw.ask("a.once.test")) == [BAD]
        assert addresses(gw.ask("a.once-learned.test")) == [BAD]
    assert not abroad.queries()
    assert addresses(gw.ask("a.middle.test")) == [TRUE]
    learned, = [n for n in gw.result("learned") if n["name"] == "a.once-learned.test"]
    assert learned["rule"] == "middle"


def test_clients_of_the_other_rule(gw, lab):
    lab.run("cl", "ip", "addr", "add", f"{OTHER_CLIENT}/24", "dev", "eth0")
    try:
        for _ in range(2):
            assert addresses(gw.ask("a.clients.test", source=CLIENT)) == [TRUE]
            assert rcode(gw.ask("a.clients.test", source=OTHER_CLIENT)) == "NXDOMAIN"
    finally:
        lab.run("cl", "ip", "addr", "del", f"{OTHER_CLIENT}/24", "dev", "eth0")


def test_types_of_the_other_rule(gw):
    assert addresses(gw.ask("a.types.test", "AAAA")) == [TRUE6]
    assert addresses(gw.ask("a.types.test", "A")) == [BAD]


def test_sets_that_are_added(gw, lab):
    """A rule with `also` adds what is answered, not what was checked."""
    assert addresses(gw.ask("added.flow.test")) == ["10.60.3.3"]
    assert "10.60.3.3" in elements(lab, "also4")
    assert addresses(gw.ask("added.flow.test")) == ["10.60.3.3"]
    assert addresses(gw.ask("inside.flow.test")) == [INSIDE]
    assert INSIDE in elements(lab, "also4")


# --- who hears of it ---

def test_strict_groups(gw, lab, home, abroad):
    """Whoever sends a name there: only names of its lists are told to it."""
    with Capture(lab) as wire:
        assert addresses(gw.ask("secretx.strict-owner.test")) == [TRUE]
        assert addresses(gw.ask("openx.to-strict.test")) == [TRUE]
        assert addresses(gw.ask("inside.strict-owner.test")) == [TRUE]  # asked at home first
        wire.stop()  # "\x0c": how long the label behind it is
        assert wire.told("secretx|openx|inside.strict") == {
            HOME: {"openx", "inside\x0cstrict"}, ABROAD: {"secretx", "openx", "inside\x0cstrict"}}
    assert asked_at(home, "openx.to-strict.test") == ["A"]  # by its own rule; not again, by the strict group
    assert asked_at(home, "inside.strict-owner.test") == ["A"]


def test_explain_says_why(gw):
    def explain(name):
        told = gw.result("explain", name=name)
        return told, told["rules"][-1]
    told, last = explain("a.told.test")
    assert told["rule"] == last["name"] == "told" and told["upstream"] == "home"
    assert "check: all addresses out of cn-ip: rule far, learned" in last["why"]
    assert addresses(gw.ask("a.told.test")) == [TRUE]
    told, last = explain("a.told.test")
    assert told["rule"] == last["name"] == "far" and told["upstream"] == "abroad" and told["answer"] == "real"
    assert last["matched"] and "learned from the check of rule told (list cn-ip)" in last["why"]
    assert told["sets"] == ["4#inet#user#far4", "6#inet#user#far6"]
    told, last = explain("b.told.test")  # another name is as before
    assert told["rule"] == "told"
    done = gw.cli("explain", "a.told.test").stdout
    assert "learned from the check of rule told" in done


# --- where its traffic goes ---

def page(sock, host, _port):
    """The far end of the proxy: a web server that tells whom it was asked for."""
    sock.recv(4096)
    sock.sendall(f"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nproxy {host}\n".encode())
    sock.close()


@pytest.mark.parametrize("family", ["-4", "-6"])
def test_its_traffic_takes_the_other_rules_egress(gw, lab, family):
    with Socks5(lab, far=page) as proxy, greeter(lab, THERE, PORT):
        name = f"web{family}.to-fake.test"
        assert lab.curl(f"http://{name}:{PORT}/", family).stdout == f"proxy {name}\n"
        address = THERE if family == "-4" else THERE6
        assert lab.curl(f"http://web.carried.test:{PORT}/", family).stdout.startswith("proxy ")
        assert {host for host, _ in proxy.requests} <= {name, "web.carried.test", address}
