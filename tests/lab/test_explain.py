"""Item 7: `explain` tells what is answered, and why: for every question the same as the answer that dig gets."""
import collections
import gzip
import itertools
import json
import time

import dns.message
import dns.rdatatype
import pytest

from lab import PROGRAM, Upstream, addresses, answer_to, greeter, is_fake, rcode, rdata, wait_for
from waiting import moment

KID, OTHER, SIX = "192.168.77.3", "192.168.77.2", "fd77::2"
TYPES = ("A", "AAAA", "HTTPS", "MX", "TXT")

FILES = {
    "ads.txt": "# what nobody wants\nads.test\nfull:exact.test\n\nkeyword:track\nregexp:^ad[0-9]+\\.\nboth.test\n",
    "adblock.txt": "[Adblock Plus]\n! Title: t\n||banner.test^\n||shop.ads.test^\n@@||good.banner.test^\n"
                   "||wild.test^$important\n",
    "clash.yaml": "payload:\n  - '+.clash.test'\n  - '*.one.clash.org'\n  - '.below.clash.org'\n"
                  "  - DOMAIN-KEYWORD,bingo\n",
    "v2fly.txt": "include:v2more\ndomain:v2.test @cn\nfull:www.v2full.test\n",
    "v2more": "domain:more.test\nregexp:^m[0-9]\\.v2re\\.test$\n",
    "hosts.txt": "0.0.0.0 hosted.test\n127.0.0.1 also.hosted.org # why\n",
    "dnsmasq.conf": "server=/dnsmasq.test/114.114.114.114\naddress=/blocked.dnsmasq.org/\n",
    "kids.txt": "games.test\nboth.test\nvideo.test\n",
    "fine.txt": "fine.ads.test\n",
    "never.txt": "never.test\nfake.test\n",
    "near.txt": "10.99.0.0/24\n",
}
LISTS = {"ads": ["ads.txt", "adblock.txt"], "clash": "clash.yaml", "cn": "v2fly.txt",
         "hosts": ["hosts.txt", "dnsmasq.conf"],
         "kids": "kids.txt", "fine": "fine.txt", "never": "never.txt", "zipped": "zipped.txt.gz", "near": "near.txt"}
