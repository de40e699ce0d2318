"""Item 5: names that are never faked."""
import pytest

from lab import addresses, greeted, greeter, has_fake_address, is_fake, rcode

BUILTIN = {"captive.apple.com": "10.99.1.1", "connectivitycheck.gstatic.com": "10.99.1.2", "2.pool.ntp.org": "10.99.1.3",
           "printer": "10.99.1.4", "foo.lan": "10.99.1.5"}
RULES = [{"name": "rest", "answer": "fake", "egress": "direct"}]
BASE = {"rules": RULES, "fakeip": {"store": ""}, "builtin": {"special": "no"}}  # else .lan is nobody's


@pytest.fixture(scope="module")
def gw(module_gateway):
    return module_gateway(BASE)


@pytest.fixture
def changed(gw, lab):
    """changed(config): in force from now on, until the test ends."""
    def change(config):
        gw.rewrite({**BASE, **config})
        gw.result("reload")
    yield change
    gw.rewrite(BASE)
    gw.result("reload")


def explained(gw, name):
    result = gw.result("explain", name=name)
    return result["answer"], " ".join(result["notes"])


@pytest.mark.parametrize("name", BUILTIN)
def test_a_built_in_name_is_real(gw, lab, name):
    assert lab.dig(name, part="cl") == [BUILTIN[name]]
    answer, notes = explained(gw, name)
    assert answer == "real" and "never fake" in notes and "built-in" in notes
    assert gw.result("explain", name=name)["fakeip"] is None


def test_case_does_not_matter(gw):
    assert addresses(gw.ask("CapTive.aPPle.com")) == ["10.99.1.1"]


@pytest.mark.parametrize("name", ["apple.com", "notcaptive.apple.com", "web.test", "lan.test", "gstatic.com"])
def test_what_is_only_alike_is_fake(gw, name):
    assert has_fake_address(gw.ask(name))
    assert explained(gw, name)[0] == "fake"


def test_other_types_and_the_other_family_are_real_too(gw):
    reply = gw.ask("captive.apple.com", "AAAA")
    assert rcode(reply) == "NOERROR" and not addresses(reply)
    assert rcode(gw.ask("nobody.lan")) == "NXDOMAIN"  # upstream's word


def test_builtin_no(gw, changed):
    changed({"fakeip": {"store": "", "except": {"builtin": "no"}}})
    for name in BUILTIN:
        assert has_fake_address(gw.ask(name))
        assert explained(gw, name)[0] == "fake"


@pytest.mark.parametrize("builtin", ["yes", "no"])
def test_lists(gw, lab, changed, builtin):
    (lab.dir / "games.txt").write_text("# ours\ngames.test\n")
    (lab.dir / "more.txt").write_text("web.test\n")
    changed({"lists": {"games": ["games.txt"], "more": ["more.txt"]},
             "fakeip": {"store": "", "except": {"builtin": builtin, "lists": ["games", "more"]}}})
    assert addresses(gw.ask("a.b.games.test")) == addresses(gw.ask("games.test")) == ["10.99.1.7"]
    assert lab.dig("web.test", part="cl") == ["10.99.0.10"]
    assert has_fake_address(gw.ask("games.test.shop.test"))
    answer, notes = explained(gw, "b.games.test")
    assert answer == "real" and "never fake" in notes and "games" in notes
    assert has_fake_address(gw.ask("foo.lan")) == (builtin == "no")


def test_the_short_form_is_lists_beside_the_built_in_ones(gw, lab, changed):
    (lab.dir / "games.txt").write_text("games.test\n")
    changed({"lists": {"games": ["games.txt"]}, "fakeip": {"store": "", "except": ["games"]}})
    assert addresses(gw.ask("games.test")) == ["10.99.1.7"]
    assert addresses(gw.ask("foo.lan")) == ["10.99.1.5"]


def test_a_rule_whose_own_domain_lies_at_or_below_wins(gw, changed):
    changed({"rules": [{"name": "mine", "domain": ["captive.apple.com", "nas.lan", "full:printer"], "answer": "fake",
                        "egress": "direct"},
                       {"name": "above", "domain": ["org"], "answer": "fake", "egress": "direct"}, *RULES]})
    for name in ("captive.apple.com", "x.captive.apple.com", "nas.lan", "deep.nas.lan", "printer"):
        assert has_fake_address(gw.ask(name)), name
    answer, notes = explained(gw, "nas.lan")
    assert answer == "fake" and "rule mine" in notes
    assert addresses(gw.ask("foo.lan")) == ["10.99.1.5"]
    assert addresses(gw.ask("2.pool.ntp.org")) == ["10.99.1.3"]  # the rule's domain lies above


def test_a_list_of_a_rule_does_not_win(gw, lab, changed):
    (lab.dir / "mine.txt").write_text("captive.apple.com\n")
    changed({"lists": {"mine": ["mine.txt"]},
             "rules": [{"name": "mine", "list": "mine", "answer": "fake", "egress": "direct"}, *RULES]})
    assert addresses(gw.ask("captive.apple.com")) == ["10.99.1.1"]


def test_a_name_that_was_faked_before_keeps_its_flows_but_is_real_from_now_on(gw, lab, changed):
    old, = addresses(gw.ask("v4only.test"))
    assert is_fake([old])
    (lab.dir / "games.txt").write_text("v4only.test\n")
    changed({"lists": {"games": ["games.txt"]}, "fakeip": {"store": "", "except": ["games"]}})
    assert addresses(gw.ask("v4only.test")) == ["10.99.0.10"]
    assert lab.curl("http://v4only.test/", "--resolve", f"v4only.test:80:{old}").stdout == "hello from web.test\n"


def test_a_name_that_is_never_faked_takes_the_egress_of_its_rule(gw, lab, changed):
    """One rule decides both layers, here too; but what a lease or the rules call real goes as it ever did."""
    lab.microsocks()
    (lab.dir / "games.txt").write_text("v4only.test\nfar.public.test\n")
    with greeter(lab, "1.1.1.1"), greeter(lab, "10.99.0.10"):
        changed({"lists": {"games": ["games.txt"]}, "fakeip": {"store": "", "except": ["games"]},
                 "egress": {"proxy": {"type": "socks5", "server": "10.99.0.2:1080", "upstream": "wan"}},
                 "rules": [{"name": "far", "answer": "fake", "egress": "proxy", "upstream": "wan"}]})
        assert greeted(lab, "1.1.1.1") == ("1.1.1.1", "192.168.77.2")
        assert addresses(gw.ask("far.public.test")) == ["1.1.1.1"]
        assert greeted(lab, "1.1.1.1")[1] != "192.168.77.2"  # the proxy's connection
        assert addresses(gw.ask("v4only.test")) == ["10.99.0.10"]  # a private address is the house's own
        assert greeted(lab, "10.99.0.10") == ("10.99.0.10", "192.168.77.2")
