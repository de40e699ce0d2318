"""Issue 6, item 1: what goes over each transport to an upstream, and what comes back."""
import contextlib
import time

import dns.message
import pytest

from lab import addresses, question, rcode, wait_for
from scripted import Scripted
from upstreams import SECURE, STREAMS, TRANSPORTS, answered, behind, counter, numbers, on_the_wire, server, wait_asked

AT = "10.99.0.54"
KINDS = {  # as a zone has them
    "A": ["10.50.0.1", "10.50.0.2"], "AAAA": ["2001:db8:50::1"], "TXT": ['"one" "two\\000\\255"', '""'],
    "MX": ["10 mx.other.example.", "0 ."], "NS": ["ns1.other.example.", "ns2.other.example."],
    "SRV": ["1 2 53 host.other.example."], "CAA": ['128 issue "ca.example"'], "PTR": ["host.other.example."],
    "SOA": ["ns.other.example. root.other.example. 4294967295 1 2 3 4"], "HINFO": ['"pc" "os"'],
    "HTTPS": ['1 . alpn="h2,h3" port="8443" ipv4hint="10.50.0.3" key667="a\\000b"'], "SVCB": ["0 alias.example."],
    "NAPTR": ['1 2 "S" "SIP+D2U" "!^.*$!sip:x@y.example!" .'], "TLSA": ["3 1 1 " + "ab" * 32],
    "SSHFP": ["4 2 " + "cd" * 32], "DS": ["12345 13 2 " + "ef" * 32], "DNSKEY": ["257 3 13 " + "QUJD" * 16],
    "LOC": ["52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m"], "URI": ['1 2 "https://x.example/"'],
    "CNAME": ["web.test."], "DNAME": ["elsewhere.example."], "RP": ["a.example. b.example."],
    "OPENPGPKEY": ["QUJD" * 8], "TYPE65280": ["\\# 5 00ff0a0b0c"],
}
ZONE = {"*": ["60 A 10.50.0.1", "60 AAAA 2001:db8:50::1"], "web.test": ["60 A 10.50.0.1"],
        **{f"{kind.lower()}.kinds.test": [f"300 {kind} {data}" for data in KINDS[kind]] for kind in KINDS}}


@pytest.fixture
def up(lab):
    with Scripted(lab, zone=ZONE) as up:
        yield up


def directly(lab, name, rdtype="A"):
    """What the upstream says over TCP."""
    return lab.ask(name, rdtype, AT, part="wan", port=5354, tcp=True, edns=True)


def records(reply):
    """Names, types and data of the answers, byte by byte; TTLs."""
    return ([(rrset.name.to_text(), rrset.rdtype, sorted(item.to_digestable() for item in rrset))
             for rrset in reply.answer], [rrset.ttl for rrset in reply.answer])


def ask_many(lab, names, patience_s=10):
    """All at once over one socket of the client: {name: addresses}."""
    with lab.connect("8.8.8.8", timeout_s=patience_s) as sock:
        for name in names:
            sock.send(question(name).to_wire())
        got = [dns.message.from_wire(sock.recv(4096)) for _ in names]
    return {reply.question[0].name.to_text(omit_final_dot=True): addresses(reply) for reply in got}


# --- answers ---

