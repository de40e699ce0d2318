"""Sets and maps of every kind that nft has get the address as their user means it, and nothing else."""
from ipaddress import ip_address, ip_network

import dns.message
import dns.rdatatype
import dns.rrset
import pytest

from lab import Upstream, addresses, answer_to, rcode, rdata, wait_for
from sets import assert_told_once, rule, state, table, texts

ADDRESS = {4: "10.99.0.10", 6: "2001:db8:99::10"}
CLIENT = {4: "192.168.77.2", 6: "2001:db8:77::2"}
SERVER = {4: "8.8.8.8", 6: "2001:4860:4860::8888"}
TOP4, TOP6 = "255.255.255.255", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

# Name of the set: what it is made of, with X for ipv4_addr and ipv6_addr; the template; the element as nft lists it.
BOTH = {
    "hash": ("type X; flags timeout;", "", "{a}"),
    "sized": ("type X; size 65535; flags timeout; gc-interval 1m; timeout 3h;", "", "{a}"),
    "dynamic": ("type X; flags dynamic, timeout;", "", "{a}"),
    "range": ("type X; flags interval, timeout;", "", "{a}"),
    "merged": ("type X; flags interval, timeout; auto-merge;", "", "{a}"),
    "port": ("type X . inet_service; flags timeout;", " = $addr . 443", "{a} . 443"),
    "tcp": ("type X . inet_proto . inet_service; flags timeout;", " = $addr . tcp . https", "{a} . tcp . 443"),
    "iface": ("type X . ifname; flags timeout;", " = $addr . lan0", '{a} . "lan0"'),
    "frommac": ("type ether_addr . X; flags timeout;", " = 02:00:00:00:00:0a . $addr", "02:00:00:00:00:0a . {a}"),
    "marked": ("type X . mark; flags timeout;", " = $addr . 0x10", "{a} . 0x00000010"),
    "client": ("type X . X; flags timeout;", " = $client . $addr", "{c} . {a}"),
    "clientport": ("type X . X . inet_service; flags timeout;", " = $addr . $client . 53", "{a} . {c} . 53"),
    "rangeport": ("type X . inet_service; flags interval, timeout;", " = $addr . 443", "{a} . 443"),
    "rangeclient": ("type X . X; flags interval, timeout;", " = $client . $addr", "{c} . {a}"),
    "typeof": ("typeof N daddr; flags timeout;", "", "{a}"),
    "typeofport": ("typeof N daddr . tcp dport; flags timeout;", " = $addr . 443", "{a} . 443"),
    "typeofrange": ("typeof N daddr; flags interval, timeout;", "", "{a}"),
    "mapmark": ("type X : mark; flags timeout;", " = 0x10", "{a} : 0x00000010"),
    "mapport": ("type X : inet_service; flags timeout;", " = 8080", "{a} : 8080"),
    "mapaddr": ("type X : X; flags timeout;", " = {v}", "{a} : {v}"),
    "mapboth": ("type X : X . inet_service; flags timeout;", " = {v} . 8080", "{a} : {v} . 8080"),
    "mapdrop": ("type X : verdict; flags timeout;", " = drop", "{a} : drop"),
    "mapjump": ("type X : verdict; flags timeout;", " = jump other", "{a} : jump other"),
    "maprange": ("type X : mark; flags interval, timeout;", " = 16", "{a} : 0x00000010"),
    "maptypeof": ("typeof N daddr : meta mark; flags timeout;", " = 0x10", "{a} : 0x00000010"),
}
VALUE = {4: "192.0.2.9", 6: "2001:db8::9"}
# All of them once more without timeouts, for those that change what an element is made of.
FOREVER = {"hash", "range", "port", "rangeport", "client", "mapmark", "mapjump", "maprange", "typeof"}


def kinds():
    for name, (what, template, element) in BOTH.items():
        for family in (4, 6):
            fill = {"a": ADDRESS[family], "c": CLIENT[family], "v": VALUE[family]}
            made = what.replace("X", f"ipv{family}_addr").replace("N ", "ip " if family == 4 else "ip6 ")
            yield f"{name}{family}", (family, made, template.format(**fill), element.format(**fill), True)
            if name in FOREVER:
                lasting = made.replace("flags timeout;", "").replace(", timeout", "")
                yield f"{name}{family}p", (family, lasting, template.format(**fill), element.format(**fill), False)


KINDS = dict(kinds())


def is_map(name):
    return name.startswith("map")


def text_of(name):
    return f"{KINDS[name][0]}#inet#user#{name}{KINDS[name][2]}"