RULES = [
    {"name": "seen", "also": True, "client": "kids", "nftset": "4#inet#user#kids4"},
    {"name": "on-the-way", "to": "near", "answer": "real", "upstream": "far"},
    {"name": "by-listen", "listener": "udp", "domain": "test", "answer": "block"},
    {"name": "ads", "list": "ads", "except": ["fine", "ok.ads.test"], "answer": "block"},
    {"name": "kids", "list": "kids", "client": "kids", "answer": "block", "block": "refused"},
    {"name": "safe", "domain": "full:video.test", "answer": "local", "cname": "safe.v2.test"},
    {"name": "zero", "list": "hosts", "type": ["A", "AAAA"], "answer": "block", "block": "zero"},
    {"name": "nodata", "list": "hosts", "answer": "block", "block": "nodata"},
    {"name": "six-less", "domain": "four.test", "answer": "real", "upstream": "far", "filter": "ipv6"},
    {"name": "cn", "list": ["cn", "zipped"], "answer": "real", "egress": "vpn",
     "nftset": ["4#inet#user#cn4", "6#inet#user#cn6"]},
    {"name": "cn-too", "also": True, "list": "clash", "domain": "four.test", "nftset": "4#inet#user#cn4"},
    {"name": "clash", "list": "clash", "answer": "real", "upstream": "far", "nftset": "4#inet#user#far4"},
    {"name": "nas", "domain": "nas.test", "answer": "local", "address": ["192.168.77.9", "fd77::9"]},
    {"name": "no-txt", "type": "TXT", "answer": "block", "block": "nodata"},
    {"name": "bare", "domain": "unqualified", "answer": "block", "block": "refused"},
    {"name": "mine", "domain": ["captive.apple.com", "own.local"], "answer": "fake", "egress": "vpn"},
    {"name": "kid-fake", "domain": "fake.test", "client": "kids", "answer": "fake", "egress": "proxy"},
    {"name": "fake", "domain": ["test", "org"], "answer": "fake", "egress": "direct"},
    {"name": "fake-com", "domain": "com", "answer": "fake", "egress": "direct"},
]
SECTIONS = {
    "gateway": {"watch": 0}, "fakeip": {"store": "", "except": {"lists": ["never"]}}, "clients": {"kids": KID},
    "upstreams": {"wan": {"servers": ["udp://10.99.0.54:5354"]}, "far": {"servers": ["udp://10.99.0.55:5354"]}},
    "egress": {"vpn": {"type": "direct", "upstream": "wan"}, "proxy": {"type": "socks5", "server": "10.99.0.2:1080"}},
    "records": {"inline": [{"name": "rec.test", "type": "A", "rdata": "192.168.77.70"},
                           {"name": "deny.test", "status": "deny"},
                           {"name": "txt.ads.test", "type": "TXT", "rdata": "own"},
                           {"name": "house.lan", "type": "A", "rdata": "192.168.77.71"},
                           {"name": "lead.test", "type": "CNAME", "rdata": "x.v2.test"}]},
    "listen": ["udp://192.168.77.1:5300"],
}
NAMES = ["ads.test", "www.ads.test", "shop.ads.test", "fine.ads.test", "a.fine.ads.test", "ok.ads.test", "exact.test",
         "www.exact.test", "my.tracker.org", "ad7.some.org", "ad.some.org", "both.test", "x.both.test", "banner.test",
         "a.banner.test", "good.banner.test", "a.good.banner.test", "wild.test", "clash.test", "a.b.clash.test",
         "one.clash.org",
         "a.one.clash.org", "a.b.one.clash.org", "below.clash.org", "x.y.below.clash.org", "xbingox.org", "v2.test",
         "a.v2.test",
         "xv2.test", "v2full.test", "www.v2full.test", "more.test", "a.more.test", "m1.v2re.test", "mm.v2re.test",
         "hosted.test", "a.hosted.test", "also.hosted.org", "dnsmasq.test", "a.dnsmasq.test", "blocked.dnsmasq.org",
         "games.test", "a.games.test", "video.test", "a.video.test", "four.test", "a.four.test", "zip1.test",
         "a.zip2.test",
         "nas.test", "a.nas.test", "never.test", "a.never.test", "fake.test", "a.fake.test", "plain.test",
         "www.plain.org",
         "captive.apple.com", "www.apple.com", "connectivitycheck.gstatic.com", "2.pool.ntp.org", "nobody.net",
         "x.example.net",
         "printer", "localhost", "a.localhost", "own.local", "other.local", "x.onion", "house.lan", "other.lan",
         "ipv4only.arpa",
         "mask.icloud.com", "use-application-dns.net", "_dns.resolver.arpa", "rec.test", "a.rec.test", "deny.test",
         "txt.ads.test", "lead.test", "1.0.168.192.in-addr.arpa", "2.0.18.198.in-addr.arpa", "8.8.8.8.in-addr.arpa",
         "UPPER.Ads.Test"]
BLOCKS = {rule["name"]: rule.get("block", "nxdomain") for rule in RULES if rule.get("answer") == "block"}
TABLE = """
table inet user {
	set kids4 { type ipv4_addr; flags timeout; }
	set cn4 { type ipv4_addr; flags timeout; }
	set cn6 { type ipv6_addr; flags timeout; }
	set far4 { type ipv4_addr; flags timeout; }
}
"""


class Known(Upstream):
    """Answers whatever it is asked with addresses that tell who was asked for what."""

    def __init__(self, lab, number):
        self.number, self.names = number, {}
        lab.run("wan", "ip", "addr", "replace", f"10.99.0.{53 + number}/24", "dev", "eth0")
        super().__init__(lab, self._answer, f"10.99.0.{53 + number}", tcp=True)

    def _answer(self, wire, _client, send):
        asked = dns.message.from_wire(wire).question[0]
        send(answer_of(wire, self.address(asked.name.to_text(omit_final_dot=True).lower(),
                                          dns.rdatatype.to_text(asked.rdtype))))

    def address(self, name, rdtype):
        index = self.names.setdefault(name, len(self.names))
        return {"A": f"10.{90 + self.number}.{index // 250}.{index % 250 + 1}",
                "AAAA": f"2001:db8:{self.number:x}::{index + 1:x}"}.get(rdtype)


def answer_of(wire, address):
    return answer_to(wire, *([f"60 {'AAAA' if ':' in address else 'A'} {address}"] if address else []))


@pytest.fixture(scope="module")
def upstreams(lab):
    with Known(lab, 1) as wan, Known(lab, 2) as far:
        yield {"wan": wan, "far": far}