@pytest.mark.parametrize("transport", TRANSPORTS)
def test_answers_are_the_upstreams_byte_by_byte(gateway, lab, up, transport):
    gw = gateway(behind(server(up, transport), lab=lab))
    for kind in KINDS:
        name = f"{kind.lower()}.kinds.test"
        (expected, expected_ttls), reply = records(directly(lab, name, kind)), gw.ask(name, kind, tcp=True)
        assert rcode(reply) == "NOERROR"
        got, ttls = records(reply)
        assert got == expected and expected, name
        assert all(0 <= a - b <= 2 for a, b in zip(expected_ttls, ttls)), name
    wire = "tcp" if transport == "dns" else on_the_wire(transport)
    asked = [(q["transport"], q["type"]) for q in up.queries() if q["client"] == "10.99.0.1"]
    assert asked == [(wire, kind) for kind in KINDS]
    seen = numbers(gw, up)
    assert seen == {"queries": len(KINDS), "failures": 0, "wrong_answers": 0, "up": True}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_is_not_there(gateway, lab, up, transport):
    up.set_zone({"web.test": ["60 A 10.50.0.1"]})
    gw = gateway(behind(server(up, transport), lab=lab))
    missing, empty = gw.ask("none.test"), gw.ask("web.test", "MX")
    assert (rcode(missing), rcode(empty)) == ("NXDOMAIN", "NOERROR")
    assert not empty.answer and missing.authority and empty.authority
    assert numbers(gw, up)["failures"] == 0


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_what_a_question_carries(gateway, lab, up, transport):
    """Nothing of the client's but the question; filled up to 128 bytes where it is encrypted (RFC 8467), and there
    only."""
    gw = gateway(behind(server(up, transport), lab=lab))
    for name in ("a.test", "b" * 63 + "." + "c" * 40 + ".test"):
        query = question(name, edns=True, payload=4000)
        query.use_edns(0, payload=4000, options=[dns.edns.GenericOption(10, b"clientid"),
                                                 dns.edns.ECSOption("192.168.77.2", 32)])
        answered(gw.lab.exchange(query), "10.50.0.1")
    assert [q["name"] for q in up.queries()] == ["a.test", "b" * 63 + "." + "c" * 40 + ".test"]
    for q in up.queries():
        assert q["class"] == "IN" and set(q["flags"].split()) <= {"RD", "AD"}  # RFC 6840 5.7
        assert q["edns"]["payload"] == 1232 and q["edns"]["ecs"] is None
        if on_the_wire(transport) in SECURE:
            assert q["size"] % 128 == 0 and set(q["edns"]["options"]) <= {"12"}
        else:
            assert q["edns"]["padding"] is None and q["edns"]["options"] == {} and q["size"] < 128 + 40
        if q["http"]:
            assert q["id"] == 0
            headers = q["http"]["headers"]
            assert headers[":authority"] == "dns.test" and headers[":scheme"] == "https"
            assert headers["accept"] == "application/dns-message"
            assert q["http"]["path"] == "/dns-query"
            assert q["http"]["method"] == ("GET" if transport == "https_get" else "POST")
            assert not {"user-agent", "cookie", "accept-language"} & set(headers)


# --- large ones ---

@pytest.mark.parametrize("size", [20000, 65000, 65535])
@pytest.mark.parametrize("transport", STREAMS + ["https_get"])
def test_large_answers(gateway, lab, up, transport, size):
    up.fault("size", size=size)
    gw = gateway(behind(server(up, transport), lab=lab))
    reply = gw.ask("large.test", "TXT", tcp=True)
    assert len(reply.answer[0]) > size // 300
    assert records(reply) == records(directly(lab, "large.test", "TXT"))
    cut = gw.ask("large2.test", "TXT")  # the client's UDP has no room for it
    assert cut.flags & dns.flags.TC and cut.wire_size <= 512
    assert numbers(gw, up)["failures"] == 0


@pytest.mark.parametrize("transport", ["udp", "dns"])
@pytest.mark.parametrize("size", [3000, 65000])
def test_what_does_not_fit_a_datagram_is_asked_over_tcp(gateway, lab, up, transport, size):
    up.fault("size", size=size, name="large*")
    gw = gateway(behind(server(up, transport), lab=lab))
    reply = gw.ask("large1.test", "TXT")
    assert reply.flags & dns.flags.TC and not reply.answer
    assert [q["transport"] for q in up.queries()] == ["udp", "tcp"]
    up.forget()
    whole = gw.ask("large2.test", "TXT", tcp=True)
    assert records(whole) == records(directly(lab, "large2.test", "TXT"))
    assert [q["transport"] for q in up.queries() if q["client"] == "10.99.0.1"] == \
        (["udp", "tcp"] if transport == "udp" else ["tcp"])
    seen = numbers(gw, up)
    assert (seen["failures"], seen["wrong_answers"], seen["up"]) == (0, 0, True)


def test_dns_goes_as_the_client_came(gateway, lab, up):
    gw = gateway(behind(server(up, "dns"), lab=lab))
    gw.ask("by-udp.test")
    gw.ask("by-tcp.test", tcp=True)
    assert [(q["name"], q["transport"]) for q in up.queries()] == [("by-udp.test", "udp"), ("by-tcp.test", "tcp")]


