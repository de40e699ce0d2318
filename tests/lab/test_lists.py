"""Lists in every format that people have: what a name's verdict is, by content and by the format's name.

A case is a list of lines; each says which names it makes the list hold and which it does not. All cases stand in one
configuration: a rule for type A has the list whose format is found by its content, one for AAAA the same file with the
format named. NXDOMAIN: held; REFUSED: not.
"""
import base64
import json
import subprocess

import pytest

import list_files as files
from asking import ask_all
from lab import PROGRAM

HELD, NOT_HELD = 3, 5  # NXDOMAIN, REFUSED


class Line:
    def __init__(self, text, held=(), free=(), count="entries"):
        self.text, self.held, self.free, self.count = text, list(held), list(free), count


def below(name):
    return [f"a.{name}", f"b.a.{name}"]


def beside(name):
    return [f"x{name}", f"{name}.other.example", name.partition(".")[2]]


def suffix(text, name):
    return Line(text, [name, *below(name)], beside(name))


def exact(text, name):
    return Line(text, [name], below(name) + beside(name))


def under(text, name):
    return Line(text, below(name), [name, *beside(name)])


def child(text, name):
    return Line(text, [f"a.{name}"], [name, f"b.a.{name}", *beside(name)])


def nothing(text, *free, count="comment"):
    return Line(text, [], free, count)


def unused(text, *free):
    return nothing(text, *free, count="unused")


