"""Item 5: HTTPS and SVCB records of fake names."""
import signal

import dns.rdatatype
import pytest

from lab import Upstream, addresses, has_fake_address, has_soa, question, rcode, rdata, ttls, wait_for

REWRITE = {"https": "rewrite", "store": ""}
RULES = [{"name": "ads", "domain": ["ads.test"], "answer": "block"},
         {"name": "office", "domain": ["real.test"], "answer": "real", "upstream": "wan"},
         {"name": "rest", "answer": "fake", "egress": "direct"}]


@pytest.fixture(scope="module")
def gw(module_gateway):
    return module_gateway({"fakeip": REWRITE, "rules": RULES})


@pytest.fixture
def changed(gw):
    """changed(fakeip options): in force from now on, until the test ends."""
    def change(more=None, **fakeip):
        gw.rewrite({"rules": RULES, **(more or {}), "fakeip": {**REWRITE, **fakeip}})
        gw.result("reload")
    yield change
    change()


def pair(gw, name):
    return addresses(gw.ask(name, "A"))[0], addresses(gw.ask(name, "AAAA"))[0]


def fields(record):
    """(priority, target, {key: value}) as dig prints them."""
    priority, target, *params = record.replace('"', "").split()
    return int(priority), target, dict(param.partition("=")[::2] for param in params)


def dig(gw, name, rdtype="HTTPS"):
    record, = gw.lab.dig(name, rdtype, part="cl")
    return fields(record)


def test_hints_are_the_fake_pair(gw):
    priority, target, params = dig(gw, "shop.test")
    four, six = pair(gw, "shop.test")
    assert (priority, target) == (1, ".")
    assert params == {"alpn": "h2,h3", "ipv4hint": four, "ipv6hint": six, "ech": "AEX+DQBB"}
    assert has_fake_address(gw.ask("shop.test"))


def test_the_answer_says_the_same_whoever_asks_first(gw):
    """A client that uses the hint, and one that asks for A, reach one address."""
    four, six = pair(gw, "must.test")
    _, _, params = dig(gw, "must.test")
    assert (params["ipv4hint"], params["ipv6hint"]) == (four, six)


def test_mandatory_names_only_what_is_there(gw):
    _, _, params = dig(gw, "must.test")
    assert set(params.get("mandatory", "alpn").split(",")) <= set(params)
    assert params["alpn"] == "h2"


def test_an_alias_is_told(gw):
    """The client asks the target's addresses, which are fake, too."""
    priority, target, params = dig(gw, "elsewhere.test")
    assert (priority, target, params) == (0, "shop.test.", {})


def test_the_ttl_is_bounded(gw):
    assert ttls(gw.ask("shop.test", "HTTPS")) == [60]
    assert ttls(gw.ask("plain.test", "HTTPS")) == [20]


def test_svcb_of_another_target(gw):
    """The hint is the target's address, and so has to be its fake one, or none."""
    _, target, params = dig(gw, "_dns.shop.test", "SVCB")
    assert target == "shop.test." and params["alpn"] == "dot" and params["port"] == "853"
    assert "10.99.0.10" not in params.values()


def test_ech_drop(gw, changed):
    changed(ech="drop")
    four, six = pair(gw, "shop.test")
    assert dig(gw, "shop.test")[2] == {"alpn": "h2,h3", "ipv4hint": four, "ipv6hint": six}
    changed(ech="keep")
    assert dig(gw, "shop.test")[2]["ech"] == "AEX+DQBB"


def test_empty(gw, changed):
    changed(https="empty")
    with gw.lab.watch("wan") as wan:
        reply = gw.ask("shop.test", "HTTPS")
        gw.ask("a.real.test")
        assert [name for name, _ in wan.dns_questions()] == ["a.real.test"]
    assert rcode(reply) == "NOERROR" and not reply.answer and has_soa(reply)


