"""Item 4: families that a rule's names are not to have; `filter: auto` follows the routes."""
import time

import pytest

from lab import addresses, ede, greeted, greeter, has_soa, is_fake, rcode, rdata, wait_for
from waiting import moment

SOON_S = 1  # within this the answers follow the kernel
SLACK_S = 1  # of a loaded machine
DEFAULT6 = ("default", "via", "2001:db8:99::2")
DEFAULT4 = ("default", "via", "10.99.0.2")
WAN = {"answer": "real", "upstream": "wan"}
REST_FAKE = {"name": "rest", "answer": "fake", "egress": "direct"}


@pytest.fixture(scope="module", params=["tun", "tproxy"])
def gw(request, module_gateway):
    gateway = module_gateway({"fakeip": {"store": ""}}, request.param)
    yield gateway
    if gateway.running():
        gateway.stop()


@pytest.fixture
def changed(gw):
    """changed(rules, **sections): in force from now on."""
    intercept = gw.config["gateway"]["intercept"]

    def change(*rules, **sections):
        gw.rewrite({"fakeip": {"store": ""}, "rules": list(rules), **sections}, intercept)
        gw.result("reload")
    return change


@pytest.fixture
def routes(lab):
    """routes("del"/"add"/..., words): in the router; as before when the test ends."""
    undo = []

    def change(verb, *words):
        family = "-6" if any(":" in word for word in words) else "-4"
        lab.run("gw", "ip", family, "route", verb, *words)
        undo.append((family, "add" if verb == "del" else "del", words))
    yield change
    for family, verb, words in reversed(undo):
        lab.run("gw", "ip", family, "route", verb, *words, check=False)
    lab.run("gw", "ip", "route", "replace", *DEFAULT4)
    lab.run("gw", "ip", "-6", "route", "replace", *DEFAULT6)


def families(gw, name, **how):
    """Which of the two have an address; the other one must be NODATA in the right form."""
    found = ""
    for number, rdtype in (("4", "A"), ("6", "AAAA")):
        reply = gw.ask(name, rdtype, edns=True, **how)
        assert rcode(reply) == "NOERROR", reply
        if addresses(reply):
            found += number
        else:
            assert has_soa(reply) and ede(reply) == [17], reply  # filtered, RFC 8914
    return found


def follows(gw, name, expected, started, **how):
    wait_for(lambda: families(gw, name, **how) == expected, f"{name} has families {expected}", 5)
    took = moment() - started
    assert took < SOON_S + SLACK_S, f"it took {took:.1f} s"


def hints(gw, name):
    record, = rdata(gw.ask(name, "HTTPS"))
    return {word.partition("=")[0] for word in record.split()[2:]}


# --- ipv4, ipv6 ---

@pytest.mark.parametrize("how", ["real", "fake", "never fake"])
@pytest.mark.parametrize("filter_, left", [("none", "46"), ("ipv4", "6"), ("ipv6", "4")])
def test_one_family_is_left_out(gw, lab, changed, how, filter_, left):
    answer = WAN if how == "real" else {"answer": "fake", "egress": "direct"}
    (lab.dir / "games.txt").write_text("web.test\nshop.test\n" if how == "never fake" else "nothing.test\n")
    changed({"name": "all", **answer, "filter": filter_}, lists={"games": "games.txt"},
            fakeip={"store": "", "except": ["games"]})
    for tcp in (False, True):
        assert families(gw, "web.test", tcp=tcp) == left
    assert is_fake(addresses(gw.ask("web.test", "A" if "4" in left else "AAAA"))) == (how == "fake")
    told = gw.result("explain", name="web.test", type="A" if filter_ == "ipv4" else "AAAA")
    assert any("NODATA" in note for note in told["notes"]) == (filter_ != "none")
    if how == "real":
        assert hints(gw, "shop.test") == {"alpn", "ech", *(f"ipv{n}hint" for n in left)}
        assert rdata(gw.ask("txt.real.test", "TXT")) == ['"one" "two"']