def rule_of(name):
    timed = KINDS[name][4]
    one = text_of(name) if timed else {"set": text_of(name), "timeout": "permanent"}
    return rule(name, **{"nftmap" if is_map(name) else "nftset": one}, on_error="servfail", push_timeout="2s")


BAD = {  # name: what it is made of, the rule's, words of the reason
    "bad-template": ("type ipv4_addr . inet_service; flags timeout;", "", ["wrong type", "a template is needed"]),
    "bad-fields": ("type ipv4_addr; flags timeout;", " = $addr . 443", ["wrong type", "1 field", "has 2"]),
    "bad-literal": ("type ipv4_addr . inet_service; flags timeout;", " = $addr . lan0",
                    ["wrong type", "second field of its key is a port, 'lan0' is none"]),
    "bad-family": ("type ipv6_addr; flags timeout;", "", ["wrong type", "IPv6"]),
    "bad-constant": ("type ipv4_addr; flags constant; elements = { 192.0.2.1 };", "", ["wrong type", "constant"]),
    "bad-map": ("map type ipv4_addr : mark; flags timeout;", "", ["wrong type", "it is a map, and no value is written"]),
    "bad-life": ("type ipv4_addr;", "", ["no timeout", "flags timeout"]),
    "bad-nothing": (None, "", ["missing", "no such set"]),
}


def hexes(*texts):
    return "-".join(ip_address(text).packed.hex() for text in texts)


def serve(wire, client, send):
    """`01020304-0a0b0c0d.x.real.test` has these addresses; other names have the usual two."""
    asked = dns.message.from_wire(wire).question[0]
    first = asked.name.labels[0].decode()
    found = [ADDRESS[4], ADDRESS[6]]
    if len(first) >= 8 and not first.strip("0123456789abcdef-"):
        found = [str(ip_address(bytes.fromhex(part))) for part in first.split("-")]
    records = {dns.rdatatype.A: [f"77 A {a}" for a in found if ":" not in a],
               dns.rdatatype.AAAA: [f"77 AAAA {a}" for a in found if ":" in a],
               dns.rdatatype.HTTPS: ["77 HTTPS 1 . alpn=h2 ipv4hint=10.99.0.20,10.99.0.21 ipv6hint=2001:db8:99::20"],
               dns.rdatatype.SVCB: ["77 SVCB 1 there.example. port=853 ipv4hint=10.99.0.22"]}
    if first == "alias":
        reply = dns.message.from_wire(answer_to(wire, "500 CNAME one.example."))
        reply.answer.append(dns.rrset.from_text("one.example.", 400, "IN", "CNAME", "two.example."))
        target = records[asked.rdtype][0].split(" ", 2)[1:]
        reply.answer.append(dns.rrset.from_text("two.example.", 1000, "IN", *target))
        send(reply.to_wire())
    else:
        send(answer_to(wire, *records.get(asked.rdtype, [])))


HINTS = {"4#inet#user#hints4", "6#inet#user#hints6"}


def all_sets():
    made = {f"{'map' if is_map(name) else 'set'} {name}": what for name, (_, what, *_) in KINDS.items()}
    for name, (what, *_) in BAD.items():
        if what:
            kind, what = ("map", what[4:]) if what.startswith("map ") else ("set", what)
            made[f"{kind} {name}"] = what
    for family in (4, 6):
        made |= {f"set {name}{family}": f"type ipv{family}_addr; flags timeout;"
                 for name in ("hints", "auto", "aliased", "mixed", "good", "week", "own", "usual")}
        made[f"set edge{family}"] = f"type ipv{family}_addr; flags interval, timeout;"
        made[f"set edgeport{family}"] = f"type ipv{family}_addr . inet_service; flags interval, timeout;"
    return {"chain other": "counter;", **made}


@pytest.fixture(scope="module")
def gw(lab, module_gateway):
    table(lab, all_sets())
    with Upstream(lab, serve, "10.99.0.2", port=5354):
        yield module_gateway({
            "upstreams": {"wan": {"servers": ["udp://10.99.0.2:5354"]}},
            "rules": [
                *(rule_of(name) for name in KINDS),
                *(rule(f"edge{n}", on_error="servfail", push_timeout="2s",
                       nftset=[f"{n}#inet#user#edge{n}", f"{n}#inet#user#edgeport{n} = $addr . 443"]) for n in (4, 6)),
                rule("hints", nftset=sorted(HINTS), on_error="servfail", push_timeout="2s"),
                rule("auto", nftset=["inet#user#auto4", "inet#user#auto6"], on_error="servfail", push_timeout="2s"),
                rule("aliased", nftset=["4#inet#user#aliased4", "6#inet#user#aliased6"], on_error="servfail",
                     push_timeout="2s"),
                rule("mixed", nftset=["4#inet#user#mixed4", "6#inet#user#mixed6"], on_error="servfail", push_timeout="2s"),
                rule("lives", nftset=[{"set": "4#inet#user#week4", "timeout": "7d"},
                                      {"set": "4#inet#user#own4", "timeout": "permanent"}, "4#inet#user#usual4"],
                     set_ttl={"min": "20m", "grace": "5m"}),
                rule("bad", nftset=["4#inet#user#good4", *(f"4#inet#user#{name}{template}"
                                                          for name, (_, template, _) in BAD.items()),
                                    "6#inet#user#good6"]),
                {"name": "rest", "answer": "fake", "egress": "direct"},
            ]})