@pytest.fixture(scope="module")
def gw(module_gateway, lab, upstreams):
    for name, text in FILES.items():
        (lab.dir / name).write_text(text)
    with gzip.open(lab.dir / "zipped.txt.gz", "wt") as file:
        file.write("# packed\nzip1.test\nzip2.test\n")
    lab.nft(TABLE)
    lab.run("cl", "ip", "addr", "replace", f"{KID}/24", "dev", "eth0")
    return module_gateway({**SECTIONS, "rules": RULES, "lists": LISTS})


def explain(gw, name, rdtype="A", client=OTHER):
    return gw.result("explain", name=name, type=rdtype, client=client)


def held(lab, name):
    return next({e["elem"]["val"] if isinstance(e, dict) else e for e in item["set"].get("elem", [])}
                for item in lab.nft_json("list", "set", "inet", "user", name) if "set" in item)


# --- it agrees with the answers ---

def assert_agrees(told, reply, upstreams, gw):
    name, rdtype = told["name"], told["type"]
    answer, code, found = told["answer"], rcode(reply), addresses(reply)
    notes = " ".join(told["notes"])
    if answer == "block":
        kind = BLOCKS[told["rule"]]
        assert code == {"nxdomain": "NXDOMAIN", "refused": "REFUSED"}.get(kind, "NOERROR")
        zero = {"A": ["0.0.0.0"], "AAAA": ["::"]}.get(rdtype, []) if kind == "zero" else []
        assert rdata(reply) == zero and f"block: {kind}" in notes and told["egress"] is None and told["sets"] == []
    elif answer == "fake":
        assert code == "NOERROR" and "a name in the list" not in notes and told["sets"] == []
        if rdtype in ("A", "AAAA"):
            assert is_fake(found)
            mapping = gw.result("fakeip.lookup", address=found[0])
            assert (mapping["rule"], mapping["egress"]) == (told["rule"], told["egress"]), mapping
            again = explain(gw, name, rdtype, told["client"])["fakeip"]
            assert again["v4" if rdtype == "A" else "v6"] == found[0] and again["view"] == mapping["view"]
        else:
            assert not reply.answer and "NODATA" in notes
    elif answer == "real":
        filtered = "filter" in notes and "NODATA" in notes
        expected = None if filtered else upstreams[told["upstream"]].address(name.lower(), rdtype)
        assert code == "NOERROR" and found == ([expected] if expected else []), (told, reply)
    elif answer == "local":
        assert told["upstream"] is None and told["egress"] is None and told["sets"] == []
        assert code in ("NOERROR", "NXDOMAIN", "REFUSED") and not is_fake(found)
        if told["rule"] is None:
            assert told["records"] != ("built-in" in notes or "the table" in notes), told
        if told["rule"] == "nas":
            assert found == {"A": ["192.168.77.9"], "AAAA": ["fd77::9"]}.get(rdtype, [])
        if told["rule"] == "safe":
            assert rdata(reply)[0] == "safe.v2.test." and "safe.v2.test" in notes
        if "REFUSED" in notes:
            assert code == "REFUSED"
        elif "NODATA" in notes:
            assert code == "NOERROR" and not reply.answer
    else:
        raise AssertionError(told)


PUSHED = collections.defaultdict(set)  # address: sets that were told for it


@pytest.mark.parametrize("rdtype", TYPES)
@pytest.mark.parametrize("client", [OTHER, KID, SIX], ids=["grown-up", "kid", "v6"])
def test_it_agrees_with_what_is_answered(gw, lab, upstreams, client, rdtype):
    server = "2001:4860:4860::8888" if ":" in client else "8.8.8.8"
    for name in NAMES:
        told = explain(gw, name, rdtype, client)
        reply = gw.ask(name, rdtype, server, source=client)
        try:
            assert_agrees(told, reply, upstreams, gw)
        except AssertionError as error:
            story = json.dumps(told, indent=1)
            raise AssertionError(f"{name} {rdtype} of {client}: {error}\n{story}\n{reply}") from error
        if told["answer"] == "real":
            for address in addresses(reply):
                family = "6" if ":" in address else "4"
                wanted = {text.rsplit("#", 1)[1] for text in told["sets"] if text.startswith(family)}
                PUSHED[address] |= wanted
                there = {name for name in ("kids4", "cn4", "cn6", "far4") if address in held(lab, name)}
                assert there == PUSHED[address], told


