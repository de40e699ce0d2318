"""Lists that are in use, from ../shared/data: the AWAvenue rules in all their forms, and lines that break parsers.

What a form means is found here by a few lines of Python for each, and compared by asking for every name of every form,
with what is below it and what only ends like it. Without that folder the tests are skipped.
"""
import base64
import collections
import ctypes
import ctypes.util
import json
import os
import pathlib
import re
import struct

import pytest

from asking import ask_all
from lab import ROOT, has_fake_address

DATA = pathlib.Path(os.environ.get("TUNGATE_DATA", ROOT.parent / "shared" / "data"))
AWAVENUE = DATA / "rules" / "AWAvenue"
TRAPS = DATA / "rules" / "traps" / "real_lines.txt"
HELD, NOT_HELD = 3, 5  # NXDOMAIN, REFUSED
FIRST_TYPE = 65280  # of those for private use (RFC 6895 3.1): one for each form

pytestmark = pytest.mark.skipif(not AWAVENUE.is_dir(), reason=f"no {AWAVENUE}")


class Rules:
    def __init__(self):
        self.exact, self.suffix, self.keywords, self.expressions = set(), set(), [], []

    def add(self, kind, value):
        what = getattr(self, kind)
        what.append(value) if isinstance(what, list) else what.add(value.lower())

    def holds(self, name):
        labels = name.split(".")
        return (name in self.exact or any(".".join(labels[i:]) in self.suffix for i in range(len(labels)))
                or any(word in name for word in self.keywords) or any(re.search(e, name) for e in self.expressions))

    def __len__(self):
        return len(self.exact) + len(self.suffix) + len(self.keywords) + len(self.expressions)


# --- what each form means ---

def lines_of(path, comments="#!;["):
    return [line for raw in path.read_text("utf-8").splitlines() if (line := raw.strip()) and line[0] not in comments]


def adblock(path, rules):
    for line in lines_of(path):
        if host := re.fullmatch(r"\|\|([^/^*]+)\^?", line):
            rules.add("suffix", host[1])
        elif wild := re.fullmatch(r"\|\|([^/^]+)\^", line):
            rules.add("expressions", r"(^|\.)" + re.escape(wild[1]).replace(r"\*", ".*") + "$")
        elif word := re.fullmatch(r"\*([^*]+)\*", line):
            rules.add("keywords", word[1])
        elif expression := re.fullmatch("/(.+)/", line):
            rules.add("expressions", expression[1])
        else:
            assert line == "||mp.weixin.qq.com/mp/getappmsgad^"  # a path


def classical(path, rules):
    kinds = {"DOMAIN": "exact", "DOMAIN-SUFFIX": "suffix", "DOMAIN-KEYWORD": "keywords"}
    for line in lines_of(path):
        if line != "payload:":
            kind, value, *_ = line.removeprefix("- ").split(",")
            rules.add(kinds[kind], value)


def clash(path, rules):
    for line in lines_of(path):
        if line != "payload:":
            value = line.removeprefix("- ").strip("'")
            rules.add("suffix" if value.startswith("+.") else "exact", value.removeprefix("+."))


def mrs(path, rules):
    """mihomo's set: the strings "x" and "+.x" for "+.x"."""
    data = unzstd(path.read_bytes())
    assert data[:5] == b"MRS\1\0"
    at = 21 + struct.unpack_from(">q", data, 13)[0] + 1

    def take(size):
        nonlocal at
        n, = struct.unpack_from(">q", data, at)
        at += 8 + n * size
        return data[at - n * size:at]

    def bits(packed):
        return [word >> i & 1 for word, in struct.iter_unpack(">Q", packed) for i in range(64)]
    leaves, bitmap, labels = bits(take(8)), bits(take(8)), take(1)
    strings, node, children = {0: ""}, 0, 0
    for bit in bitmap:
        if bit:
            node += 1
        elif children < len(labels):
            children += 1
            strings[children] = chr(labels[children - 1]) + strings[node]
    strings = {text for number, text in strings.items() if number < len(leaves) and leaves[number]}
    for text in strings:
        if text.startswith("+."):
            assert text[2:] in strings
            rules.add("suffix", text[2:])
        elif "+." + text not in strings:
            rules.add("exact", text)