@pytest.mark.parametrize("name", ["web.test", "unknown.test"], ids=["no data", "no such name"])
def test_what_upstream_does_not_know_is_no_data(gw, name):
    reply = gw.ask(name, "HTTPS")
    assert rcode(reply) == "NOERROR" and not reply.answer and has_soa(reply)


def test_an_upstream_that_fails_is_no_data(gw, changed):
    def servfail(wire, client, send):
        send(wire[:2] + b"\x81\x82" + wire[4:])
    with Upstream(gw.lab, servfail, "10.99.0.2", port=5355):
        changed({"upstreams": {"wan": {"servers": ["udp://10.99.0.2:5355"]}}})
        reply = gw.ask("shop.test", "HTTPS")
    assert rcode(reply) == "NOERROR" and not reply.answer and has_soa(reply)


def test_real_and_blocked_names_are_as_ever(gw):
    assert rcode(gw.ask("ads.test", "HTTPS")) == "NXDOMAIN"
    assert rdata(gw.ask("a.real.test", "HTTPS")) == []


def test_with_opt_and_over_tcp(gw):
    four, _ = pair(gw, "shop.test")
    for how in ({"tcp": True}, {"edns": True}):
        record, = rdata(gw.ask("shop.test", "HTTPS", **how), "HTTPS")
        assert f'ipv4hint="{four}"' in record
    query = question("shop.test", "HTTPS")
    query.want_dnssec(True)
    assert [r.rdtype for r in gw.lab.exchange(query).answer] == [dns.rdatatype.HTTPS]  # no signature fits


def test_a_name_without_an_address_has_no_hints(gateway_of_its_own):
    """Neither somebody else's nor the real ones, which its A and AAAA tell."""
    gw = gateway_of_its_own({"fakeip": {**REWRITE, "pool4": "198.18.0.0/30", "pool6": "off", "hold": "1h"}, "rules": RULES})
    assert has_fake_address(gw.ask("first.test"))
    assert addresses(gw.ask("shop.test")) == ["10.99.0.10"]
    assert dig(gw, "shop.test")[2] == {"alpn": "h2,h3", "ech": "AEX+DQBB"}


def test_only_hints_of_a_pool_that_is_there(gateway_of_its_own):
    gw = gateway_of_its_own({"fakeip": {**REWRITE, "pool6": "off"}, "rules": RULES})
    params = dig(gw, "shop.test")[2]
    assert [params["ipv4hint"]] == addresses(gw.ask("shop.test"))
    assert "ipv6hint" not in params


def test_real_again_in_the_lame_duck_moment(gateway_of_its_own):
    gw = gateway_of_its_own({"fakeip": REWRITE, "rules": RULES, "gateway": {"lame_duck": "15s"}})
    assert dig(gw, "shop.test")[2]["ipv4hint"].startswith("198.18.")
    gw.signal(signal.SIGTERM)
    wait_for(lambda: gw.status()["state"] == "lame_duck", "the state is told")
    assert dig(gw, "shop.test")[2]["ipv4hint"] == "10.99.0.10,10.99.0.53"
    gw.signal(signal.SIGTERM)
    assert gw.end() == 0


def test_explain_tells_it(gw):
    assert "the real record, with the fake addresses as hints" in gw.result("explain", name="shop.test", type="HTTPS")["notes"]


def test_a_hint_is_in_use(gw, changed):
    """A client keeps a hint for 60 s, whatever fakeip.ttl and hold are."""
    changed(ttl="1s", hold="1s")
    old, _ = pair(gw, "shop.test")
    dig(gw, "shop.test")
    wait_for(lambda: gw.result("fakeip.lookup", name="shop.test")["last_answer_s"] >= 4, "TTL and hold are over")
    assert gw.result("fakeip.flush", name="shop.test") == {"flushed": 1, "kept": 1}
    assert gw.result("fakeip.lookup", address=old)["name"] == "shop.test"
