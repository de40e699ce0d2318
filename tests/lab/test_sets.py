"""Item 5: the addresses of an answer are in the user's sets before the answer leaves."""
import os
import re
import socket
import struct

import dns.message
import dns.rdatatype
import dns.rrset
import pytest

from lab import Upstream, addresses, answer_to, ede, rcode, wait_for
from sets import (ADDRESS4, ADDRESS6, SET4, SET6, TIMEOUT4, TIMEOUT6, Reader, address_of, ask_numbers,
                  assert_told_once, blocks, elements, end_forked, forked, query_bytes, rules, state)
from sets import table as make_table
from waiting import moment


@pytest.fixture(autouse=True)
def clean(lab):
    yield
    lab.nft("add table inet user; delete table inet user")
    lab.run("gw", "ipset", "destroy", check=False)


def table(lab, v4=TIMEOUT4, v6=TIMEOUT6):
    make_table(lab, {"v4": v4, "v6": v6})


def ipset_elements(lab, name):
    """{address: seconds left}"""
    saved = lab.run("gw", "ipset", "save", name).stdout
    return {m[1]: int(m[2]) for m in re.finditer(rf"^add {name} (\S+) timeout (\d+)", saved, re.M)}


# --- what is put in ---

@pytest.mark.parametrize("intercept", ["tun", "tproxy"])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_an_nft_set_has_the_address_when_the_answer_comes(gateway, lab, intercept, tcp):
    table(lab)
    gw = gateway(rules([SET4, SET6]), intercept)
    for rdtype, name, address in (("A", "v4", ADDRESS4), ("AAAA", "v6", ADDRESS6)):
        assert elements(lab, name) == {}
        assert addresses(gw.ask("a.real.test", rdtype, tcp=tcp)) == [address]
        lab.run("gw", "nft", "get", "element", "inet", "user", name, f"{{ {address} }}")
        (timeout, left), = elements(lab, name).values()
        assert timeout == 660 and 650 <= left <= 660  # TTL 77: the least, 10 min, and 1 min of grace
        assert state(gw, f"{name[1]}#inet#user#{name}") == {
            "set": f"{name[1]}#inet#user#{name}", "state": "ok", "elements": 1, "errors": 0}
    assert not gw.log_lines("warn")


@pytest.mark.parametrize("set_ttl, timeout", [("2m", 120), (45, 45), ({"min": "10s", "grace": "5s"}, 82),
                                              ({"min": "1h", "grace": 0}, 3600), ({"min": "90s"}, 150),
                                              ("permanent", None)])
def test_the_timeout_follows_set_ttl(gateway, lab, set_ttl, timeout):
    table(lab)
    gw = gateway(rules([SET4, SET6], set_ttl=set_ttl))
    gw.ask("a.real.test", "A")
    gw.ask("a.real.test", "AAAA")
    assert {address: life[0] for address, life in elements(lab, "v4").items()} == {ADDRESS4: timeout}
    assert {address: life[0] for address, life in elements(lab, "v6").items()} == {ADDRESS6: timeout}


def test_permanent_elements_need_no_timeout_flag(gateway, lab):
    table(lab, v4="type ipv4_addr;")
    gw = gateway(rules(SET4, set_ttl="permanent"))
    gw.ask("a.real.test")
    assert elements(lab, "v4") == {ADDRESS4: (None, None)}
    assert state(gw, SET4)["state"] == "ok"


@pytest.mark.parametrize("flags", ["flags interval, timeout;", "flags dynamic, timeout;", "flags timeout; counter;",
                                   "flags timeout; timeout 1h;", "flags timeout; size 100; gc-interval 10s;"])
def test_sets_of_other_kinds(gateway, lab, flags):
    table(lab, v4=f"type ipv4_addr; {flags}")
    gw = gateway(rules([SET4]))
    gw.ask("a.real.test")
    gw.ask("many.real.test")
    lives = {address: life[0] for address, life in elements(lab, "v4").items()}
    assert lives == dict.fromkeys((ADDRESS4, "10.99.1.1", "10.99.1.2", "10.99.1.3"), 660)
    assert state(gw, SET4) == {"set": SET4, "state": "ok", "elements": 4, "errors": 0}