def test_rules_are_told_up_to_the_winner(gw):
    names = [rule["name"] for rule in RULES]
    for name, client in itertools.product(NAMES, (OTHER, KID)):
        told = explain(gw, name, "MX", client)
        tried = [rule["name"] for rule in told["rules"]]
        assert tried == names[:len(tried)]
        matched = [rule["name"] for rule in told["rules"] if rule["matched"]]
        deciding = [rule for rule in matched if not next(r for r in RULES if r["name"] == rule).get("also")]
        assert deciding in ([], tried[-1:])
        assert all(rule["why"] for rule in told["rules"])
        if told["rule"]:
            assert deciding == [told["rule"]]


@pytest.mark.parametrize("name, client, rule, why", [
    ("www.ads.test", OTHER, "ads", ["list", "ads", "holds the name"]),
    ("ok.ads.test", OTHER, "ads", ["except", "ok.ads.test"]),
    ("fine.ads.test", OTHER, "ads", ["except", "fine"]),
    ("games.test", OTHER, "kids", ["client", OTHER, KID]),
    ("games.test", KID, "kids", ["client", KID, "holds the name"]),
    ("games.test", None, "kids", ["client is not known"]),
    ("nobody.net", OTHER, "on-the-way", ["never for a query"]),
    ("plain.test", OTHER, "no-txt", ["type A", "TXT"]),
    ("printer", OTHER, "bare", ["unqualified", "one label"]),
    ("a.nas.test", OTHER, "nas", ["domain: nas.test"]),
    ("video.test", OTHER, "safe", ["full:video.test", "exactly"]),
    ("a.clash.test", OTHER, "cn-too", ["goes on", "4#inet#user#cn4"]),
    ("nobody.net", OTHER, "nas", ["no domain"]),
    ("plain.test", OTHER, "by-listen", ["listener tun", "not in udp"]),
])
def test_why(gw, name, client, rule, why):
    told = gw.result("explain", name=name, **({"client": client} if client else {}))
    told_why, = [r["why"] for r in told["rules"] if r["name"] == rule]
    assert all(word in told_why for word in why), told_why


# --- lists, files, lines ---

def lines_of(lab, path):
    text = gzip.open(path, "rt").read() if path.endswith(".gz") else open(path).read()
    return text.split("\n")


HELD = {  # name: {list: (file, line's text)}; by the meaning of each format
    "ads.test": {"ads": ("ads.txt", "ads.test")}, "www.ads.test": {"ads": ("ads.txt", "ads.test")},
    "shop.ads.test": {"ads": ("adblock.txt", "||shop.ads.test^")},  # the closest
    "fine.ads.test": {"ads": ("ads.txt", "ads.test"), "fine": ("fine.txt", "fine.ads.test")},
    "exact.test": {"ads": ("ads.txt", "full:exact.test")}, "www.exact.test": {},
    "my.tracker.org": {"ads": ("ads.txt", "keyword:track")},
    "ad7.some.org": {"ads": ("ads.txt", "regexp:^ad[0-9]+\\.")},
    "both.test": {"ads": ("ads.txt", "both.test"), "kids": ("kids.txt", "both.test")},
    "banner.test": {"ads": ("adblock.txt", "||banner.test^")}, "good.banner.test": {}, "a.good.banner.test": {},
    "wild.test": {"ads": ("adblock.txt", "||wild.test^$important")},
    "clash.test": {"clash": ("clash.yaml", "+.clash.test")}, "one.clash.org": {},
    "a.one.clash.org": {"clash": ("clash.yaml", "*.one.clash.org")}, "a.b.one.clash.org": {}, "below.clash.org": {},
    "x.y.below.clash.org": {"clash": ("clash.yaml", ".below.clash.org")},
    "v2.test": {"cn": ("v2fly.txt", "domain:v2.test @cn")},
    "www.v2full.test": {"cn": ("v2fly.txt", "full:www.v2full.test")},
    "v2full.test": {}, "a.more.test": {"cn": ("v2more", "domain:more.test")},
    "m1.v2re.test": {"cn": ("v2more", "regexp:^m[0-9]\\.v2re\\.test$")}, "mm.v2re.test": {},
    "hosted.test": {"hosts": ("hosts.txt", "0.0.0.0 hosted.test")}, "a.hosted.test": {},
    "also.hosted.org": {"hosts": ("hosts.txt", "127.0.0.1 also.hosted.org")},
    "a.dnsmasq.test": {"hosts": ("dnsmasq.conf", "server=/dnsmasq.test/114.114.114.114")},
    "blocked.dnsmasq.org": {"hosts": ("dnsmasq.conf", "address=/blocked.dnsmasq.org/")},
    "a.zip2.test": {"zipped": ("zipped.txt.gz", "zip2.test")},
    "plain.test": {}, "nobody.net": {},
}