# --- many ---

@pytest.mark.parametrize("transport", STREAMS + ["https_get"])
def test_fifty_at_once_answered_in_reverse(gateway, lab, up, transport):
    names = [f"q{i}.many.test" for i in range(50)]
    up.set_zone({name: [f"60 A 10.50.1.{i}"] for i, name in enumerate(names)})
    up.fault("reverse", count=50)
    gw = gateway(behind(server(up, transport), lab=lab))
    assert ask_many(lab, names) == {name: [f"10.50.1.{i}"] for i, name in enumerate(names)}
    assert sorted(q["name"] for q in up.queries()) == sorted(names)
    assert len({q["connection"] for q in up.queries()}) == 1
    if transport in ("tcp", "tls"):
        assert len({q["id"] for q in up.queries()}) == 50
    seen = numbers(gw, up)
    assert (seen["queries"], seen["failures"], seen["wrong_answers"]) == (50, 0, 0)


# --- the life of a connection ---

@pytest.mark.parametrize("transport", STREAMS)
def test_one_connection_serves_one_after_the_other(gateway, lab, up, transport):
    gw = gateway(behind(server(up, transport), lab=lab))
    for i in range(20):
        gw.ask(f"q{i}.test")
    assert len({q["connection"] for q in up.queries()}) == 1 and len(up.queries()) == 20
    assert len(up.connections(transport)) == 1


@pytest.mark.parametrize("transport", STREAMS)
def test_max_queries(gateway, lab, up, transport):
    gw = gateway(behind(server(up, transport, max_queries=3), lab=lab))
    for i in range(7):
        answered(gw.ask(f"q{i}.test"), "10.50.0.1")
    used = [q["connection"] for q in up.queries()]
    assert [used.count(number) for number in sorted(set(used))] == [3, 3, 1]
    wait_for(lambda: len(up.connections(transport)) == 1, "connections that had theirs are closed")
    up.forget()
    names = [f"at-once{i}.test" for i in range(10)]
    assert set(map(tuple, ask_many(lab, names).values())) == {("10.50.0.1",)}
    used = [q["connection"] for q in up.queries()]
    assert len(used) == 10 and max(used.count(number) for number in used) <= 3
    assert numbers(gw, up)["failures"] == 0


@pytest.mark.parametrize("transport", STREAMS)
def test_max_life(gateway, lab, up, transport):
    gw = gateway(behind(server(up, transport, max_life="500ms"), lab=lab))
    begun = time.monotonic()
    i = 0
    while time.monotonic() - begun < 1.2:
        answered(gw.ask(f"q{i}.test"), "10.50.0.1")
        i += 1
    assert 3 <= len({q["connection"] for q in up.queries()}) <= 4
    wait_for(lambda: not up.connections(transport), "the last one is closed, too", 2)
    assert numbers(gw, up)["failures"] == 0


@pytest.mark.parametrize("transport", STREAMS)
def test_idle(gateway, lab, up, transport):
    gw = gateway(behind(server(up, transport, idle="400ms"), lab=lab))
    for name in ("a.test", "b.test"):
        gw.ask(name)
        last = up.queries()[-1]
        wait_for(lambda: not up.connections(transport), "it is closed", 3)
        assert 0.35 <= up.events("disconnect")[-1]["time"] - last["time"] <= 1.0
    assert [q["connection"] for q in up.queries()] == [1, 2]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("transport", SECURE)
def test_sessions_are_resumed(gateway, lab, up, transport, version):
    up.fault("tls_version", version=version)
    gw = gateway(behind(server(up, transport, idle="200ms"), lab=lab))
    for i in range(4):
        answered(gw.ask(f"q{i}.test"), "10.50.0.1")
        wait_for(lambda: not up.connections(transport), "it is closed", 3)
    seen = [q["tls"] for q in up.queries()]
    assert [tls["resumed"] for tls in seen] == [False, True, True, True]
    assert {tls["version"] for tls in seen} == {"TLSv" + version}


# --- TLS ---

