"""Item 3: `rebind: protect`: no name of the outside leads into the house."""
import socket

import dns.flags
import pytest

from lab import addresses, greeter, has_fake_address, question, rcode, rdata, wait_for
from scripted import Scripted

AT = "10.99.0.54"
INSIDE4 = ["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255", "127.0.0.1",
           "127.255.255.255", "169.254.0.0", "169.254.255.255", "0.0.0.0", "198.18.0.0", "198.19.255.255"]
OUTSIDE4 = ["9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0",
            "126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "198.17.255.255", "198.20.0.0",
            "100.64.0.0", "100.127.255.255", "100.100.100.100", "8.8.8.8"]
INSIDE6 = ["::", "::1", "fe80::", "febf:ffff::1", "fc00::", "fdff:ffff::1", "fd00:198:18::5", "::ffff:10.0.0.1",
           "::ffff:127.0.0.1", "::ffff:192.168.1.1", "::ffff:198.18.0.1", "::ffff:169.254.1.1", "::ffff:0.0.0.0"]
OUTSIDE6 = ["2001:db8::1", "fbff::1", "2001:4860:4860::8888", "::ffff:8.8.8.8", "::ffff:100.64.0.1", "ff0e::1"]


def canonical(texts):
    return sorted(socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text) for text in texts)


@pytest.fixture
def up(lab):
    with Scripted(lab, {"*": ["60 A 8.8.8.8"]}, AT) as server:
        yield server


def configured(up, rebind="protect", rules=(), **more):
    return {"upstreams": {"wan": {"servers": [up.udp], "rebind": rebind}},
            "rules": [*rules, {"name": "rest", "answer": "real", "upstream": "wan"}], **more}


def removed(gw):
    return gw.status()["answers"]["rebind"]


@pytest.mark.parametrize("rdtype, inside, outside", [("A", INSIDE4, OUTSIDE4), ("AAAA", INSIDE6, OUTSIDE6)])
def test_each_address(gateway, up, rdtype, inside, outside):
    zone = {f"n{i}.example": [f"60 {rdtype} {a}"] for i, a in enumerate(inside + outside)}
    up.set_zone({**zone, "all.example": [f"60 {rdtype} {a}" for a in inside + outside]})
    gw = gateway(configured(up))
    for tcp in (False, True):  # the second time by the cache
        for i, address in enumerate(inside + outside):
            reply = gw.ask(f"n{i}.example", rdtype, tcp=tcp)
            assert rcode(reply) == "NOERROR"
            assert canonical(addresses(reply)) == canonical([address] if address in outside else []), address
    assert canonical(addresses(gw.ask("all.example", rdtype))) == canonical(outside)
    assert removed(gw) == 2 * len(inside)
    assert len(up.queries()) == len(zone) + 1


def test_pools_of_the_configuration(gateway, up):
    up.set_zone({"a.example": ["60 A 203.0.113.5", "60 A 203.0.114.5", "60 AAAA 2001:2::5", "60 AAAA 2001:2:0:1::5"]})
    gw = gateway(configured(up, fakeip={"pool4": "203.0.113.0/24", "pool6": "2001:2::/64"}))
    assert addresses(gw.ask("a.example")) == ["203.0.114.5"]
    assert addresses(gw.ask("a.example", "AAAA")) == ["2001:2:0:1::5"]
    assert removed(gw) == 2


def test_allow(gateway, up):
    up.set_zone({"all.example": [f"60 A {a}" for a in INSIDE4]})
    gw = gateway(configured(up, "allow"))
    assert canonical(addresses(gw.ask("all.example"))) == canonical(INSIDE4)
    assert removed(gw) == 0


def test_protect_is_what_is_done_unsaid(gateway, up, lab):
    up.set_zone({"a.example": ["60 A 192.168.1.1"]})
    gw = gateway(configured(up))
    gw.config["upstreams"]["wan"].pop("rebind")
    gw.rewrite(gw.config_file.read_text().replace("rebind: protect", ""))
    gw.result("reload")
    assert addresses(gw.ask("a.example")) == []