@pytest.mark.parametrize("name", HELD)
def test_every_list_that_holds_the_name_with_its_line(gw, lab, name):
    told = explain(gw, name)["lists"]
    assert {entry["list"]: entry["file"] for entry in told} == \
        {name: str(lab.dir / file) for name, (file, _) in HELD[name].items()}, told
    assert len(told) == len(HELD[name])
    for entry in told:
        text = HELD[name][entry["list"]][1]
        line = lines_of(lab, entry["file"])[entry["line"] - 1]
        assert text in line and entry["text"] and entry["text"] in line, entry
        assert text.strip("'") in entry["text"] or entry["text"] in text, entry


def test_an_exception_of_a_list_is_told(gw, lab):
    notes = explain(gw, "a.good.banner.test")["notes"]
    assert any("list ads" in note and "adblock.txt:5: @@||good.banner.test^" in note for note in notes), notes


def test_a_list_that_has_changed_since(gw, lab):
    """watch is 0: what is in force is what was read; of the lines now nothing is said."""
    path = lab.dir / "ads.txt"
    before = path.read_text()
    path.write_text("# one more line\n" + before.replace("ads.test", "sda.test"))
    try:
        told = explain(gw, "www.ads.test")
        assert told["answer"] == "block"
        assert told["lists"] == [{"list": "ads", "file": str(path), "line": None, "text": None}]
        assert explain(gw, "sda.test")["lists"] == []
        entry, = explain(gw, "shop.ads.test")["lists"]  # of the other file
        assert entry["line"] == 4 and entry["file"] == str(lab.dir / "adblock.txt")
        path.unlink()
        entry, = explain(gw, "www.ads.test")["lists"]
        assert entry["line"] is None
    finally:
        path.write_text(before)
    gw.result("reload")
    entry, = explain(gw, "www.ads.test")["lists"]
    assert (entry["line"], entry["text"]) == (2, "ads.test")


def test_an_included_file_that_has_changed_since(gw, lab):
    path = lab.dir / "v2more"
    before = path.read_text()
    path.write_text("domain:other.test\n" + before)
    try:
        told = explain(gw, "a.more.test")
        assert told["rule"] == "cn" and [entry["line"] for entry in told["lists"]] == [None]
    finally:
        path.write_text(before)
    gw.result("reload")
    assert [entry["line"] for entry in explain(gw, "a.more.test")["lists"]] == [1]


# --- other states ---

def test_a_compiled_list_has_no_lines(gateway_of_its_own, lab, gw):
    (lab.dir / "source.txt").write_text("packed.test\nkeyword:crunch\n")
    lab.run("gw", PROGRAM, "compile", lab.dir / "source.txt", "-o", lab.dir / "image.tgl")
    other = gateway_of_its_own({"fakeip": {"store": ""}, "lists": {"image": "image.tgl"},
                                "rules": [{"name": "listed", "list": "image", "answer": "block"}]}, name="compiled")
    for name in ("www.packed.test", "xcrunchx.test"):
        told = other.result("explain", name=name)
        assert told["rule"] == "listed"
        assert told["lists"] == [{"list": "image", "file": str(lab.dir / "image.tgl"), "line": None, "text": None}]


def test_leases(gateway_of_its_own, lab):
    soon = int(time.time()) + 3600
    (lab.dir / "leases").write_text(f"{soon} 02:00:00:00:00:01 192.168.77.50 laptop *\n")
    rules = [{"name": "no", "domain": "laptop.lan", "answer": "block"},
             {"name": "rest", "answer": "fake", "egress": "direct"}]
    other = gateway_of_its_own({"fakeip": {"store": ""}, "leases": {"files": [str(lab.dir / "leases")]}, "rules": rules},
                               name="leases")
    for name in ("laptop.lan", "laptop", "50.77.168.192.in-addr.arpa"):
        told = other.result("explain", name=name)
        assert told["answer"] == "local" and told["rule"] is None and not told["records"], told
        assert any("lease" in note for note in told["notes"]) and not any("a built-in" in note
                                                                          for note in told["notes"])
        assert rcode(other.ask(name)) == "NOERROR"
    told = other.result("explain", name="desktop.lan")
    assert any("built-in" in note for note in told["notes"])


