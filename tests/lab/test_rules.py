"""Item 4: which rule decides, and what its answer looks like."""
import pytest

from lab import addresses, ede, has_soa, is_fake, rcode

REAL = ["10.99.0.10"]


LIST = """\
# names of the list
listed.test
\tindented.test   # and why

UPPER.Test.
"""

RULES = [
    {"name": "only-this", "domain": ["full:exact.test"], "answer": "block"},
    {"name": "first", "domain": ["order.test"], "answer": "block"},
    {"name": "second", "domain": ["order.test", "deep.order.test"], "answer": "fake", "egress": "direct"},
    {"name": "deep-first", "domain": ["a.b.deep.test"], "answer": "fake", "egress": "direct"},
    {"name": "deep", "domain": ["deep.test"], "answer": "block"},
    {"name": "listed", "list": ["names"], "answer": "block"},
    {"name": "list-or-domain", "list": ["others"], "domain": ["beside.test"], "answer": "block"},
    {"name": "tablet4", "domain": ["client.test"], "client": ["192.168.77.3", "192.168.77.128/25"], "answer": "block"},
    {"name": "tablet6", "domain": ["client.test"], "client": ["fd77::/112"], "answer": "real", "upstream": "wan"},
    {"name": "client", "domain": ["client.test"], "answer": "fake", "egress": "direct"},
    {"name": "no-six", "domain": ["type.test"], "type": ["AAAA", "HTTPS", "TYPE65280"], "answer": "block"},
    {"name": "type", "domain": ["type.test"], "answer": "fake", "egress": "direct"},
    {"name": "all-conditions", "domain": ["and.test"], "type": ["A"], "client": "192.168.77.3", "answer": "block"},
    {"name": "office", "domain": ["real.test"], "answer": "real", "upstream": "wan"},
    {"name": "faked", "domain": ["and.test", "test"], "answer": "fake", "egress": "direct"},
]


@pytest.fixture(scope="module", params=["tun", "tproxy"])
def gw(request, module_gateway, lab):
    (lab.dir / "names.txt").write_text(LIST)
    (lab.dir / "more.txt").write_text("listed-too.test\r\n")
    (lab.dir / "others.txt").write_text("elsewhere.test\n")
    lab.run("cl", "ip", "addr", "replace", "192.168.77.3/24", "dev", "eth0")
    lab.run("cl", "ip", "addr", "replace", "192.168.77.200/24", "dev", "eth0")
    gateway = module_gateway({"rules": RULES, "lists": {"names": ["names.txt", "more.txt"], "others": "others.txt"}},
                             request.param)
    yield gateway
    if gateway.running():
        gateway.stop()


def blocked(gw, name, rdtype="A", **how):
    return rcode(gw.ask(name, rdtype, **how)) == "NXDOMAIN"


def faked(gw, name, rdtype="A", **how):
    return is_fake(addresses(gw.ask(name, rdtype, **how)))


def test_the_first_rule_that_matches_decides(gw):
    assert blocked(gw, "order.test")
    assert blocked(gw, "deep.order.test")
    assert faked(gw, "a.b.deep.test") and faked(gw, "x.a.b.deep.test")
    assert blocked(gw, "b.deep.test") and blocked(gw, "c.b.deep.test") and blocked(gw, "deep.test")


def test_a_domain_is_itself_and_all_below_but_not_what_ends_alike(gw):
    assert blocked(gw, "deep.test") and blocked(gw, "x.y.z.deep.test")
    assert faked(gw, "notdeep.test")


def test_full_is_one_name(gw):
    assert blocked(gw, "exact.test") and blocked(gw, "EXACT.Test")
    assert faked(gw, "www.exact.test")


@pytest.mark.parametrize("name", ["listed.test", "www.listed.test", "indented.test", "upper.test", "listed-too.test",
                                  "LISTED.test"])
def test_names_of_a_list_file(gw, name):
    assert blocked(gw, name)


def test_a_comment_is_no_name(gw):
    assert faked(gw, "why.test") and faked(gw, "unlisted.test")


def test_list_and_domain_are_either_or(gw):
    assert blocked(gw, "elsewhere.test") and blocked(gw, "beside.test")


def test_client_over_ipv4(gw):
    assert blocked(gw, "client.test", source="192.168.77.3")
    assert blocked(gw, "client.test", source="192.168.77.200")
    assert faked(gw, "client.test", source="192.168.77.2")
    assert blocked(gw, "client.test", source="192.168.77.3", tcp=True)
    assert faked(gw, "client.test", source="192.168.77.2", tcp=True)


def test_client_over_ipv6(gw):
    reply = gw.ask("client.test", server="fd77::1", source="fd77::2")
    assert rcode(reply) == "NXDOMAIN" and ede(reply) == []  # unbound's own word: there is no such name
    assert faked(gw, "client.test", server="2001:db8:77::1", source="2001:db8:77::2")


def test_type(gw):
    assert faked(gw, "type.test", "A")
    for rdtype in ("AAAA", "HTTPS", "TYPE65280"):
        assert blocked(gw, "type.test", rdtype)
    assert rcode(gw.ask("type.test", "MX")) == "NOERROR"


def test_different_conditions_must_all_hold(gw):
    assert blocked(gw, "and.test", "A", source="192.168.77.3")
    assert faked(gw, "and.test", "AAAA", source="192.168.77.3")
    assert faked(gw, "and.test", "A", source="192.168.77.2")


def test_a_blocked_name_does_not_exist_and_says_why(gw, lab):
    with lab.watch("wan") as wan:
        for rdtype in ("A", "AAAA", "HTTPS", "TXT"):
            reply = gw.ask("www.deep.test", rdtype, edns=True)
            assert rcode(reply) == "NXDOMAIN" and not reply.answer
            assert has_soa(reply)
            assert ede(reply) == [15]  # blocked, RFC 8914
        gw.ask("a.real.test")
        asked = [name for name, _ in wan.dns_questions()]
    assert "a.real.test" in asked and "www.deep.test" not in asked


def test_a_blocked_name_without_opt_in_the_query(gw):
    reply = gw.ask("deep.test")
    assert rcode(reply) == "NXDOMAIN" and reply.edns == -1 and has_soa(reply)


def test_names_that_no_rule_takes_are_resolved(gw):
    assert addresses(gw.ask("www.example.com")) == ["10.99.2.3"]


def test_the_root_and_a_single_label(gw):
    assert rcode(gw.ask(".", "NS")) in ("NOERROR", "NXDOMAIN", "REFUSED")
    assert is_fake(addresses(gw.ask("test", "A")))


def test_the_counters_tell_what_was_answered(gw):
    before = gw.status()["queries"]
    gw.ask("faked.test"), gw.ask("a.real.test"), gw.ask("deep.test"), gw.ask("deep.test")
    after = gw.status()["queries"]
    assert {key: after[key] - before[key] for key in ("total", "fake", "real", "block", "failed")} == \
        {"total": 4, "fake": 1, "real": 1, "block": 2, "failed": 0}


def test_explain_agrees_with_the_answers(gw):
    for name, client, rule in (("order.test", "192.168.77.2", "first"), ("client.test", "192.168.77.3", "tablet4"),
                               ("client.test", "192.168.77.2", "client"), ("www.listed.test", "192.168.77.2", "listed"),
                               ("www.example.com", "192.168.77.2", None)):
        told = gw.result("explain", name=name, client=client, type="A")
        assert told["rule"] == rule, (name, client, told)