def test_the_rule_goes_first(gateway, up):
    """Either way; and what one rule may have from the cache is not another's."""
    up.set_zone({"*": ["60 A 192.168.1.1"]})
    rules = [{"name": "open", "domain": ["open.example"], "answer": "real", "upstream": "wan", "rebind": "allow"},
             {"name": "mine", "client": ["192.168.77.0/24"], "domain": ["mine.example"], "answer": "real",
              "upstream": "wan", "rebind": "allow"}]
    gw = gateway(configured(up, rules=rules))
    assert addresses(gw.ask("a.open.example")) == ["192.168.1.1"]
    assert addresses(gw.ask("a.example")) == []
    for _ in range(2):
        assert addresses(gw.ask("mine.example")) == ["192.168.1.1"]
        assert addresses(gw.ask("mine.example", part="gw", source="10.99.0.1")) == []
    rules[0]["rebind"] = rules[1]["rebind"] = "protect"
    gw.rewrite(configured(up, "allow", rules))
    gw.result("reload")
    assert addresses(gw.ask("a.open.example")) == addresses(gw.ask("mine.example")) == []
    assert addresses(gw.ask("a.example")) == ["192.168.1.1"]


def test_a_reload_does_not_give_out_what_was_kept(gateway, up):
    up.set_zone({"*": ["600 A 192.168.1.1"]})
    gw = gateway(configured(up, "allow"))
    assert addresses(gw.ask("a.example")) == ["192.168.1.1"]
    gw.rewrite(configured(up, "protect"))
    gw.result("reload")
    assert addresses(gw.ask("a.example")) == []


def test_a_pool_that_takes_what_was_kept(gateway, up, lab):
    """A real answer of before does not become a fake address when the pools have changed, which takes a restart."""
    up.set_zone({"*": ["600 A 203.0.113.5"]})
    cache = {"store": str(lab.dir / "cache.db")}
    gw = gateway(configured(up, cache=cache))
    assert addresses(gw.ask("a.example")) == ["203.0.113.5"]
    gw.rewrite(configured(up, cache=cache, fakeip={"pool4": "203.0.113.0/24"}))
    gw.result("reload")
    for name in ("a.example", "b.example"):
        assert addresses(gw.ask(name)) == ["203.0.113.5"]
    gw.stop()
    gw.start()
    for name in ("a.example", "b.example"):
        assert addresses(gw.ask(name)) == []


@pytest.mark.parametrize("rdtype", ["HTTPS", "SVCB"])
def test_hints(gateway, up, rdtype):
    up.set_zone({
        "both.example": [f"60 {rdtype} 1 . alpn=h2 port=8443 ipv4hint=10.0.0.1,8.8.8.8,127.0.0.1 "
                         "ipv6hint=fd00::1,2001:db8::1,::1"],
        "inside.example": [f"60 {rdtype} 1 . mandatory=alpn,ipv4hint alpn=h2 ipv4hint=192.168.1.1 ipv6hint=fe80::1"],
        "pool.example": [f"60 {rdtype} 2 b.example. ipv4hint=198.18.0.9,100.64.0.1"],
        "alias.example": [f"60 {rdtype} 0 both.example."]})
    gw = gateway(configured(up))
    text, = rdata(gw.ask("both.example", rdtype))
    assert text == '1 . alpn="h2" port="8443" ipv4hint="8.8.8.8" ipv6hint="2001:db8::1"'
    text, = rdata(gw.ask("inside.example", rdtype))
    assert text == '1 . mandatory="alpn" alpn="h2"'
    assert rdata(gw.ask("pool.example", rdtype)) == ['2 b.example. ipv4hint="100.64.0.1"']
    assert rdata(gw.ask("alias.example", rdtype)) == ["0 both.example."]
    assert removed(gw) == 7


def test_behind_an_alias(gateway, up):
    up.set_zone({"a.example": ["60 CNAME b.example."], "b.example": ["60 CNAME c.example."],
                 "c.example": ["60 A 192.168.1.1", "60 AAAA fd00::1"]})
    gw = gateway(configured(up))
    for rdtype in ("A", "AAAA"):
        reply = gw.ask("a.example", rdtype)
        assert rcode(reply) == "NOERROR" and addresses(reply) == []
    assert removed(gw) == 2


def test_beside_the_answer(gateway, up, lab):
    """Addresses in the additional section count, too; other types are nobody's business."""
    up.set_zone({"t.example": ['60 TXT "192.168.1.1"', "60 MX 1 mail.example."]})
    gw = gateway(configured(up))
    assert rdata(gw.ask("t.example", "TXT")) == ['"192.168.1.1"']
    assert rdata(gw.ask("t.example", "MX")) == ["1 mail.example."]
    assert removed(gw) == 0


def test_what_was_changed_is_not_said_to_be_signed(gateway, up, lab):
    """Who asks for AD must not be told that a changed answer was validated."""
    up.set_zone({"a.example": ["60 A 192.168.1.1", "60 A 8.8.8.8"]})
    gw = gateway(configured(up))
    reply = gw.ask("a.example", edns=True, flags=dns.flags.RD | dns.flags.AD)
    assert addresses(reply) == ["8.8.8.8"] and not reply.flags & dns.flags.AD