def unzstd(data):
    library = ctypes.CDLL(ctypes.util.find_library("zstd"))
    library.ZSTD_decompress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(1 << 20)
    size = library.ZSTD_decompress(out, ctypes.c_size_t(len(out)), data, ctypes.c_size_t(len(data)))
    assert size <= len(out)
    return out.raw[:size]


def dnsmasq(path, rules):
    for line in lines_of(path):
        rules.add("suffix", re.fullmatch("address=/([^/]+)/#", line)[1])


def smartdns(path, rules):
    for line in lines_of(path):
        only, name = re.fullmatch(r"address /(-\.)?([^/]+)/#", line).groups()
        rules.add("exact" if only else "suffix", name)


def v2fly(path, rules):
    kinds = {"full": "exact", "domain": "suffix", "keyword": "keywords", "regexp": "expressions"}
    for line in lines_of(path):
        kind, _, value = line.rpartition(":")
        rules.add(kinds[kind or "domain"], value)


def hosts(path, rules):
    for line in lines_of(path):
        name = line.split()[1]
        if name != "localhost":
            rules.add("exact", name)


def routeros(path, rules):
    for line in lines_of(path):
        rules.add("exact", re.fullmatch(r"ip dns static add address=\S+ name=(\S+)", line)[1])


def surge_set(path, rules):
    for line in lines_of(path):
        rules.add("suffix" if line.startswith(".") else "exact", line.lstrip("."))


def singbox(path, rules):
    for rule in json.loads(path.read_text())["rules"]:
        assert not rule["ip_cidr"] and not rule["domain_regex"]
        for key, kind in (("domain", "exact"), ("domain_suffix", "suffix"), ("domain_keyword", "keywords")):
            for value in rule[key]:
                rules.add(kind, value)


FORMS = {"Adblock.txt": adblock, "Adguard.txt": adblock, "Clash-Classical.yaml": classical, "Clash.mrs": mrs,
         "Clash.yaml": clash, "Dnsmasq.conf": dnsmasq, "Geosite.txt": v2fly, "Mosdns_v5.txt": v2fly,
         "QuantumultX.list": classical, "Replenish.txt": adblock, "RouterOS-Adlist.txt": hosts,
         "RouterOS.txt": routeros, "Singbox.json": singbox, "SmartDNS.conf": smartdns, "Strict.txt": adblock,
         "Surge-RULE-SET.list": classical, "Surge.list": surge_set, "hosts.txt": hosts}


def forms():
    made = {"all": (AWAVENUE / "AWAvenue-Ads-Rule.txt", adblock)}
    made.update({name.replace(".", "-"): (AWAVENUE / "Filters" / f"AWAvenue-Ads-Rule-{name}", read)
                 for name, read in FORMS.items()})
    return made


def test_every_form_has_its_own_verdicts(gateway, lab):
    assert {path.name for path in (AWAVENUE / "Filters").iterdir()} == {f"AWAvenue-Ads-Rule-{name}" for name in FORMS}
    rules, config, lists = {}, [], {}
    for number, (form, (path, read)) in enumerate(forms().items()):
        rules[form] = Rules()
        read(path, rules[form])
        lists[form] = [str(path)]
        config.append({"name": form, "list": form, "type": f"TYPE{FIRST_TYPE + number}", "answer": "block"})
    gw = gateway({"lists": lists, "rules": config + [{"name": "rest", "answer": "block", "block": "refused"}]})
    status = {entry["name"]: entry for entry in gw.status()["lists"]}
    for form, held in rules.items():
        # Two lines of Strict are twice there, and one name of some forms is below another; nothing is skipped.
        assert status[form]["skipped"] == 0 and status[form]["unused"] == (form == "Replenish-txt"), status[form]
        assert len(held) - 20 <= status[form]["names"] <= len(held) + 5, (len(held), status[form])
    values = {value for r in rules.values() for value in (*r.exact, *r.suffix, *r.keywords)}
    names = sorted({name for value in values for name in (
        value, f"a.{value}", f"b.a.{value}", f"x{value}", f"{value}.example", value.partition(".")[2])
        if name and len(name) < 200 and not name.startswith(".")})
    assert len(names) > 3000
    asked = [(name, FIRST_TYPE + number) for name in names for number in range(len(rules))]
    with lab.connect("8.8.8.8") as sock:
        answers = ask_all(sock, asked, patience_s=20)
    wrong, verdicts, at = [], collections.Counter(), 0
    for name in names:
        for form, held in rules.items():
            want = HELD if held.holds(name) else NOT_HELD
            got = answers[at].rcode if answers[at] else None
            verdicts[form, got] += 1
            if got != want:
                wrong.append(f"{form}: {name}: {got} instead of {want}")
            at += 1
    assert not wrong, (len(wrong), wrong[:20])
    assert all(verdicts[form, HELD] > 50 and verdicts[form, NOT_HELD] > 500 for form in rules)
    # They differ where their formats differ.
    assert verdicts["hosts-txt", HELD] < verdicts["Clash-yaml", HELD] < verdicts["Dnsmasq-conf", HELD]
    assert verdicts["Mosdns_v5-txt", HELD] == verdicts["Clash-Classical-yaml", HELD] == verdicts["Singbox-json", HELD]