@pytest.mark.parametrize("filter_, left", [("none", "46"), ("ipv4", "6"), ("ipv6", "4")])
def test_hints_of_fake_names(gw, changed, filter_, left):
    changed({"name": "all", "answer": "fake", "egress": "direct", "filter": filter_},
            fakeip={"store": "", "https": "rewrite"})
    assert hints(gw, "shop.test") == {"alpn", "ech", *(f"ipv{n}hint" for n in left)}


def test_mandatory_hints_that_are_left_out(gw, changed):
    """`mandatory` names keys that are there (RFC 9460 8)."""
    changed({"name": "all", **WAN, "filter": "ipv4"})
    record, = rdata(gw.ask("must.test", "HTTPS"))
    keys = {word.partition("=")[0]: word.partition("=")[2].strip('"') for word in record.split()[2:]}
    assert "ipv4hint" not in keys and set(keys.get("mandatory", "alpn").split(",")) <= set(keys)


def test_addresses_left_out_are_in_no_set_and_not_asked(gw, lab, changed):
    lab.nft("table inet user { set v4 { type ipv4_addr; flags timeout; }; set v6 { type ipv6_addr; flags timeout; }; }")
    try:
        changed({"name": "all", **WAN, "filter": "ipv6", "nftset": ["4#inet#user#v4", "6#inet#user#v6"]})
        with lab.watch("wan") as wan:
            gw.ask("a.real.test"), gw.ask("a.real.test", "AAAA")
            assert wan.dns_questions() == [("a.real.test", "A")]
        assert "10.99.0.10" in lab.run("gw", "nft", "list", "set", "inet", "user", "v4").stdout
        assert "elements" not in lab.run("gw", "nft", "list", "set", "inet", "user", "v6").stdout
    finally:
        lab.nft("delete table inet user")


def test_rules_of_others_are_not_touched(gw, changed):
    changed({"name": "four", "domain": "web.test", **WAN, "filter": "ipv6"}, {"name": "all", **WAN})
    assert families(gw, "web.test") == "4" and families(gw, "a.real.test") == "46"


# --- auto ---

@pytest.mark.parametrize("answer", [WAN, {**WAN, "egress": "direct"}, {"answer": "fake", "egress": "direct"}],
                         ids=["real", "real with egress", "fake"])
def test_auto_follows_the_default_routes(gw, lab, changed, routes, answer):
    changed({"name": "all", **answer, "filter": "auto"})
    name = "web.test"
    assert families(gw, name) == "46"
    started = moment()
    routes("del", *DEFAULT6)
    follows(gw, name, "4", started)
    assert hints(gw, "shop.test") == {"alpn", "ech", "ipv4hint"} if answer["answer"] == "real" else True
    told = gw.result("explain", name=name, type="AAAA")
    assert any("filter" in note and "AAAA" in note for note in told["notes"]), told
    started = moment()
    routes("add", *DEFAULT6)
    follows(gw, name, "46", started)
    started = moment()
    routes("del", *DEFAULT4)
    follows(gw, name, "6", started)
    routes("del", *DEFAULT6)  # without any way nothing is gained by saying less
    wait_for(lambda: families(gw, name) == "46", "both again")


def test_auto_knows_routes_that_lead_nowhere(gw, changed, routes, lab):
    changed({"name": "all", "answer": "fake", "egress": "direct", "filter": "auto"})
    routes("del", *DEFAULT6)
    wait_for(lambda: families(gw, "web.test") == "4", "no IPv6")
    for words in (("unreachable", "::/0"), ("blackhole", "::/0"), ("prohibit", "::/0")):
        routes("add", *words)
        end = time.monotonic() + 0.3
        while time.monotonic() < end:
            assert families(gw, "web.test") == "4"
        routes("del", *words)
    started = moment()
    routes("add", "2000::/3", "via", "2001:db8:99::2")  # as some providers' routers do
    follows(gw, "web.test", "46", started)


