"""Item 6: names that have an answer of their own and never leave the house."""
import dns.flags
import pytest

from lab import addresses, ede, has_fake_address, has_soa, rcode, rdata

TYPES = ("A", "AAAA", "HTTPS", "MX", "TXT", "SOA", "NS", "PTR", "ANY", "TYPE65280")

# name: (option, rcode, {type: data}); NXDOMAIN is for all types
NOBODY = "NXDOMAIN", {}
EMPTY = "NOERROR", {}
LOOPBACK = "NOERROR", {"A": ["127.0.0.1"], "AAAA": ["::1"]}
ALTERNATIVES = {
    "localhost": ("localhost", *LOOPBACK), "www.localhost": ("localhost", *LOOPBACK),
    "a.b.localhost": ("localhost", *LOOPBACK),
    "invalid": ("special", *NOBODY), "no.such.invalid": ("special", *NOBODY),
    "local": ("special", *NOBODY), "printer.local": ("special", *NOBODY), "_http._tcp.local": ("special", *NOBODY),
    "onion": ("special", *NOBODY),
    "duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion": ("special", *NOBODY),
    "alt": ("special", *NOBODY), "some.gns.alt": ("special", *NOBODY),
    "lan": ("special", *NOBODY), "foo.lan": ("special", *NOBODY), "x.y.lan": ("special", *NOBODY),
    "internal": ("special", *NOBODY), "db.internal": ("special", *NOBODY),
    "home.arpa": ("special", *NOBODY), "tv.home.arpa": ("special", *NOBODY),
    "use-application-dns.net": ("canary", *NOBODY), "x.use-application-dns.net": ("canary", *NOBODY),
    "mask.icloud.com": ("relay", *NOBODY), "mask-h2.icloud.com": ("relay", *NOBODY),
    "resolver.arpa": ("ddr", *EMPTY), "_dns.resolver.arpa": ("ddr", *EMPTY),
    "ipv4only.arpa": ("ipv4only", "NOERROR", {"A": ["192.0.0.170", "192.0.0.171"]}),
    "x.ipv4only.arpa": ("ipv4only", *NOBODY),
}
REVERSE = ["10.1.2.3", "192.168.5.6", "172.16.0.1", "172.31.255.254", "100.64.0.1", "100.127.255.1", "0.0.0.1",
           "127.0.0.1", "127.9.9.9", "169.254.1.1", "192.0.2.7", "198.51.100.7", "203.0.113.7", "255.255.255.255",
           "::", "::1", "fd12:3456::1", "fe80::1", "febf::1", "2001:db8:4::1"]
PUBLIC = ["11.1.2.3", "192.169.5.6", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "128.0.0.1",
          "169.253.1.1",
          "192.0.3.7", "198.51.101.7", "203.0.114.7", "255.255.255.254", "::2", "fe00::1", "fec0::1", "2001:db9::1"]
OTHERS = ["xlocalhost", "localhost.test", "notlocal.test", "local.test", "mylocal", "lan.test", "xlan",
          "home.arpa.test",
          "arpa", "xhome.arpa", "icloud.com", "x.mask.icloud.com", "xmask.icloud.com", "mask-h2.icloud.com.test",
          "application-dns.net", "xuse-application-dns.net", "xresolver.arpa", "ipv4only.arpa.test", "test", "x.test",
          "example.com"]
OPTIONS = ["localhost", "special", "canary", "relay", "ddr", "private_reverse", "ipv4only"]
CATCH_ALL = [{"name": "all", "answer": "real", "upstream": "wan"}]
FAKE_ALL = [{"name": "all", "answer": "fake", "egress": "direct"}]
UNCACHED = {"rules": CATCH_ALL, "fakeip": {"store": ""}, "cache": {"size": 0}}  # who asks is seen on the wire


def reverse(address):
    if ":" not in address:
        return ".".join(reversed(address.split("."))) + ".in-addr.arpa"
    import ipaddress
    return ipaddress.ip_address(address).reverse_pointer


@pytest.fixture(scope="module", params=["tun", "tproxy"])
def gw(request, module_gateway):
    gateway = module_gateway(UNCACHED, request.param)
    yield gateway
    if gateway.running():
        gateway.stop()


@pytest.fixture
def changed(gw):
    """changed(config): in force from now on, until the test ends."""
    intercept = gw.config["gateway"]["intercept"]

    def change(config=None):
        gw.rewrite({**UNCACHED, **(config or {})}, intercept)
        gw.result("reload")
    yield change
    change()


def assert_own(gw, name, code, data, types=TYPES, **how):
    for rdtype in types:
        reply = gw.ask(name, rdtype, **how)
        assert rcode(reply) == code, (name, rdtype, reply)
        assert rdata(reply) == data.get(rdtype, []), (name, rdtype, reply)
        assert reply.flags & dns.flags.AA and ede(reply) == []
        assert has_soa(reply) == (not reply.answer), (name, rdtype, reply)