def test_the_table_as_it_is(gw):
    name = "table.plain.test"
    told = explain(gw, name)
    assert told["fakeip"] is None and any("no fake address yet" in note for note in told["notes"])
    first, = addresses(gw.ask(name))
    told = explain(gw, name)
    assert told["fakeip"]["v4"] == first and told["fakeip"]["state"] == "live" and told["fakeip"]["name"] == name
    assert told["fakeip"]["rule"] == "fake" and told["fakeip"]["egress"] == "direct" and told["fakeip"]["flows"] == 0
    assert not any("no fake address yet" in note for note in told["notes"])
    assert gw.result("fakeip.lookup", name=name)["v4"] == first


def test_another_view_has_its_own_pair(gw):
    mine, = addresses(gw.ask("fake.test", source=KID))
    told = explain(gw, "fake.test", client=KID)
    assert (told["rule"], told["egress"], told["fakeip"]["v4"]) == ("kid-fake", "proxy", mine)
    told = explain(gw, "fake.test", client=OTHER)  # in fakeip.except
    assert told["answer"] == "fake" or any("never fake" in note for note in told["notes"])
    assert told["fakeip"] is None or told["fakeip"]["v4"] != mine


def test_never_faked(gw):
    told = explain(gw, "a.never.test")
    assert told["answer"] == "real" and told["rule"] == "fake"
    assert any("never fake" in note and "never" in note for note in told["notes"])
    told = explain(gw, "connectivitycheck.gstatic.com")
    assert told["answer"] == "real" and any("built-in" in note for note in told["notes"])
    told = explain(gw, "captive.apple.com")
    assert told["answer"] == "fake" and any("rule mine" in note for note in told["notes"])


def test_the_upstream_that_would_resolve(gateway_of_its_own, lab, upstreams):
    """Of a fake name it is the one that its traffic asks, if rule and egress differ, too."""
    other = gateway_of_its_own({"fakeip": {"store": ""}, "upstreams": SECTIONS["upstreams"],
                                "rules": [{"name": "odd", "answer": "fake", "egress": "direct", "upstream": "far"}]}, name="odd")
    for upstream in upstreams.values():
        upstream.queries.clear()
    with greeter(lab, "10.99.0.10"):
        address, = addresses(other.ask("odd.test"))
        with lab.socket("cl") as sock:
            sock.sendto(b"x", (address, 9))
        asked = wait_for(lambda: [name for name, upstream in upstreams.items() if upstream.queries],
                         "somebody is asked")
    assert asked == [other.result("explain", name="odd.test")["upstream"]]


# --- its form ---

SHAPE = ["name", "type", "client", "lists", "rules", "rule", "answer", "egress", "upstream", "sets", "cache", "fakeip",
         "records", "notes"]


def test_the_json_has_the_promised_form(gw):
    for name, client in itertools.product(NAMES, (None, KID)):
        words = ["explain", name, "--type", "AAAA", "--json"] + (["--client", client] if client else [])
        told = json.loads(gw.cli(*words).stdout)
        assert list(told) == SHAPE
        assert told == gw.result("explain", name=name, type="AAAA", **({"client": client} if client else {}))
        assert told["name"] == name.lower() and told["type"] == "AAAA" and told["client"] == client
        for entry in told["lists"]:
            assert list(entry) == ["list", "file", "line", "text"] and isinstance(entry["line"], int)
        for rule in told["rules"]:
            assert list(rule) == ["name", "matched", "why"] and isinstance(rule["matched"], bool)
        assert told["answer"] in ("fake", "real", "block", "local") and isinstance(told["records"], bool)
        assert all(isinstance(text, str) for key in ("sets", "notes") for text in told[key])
        assert told["cache"] is None or set(told["cache"]) == {"state", "ttl_s"}
        if told["fakeip"]:
            assert set(told["fakeip"]) == {"name", "view", "v4", "v6", "rule", "egress", "state", "last_answer_s",
                                           "expires_in_s", "flows", "verdict"}
        if name in NAMES[20:]:
            break