def test_auto_when_the_link_goes_down_and_comes_up(gw, lab, changed, routes):
    changed({"name": "all", "answer": "fake", "egress": "direct", "filter": "auto"})
    lab.run("gw", "ip", "link", "add", "up6", "type", "veth", "peer", "name", "far6")
    try:
        for link in ("far6", "up6"):
            lab.run("gw", "ip", "link", "set", link, "up")
        lab.run("gw", "ip", "-6", "addr", "add", "2001:db8:66::2/64", "dev", "up6", "nodad")
        routes("del", *DEFAULT6)
        follows(gw, "web.test", "4", moment())
        lab.run("gw", "ip", "-6", "route", "add", "default", "via", "2001:db8:66::1", "dev", "up6")
        follows(gw, "web.test", "46", moment())
        started = moment()
        lab.run("gw", "ip", "link", "set", "up6", "down")
        follows(gw, "web.test", "4", started)
    finally:
        lab.run("gw", "ip", "link", "del", "up6")


def test_auto_when_the_address_alone_goes(gw, lab, changed, routes):
    """A default route stays when the delegated prefix was lost: nothing comes back to a unique local source."""
    changed({"name": "all", **WAN, "filter": "auto"})
    assert families(gw, "web.test") == "46"
    started = moment()
    lab.run("gw", "ip", "-6", "addr", "del", "2001:db8:99::1/64", "dev", "wan0")
    lab.run("gw", "ip", "-6", "addr", "del", "2001:db8:77::1/64", "dev", "lan0")
    try:
        lab.run("gw", "ip", "-6", "addr", "add", "fd99::1/64", "dev", "wan0", "nodad")
        lab.run("gw", "ip", "-6", "route", "replace", "default", "via", "fe80::9", "dev", "wan0")
        follows(gw, "web.test", "4", started)
    finally:
        lab.run("gw", "ip", "-6", "addr", "del", "fd99::1/64", "dev", "wan0")
        lab.run("gw", "ip", "-6", "route", "del", "default", "via", "fe80::9", "dev", "wan0", check=False)
        lab.run("gw", "ip", "-6", "addr", "add", "2001:db8:99::1/64", "dev", "wan0", "nodad")
        lab.run("gw", "ip", "-6", "addr", "add", "2001:db8:77::1/64", "dev", "lan0", "nodad")
        lab.run("gw", "ip", "-6", "route", "replace", *DEFAULT6)
    follows(gw, "web.test", "46", moment())


def test_auto_by_marks_with_tables_of_their_own(gw, lab, changed, routes):
    """Two egresses, two answers; each follows its own table and rule."""
    def rule(verb):
        for family in ("-4", "-6"):
            lab.run("gw", "ip", family, "rule", verb, "fwmark", "0x20/0x20", "lookup", "100", "priority", "90",
                    check=False)
    rule("add")
    try:
        routes("add", *DEFAULT4, "table", "100")
        routes("add", "unreachable", "default", "table", "100", "metric", "4000")
        lab.run("gw", "ip", "-6", "route", "add", "unreachable", "default", "table", "100", "metric", "4000")
        changed({"name": "vpn", "domain": "web.test", "answer": "real", "egress": "vpn", "filter": "auto"},
                {"name": "vpn-fake", "domain": "vpn.test", "answer": "fake", "egress": "vpn", "filter": "auto"},
                {"name": "all", "answer": "real", "egress": "direct", "filter": "auto"},
                egress={"vpn": {"type": "direct", "mark": "0x20", "upstream": "wan"}})
        assert families(gw, "web.test") == families(gw, "vpn.test") == "4"
        assert families(gw, "a.real.test") == "46"
        started = moment()
        routes("add", *DEFAULT6, "table", "100")
        follows(gw, "web.test", "46", started)
        started = moment()
        routes("del", *DEFAULT6)
        follows(gw, "a.real.test", "4", started)
        assert families(gw, "web.test") == families(gw, "vpn.test") == "46"
        started = moment()
        rule("del")
        follows(gw, "web.test", "4", started)
    finally:
        rule("del")
        lab.run("gw", "ip", "-6", "route", "flush", "table", "100", check=False)
        lab.run("gw", "ip", "route", "flush", "table", "100", check=False)