@pytest.mark.parametrize("rules", [CATCH_ALL, FAKE_ALL], ids=["real", "fake"])
def test_their_answers_whatever_the_rules_say_and_nothing_leaves(gw, lab, changed, rules):
    changed({"rules": rules})
    with lab.watch("wan") as wan:
        for name, (_, code, data) in ALTERNATIVES.items():
            assert_own(gw, name, code, data)
        for address in REVERSE:
            assert_own(gw, reverse(address), "NXDOMAIN", {}, ("PTR", "A", "SOA"))
        assert wan.dns_questions() == []


def test_however_it_is_asked(gw, lab):
    with lab.watch("wan") as wan:
        assert_own(gw, "PRINTER.Local", "NXDOMAIN", {}, ("A",))
        for how in ({"server": "fd77::1"}, {"server": "2001:4860:4860::8888", "source": "2001:db8:77::2"},
                    {"tcp": True},
                    {"edns": True}, {"server": "192.168.77.1"}):
            assert_own(gw, "printer.local", "NXDOMAIN", {}, ("A", "AAAA"), **how)
            assert_own(gw, "localhost", *LOOPBACK, ("A", "AAAA", "MX"), **how)
        assert wan.dns_questions() == []
    assert lab.dig("localhost") == ["127.0.0.1"]  # this host's own programs
    assert gw.ask("local", "DS").answer == []


def test_what_is_only_alike_is_asked(gw, lab):
    with lab.watch("wan") as wan:
        for name in OTHERS:
            gw.ask(name)
        for address in PUBLIC:
            gw.ask(reverse(address), "PTR")
        asked = {name for name, _ in wan.dns_questions()}
    assert asked == {*OTHERS, *map(reverse, PUBLIC)}


@pytest.mark.parametrize("option", OPTIONS)
def test_each_can_be_switched_off_alone(gw, lab, changed, option):
    names = {name: builtin for name, (builtin, _, _) in ALTERNATIVES.items()}
    names.update((reverse(address), "private_reverse") for address in REVERSE)
    changed({"builtin": {option: "no"}})
    with lab.watch("wan") as wan:
        for name in names:
            gw.ask(name, "PTR" if name.endswith("6.arpa") else "A")
        asked = {name for name, _ in wan.dns_questions()}
    assert asked == {name for name, builtin in names.items() if builtin == option}


def test_all_off(gw, lab, changed):
    changed({"builtin": {option: "off" for option in OPTIONS}, "rules": FAKE_ALL,
             "fakeip": {"except": {"builtin": "no"}}})
    for name in ALTERNATIVES:
        assert has_fake_address(gw.ask(name)), name


@pytest.mark.parametrize("domain, wins, loses", [
    ("lan", ["lan", "foo.lan", "x.y.lan"], ["foo.internal"]),
    ("foo.lan", ["foo.lan", "a.foo.lan"], ["lan", "bar.lan", "xfoo.lan"]),
    ("full:foo.lan", ["foo.lan"], ["a.foo.lan", "lan"]),
    ("local", ["printer.local", "local"], ["x.alt"]),
    ("onion", ["x.onion"], ["x.local"]),
    ("mask.icloud.com", ["mask.icloud.com"], ["mask-h2.icloud.com"]),
    ("icloud.com", [], ["mask.icloud.com", "mask-h2.icloud.com"]),
    ("net", [], ["use-application-dns.net"]),
    ("x.use-application-dns.net", ["x.use-application-dns.net"], ["use-application-dns.net"]),
    ("arpa", [], ["ipv4only.arpa", "home.arpa", "_dns.resolver.arpa", "1.0.0.10.in-addr.arpa"]),
    ("10.in-addr.arpa", ["1.0.0.10.in-addr.arpa"], ["1.0.168.192.in-addr.arpa"]),
    ("in-addr.arpa", [], ["1.0.0.10.in-addr.arpa"]),
    ("168.192.in-addr.arpa", ["1.2.168.192.in-addr.arpa"], ["1.2.16.172.in-addr.arpa"]),
    (".", [], ["x.local", "foo.lan"]),
    ("keyword:foo", [], ["foo.lan", "foo.local"]),
    ("regexp:^foo", [], ["foo.lan", "foo.local"]),
])
def test_a_rule_wins_whose_own_domain_lies_at_or_below(gw, lab, changed, domain, wins, loses):
    changed({"rules": [{"name": "mine", "domain": [domain], "answer": "real", "upstream": "wan"}, *CATCH_ALL]})
    with lab.watch("wan") as wan:
        for name in (*wins, *loses):
            gw.ask(name)
            told = gw.result("explain", name=name)
            assert (told["rule"], told["answer"]) == (("mine", "real") if name in wins else (None, "local")), told
            assert any("built-in" in note for note in told["notes"]) == (name in loses), told
        assert {name for name, _ in wan.dns_questions()} == set(wins)


@pytest.mark.parametrize("answer", [{"answer": "block", "block": "refused"}, {"answer": "fake", "egress": "direct"},
                                    {"answer": "local", "address": "192.168.77.9"}])