def ask(gw, name, family, rdtype=None):
    return gw.ask(f"{name}.real.test", rdtype or ("A" if family == 4 else "AAAA"), server=SERVER[family], tcp=True)


@pytest.mark.parametrize("name", KINDS)
def test_the_element_is_there_when_the_answer_comes(gw, lab, name):
    family, _, _, element, timed = KINDS[name]
    what = "map" if is_map(name) else "set"
    assert texts(lab, name, what) == {}
    for _ in range(2):  # the second comes from the cache
        assert addresses(ask(gw, name, family)) == [ADDRESS[family]]
        assert texts(lab, name, what) == {element: "11m" if timed else None}
    assert state(gw, text_of(name)) == {"set": text_of(name), "state": "ok", "elements": 1, "errors": 0}
    assert not gw.log_lines(f"#{name}:") and not gw.log_lines(f"#{name} =")


# --- where one interval ends another may begin ---

def members(lab, name):
    """The addresses that nft shows, those of ranges one by one."""
    found = set()
    for text in texts(lab, name):
        text = text.split(" . ")[0]
        if "/" in text:
            found.update(map(str, ip_network(text)))
        elif "-" in text:
            first, last = (int(ip_address(part)) for part in text.split("-"))
            assert last - first < 1000, f"a range of {last - first + 1} addresses: {text}"
            found.update(str(ip_address(number)) for number in range(first, last + 1))
        else:
            found.add(text)
    return found