@pytest.mark.parametrize("transport", ["tcp", "tls", "https"])
def test_over_every_transport(gateway, up, transport):
    up.set_zone({"*": ["60 A 192.168.1.1", "60 A 8.8.8.8"]})
    config = configured(up)
    config["upstreams"]["wan"].update(servers=[getattr(up, transport)], ca=str(up.ca))
    gw = gateway(config)
    assert addresses(gw.ask("a.example")) == ["8.8.8.8"]


def test_of_a_large_answer(gateway, up):
    """4,000 addresses of 10.0.0.0/8 in 64 KB: none is left."""
    up.fault("size", size=65000)
    config = configured(up)
    config["upstreams"]["wan"]["servers"] = [up.tcp]
    gw = gateway(config)
    reply = gw.ask("a.example", tcp=True)
    assert rcode(reply) == "NOERROR" and addresses(reply) == []
    assert removed(gw) > 4000


def test_sets_get_none(gateway, up, lab):
    """Nor hints: what is in no answer is in no set."""
    up.set_zone({"*": ["60 A 192.168.1.1", "60 A 8.8.8.8", "60 HTTPS 1 . ipv4hint=10.0.0.1,9.9.9.9"]})
    lab.nft("table inet t {\n set s4 { type ipv4_addr; flags timeout; }\n}\n")
    try:
        gw = gateway(configured(up, rules=[{"name": "sets", "domain": ["a.example"], "answer": "real",
                                            "upstream": "wan", "nftset": ["4#inet#t#s4"]}]))
        for rdtype, expected in (("A", ["8.8.8.8"]), ("HTTPS", ["8.8.8.8", "9.9.9.9"])):
            gw.ask("a.example", rdtype)
            elements = [item["set"] for item in lab.nft_json("list", "set", "inet", "t", "s4") if "set" in item][0]
            assert sorted(e["elem"]["val"] for e in elements.get("elem", [])) == expected
        gw.stop()
    finally:
        lab.nft("delete table inet t\n")


@pytest.mark.parametrize("address", ["192.168.77.1", "10.99.0.1", "127.0.0.1", "198.18.0.77"])
def test_the_real_address_of_a_fake_name(gateway, up, lab, address):
    """A direct egress is not led into the house either."""
    up.set_zone({"*": [f"60 A {address}"]})
    gw = gateway(configured(up, rules=[{"name": "all", "answer": "fake", "egress": "direct"}],
                            egress={"direct": {"type": "direct", "upstream": "wan"}}))
    reply = gw.ask("evil.example")
    assert has_fake_address(reply)
    with greeter(lab, "0.0.0.0", 9009, part="gw"):
        with pytest.raises(OSError), lab.connect(addresses(reply)[0], tcp=True, port=9009, timeout_s=3) as sock:
            assert sock.recv(100) == b"", "the router was reached"
    assert removed(gw) > 0


def test_unless_does_not_look_at_them(gateway, up, lab):
    up.set_zone({"*": ["60 A 192.168.1.1"]})
    (lab.dir / "house.txt").write_text("192.168.0.0/16\n")
    gw = gateway(configured(
        up, rules=[{"name": "all", "answer": "fake", "egress": "proxy",
                    "unless": {"resolves_in": "house", "egress": "direct"}}],
        lists={"house": ["house.txt"]}, egress={"direct": {"type": "direct", "upstream": "wan"},
                                                "proxy": {"type": "socks5", "server": "10.99.0.2:1080"}}))
    target, = addresses(gw.ask("evil.example"))
    wait_for(lambda: removed(gw) > 0, "it was looked up")
    with pytest.raises(OSError):
        lab.connect(target, tcp=True, port=80, timeout_s=3)
    assert gw.result("fakeip.lookup", name="evil.example")["verdict"]["by"] == "rule"


def test_a_stale_answer_has_none(gateway, up):
    up.set_zone({"*": ["1 A 192.168.1.1", "1 A 8.8.8.8"]})
    config = configured(up)
    config["upstreams"]["wan"].update(timeout="200ms", total="500ms")
    gw = gateway(config)
    gw.ask("a.example")
    up.fault("silence")
    with gw.lab.connect("8.8.8.8") as sock:
        def is_stale():
            sock.send(question("a.example", edns=True).to_wire())
            return b"\x00\x0f\x00\x02\x00\x03" in (got := sock.recv(4096)) and got
        wire = wait_for(is_stale, "a stale answer")
    assert socket.inet_aton("8.8.8.8") in wire and socket.inet_aton("192.168.1.1") not in wire