@pytest.mark.parametrize("transport", SECURE)
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_versions_names_and_protocol(gateway, lab, up, transport, version):
    up.fault("tls_version", version=version)
    gw = gateway(behind(server(up, transport), lab=lab))
    answered(gw.ask("a.test"), "10.50.0.1")
    tls = up.queries()[0]["tls"]
    assert (tls["version"], tls["sni"]) == ("TLSv" + version, "dns.test")
    assert tls["alpn"] == {"tls": "dot", "https": "h2"}[transport]


@pytest.mark.parametrize("transport", SECURE)
def test_an_address_is_no_server_name(gateway, lab, up, transport):
    """RFC 6066 3."""
    gw = gateway(behind(server(up, transport + "_by_address"), lab=lab))
    answered(gw.ask("a.test"), "10.50.0.1")
    assert up.queries()[0]["tls"]["sni"] is None


@pytest.mark.parametrize("transport", SECURE)
def test_tls_1_1_is_refused(gateway, lab, up, transport):
    up.fault("tls_version", version="1.1")
    gw = gateway(behind(server(up, transport), lab=lab, timeout="1s"))
    assert rcode(gw.ask("a.test")) == "SERVFAIL"
    assert not up.queries() and up.events("handshake_failed")
    assert numbers(gw, up)["failures"] >= 1
    assert gw.log_lines("warn: ", up.address, "TLS 1.2"), gw.log()


def test_alpn(gateway, lab, up):
    """Servers that agree to none are fine for DoT; DoH has no other way than h2."""
    up.fault("no_alpn")
    gw = gateway(behind(server(up, "tls"), lab=lab))
    answered(gw.ask("a.test"), "10.50.0.1")
    gw.stop()
    up.forget()
    gw = gateway(behind(server(up, "https"), lab=lab, timeout="1s"))
    assert rcode(gw.ask("a.test")) == "SERVFAIL"
    assert not up.queries()
    assert gw.log_lines("warn: ", up.address, "ALPN"), gw.log()


# --- where questions leave ---

@contextlib.contextmanager
def address_of_router(lab, address):
    lab.run("gw", "ip", "addr", "add", address + "/24", "dev", "wan0")
    try:
        yield
    finally:
        lab.run("gw", "ip", "addr", "del", address + "/24", "dev", "wan0")


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_bind_to_an_address(gateway, lab, up, transport):
    with address_of_router(lab, "10.99.0.7"):
        gw = gateway(behind(server(up, transport, bind="10.99.0.7"), lab=lab))
        answered(gw.ask("a.test"), "10.50.0.1")
        assert [q["client"] for q in up.queries()] == ["10.99.0.7"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_bind_to_an_interface(gateway, lab, up, transport):
    """Its routes are used, though another one is better."""
    lab.run("gw", "ip", "route", "add", AT, "dev", "lan0")
    try:
        gw = gateway(behind(server(up, transport, bind="wan0"), lab=lab))
        answered(gw.ask("a.test"), "10.50.0.1")
        gw.stop()
        up.forget()
        gw = gateway(behind(server(up, transport), lab=lab, timeout="200ms", total="500ms"))
        assert rcode(gw.ask("b.test")) == "SERVFAIL" and not up.queries()
    finally:
        lab.run("gw", "ip", "route", "del", AT, "dev", "lan0")


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("where", ["group", "server"])
def test_mark(gateway, lab, up, transport, where):
    own, group = ({}, {"mark": 0x42}) if where == "group" else ({"mark": 0x42}, {"mark": 0x81})
    first = f"ip daddr {AT} ct state new meta mark & 0xff"
    with counter(lab, f"{first} == 0x42", f"{first} != 0x42") as count:
        gw = gateway(behind(server(up, transport, **own), lab=lab, **group))
        answered(gw.ask("a.test"), "10.50.0.1")
        marked, others = count()
        assert marked and not others


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_over_ipv6(gateway, lab, transport):
    with Scripted(lab, zone=ZONE, address="2001:db8:99::54") as up:
        kinds = [transport, transport + "_by_address"] if transport in SECURE else [transport]
        for kind in kinds:
            gw = gateway(behind(server(up, kind), lab=lab))
            answered(gw.ask("a.test"), "10.50.0.1")
            assert wait_asked(up)[0]["client"] == "2001:db8:99::1"
            gw.stop()
            up.forget()