def test_auto_of_a_group_has_what_a_member_has(gw, lab, changed, routes):
    for family, unreachable in (("-4", "20"), ("-6", "21")):
        lab.run("gw", "ip", family, "rule", "add", "fwmark", f"0x{unreachable}/0x3f", "lookup", "101", "priority", "91")
        lab.run("gw", "ip", family, "route", "add", "unreachable", "default", "table", "101", "metric", "4000")
    try:
        changed({"name": "both", "domain": "web.test", "answer": "real", "egress": "both", "filter": "auto"},
                {"name": "six", "domain": "a.real.test", "answer": "real", "egress": "six", "filter": "auto"}, REST_FAKE,
                egress={"six": {"type": "direct", "mark": "0x20/0x3f", "upstream": "wan"},
                        "four": {"type": "direct", "mark": "0x21/0x3f", "upstream": "wan"},
                        "both": {"type": "group", "of": ["six", "four"], "upstream": "wan"}})
        assert families(gw, "a.real.test") == "6" and families(gw, "web.test") == "46"
        started = moment()
        routes("add", *DEFAULT4, "table", "101")
        follows(gw, "a.real.test", "46", started)
        routes("del", *DEFAULT6)
        follows(gw, "web.test", "4", moment())
    finally:
        for family, unreachable in (("-4", "20"), ("-6", "21")):
            lab.run("gw", "ip", family, "rule", "del", "priority", "91")
            lab.run("gw", "ip", family, "route", "flush", "table", "101", check=False)


def test_auto_at_start_and_after_a_reload(gw, changed, routes, lab):
    routes("del", *DEFAULT6)
    changed({"name": "all", "answer": "fake", "egress": "direct", "filter": "none"})
    assert families(gw, "web.test") == "46"
    changed({"name": "all", "answer": "fake", "egress": "direct", "filter": "auto"})
    assert families(gw, "web.test") == "4"
    gw.stop()
    gw.start()
    assert families(gw, "web.test") == "4"


def test_a_storm_of_routes(gw, lab, changed, routes):
    """Full tables come and go elsewhere; the answers end up right."""
    changed({"name": "all", "answer": "fake", "egress": "direct", "filter": "auto"})
    batch = "".join(f"route add 2001:db8:{i:x}::/48 via 2001:db8:99::2\n" for i in range(0x1000, 0x1000 + 3000))
    lab.run("gw", "ip", "-6", "-batch", "-", input=batch)
    routes("del", *DEFAULT6)
    lab.run("gw", "ip", "-6", "-batch", "-", input=batch.replace("route add", "route del"))
    follows(gw, "web.test", "4", moment())


def test_traffic_of_the_family_that_is_left(gw, lab, changed, routes):
    changed({"name": "all", "answer": "fake", "egress": "direct", "filter": "auto"})
    routes("del", *DEFAULT6)
    wait_for(lambda: families(gw, "web.test") == "4", "no IPv6")
    address, = addresses(gw.ask("web.test"))
    with greeter(lab, "10.99.0.10"):
        assert greeted(lab, address)[0] == "10.99.0.10"


def test_a_proxy_has_both_and_check_says_so(gw, changed, routes, lab):
    changed({"name": "all", "answer": "fake", "egress": "proxy", "filter": "auto"},
            egress={"proxy": {"type": "socks5", "server": "10.99.0.2:1080"}})
    routes("del", *DEFAULT6)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        assert families(gw, "web.test") == "46"
    done = lab.run("gw", gw.program, "check", "-c", gw.config_file)
    assert "filter: auto has no effect with an egress of type socks5" in done.stdout + done.stderr