# In this order, one answer each; several where they are in brackets.
EDGES = {
    "end of a byte": (4, ["10.0.0.255"]),
    "next to each other": (4, ["10.0.1.254", "10.0.1.255", "10.0.2.0"]),
    "from above": (4, ["10.0.4.1", "10.0.4.0", "10.0.3.255", "10.0.3.254"]),
    "one between": (4, ["10.0.5.1", "10.0.5.3", "10.0.5.2"]),
    "in one answer": (4, [("10.0.7.0", "10.0.6.255", "10.0.6.253", "10.0.6.254", "10.0.9.9")]),
    "end of two bytes": (4, ["10.1.255.255", "10.2.255.255"]),
    "half": (4, ["127.255.255.255", "128.0.0.0"]),
    "the last but one": (4, ["255.255.255.254"]),
    "the last": (4, [TOP4]),
    "end of a byte, v6": (6, ["2001:db8:1::ff", "2001:db8:1::100", "2001:db8:1::feff:ffff"]),
    "half, v6": (6, ["2001:db8:2:0:ffff:ffff:ffff:ffff", "2001:db8:2:1::"]),
    "the last but one, v6": (6, ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"]),
    "the last, v6": (6, [TOP6]),
}


@pytest.mark.parametrize("edge", EDGES)
def test_an_interval_holds_just_the_address(gw, lab, edge):
    family, answers = EDGES[edge]
    there = {name: members(lab, name) for name in (f"edge{family}", f"edgeport{family}")}
    for answer in answers:
        new = [answer] if isinstance(answer, str) else answer
        assert rcode(ask(gw, f"{hexes(*new)}.edge{family}", family)) == "NOERROR"
        for name, before in there.items():
            before.update(new)
            assert members(lab, name) == before
            for address in new:
                key = f"{address} . 443" if "port" in name else address
                lab.run("gw", "nft", "get", "element", "inet", "user", name, f"{{ {key} }}")
    assert state(gw, f"{family}#inet#user#edge{family}")["errors"] == 0


# --- what of an answer counts ---

def lists(lab, *names):
    return [set(texts(lab, name)) for name in names]


def test_hints_of_services_go_in(gw, lab):
    assert rdata(gw.ask("hints.real.test", "HTTPS"))
    assert lists(lab, "hints4", "hints6") == [{"10.99.0.20", "10.99.0.21"}, {"2001:db8:99::20"}]
    assert rdata(gw.ask("hints.real.test", "SVCB"))
    assert lists(lab, "hints4", "hints6") == [{"10.99.0.20", "10.99.0.21", "10.99.0.22"}, {"2001:db8:99::20"}]


@pytest.mark.parametrize("rdtype, there", [("A", [{ADDRESS[4]}, set()]), ("AAAA", [{ADDRESS[4]}, {ADDRESS[6]}]),
                                           ("HTTPS", [{ADDRESS[4], "10.99.0.20", "10.99.0.21"},
                                                      {ADDRESS[6], "2001:db8:99::20"}])])
def test_what_an_alias_leads_to_goes_in(gw, lab, rdtype, there):
    """Two CNAMEs on; the TTL of the address counts, 1000, not theirs."""
    assert rdata(gw.ask("alias.aliased.real.test", rdtype), rdtype)
    assert lists(lab, "aliased4", "aliased6") == there
    assert {*texts(lab, "aliased4").values(), *texts(lab, "aliased6").values()} == {"17m40s"}  # 1000 s and 1 min


def test_a_v4_mapped_address_goes_in_as_v4(gw, lab):
    name = hexes("::ffff:192.0.2.55") + ".mixed"
    assert rdata(ask(gw, name, 4, "AAAA")) == ["::ffff:192.0.2.55"]
    assert lists(lab, "mixed4", "mixed6") == [{"192.0.2.55"}, set()]


def test_a_set_without_a_family_takes_that_of_its_key(gw, lab):
    for family in (4, 6):
        assert addresses(ask(gw, "auto", family)) == [ADDRESS[family]]
    assert lists(lab, "auto4", "auto6") == [{ADDRESS[4]}, {ADDRESS[6]}]


def test_a_client_of_the_other_family_is_not_for_the_set(gw, lab):
    before = lists(lab, "client4", "client6")
    reply = gw.ask(f"{hexes('192.0.2.60')}.client4.real.test", "A", server=SERVER[6])
    assert addresses(reply) == ["192.0.2.60"]
    assert lists(lab, "client4", "client6") == before
    assert state(gw, text_of("client4"))["errors"] == 0


def test_each_client_has_its_own_element(gw, lab):
    lab.run("cl", "ip", "addr", "add", "192.168.77.3/24", "dev", "eth0")
    for client in ("192.168.77.2", "192.168.77.3", "192.168.77.3"):
        name = f"{hexes('192.0.2.61')}.client4.real.test"
        assert addresses(gw.ask(name, "A", source=client)) == ["192.0.2.61"]
        assert f"{client} . 192.0.2.61" in texts(lab, "client4")
    assert sum("192.0.2.61" in text for text in texts(lab, "client4")) == 2


def test_each_set_may_have_its_own_timeout(gw, lab):
    assert addresses(ask(gw, "lives", 4)) == [ADDRESS[4]]
    assert [texts(lab, name)[ADDRESS[4]] for name in ("week4", "own4", "usual4")] == ["7d", None, "25m"]


# --- one bad set among good ones ---

def test_one_bad_set_never_hurts_another(gw, lab):
    for number in range(1, 6):
        address = f"192.0.2.{100 + number}"
        assert addresses(ask(gw, f"{hexes(address)}.bad", 4)) == [address]
        assert set(texts(lab, "good4")) == {f"192.0.2.{100 + n}" for n in range(1, number + 1)}
        assert addresses(ask(gw, "bad", 6)) == [ADDRESS[6]]
    assert set(texts(lab, "good6")) == {ADDRESS[6]}
    for name, (what, template, words) in BAD.items():
        text = f"4#inet#user#{name}{template}"
        one = state(gw, text)
        assert one["state"] == words[0] and one["elements"] == 0 and one["errors"] >= 5, one
        assert_told_once(gw, f"{text}: ", *words)
        if what and "constant" not in what:
            assert texts(lab, name, "map" if what.startswith("map") else "set") == {}
    for text in ("4#inet#user#good4", "6#inet#user#good6"):
        assert state(gw, text)["state"] == "ok" and state(gw, text)["errors"] == 0
        assert not gw.log_lines(text)


def test_a_bad_set_that_is_made_well_is_used(gw, lab):
    lab.nft("delete set inet user bad-family\nadd set inet user bad-family { type ipv4_addr; flags timeout; }")
    text = "4#inet#user#bad-family"
    wait_for(lambda: state(gw, text)["state"] == "ok", "the new one is seen", 2)
    assert gw.log_lines(text, "ok again")
    assert addresses(ask(gw, f"{hexes('192.0.2.120')}.bad", 4)) == ["192.0.2.120"]
    assert "192.0.2.120" in texts(lab, "bad-family")
    # And so are the answers of before.
    wait_for(lambda: set(texts(lab, "bad-family")) == set(texts(lab, "good4")), "all that were answered", 2)