def test_all_addresses_of_an_answer_go_in(gateway, lab):
    table(lab)
    gw = gateway(rules([SET4, SET6]))
    assert len(addresses(gw.ask("many.real.test"))) == 3
    assert set(elements(lab, "v4")) == {"10.99.1.1", "10.99.1.2", "10.99.1.3"}
    assert len(addresses(gw.ask("big.real.test", tcp=True))) == 100
    assert len(elements(lab, "v4")) == 103
    assert elements(lab, "v6") == {}


def test_addresses_behind_an_alias_go_in(gateway, lab):
    """And their own TTL counts, not the alias's."""
    def answer(wire, client, send):
        is_a = dns.message.from_wire(wire).question[0].rdtype == dns.rdatatype.A
        reply = dns.message.from_wire(answer_to(wire, "7200 CNAME target.example."))
        reply.answer.append(dns.rrset.from_text("target.example.", 1000, "IN", *(("A", ADDRESS4) if is_a else
                                                                                ("AAAA", ADDRESS6))))
        send(reply.to_wire())
    table(lab)
    with Upstream(lab, answer, "10.99.0.2", port=5354):
        gw = gateway({**rules([SET4, SET6]), "upstreams": {"wan": {"servers": ["udp://10.99.0.2:5354"]}}})
        assert addresses(gw.ask("alias.real.test", "A")) == [ADDRESS4]
        assert addresses(gw.ask("alias.real.test", "AAAA")) == [ADDRESS6]
        assert {a: life[0] for a, life in elements(lab, "v4").items()} == {ADDRESS4: 1060}
        assert {a: life[0] for a, life in elements(lab, "v6").items()} == {ADDRESS6: 1060}


def test_names_of_other_rules_and_other_types_fill_nothing(gateway, lab):
    table(lab)
    gw = gateway(rules([SET4, SET6]))
    gw.ask("web.test")
    gw.ask("mx.real.test", "MX")
    gw.ask("none.real.test")
    assert elements(lab, "v4") == elements(lab, "v6") == {}


def test_an_element_that_is_there_already_is_no_error(gateway, lab):
    table(lab)
    lab.nft(f"add element inet user v4 {{ {ADDRESS4} timeout 5m }}")
    gw = gateway(rules([SET4]))
    for _ in range(3):
        assert addresses(gw.ask("a.real.test")) == [ADDRESS4]
    assert state(gw, SET4)["errors"] == 0 and not gw.log_lines("warn")


def test_one_set_for_two_rules(gateway, lab):
    table(lab)
    two = rules([SET4])
    two["rules"].insert(0, {"name": "first", "domain": ["many.real.test"], "answer": "real", "upstream": "wan",
                            "nftset": [SET4], "set_ttl": "3m"})
    gw = gateway(two)
    gw.ask("many.real.test")
    gw.ask("a.real.test")
    lives = {address: life[0] for address, life in elements(lab, "v4").items()}
    assert lives == {"10.99.1.1": 180, "10.99.1.2": 180, "10.99.1.3": 180, ADDRESS4: 660}


@pytest.mark.parametrize("intercept", ["tun", "tproxy"])
def test_an_ipset_has_the_address_when_the_answer_comes(gateway, lab, intercept):
    lab.run("gw", "ipset", "create", "u4", "hash:ip", "family", "inet", "timeout", "0")
    lab.run("gw", "ipset", "create", "u6", "hash:ip", "family", "inet6", "timeout", "0")
    gw = gateway(rules(["4#u4", "6#u6"], "ipset"), intercept)
    for rdtype, name, address in (("A", "u4", ADDRESS4), ("AAAA", "u6", ADDRESS6)):
        assert addresses(gw.ask("a.real.test", rdtype)) == [address]
        lab.run("gw", "ipset", "test", name, address)
        left = ipset_elements(lab, name)
        assert set(left) == {address} and 650 <= left[address] <= 660
    assert {s["state"] for s in gw.status()["sets"]} == {"ok"} and not gw.log_lines("warn")


def test_an_ipset_without_a_family_takes_that_of_its_key(gateway, lab):
    lab.run("gw", "ipset", "create", "any6", "hash:ip", "family", "inet6", "timeout", "0")
    gw = gateway(rules("any6", "ipset", set_ttl="100s"))
    gw.ask("a.real.test", "A")
    gw.ask("a.real.test", "AAAA")
    left = ipset_elements(lab, "any6")
    assert set(left) == {ADDRESS6} and 90 <= left[ADDRESS6] <= 100


# --- sets that do not fit ---