def test_the_text_tells_the_story(gw, lab):
    text = gw.cli("explain", "WWW.ads.test.", "--client", KID, "--type", "https").stdout
    lines = text.splitlines()
    assert lines[0] == f"www.ads.test HTTPS, asked by {KID}"
    assert any(line.split()[:3] == ["in", "list", "ads"] and "ads.txt, line 2: ads.test" in line for line in lines)
    assert any(line.split()[:2] == ["rule", "ads:"] or line.split()[:2] == ["rule", "ads"] for line in lines)
    assert any("block, by rule ads" in line for line in lines)
    for name, words in (("x.v2.test", ["real, by rule cn", "egress", "vpn", "upstream", "wan", "4#inet#user#cn4"]),
                        ("rec.test", ["local records"]), ("nobody.net", ["by default"]), ("x.local", ["built-in"]),
                        ("video.test", ["cname", "safe.v2.test"])):
        text = gw.cli("explain", name).stdout
        assert all(word in text for word in words), text


@pytest.mark.parametrize("words, said", [
    (["explain", "a..b"], "not a domain name"), (["explain", "x" * 64 + ".test"], "not a domain name"),
    (["explain", ""], "not a domain name"),
    (["explain", "x.test", "--client", "nobody"], "not an address"),
    (["explain", "x.test", "--client", "1.2.3"], "not an address"),
    (["explain", "x.test", "--type", "WHAT"], "not a record type"),
    (["explain", "x.test", "--type", "TYPE70000"], "not a record"),
])
def test_what_is_wrong_is_told(gw, words, said):
    done = gw.cli(*words, check=False)
    assert done.returncode == 1 and said in done.stderr and not done.stdout, done
    assert len(done.stderr.splitlines()) == 1


def test_the_root_and_odd_names(gw):
    assert explain(gw, ".")["name"] == "."
    assert explain(gw, "a\\.b.test")["rule"] == "fake"
    assert explain(gw, "\\032.test")["rule"] == "fake"
    assert explain(gw, "_dmarc.ads.test")["rule"] == "ads"
    told = gw.result("explain", name="x.test", type="TYPE65280")
    assert told["type"] == "TYPE65280"


def test_a_large_list_is_read_again_in_time(gateway_of_its_own, lab):
    """The line is found by reading the source, which takes a moment, not seconds."""
    (lab.dir / "large.txt").write_text("".join(f"n{i}.large.test\n" for i in range(300000)))
    other = gateway_of_its_own({"fakeip": {"store": ""}, "lists": {"large": "large.txt"},
                                "rules": [{"name": "listed", "list": "large", "answer": "block"}]}, name="large")
    start = moment()
    entry, = other.result("explain", name="x.n299999.large.test")["lists"]
    assert (entry["line"], entry["text"]) == (300000, "n299999.large.test")
    assert moment() - start < 2


# --- check ---

def test_check_warns_of_a_mismatch(lab):
    file = lab.dir / "mismatch.yaml"
    file.write_text("upstreams: { near: { servers: [ udp://10.99.0.53 ] }, far: { servers: [ udp://10.99.0.54 ] } }\n"
                    "egress:\n  line: { type: direct, upstream: near }\n"
                    "  proxy: { type: socks5, server: '10.99.0.2:1080', upstream: far }\n"
                    "  blind: { type: socks5, server: '10.99.0.2:1081' }\n"
                    "default: { answer: real, upstream: near }\n"
                    "rules:\n"
                    "  - { name: odd, domain: a.test, answer: real, egress: proxy, upstream: near }\n"
                    "  - { name: fake, domain: b.test, answer: fake, egress: line, upstream: far }\n"
                    "  - { name: fine, domain: c.test, answer: real, egress: proxy, upstream: far }\n"
                    "  - { name: own, domain: d.test, answer: real, egress: proxy }\n"
                    "  - { name: free, domain: e.test, answer: real, egress: blind, upstream: near }\n")
    done = lab.run("gw", PROGRAM, "check", "-c", file, check=False)
    warned = [line for line in (done.stdout + done.stderr).splitlines() if "warning:" in line]
    assert done.returncode == 0 and len(warned) == 2, warned
    assert warned[0].startswith(f"{file}:8:") and "rules[0].upstream" in warned[0]
    assert "near" in warned[0] and "far" in warned[0]
    assert warned[1].startswith(f"{file}:9:") and "rules[1].upstream" in warned[1]