CASES = {
    "plain": [
        nothing("# names, one a line"), nothing(""),
        suffix("one.plain.test", "one.plain.test"),
        suffix("\tUPPER.Plain.Test.   # why", "upper.plain.test"),
        suffix("under_score.-dash.123.plain.test", "under_score.-dash.123.plain.test"),
        suffix("plaintld", "plaintld"),
        Line("192.0.2.0/24"), Line("2001:db8::/32"),
        suffix("last.plain.test", "last.plain.test"),
    ],
    "v2fly": [
        nothing("# https://example.test"),
        suffix("one.v2fly.test", "one.v2fly.test"),
        suffix("domain:two.v2fly.test @cn @ads # 注释", "two.v2fly.test"),
        exact("full:three.v2fly.test &other", "three.v2fly.test"),
        Line("keyword:v2flykey", ["v2flykey.example", "a.xv2flykeyx.b.example"], ["v2fly-key.example"]),
        Line(r"regexp:(^|\.)v2fly[0-9]{2}\.(net|org)$", ["v2fly12.net", "a.v2fly99.org"],
             ["v2fly1.net", "v2fly123.net", "xv2fly12.net", "v2fly12.com"]),
        Line("include:v2fly-more @ads @-cn", ["ads.v2fly.test", "x.ads.v2fly.test"],
             ["both.v2fly.test", "none.v2fly.test"], count="other file"),
    ],
    "dnsmasq": [
        suffix("server=/one.dnsmasq.test/114.114.114.114", "one.dnsmasq.test"),
        nothing("#server=/off.dnsmasq.test/1.1.1.1 # disabled", "off.dnsmasq.test"),
        suffix("local=/two.dnsmasq.test/", "two.dnsmasq.test"),
        suffix("address=/three.dnsmasq.test/#", "three.dnsmasq.test"),
        suffix("address=/.four.dnsmasq.test/127.0.0.1", "four.dnsmasq.test"),
        Line("ipset=/five.dnsmasq.test/six.dnsmasq.test/s1,s2",
             ["five.dnsmasq.test", "a.five.dnsmasq.test", "six.dnsmasq.test", "b.a.six.dnsmasq.test"]),
        suffix("nftset=/seven.dnsmasq.test/4#inet#fw#s", "seven.dnsmasq.test"),
        Line("server=/*ending.dnsmasq.test/10.0.0.1#5353",
             ["ending.dnsmasq.test", "xending.dnsmasq.test", "a.xending.dnsmasq.test"], ["endin.dnsmasq.test"]),
        suffix("server=/eight.dnsmasq.test/10.0.0.1@eth0", "eight.dnsmasq.test"),
        nothing("server=/out.one.dnsmasq.test/#", "out.one.dnsmasq.test", "a.out.one.dnsmasq.test", count="entries"),
        suffix("server=/in.out.one.dnsmasq.test/10.0.0.1", "in.out.one.dnsmasq.test"),
        unused("cache-size=1000"), unused("server=9.9.9.9"), unused("no-resolv"),
        Line("bogus-nxdomain=203.0.113.7"),
    ],
    "hosts": [
        nothing("127.0.0.1\tlocalhost local"), nothing("::1 ip6-localhost"),
        nothing("255.255.255.255 broadcasthost"), nothing("fe80::1%lo0 localhost"),
        nothing("0.0.0.0 0.0.0.0"),
        exact("0.0.0.0 one.hosts.test", "one.hosts.test"),
        exact("0.0.0.0  Two.hosts.test   ## phishing", "two.hosts.test"),
        Line(":: three.hosts.test four.hosts.test", ["three.hosts.test", "four.hosts.test"], ["a.three.hosts.test"]),
        exact("127.0.0.1 222-33544_999.pub.hosts.test", "222-33544_999.pub.hosts.test"),
    ],
    "adblock": [
        nothing("[Adblock Plus 2.0]"), nothing("! Title: names"),
        suffix("||one.adblock.test^", "one.adblock.test"),
        suffix("||two.adblock.test", "two.adblock.test"),
        suffix("three.adblock.test", "three.adblock.test"),
        suffix("four.adblock.test^", "four.adblock.test"),
        suffix(".five.adblock.test", "five.adblock.test"),
        exact("|http://six.adblock.test", "six.adblock.test"),
        exact("|http://seven.adblock.test/", "seven.adblock.test"),
        under("://*.eight.adblock.test^", "eight.adblock.test"),
        exact("|https://nine.adblock.test^", "nine.adblock.test"),
        Line("||wordy", ["wordy", "wordy.example", "wordyx.example", "a.wordyx.example"], ["xwordy.example"]),
        Line("||tld.adblock.", ["tld.adblock.com", "a.tld.adblock.org"],
             ["tld.adblock", "xtld.adblock.com", "tld.adblock.co.uk"]),
        Line("||alishop*.adblock.test^",
             ["alishop.adblock.test", "alishopping.adblock.test", "a.alishop2.adblock.test"],
             ["xalishop.adblock.test"]),
        Line(r"/^re[0-9]+\.adblock\.test$/", ["re1.adblock.test"], ["re.adblock.test", "a.re1.adblock.test"]),
        Line("*-key.adblock.test*", ["x-key.adblock.test", "x-key.adblock.test.example"], ["key.adblock.test"]),
        nothing("@@||out.one.adblock.test^", "out.one.adblock.test", "a.out.one.adblock.test", count="entries"),
        Line("||in.out.one.adblock.test^$important", ["in.out.one.adblock.test", "a.in.out.one.adblock.test"]),
        nothing("@@||blog.two.adblock.test^|", "blog.two.adblock.test", count="entries"),
        suffix("||банрек.рус^", "банрек.рус".encode("idna").decode()),
        unused("||m.adblock.example^$third-party", "m.adblock.example"),
        unused("||p.adblock.example/path/x.js", "p.adblock.example"),
        unused("||port.adblock.example:8040", "port.adblock.example"),
        unused("c.adblock.example##.advert", "c.adblock.example"),
    ],
    "clash-yaml": [
        nothing("# NAME: some"), nothing("payload:"),
        exact("  - 'one.clashy.test'", "one.clashy.test"),
        suffix("  - '+.two.clashy.test'", "two.clashy.test"),
        under("  - .three.clashy.test", "three.clashy.test"),
        child('  - "*.four.clashy.test"', "four.clashy.test"),
        Line("  - 'five.*.clashy.test'", ["five.a.clashy.test"], ["five.clashy.test", "five.a.b.clashy.test"]),
        Line("  - '192.0.2.0/24'"),
    ],
    "clash-text": [
        exact("one.clasht.test", "one.clasht.test"),
        suffix("+.two.clasht.test", "two.clasht.test"),
        under(".three.clasht.test", "three.clasht.test"),
        child("*.four.clasht.test", "four.clasht.test"),
    ],
    "clash-classical": [
        nothing("payload:"),
        exact("  - DOMAIN,one.clashc.test", "one.clashc.test"),
        suffix("  - DOMAIN-SUFFIX,two.clashc.test", "two.clashc.test"),
        Line("  - DOMAIN-KEYWORD,clashckey", ["clashckey.example", "a.xclashckeyx.example"]),
        Line(r"  - 'DOMAIN-REGEX,^clashc[a-z]{1,3}\.re\.test$'", ["clashcab.re.test"], ["clashcabcd.re.test"]),
        Line("  - IP-CIDR,192.0.2.0/24,no-resolve"), Line("  - IP-CIDR6,2001:db8::/32"),
        unused("  - PROCESS-NAME,WebTorrent Helper.exe"), unused("  - GEOIP,CN"), unused("  - DST-PORT,22"),
        unused("  - URL-REGEX,(Subject|HELO|SMTP)"), unused("  - AND,((DOMAIN,a.test),(NETWORK,UDP))"),
    ],
    "smartdns": [
        suffix("address /one.smartdns.test/#", "one.smartdns.test"),
        exact("address /-.two.smartdns.test/#", "two.smartdns.test"),
        under("nameserver /*.three.smartdns.test/office", "three.smartdns.test"),
        suffix("domain-rules /four.smartdns.test/ -a # -speed-check-mode none", "four.smartdns.test"),
        suffix("ipset /five.smartdns.test/name", "five.smartdns.test"),
        suffix("nftset /six.smartdns.test/#4:inet#fw#s", "six.smartdns.test"),
        nothing("address /out.one.smartdns.test/-", "out.one.smartdns.test", "a.out.one.smartdns.test",
                count="entries"),
        unused("server 1.1.1.1"), unused("domain-set -name x -file y"),
    ],
    "rpz": [
        nothing("$TTL 60"), nothing("@ SOA localhost. root.localhost. 1 3600 600 86400 60"), nothing("  NS localhost."),
        exact("one.rpz.test CNAME .", "one.rpz.test"),
        under("*.two.rpz.test CNAME .", "two.rpz.test"),
        Line("three.rpz.test A 127.0.0.1", ["three.rpz.test"], ["a.three.rpz.test"]),
        exact("four.rpz.test 300 IN CNAME rpz-drop. ; why", "four.rpz.test"),
        nothing("out.two.rpz.test CNAME rpz-passthru.", "out.two.rpz.test", count="entries"),
        Line("24.0.2.0.192.rpz-ip CNAME ."),
        unused("8.0.0.0.10.rpz-client-ip CNAME ."),
    ],
}
CASES["gfwlist"] = [
    nothing("[AutoProxy 0.2.9]"), nothing("! checked"), *[
        Line(line.text.replace("adblock", "gfwlist"), [n.replace("adblock", "gfwlist") for n in line.held],
             [n.replace("adblock", "gfwlist") for n in line.free], line.count)
        for line in CASES["adblock"][2:15] if "wordy" not in line.text],
    Line("||goog", ["goog", "google.example", "a.goog.example"], ["xgoog.example"]),
    nothing("@@||out.two.gfwlist.test", "out.two.gfwlist.test", "a.out.two.gfwlist.test", count="entries"),
    Line(r"/^https?:\/\/[^\/]+gfwex\.example\/(.*)/", ["a.gfwex.example"], ["gfwex.example"]),
    unused("|http://gfw.example/path", "gfw.example"),
    unused(r"/^https?:\/\/[^\/]+gfwpath\.example\/x(.*)/", "a.gfwpath.example"),
]
# Their binary and JSON forms; a rule, and what it means.
MRS = {"one.mrs.test": exact, "+.two.mrs.test": suffix, ".three.mrs.test": under, "*.four.mrs.test": child}
SITE = [(files.SUFFIX, "one.site.test", suffix), (files.FULL, "two.site.test", exact)]
ENDINGS = {"clash-yaml": "yaml", "clash-classical": "yaml", "dnsmasq": "conf", "smartdns": "conf", "rpz": "zone"}
FORMATS = {"clash-yaml": "clash", "clash-text": "clash", "clash-classical": "clash", "srsone": "srs",
           "plain-gz": "plain", "site-tag": "geosite", "site-attribute": "geosite"}