def test_such_a_rule_may_answer_as_it_likes(gw, changed, answer):
    changed({"rules": [{"name": "mine", "domain": "local", **answer}, *CATCH_ALL]})
    reply = gw.ask("printer.local")
    if answer["answer"] == "block":
        assert rcode(reply) == "REFUSED"
    elif answer["answer"] == "fake":
        assert has_fake_address(reply)
    else:
        assert addresses(reply) == ["192.168.77.9"]


def test_a_list_does_not_win_nor_does_a_rule_that_is_not_the_first(gw, lab, changed):
    (lab.dir / "mine.txt").write_text("local\nfoo.lan\n10.in-addr.arpa\nmask.icloud.com\n")
    changed({"lists": {"mine": "mine.txt"},
             "rules": [{"name": "listed", "list": "mine", "answer": "real", "upstream": "wan"},
                       {"name": "late", "domain": "local", "answer": "real", "upstream": "wan"}]})
    with lab.watch("wan") as wan:
        for name in ("x.local", "foo.lan", "1.0.0.10.in-addr.arpa", "mask.icloud.com"):
            assert_own(gw, name, "NXDOMAIN", {}, ("A", "PTR"))
        assert wan.dns_questions() == []


def test_a_rule_with_more_conditions_wins_only_where_it_matches(gw, lab, changed):
    lab.run("cl", "ip", "addr", "replace", "192.168.77.3/24", "dev", "eth0")
    changed({"rules": [{"name": "mine", "domain": "lan", "client": "192.168.77.3", "type": "A", "answer": "real",
                        "upstream": "wan"}, *CATCH_ALL]})
    assert addresses(gw.ask("foo.lan", source="192.168.77.3")) == ["10.99.1.5"]
    assert rcode(gw.ask("foo.lan", source="192.168.77.2")) == "NXDOMAIN"
    reply = gw.ask("foo.lan", "MX", source="192.168.77.3")
    assert rcode(reply) == "NXDOMAIN" and reply.flags & dns.flags.AA


def test_records_know_names_of_the_house(gw, lab, changed):
    records = [{"name": "nas.lan", "type": "A", "rdata": "192.168.77.40"},
               {"name": "db.internal", "type": "TXT", "rdata": "hello"},
               {"name": "tv.home.arpa", "type": "AAAA", "rdata": "fd77::40"},
               {"name": "40.77.168.192.in-addr.arpa", "type": "PTR", "rdata": "nas.lan"},
               {"name": "mine.local", "type": "A", "rdata": "192.168.77.41"},
               {"name": "localhost", "type": "TXT", "rdata": "own"}]
    changed({"records": {"inline": records}})
    with lab.watch("wan") as wan:
        assert addresses(gw.ask("nas.lan")) == ["192.168.77.40"]
        reply = gw.ask("nas.lan", "AAAA")
        assert rcode(reply) == "NOERROR" and not reply.answer
        assert rdata(gw.ask("db.internal", "TXT")) == ['"hello"']
        assert addresses(gw.ask("tv.home.arpa", "AAAA")) == ["fd77::40"]
        assert rdata(gw.ask("40.77.168.192.in-addr.arpa", "PTR")) == ["nas.lan."]
        assert addresses(gw.ask("mine.local")) == ["192.168.77.41"]  # records come first of all
        assert rdata(gw.ask("localhost", "TXT")) == ['"own"']
        assert addresses(gw.ask("localhost")) == ["127.0.0.1"]
        for name in ("other.lan", "x.nas.lan", "other.internal", "41.77.168.192.in-addr.arpa", "other.local"):
            assert_own(gw, name, "NXDOMAIN", {}, ("A", "PTR"))
        assert wan.dns_questions() == []


def test_other_types_of_a_house_name_that_records_know_stay_in_the_house(gw, lab, changed):
    """"None ever leaves", and the name exists: no such data."""
    changed({"records": {"inline": [{"name": "nas.lan", "type": "A", "rdata": "192.168.77.40"},
                                    {"name": "t.lan", "type": "TXT", "rdata": "t"}]}})
    with lab.watch("wan") as wan:
        for name, rdtype in (("nas.lan", "AAAA"), ("nas.lan", "HTTPS"), ("nas.lan", "MX"), ("t.lan", "A"),
                             ("t.lan", "MX")):
            reply = gw.ask(name, rdtype)
            assert rcode(reply) == "NOERROR" and not reply.answer and has_soa(reply), (name, rdtype, reply)
        assert wan.dns_questions() == []


def test_explain_names_the_option(gw):
    for name, (option, _, _) in ALTERNATIVES.items():
        told = gw.result("explain", name=name)
        assert told["rule"] is None and told["answer"] == "local" and told["egress"] is None, told
        assert any(f"builtin.{option}" in note for note in told["notes"]), told
    told = gw.result("explain", name="1.0.0.10.in-addr.arpa", type="PTR")
    assert any("builtin.private_reverse" in note for note in told["notes"])


def test_they_are_counted_as_local(gw):
    before = gw.status()["queries"]
    gw.ask("x.local"), gw.ask("localhost"), gw.ask("1.0.0.10.in-addr.arpa", "PTR")
    after = gw.status()["queries"]
    assert (after["local"] - before["local"], after["failed"] - before["failed"]) == (3, 0)
