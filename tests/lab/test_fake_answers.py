"""Item 2: what a client sees of a name under `answer: fake`."""
import ipaddress
import signal

import dns.message
import dns.name
import dns.opcode
import dns.rdatatype
import pytest

from lab import addresses, has_soa, question, rcode, rdata, ttls

POOL4 = ipaddress.ip_network("198.18.0.0/15")
POOL6 = ipaddress.ip_network("fd00:198:18::/64")
SERVERS = ["8.8.8.8", "2001:4860:4860::8888", "192.168.77.1", "fe80::1%eth0"]


@pytest.fixture(scope="module", params=["tun", "tproxy"])
def gw(request, module_gateway):
    gateway = module_gateway(
        {"rules": [
            {"name": "ads", "domain": ["ads.test"], "answer": "block"},
            {"name": "tablet", "domain": ["shared.test"], "client": "192.168.77.3", "answer": "fake", "egress": "direct"},
            {"name": "office", "domain": ["real.test"], "answer": "real", "upstream": "wan"},
            {"name": "rest", "answer": "fake", "egress": "direct"}]},
        request.param)
    yield gateway
    if gateway.running():
        gateway.stop()


def pair(gw, name, **how):
    four, six = addresses(gw.ask(name, "A", **how)), addresses(gw.ask(name, "AAAA", **how))
    assert len(four) == len(six) == 1
    return ipaddress.ip_address(four[0]), ipaddress.ip_address(six[0])


def test_a_and_aaaa_come_from_the_pools_with_one_index(gw):
    seen = set()
    for i in range(20):
        four, six = pair(gw, f"n{i}.pairs.test")
        assert four in POOL4 and six in POOL6
        assert int(four) - int(POOL4[0]) == int(six) - int(POOL6[0])
        seen.add(four)
    assert len(seen) == 20


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_the_pair_is_the_same_however_it_is_asked(gw, server, tcp):
    assert pair(gw, "stable.test") == pair(gw, "stable.test", server=server, tcp=tcp)


def test_the_ttl_is_the_configured_one(gw):
    for rdtype in ("A", "AAAA"):
        assert ttls(gw.ask("ttl.test", rdtype)) == [7]


def test_no_upstream_is_asked(gw, lab):
    with lab.watch("wan") as wan:
        for rdtype in ("A", "AAAA", "HTTPS", "SVCB", "MX", "TXT"):
            gw.ask("quiet.test", rdtype)
        gw.ask("marker.real.test", "A")  # this one does reach the wire, so the sniffer is awake
        names = [name for name, _ in wan.dns_questions()]
    assert "marker.real.test" in names
    assert "quiet.test" not in names


@pytest.mark.parametrize("rdtype", ["HTTPS", "SVCB", "MX", "TXT", "SRV", "CAA", "TYPE65280", "ANY"])
def test_other_types_have_no_data(gw, rdtype):
    reply = gw.ask("nodata.test", rdtype)
    assert rcode(reply) == "NOERROR"
    assert not reply.answer
    assert has_soa(reply)


def test_flags_of_an_answer(gw):
    reply = gw.ask("flags.test", "A")
    flags = dns.flags.to_text(reply.flags).split()
    assert "QR" in flags and "RA" in flags and "RD" in flags
    assert "TC" not in flags and "AD" not in flags


@pytest.mark.parametrize("family", [0, 1], ids=["v4", "v6"])
def test_ptr_of_a_fake_address_is_the_name(gw, family):
    address = pair(gw, "Reverse.Test")[family]
    reply = gw.ask(address.reverse_pointer, "PTR")
    assert [name.lower() for name in rdata(reply, "PTR")] == ["reverse.test."]


@pytest.mark.parametrize("pointer", ["254.255.19.198.in-addr.arpa",
                                     "e.e.e.e" + ".0" * 12 + ".0.0.0.0.8.1.0.0.8.9.1.0.0.0.d.f.ip6.arpa"])
def test_ptr_of_an_unmapped_pool_address_is_nxdomain_and_stays_here(gw, lab, pointer):
    with lab.watch("wan") as wan:
        reply = gw.ask(pointer, "PTR")
        gw.ask(f"marker{pointer[:1]}.real.test", "A")
        asked = [name for name, _ in wan.dns_questions()]
    assert rcode(reply) == "NXDOMAIN"
    assert has_soa(reply)
    assert f"marker{pointer[:1]}.real.test" in asked and pointer not in asked


def test_the_case_of_the_question_is_echoed(gw):
    reply = gw.ask("wWw.CaSe.TeSt", "A")
    assert reply.question[0].name.to_text() == "wWw.CaSe.TeSt."
    assert reply.answer[0].name.to_text() == "wWw.CaSe.TeSt."


def test_names_compare_without_case(gw):
    assert pair(gw, "www.CASE.test") == pair(gw, "WWW.case.TEST")


@pytest.mark.parametrize("rdtype", ["A", "MX"])
def test_no_opt_in_no_opt_out(gw, rdtype):
    assert gw.ask("edns.test", rdtype).edns == -1


@pytest.mark.parametrize("rdtype", ["A", "MX"])
def test_opt_in_opt_out(gw, rdtype):
    reply = gw.ask("edns.test", rdtype, edns=True, payload=4096)
    assert reply.edns == 0
    assert reply.payload == 1232


def test_edns_of_a_later_version_is_badvers(gw):
    reply = gw.ask("edns.test", "A", edns=1)
    assert rcode(reply) == "BADVERS"
    assert reply.edns == 0
    assert not reply.answer


def test_do_is_echoed(gw):
    query = question("edns.test", "A")
    query.want_dnssec(True)
    reply = gw.lab.exchange(query)
    assert reply.ednsflags & dns.flags.DO


def test_another_opcode_is_notimp(gw):
    query = question("opcode.test", "A")
    query.set_opcode(dns.opcode.STATUS)
    reply = gw.lab.exchange(query)
    assert rcode(reply) == "NOTIMP"


def test_two_clients_with_a_rule_of_their_own_get_two_pairs(gw, lab):
    lab.run("cl", "ip", "addr", "replace", "192.168.77.3/24", "dev", "eth0")
    tablet = pair(gw, "shared.test", source="192.168.77.3")
    others = pair(gw, "shared.test", source="192.168.77.2")
    assert tablet[0] != others[0] and tablet[1] != others[1]
    assert pair(gw, "shared.test", source="192.168.77.3") == tablet
    for address in (tablet[0], others[0]):
        assert rdata(gw.ask(address.reverse_pointer, "PTR"), "PTR") == ["shared.test."]


def test_names_of_full_length_are_mapped(gw):
    longest = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 56, "test"])
    assert len(dns.name.from_text(longest).to_wire()) == 255
    four, six = pair(gw, longest)
    assert four in POOL4 and six in POOL6


def test_sighup_keeps_answering(gw):
    before = pair(gw, "hup.test")
    gw.signal(signal.SIGHUP)
    gw.wait_log("reloaded")
    assert pair(gw, "hup.test") == before