@pytest.mark.parametrize("v4, word", [
    (None, "missing"),
    ("type ipv4_addr;", "no timeout"),
    ("type ipv6_addr; flags timeout;", "wrong type"),
    ("type inet_service; flags timeout;", "wrong type"),
], ids=["missing", "no-timeout", "other-family", "ports"])
def test_a_set_that_does_not_fit_is_told_and_the_answer_leaves(gateway, lab, v4, word):
    table(lab, v4=v4)
    gw = gateway(rules([SET4, SET6]))
    for i in range(3):
        assert addresses(gw.ask("a.real.test")) == [ADDRESS4]
        assert state(gw, SET4)["state"] == word
        assert state(gw, SET4)["errors"] >= i + 1 and state(gw, SET4)["elements"] == 0
    assert_told_once(gw, SET4, word)
    # One bad set does not hurt another.
    assert addresses(gw.ask("a.real.test", "AAAA")) == [ADDRESS6]
    assert set(elements(lab, "v6")) == {ADDRESS6}
    assert state(gw, SET6) == {"set": SET6, "state": "ok", "elements": 1, "errors": 0}


def test_a_full_set_is_told_and_the_answer_leaves(gateway, lab):
    table(lab, v4="type ipv4_addr; size 1; flags timeout;")
    lab.nft("add set inet user other { type ipv4_addr; flags timeout; }")
    gw = gateway(rules([SET4, "4#inet#user#other"]))
    assert addresses(gw.ask("a.real.test")) == [ADDRESS4]
    assert state(gw, SET4)["state"] == "ok"
    for _ in range(2):
        assert len(addresses(gw.ask("many.real.test"))) == 3
    assert state(gw, SET4)["state"] == "full" and state(gw, SET4)["errors"] >= 1
    assert_told_once(gw, SET4, "full")
    assert set(elements(lab, "v4")) == {ADDRESS4}
    assert set(elements(lab, "other")) == {ADDRESS4, "10.99.1.1", "10.99.1.2", "10.99.1.3"}


@pytest.mark.parametrize("create, word", [
    (None, "missing"), (["hash:ip", "family", "inet"], "no timeout"),
    (["hash:ip", "family", "inet6", "timeout", "0"], "wrong type"),
    (["hash:ip", "timeout", "0", "maxelem", "1", "hashsize", "64"], "full"),
], ids=["missing", "no-timeout", "other-family", "full"])
def test_an_ipset_that_does_not_fit_is_told_and_the_answer_leaves(gateway, lab, create, word):
    if create:
        lab.run("gw", "ipset", "create", "u4", *create)
    gw = gateway(rules("4#u4", "ipset"))
    for _ in range(3):
        assert len(addresses(gw.ask("big.real.test", tcp=True))) == 100
    assert state(gw, "4#u4")["state"] == word and state(gw, "4#u4")["errors"] >= 1
    assert_told_once(gw, "4#u4", word)


@pytest.mark.parametrize("kind, name", [("nftset", SET4), ("ipset", "4#u4")])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_on_error_servfail(gateway, lab, kind, name, tcp):
    gw = gateway(rules(name, kind, on_error="servfail"))
    reply = gw.ask("a.real.test", edns=True, tcp=tcp)
    assert rcode(reply) == "SERVFAIL" and not reply.answer and ede(reply)
    # Nothing has to go into the set: nothing failed.
    assert rcode(gw.ask("txt.real.test", "TXT")) == "NOERROR"
    table(lab)
    lab.run("gw", "ipset", "create", "u4", "hash:ip", "timeout", "0")
    wait_for(lambda: rcode(gw.ask("a.real.test", tcp=tcp)) == "NOERROR", "the set is used when it is there")


def test_on_error_servfail_of_a_full_set(gateway, lab):
    table(lab, v4="type ipv4_addr; size 1; flags timeout;")
    gw = gateway(rules([SET4], on_error="servfail"))
    assert addresses(gw.ask("a.real.test")) == [ADDRESS4]
    assert rcode(gw.ask("many.real.test")) == "SERVFAIL"
    assert addresses(gw.ask("a.real.test")) == [ADDRESS4]  # it is in there


# --- sets that come and go ---