def singbox_rules(zone):
    rules = [{"domain": [f"one.{zone}.test"], "domain_suffix": [f"two.{zone}.test", f".three.{zone}.test"],
              "domain_keyword": [f"{zone}key"], "domain_regex": [rf"^{zone}[0-9]+\.re\.test$"],
              "ip_cidr": ["192.0.2.0/24", "2001:db8::/32"]},
             {"process_name": ["some.exe"]}]
    lines = [exact("", f"one.{zone}.test"), suffix("", f"two.{zone}.test"), under("", f"three.{zone}.test"),
             Line("", [f"a.x{zone}keyx.example"]),
             Line("", [f"{zone}17.re.test"], [f"{zone}.re.test", f"a.{zone}1.re.test"])]
    return rules, lines


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return str(path)


def cases(lab):
    """{name: (what stands in the configuration, lines)}"""
    made, folder = {}, lab.dir
    write(folder / "v2fly-more", "ads.v2fly.test @ads\nboth.v2fly.test @ads @cn\nnone.v2fly.test\n")
    for name, lines in CASES.items():
        text = "\n".join(line.text for line in lines)  # no newline at the end
        if name == "gfwlist":
            text = base64.encodebytes(text.encode())
        made[name] = write(folder / f"{name}.{ENDINGS.get(name, 'txt')}", text), lines
    made["plain-gz"] = write(folder / "plain.gz", files.gzipped(b"one.gz.test\n")), [suffix("", "one.gz.test")]
    made["mrs"] = (write(folder / "some.mrs", files.mrs_domains(MRS)),
                   [kind("", rule.lstrip("+.*")) for rule, kind in MRS.items()])
    for name, version in (("srs", 3), ("srsone", 1)):
        rules, lines = singbox_rules(name)
        made[name] = write(folder / f"some{version}.srs", files.srs(rules, version)), lines
    rules, lines = singbox_rules("singbox")
    made["singbox"] = write(folder / "some.json", json.dumps({"version": 3, "rules": rules}, indent=1)), lines
    sites = write(folder / "geosite.dat", files.geosite({
        "OTHER": [(files.SUFFIX, "other.site.test")],
        "SOME": [(kind, name) for kind, name, _ in SITE] + [
            (files.KEYWORD, "sitekey"), (files.REGEXP, r"^site[0-9]\.re\.test$"),
            (files.SUFFIX, "ads.site.test", "ads"), (files.FULL, "both.site.test", "cn", "ads")]}))
    made["site-tag"] = f"{sites}:some", [kind("", name) for _, name, kind in SITE] + [
        Line("", ["xsitekey.example", "site1.re.test"], ["other.site.test", "site12.re.test"]),
        suffix("", "ads.site.test"), exact("", "both.site.test")]
    made["site-attribute"] = f"{sites}:SOME@ads", [
        suffix("", "ads.site.test"), exact("", "both.site.test")]
    return made