# --- lines that break parsers ---

def suffix(name):
    return [name, f"a.{name}", f"b.a.{name}"], [f"x{name}", f"{name}.example"]


def exact(name):
    return [name], [f"a.{name}", f"x{name}"]


NOTHING, UNUSED, PREFIX = ([], []), "unused", "prefix"
# Where it is from (how its note begins), the line, and what it means there.
MEANT = [
    ("dnsmasq", "#server=/ax1x.com/114.114.114.114 # Disabled", ([], ["ax1x.com"])),
    ("dnsmasq", "server=/cn/", suffix("cn")),
    ("dnsmasq", "server=/xn--55qx5d/", suffix("xn--55qx5d")),
    ("dnsmasq", "server=/xn--0lqwsu2w.com/", suffix("xn--0lqwsu2w.com")),
    ("dnsmasq", "# Google Corp", NOTHING), ("dnsmasq", "bogus-nxdomain=2001:", PREFIX),
    ("dnsmasq", "## Public", NOTHING),
    ("v2fly", "xn--80AGLFYFK.xn--p1ai", suffix("xn--80aglfyfk.xn--p1ai")),
    ("v2fly", "netcraze.ru ", suffix("netcraze.ru")),
    ("v2fly", "#\t", NOTHING), ("v2fly", "xn--czrs0t4phtr3a.cn @cn", suffix("xn--czrs0t4phtr3a.cn")),
    ("v2fly", "alibaba", suffix("alibaba")),
    ("v2fly", "include:eastmoney @-!cn", (["other.eastmoney.test"], ["home.eastmoney.test"])),
    ("v2fly", r"regexp:(^|\.)[1-5]gaoap\.com$", (["3gaoap.com", "a.5gaoap.com"], ["6gaoap.com", "x3gaoap.com"])),
    ("v2fly", "full:2mdn-cn.net", exact("2mdn-cn.net")),
    ("v2fly", r"regexp:.+\.awsdns-cn-", (["ns.awsdns-cn-07.biz"], ["awsdns-cn-07.biz", "ns.awsdns-cn-7.biz"])),
    ("plain", "alibaba", suffix("alibaba")),
    ("v2fly", "regexp:^chatgpt-async", (["chatgpt-async-webps-prod-x-7.webpubsub.azure.com"],
                                        ["chatgpt-async-webps-prod-7.webpubsub.azure.com"])),
    ("plain", "AUSpolice.com", suffix("auspolice.com")),
    ("gfwlist", "[AutoProxy 0.2.9]", NOTHING),
    ("gfwlist", "@@||www.gov.tw", "except"),
    ("gfwlist", r"@@/^https?:\/\/(?=.*?(2x3", UNUSED + " or except"),
    ("gfwlist", r"/^https?:\/\/[^\/]+blogspot\.(.*)/", (["a.blogspot.com", "a.blogspot.co.uk"], ["blogspot.com"])),
    ("gfwlist", "|http://85.17.73.31/", PREFIX),
    ("gfwlist", "||cdn*.i-scmp.com", (["cdn.i-scmp.com", "cdn2.i-scmp.com", "a.cdn2.i-scmp.com"], ["xcdn.i-scmp.com"])),
    ("gfwlist", "||addons.mozilla.org/*-*/", UNUSED),
    ("gfwlist", "||goog", (["goog", "google.com", "a.googleapis.com"], ["xgoog.com"])),
    ("gfwlist", "www.aolnews.com", suffix("www.aolnews.com")),
    ("hosts", "fe80::1%lo0 localhost", ([], ["localhost.example"])), ("hosts", "0.0.0.0 0.0.0.0", NOTHING),
    ("hosts", "0.0.0.0 jackbootedroom.com  ## phishing", exact("jackbootedroom.com")),
    ("hosts", "0.0.0.0 222-33544", exact("222-33544_999.pub.adfirmative.com")),
    ("hosts", "255.255.255.255", ([], ["broadcasthost"])), ("hosts", "::1 localhost", NOTHING),
    ("adblock", "! Title", NOTHING), ("adblock", "//oyy.ru^", exact("oyy.ru")),
    ("adblock", "://*.a-akamaihd.com^", (["x.a-akamaihd.com", "y.x.a-akamaihd.com"], ["a-akamaihd.com"])),
    ("adblock", "||admulti.", (["admulti.com", "a.admulti.net"], ["admulti.co.uk", "xadmulti.com"])),
    ("adblock", "||банрек.рус^", suffix("банрек.рус".encode("idna").decode())),
    ("adblock", "||mxtads.com:8040", UNUSED), ("adblock", "||click.aliexpress.com^$image,script", UNUSED),
    ("adblock", "@@||blog.logrocket.com^|", "except"),
    ("adblock", "||alishop*.ru^", (["alishop.ru", "alishop7.ru", "a.alishop7.ru"], ["xalishop.ru", "alishop.ru.com"])),
    ("adblock", ".adonweb.ru^", suffix("adonweb.ru")), ("adblock", "||37.220.26.135^", PREFIX),
    ("clash", "payload:", NOTHING), ("clash", "  - '265.com'", exact("265.com")),
    ("clash", "  - '+.0.zone'", suffix("0.zone")),
    ("clash", "  - '198.18.0.0/15'", PREFIX), ("clash", "  - '224.0.0.0/3'", PREFIX),
    ("clash", "  - 'fc00::/7'", PREFIX),
    ("clash", "  - PROCESS-NAME,frpc", UNUSED), ("clash", "+.1.0.0.0.0", suffix("1." + "0." * 31 + "ip6.arpa")),
    ("clash", "+.internal", suffix("internal")), ("cidr", "::/127", PREFIX), ("cidr", "198.18.0.0/15", PREFIX),
    ("clash", "URL-REGEX,", UNUSED), ("clash", "PROCESS-NAME,WebTorrent", UNUSED),
    ("clash", "IP-CIDR6,2001:250::/30,no-resolve", PREFIX),
    ("acl", "[bypass_all]", "no format"), ("acl", r"(^|\.)*.pimg.tw$", "no format"),
    ("hosts", "#  \\___", NOTHING), ("cidr", "create chnroute", NOTHING), ("cidr", "add chnroute 1.0.1.0/24", PREFIX),
    ("cidr", "add set inet", NOTHING), ("cidr", "add element inet", PREFIX),
    ("dnsmasq", "address=/1500020991.vodplayer.wxamedia.com/#", suffix("1500020991.vodplayer.wxamedia.com")),
    ("smartdns", "address /-.1500020991", exact("1500020991.vodplayer.wxamedia.com")),
    ("v2fly", "full:1500020991", exact("1500020991.vodplayer.wxamedia.com")),
    ("v2fly", "keyword:-ad.sm.cn", (["x-ad.sm.cn", "x-ad.sm.cn.example"], ["ad.sm.cn"])),
]
SOURCES = {"dnsmasq-china-list": "dnsmasq", "domain-list-community": "v2fly", "v2ray-rules-dat": "v2fly plain",
           "gfwlist": "gfwlist", "adguard-urlfilter/testdata/hosts": "hosts", "adguard-urlfilter": "adblock",
           "clash-rules": "clash", "meta-rules-dat/geo/geosite": "clash", "meta-rules-dat/geo/geoip": "cidr",
           "ACL4SSR/Clash": "clash", "ACL4SSR/Acl": "acl", "1Hosts": "hosts", "chinadns-ng-res": "cidr",
           "AWAvenue/Filters/AWAvenue-Ads-Rule-Dnsmasq": "dnsmasq",
           "AWAvenue/Filters/AWAvenue-Ads-Rule-SmartDNS": "smartdns",
           "AWAvenue/Filters/AWAvenue-Ads-Rule-Mosdns": "v2fly"}