def test_a_set_made_later_is_used_at_once(gateway, lab):
    gw = gateway(rules([SET4]))
    assert addresses(gw.ask("a.real.test")) == [ADDRESS4]
    table(lab)
    wait_for(lambda: state(gw, SET4)["state"] == "ok", "the new set is seen", 1)
    assert addresses(gw.ask("a.real.test")) == [ADDRESS4]
    assert set(elements(lab, "v4")) == {ADDRESS4}


@pytest.mark.parametrize("how", ["set", "table", "flush set", "flush ruleset", "transaction"])
def test_a_set_made_anew_is_filled_by_the_next_answer(gateway, lab, how):
    table(lab)
    gw = gateway(rules([SET4]))
    for _ in range(3):
        assert addresses(gw.ask("a.real.test")) == [ADDRESS4]
        assert set(elements(lab, "v4")) == {ADDRESS4}
        if how == "set":
            lab.nft("delete set inet user v4")
            table(lab, v6=None)
        elif how == "table":
            lab.nft("delete table inet user")
            table(lab)
        elif how == "flush set":
            lab.nft("flush set inet user v4")
        elif how == "flush ruleset":
            lab.run("gw", "nft", "flush", "ruleset")
            table(lab)
        else:
            lab.nft("delete table inet user\ntable inet user {\nset v4 { type ipv4_addr; flags timeout; }\n}")
    assert addresses(gw.ask("a.real.test")) == [ADDRESS4]
    assert set(elements(lab, "v4")) == {ADDRESS4}
    assert state(gw, SET4)["state"] == "ok"


def test_an_ipset_made_anew_is_filled_by_the_next_answer(gateway, lab):
    gw = gateway(rules("4#u4", "ipset"))
    for _ in range(3):
        lab.run("gw", "ipset", "create", "u4", "hash:ip", "timeout", "0")
        wait_for(lambda: gw.ask("a.real.test") and ADDRESS4 in ipset_elements(lab, "u4"), "the ipset is filled", 3)
        lab.run("gw", "ipset", "flush", "u4")
        wait_for(lambda: set(ipset_elements(lab, "u4")) == {ADDRESS4}, "the flush is seen", 3)
        lab.run("gw", "ipset", "destroy", "u4")
        assert addresses(gw.ask("a.real.test")) == [ADDRESS4]


# --- under load ---

RATE, LOAD_S = 5000, 3


@pytest.mark.parametrize("intercept", ["tun", "tproxy"])
def test_each_answer_under_load_has_its_element(gateway, lab, intercept):
    """5,000 queries a second, all names and addresses new, while the checker asks and looks at once."""
    table(lab, v4="type ipv4_addr; size 65535; flags timeout;")
    read_end, write_end = os.pipe()
    with blocks(lab) as upstreams, Reader(lab) as reader, lab.connect("8.8.8.8") as load:
        gw = gateway({**rules([SET4], on_error="servfail", push_timeout="5s"), **upstreams}, intercept)
        assert not reader.has("v4", address_of(0))
        load.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        began = moment()
        child = forked(lambda: ask_numbers(load, write_end, RATE, LOAD_S))
        try:
            os.close(write_end)
            checked = 0
            with lab.connect("8.8.8.8", timeout_s=1) as sock:
                os.set_blocking(read_end, False)
                report = None
                while report is None:
                    sock.send(query_bytes(checked, checked & 0xffff))
                    try:
                        while (reply := sock.recv(512))[:2] != struct.pack("!H", checked & 0xffff):
                            pass  # one that was asked twice
                    except TimeoutError:
                        continue
                    there = reader.has("v4", address_of(checked))
                    assert reply[3] & 15 == 0 and reply[-4:] == address_of(checked)
                    assert there, f"answer {checked} left before its element was in the set"
                    checked += 1
                    try:
                        report = os.read(read_end, 16) or None
                    except BlockingIOError:
                        pass
        finally:
            os.close(read_end)
            end_forked(child)
        passed_s = moment() - began
        sent, got, took_s = struct.unpack("!2Id", report)
        print(f"sent {sent}, answered {got} in {took_s:.2f} s, checked {checked}")
        assert sent == got == RATE * LOAD_S and passed_s < LOAD_S * 1.5 + 1
        assert checked >= 100
        # And the real command agrees.
        for number in range(0, min(checked, 400), 40):
            address = socket.inet_ntoa(address_of(number))
            assert "timeout" in lab.run("gw", "nft", "get", "element", "inet", "user", "v4",
                                                  f"{{ {address} }}").stdout
        assert reader.count("v4") >= got
        gw.stop()