@pytest.fixture(scope="module")
def gw(lab, module_gateway):
    made = cases(lab)
    lists, rules = {}, [{"name": "rest", "answer": "block", "block": "refused"}]
    for name, (path, _) in made.items():
        fmt = FORMATS.get(name, name)
        named = {"path": path, "format": fmt}
        if fmt == "geosite":
            named["path"], _, named["tag"] = path.rpartition(":")
        lists[name], lists[f"{name}-named"] = path, named
        rules.insert(0, {"name": name, "list": name, "type": "A", "answer": "block"})
        rules.insert(0, {"name": f"{name}-named", "list": f"{name}-named", "type": "AAAA", "answer": "block"})
    gateway = module_gateway({"lists": lists, "rules": rules, "builtin": {"special": "no"}})
    gateway.cases = made
    return gateway


def test_verdicts(gw, lab):
    """Apex, one below, two below, and what only looks like it."""
    wanted = {}
    for _, lines in gw.cases.values():
        for line in lines:
            for names, rcode in ((line.free, NOT_HELD), (line.held, HELD)):
                wanted.update({name: rcode for name in names})
    names = [(name, rdtype) for name in wanted for rdtype in ("A", "AAAA")]
    assert len(wanted) > 400
    with lab.connect("8.8.8.8") as sock:
        answers = ask_all(sock, names)
    wrong = [f"{name} {rdtype}: {answer and answer.rcode}" for (name, rdtype), answer in zip(names, answers)
             if answer is None or answer.rcode != wanted[name]]
    assert not wrong


