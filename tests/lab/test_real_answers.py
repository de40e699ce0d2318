"""Item 3: names under `answer: real` are resolved by the rule's upstream and relayed as they are."""
import dns.flags
import dns.message
import pytest

from lab import addresses, has_soa, question, rcode, rdata, ttls

REAL = "10.99.0.10"


@pytest.fixture(scope="module", params=["tun", "tproxy"])
def gw(request, module_gateway):
    gateway = module_gateway(intercept=request.param)
    yield gateway
    if gateway.running():
        gateway.stop()


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_an_answer_has_the_upstreams_data_and_ttl(gw, tcp):
    reply = gw.ask("a.real.test", "A", tcp=tcp)
    assert rcode(reply) == "NOERROR" and addresses(reply) == [REAL] and ttls(reply) == [77]
    assert addresses(gw.ask("a.real.test", "AAAA", tcp=tcp)) == ["2001:db8:99::10"]


def test_all_records_of_a_set(gw):
    assert sorted(addresses(gw.ask("many.real.test"))) == ["10.99.1.1", "10.99.1.2", "10.99.1.3"]


def test_txt_and_mx(gw):
    assert rdata(gw.ask("txt.real.test", "TXT")) == ['"one" "two"']
    assert rdata(gw.ask("mx.real.test", "MX")) == ["10 mail.real.test."]


def test_an_unknown_type_is_byte_true(gw):
    assert rdata(gw.ask("unknown.real.test", "TYPE65280")) == ["\\# 4 0a0b0c0d"]


def test_nxdomain_and_nodata_keep_their_soa(gw):
    reply = gw.ask("none.real.test")
    assert rcode(reply) == "NXDOMAIN" and has_soa(reply)
    reply = gw.ask("v4only.real.test", "AAAA")
    assert rcode(reply) == "NOERROR" and not reply.answer


def test_a_cname_is_relayed(gw):
    reply = gw.ask("alias.real.test", "CNAME")
    assert rdata(reply, "CNAME") == ["a.real.test."]


def test_the_case_of_the_question_is_echoed(gw):
    reply = gw.ask("A.rEAL.Test")
    assert reply.question[0].name.to_text() == "A.rEAL.Test."
    assert addresses(reply) == [REAL]


def test_opt_only_where_it_was_asked_with_one(gw):
    assert gw.ask("a.real.test").edns == -1
    reply = gw.ask("a.real.test", edns=True, payload=4096)
    assert reply.edns == 0 and reply.payload == 1232


@pytest.mark.parametrize("edns, payload, limit", [(False, 0, 512), (True, 512, 512), (True, 1232, 1232), (True, 4096, 1232),
                                                  (True, 100, 512)])
@pytest.mark.parametrize("server", ["8.8.8.8", "fd77::1"])
def test_what_is_too_large_for_udp_is_truncated(gw, server, edns, payload, limit):
    reply = gw.ask("big.real.test", server=server, edns=edns, payload=payload)
    assert reply.flags & dns.flags.TC
    assert reply.wire_size <= limit
    assert reply.question[0].name.to_text() == "big.real.test."


@pytest.mark.parametrize("server", ["8.8.8.8", "fd77::1"])
def test_over_tcp_it_is_whole(gw, server):
    reply = gw.ask("big.real.test", server=server, tcp=True)
    assert not reply.flags & dns.flags.TC
    assert sorted(addresses(reply)) == sorted(f"10.98.0.{i}" for i in range(1, 101))


def test_dig_finds_its_way_from_tc_to_tcp(lab, gw):
    assert len(lab.dig("big.real.test", part="cl")) == 100


def test_queries_in_flight_at_the_same_time(gw, lab):
    with lab.connect("8.8.8.8") as sock:
        wanted = {i: f"n{i}.real.test." for i in range(150)}
        for i, name in wanted.items():
            query = question(name, "A")
            query.id = i
            sock.send(query.to_wire())
        while wanted:
            reply = dns.message.from_wire(sock.recv(4096))
            assert reply.question[0].name.to_text() == wanted.pop(reply.id)
            assert rcode(reply) == "NXDOMAIN"