def trap_lines():
    """(format, line, meaning) of each line of the file; a line that no meaning is known of fails."""
    note, found = None, []
    text = TRAPS.read_text("utf-8").splitlines()
    for at, line in enumerate(text):
        if at % 2 == 0:
            note = line
            assert note.startswith("## "), note
            continue
        formats = next(word for source, word in SOURCES.items() if note.startswith(f"## {source}")).split()
        meant = [(fmt, meaning) for fmt, start, meaning in MEANT if fmt in formats and line.startswith(start)]
        assert meant, (note, line)
        found.append((note, meant[0][0], line, meant[0][1]))
    return found


def test_every_line_means_what_its_note_says(gateway, lab):
    (lab.dir / "eastmoney").write_text("home.eastmoney.test @!cn\nother.eastmoney.test\n")
    lists, cases = {}, {}
    for number, (note, fmt, line, meaning) in enumerate(trap_lines()):
        name, text = f"l{number}", line + "\n"
        if fmt == "acl":  # a list of shadowsocks's: no format of ours; beside lines that can be read it is skipped
            text, fmt = f"one.test\n{line}\ntwo.test\n", "plain"
        elif meaning == "except":
            text += "||" + line.strip("@|^").partition(".")[2] + "^\n"
        elif fmt == "clash" and line.startswith("  - "):
            text = "payload:\n" + text
        elif fmt == "adblock":
            text = text.replace("\n", "\r\n")
        if fmt == "gfwlist":
            text = base64.encodebytes(("[AutoProxy 0.2.9]\n" + text).encode()).decode()
        path = lab.dir / f"line{number}.txt"
        path.write_bytes(text.encode())
        lists[name] = {"path": str(path), "format": fmt}
        cases[name] = note, line, meaning
    assert len(cases) >= 70
    gw = gateway({"lists": lists, "builtin": {"special": "no"},
                  "rules": [{"name": name, "list": name, "type": f"TYPE{FIRST_TYPE + i}", "answer": "block"}
                            for i, name in enumerate(lists)]
                  + [{"name": "rest", "answer": "block", "block": "refused"}]})
    status = {entry["name"]: entry for entry in gw.status()["lists"]}
    asked, wanted = [], []
    for i, (name, (note, line, meaning)) in enumerate(cases.items()):
        entry = status[name]
        counts = entry["names"], entry["cidrs"], entry["skipped"], entry["unused"]
        if meaning == "no format":
            assert counts == (2, 0, 1, 0), (note, line, counts)
        elif meaning == UNUSED:
            assert counts == (0, 0, 0, 1), (note, line, counts)
        elif meaning == UNUSED + " or except":
            assert counts in ((0, 0, 0, 1), (1, 0, 0, 0)), (note, line, counts)
        elif meaning == PREFIX:
            assert counts == (0, 1, 0, 0), (note, line, counts)
        elif meaning == "except":
            host = line.strip("@|^")
            asked += [(host, FIRST_TYPE + i), (f"a.{host}", FIRST_TYPE + i), (f"x{host}", FIRST_TYPE + i)]
            wanted += [(note, NOT_HELD), (note, NOT_HELD), (note, HELD)]
        else:
            held, free = meaning
            assert entry["skipped"] == 0 and entry["unused"] == 0 and entry["cidrs"] == 0, (note, line, entry)
            assert (entry["names"] > 0) == bool(held), (note, line, entry)
            asked += [(n, FIRST_TYPE + i) for n in held + free]
            wanted += [(note, HELD)] * len(held) + [(note, NOT_HELD)] * len(free)
    with lab.connect("8.8.8.8") as sock:
        answers = ask_all(sock, asked)
    wrong = [f"{note}: {name}: {answer and answer.rcode}"
             for (name, _), (note, want), answer in zip(asked, wanted, answers)
             if answer is None or answer.rcode != want]
    assert not wrong


def test_a_list_with_the_pool_in_it_does_not_lose_fake_addresses(gateway, lab):
    """198.18.0.0/15 stands in lists of private networks; what is faked stays faked and captured."""
    gw = gateway({"lists": {"lan": [str(DATA / "rules" / "clash-rules" / "lancidr.txt")]},
                  "rules": [{"name": "home", "to": "lan", "answer": "real", "upstream": "wan", "egress": "direct"},
                            {"name": "rest", "answer": "fake", "egress": "direct"}]})
    assert has_fake_address(gw.ask("web.test"))
    assert lab.curl("http://web.test/", "--dns-servers", "8.8.8.8", check=False).returncode in (0, 2, 4)