def test_dig_sees_the_same(gw, lab):
    for name, status in (("a.one.plain.test", "NXDOMAIN"), ("xone.plain.test", "REFUSED"), ("ONE.GZ.Test", "NXDOMAIN"),
                         ("b.a.four.clashy.test", "REFUSED")):
        out = lab.run("cl", "dig", "+time=5", "+tries=1", "@8.8.8.8", name, "A").stdout
        assert f"status: {status}" in out, out


def test_explain_tells_list_and_line(gw):
    """The list by content and the one by its name's format, at the line that says so."""
    for case, (path, lines) in gw.cases.items():
        for number, line in enumerate(lines, 1):
            for name in line.held[:2]:
                found = {entry["list"]: entry for entry in gw.result("explain", name=name, type="A")["lists"]}
                assert set(found) == {case, f"{case}-named"} or case.startswith("site"), (name, found)
                assert {case, f"{case}-named"} <= set(found)
                entry = found[case]
                if case in CASES and case != "gfwlist" and line.count == "entries":
                    assert entry["file"] == path and entry["line"] == number, (name, entry)
                    assert entry["text"].strip("'\"") in line.text, (name, entry)
                elif line.count == "other file":
                    assert entry["file"].endswith("/v2fly-more") and entry["line"] == 1
                else:
                    assert entry["file"] == path.split(":")[0]


def test_an_attribute_leaves_out_the_rest(gw):
    for name, held in (("one.site.test", False), ("xsitekey.example", False), ("both.site.test", True)):
        found = {entry["list"] for entry in gw.result("explain", name=name)["lists"]}
        assert {"site-tag", "site-tag-named"} <= found
        assert ({"site-attribute", "site-attribute-named"} <= found) is held


def test_explain_without_any_list(gw):
    explained = gw.result("explain", name="nowhere.example", type="A")
    assert explained["lists"] == [] and explained["rule"] == "rest"
    assert explained["answer"].startswith("block")


def test_status_counts(gw):
    """names, cidrs, and the lines that a DNS rule has no use for."""
    status = {entry["name"]: entry for entry in gw.status()["lists"]}
    for case, (_, lines) in gw.cases.items():
        for entry in (status[case], status[f"{case}-named"]):
            assert entry["error"] is None and entry["skipped"] == 0, entry
            if case in CASES:
                unused_lines = sum(line.count == "unused" for line in lines)
                assert entry["unused"] == unused_lines, (unused_lines, entry)
                assert entry["cidrs"] == sum(line.count == "entries" and not line.held and not line.free
                                             for line in lines), entry
    assert {key: status["plain"][key] for key in ("names", "cidrs", "files")} == {"names": 5, "cidrs": 2, "files": 1}
    assert status["srs"]["unused"] == 1 and status["srs"]["cidrs"] == 2 and status["singbox"]["cidrs"] == 2
    assert status["mrs"]["names"] == 4 and status["v2fly"]["files"] == 2


def test_check_has_nothing_to_say(gw):
    done = subprocess.run([PROGRAM, "check", "-c", gw.config_file], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and "skipped" not in done.stderr and "lists." not in done.stderr, done.stderr
