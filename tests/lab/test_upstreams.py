"""Item 3: upstreams of every kind, and what the gateway makes of those that misbehave."""
import contextlib
import socket
import struct
import threading

import dns.flags
import dns.message
import pytest

from lab import Upstream, addresses, answer_to, ede, framed, question, rcode, read_message, wait_for
from waiting import moment

MODES = pytest.mark.parametrize("intercept", ["tun", "tproxy"])


def real_rules(*servers, **fields):
    return {"upstreams": {"wan": {"servers": list(servers), **fields}}}


@pytest.fixture
def addresses_in_wan(lab):
    """Room for scripted upstreams: 10.99.0.54, .55 and 2001:db8:99::54."""
    added = (("10.99.0.54/24",), ("10.99.0.55/24",), ("2001:db8:99::54/64", "nodad"))
    for address in added:
        lab.run("wan", "ip", "addr", "add", *address, "dev", "eth0")
    yield
    for address in added:
        lab.run("wan", "ip", "addr", "del", address[0], "dev", "eth0")


@pytest.fixture
def scripted(lab, addresses_in_wan):
    """scripted(handler, address=...) starts an Upstream until the test's end."""
    with contextlib.ExitStack() as stack:
        yield lambda handler, *args, **how: stack.enter_context(Upstream(lab, handler, *args, **how))


def answers(address="10.50.0.1", ttl=60):
    return lambda wire, client, send: send(answer_to(wire, f"{ttl} A {address}"))


def silent(wire, client, send):
    pass


def wrong_answers(gw):
    return sum(server["wrong_answers"] for server in gw.status()["upstreams"])


def test_each_query_has_an_id_and_a_port_of_its_own(gateway, scripted):
    upstream = scripted(answers())
    gw = gateway(real_rules("udp://10.99.0.54:5354"))
    for i in range(40):
        gw.ask(f"port{i}.real.test")
    ids = [struct.unpack("!H", wire[:2])[0] for wire, _ in upstream.queries]
    ports = [client[1] for _, client in upstream.queries]
    assert len(upstream.queries) == 40
    assert len(set(ids)) > 35 and len(set(ports)) > 35
    assert sorted(ids) != ids and sorted(ports) != ports


def test_a_query_over_ipv6(gateway, scripted):
    scripted(answers("10.50.0.6"), "2001:db8:99::54")
    assert addresses(gateway(real_rules("udp://[2001:db8:99::54]:5354")).ask("six.real.test")) == ["10.50.0.6"]


def test_an_upstream_on_port_53(gateway):
    gw = gateway(real_rules("udp://10.99.0.53"))
    assert addresses(gw.ask("a.real.test")) == ["10.99.0.10"]
    gw.stop()
    assert addresses(gateway(real_rules("tcp://10.99.0.53")).ask("a.real.test")) == ["10.99.0.10"]


def test_an_upstream_over_tcp(gateway, scripted):
    upstream = scripted(answers("10.50.0.8"), tcp=True)
    gw = gateway(real_rules("tcp://10.99.0.54:5354"))
    for i in range(5):
        assert addresses(gw.ask(f"tcp{i}.real.test")) == ["10.50.0.8"]
    assert len(upstream.tcp_queries) == 5 and not upstream.queries


def test_tc_is_asked_again_over_tcp(gateway, scripted):
    many = [f"60 A 10.60.{i // 250}.{i % 250}" for i in range(300)]

    def handler(wire, client, send):
        over_tcp = any(query == wire for query, _ in upstream.tcp_queries)
        send(answer_to(wire, *many) if over_tcp else answer_to(wire, flags=dns.flags.QR | dns.flags.RA | dns.flags.TC))

    upstream = scripted(handler, tcp=True)
    gw = gateway(real_rules("udp://10.99.0.54:5354"))
    assert len(addresses(gw.ask("large.real.test", tcp=True))) == 300
    assert len(upstream.queries) == 1 and len(upstream.tcp_queries) == 1
    reply = gw.ask("large.real.test")  # and what does not fit the client's UDP is truncated for it
    assert reply.flags & dns.flags.TC and reply.wire_size <= 512


def test_a_lost_query_is_sent_again(gateway, scripted):
    def handler(wire, client, send):
        if len(upstream.queries) > 1:
            send(answer_to(wire, "60 A 10.50.0.9"))

    upstream = scripted(handler)
    gw = gateway(real_rules("udp://10.99.0.54:5354"))
    started = moment()
    assert addresses(gw.ask("lost.real.test")) == ["10.50.0.9"]
    assert moment() - started < 4
    assert len(upstream.queries) == 2


@pytest.mark.parametrize("fault", ["silent", "refused", "servfail", "broken", "not-there"])
def test_the_next_server_is_asked(gateway, lab, scripted, fault):
    handlers = {
        "silent": silent,
        "servfail": lambda wire, client, send: send(answer_to(wire, flags=dns.flags.QR | 2)),
        "refused": lambda wire, client, send: send(answer_to(wire, flags=dns.flags.QR | 5)),
        "broken": lambda wire, client, send: send(answer_to(wire, "60 A 10.1.1.1")[:-3]),
    }
    if fault in handlers:
        scripted(handlers[fault], "10.99.0.54")
    scripted(answers("10.50.0.10"), "10.99.0.55")
    gw = gateway(real_rules("udp://10.99.0.54:5354", "udp://10.99.0.55:5354", timeout="1s"))
    started = moment()
    assert addresses(gw.ask("next.real.test")) == ["10.50.0.10"]
    assert moment() - started < (4 if fault in ("silent", "not-there") else 0.9)


@MODES
@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_all_dead_is_servfail_with_a_reason_in_bounded_time(gateway, scripted, intercept, tcp):
    scripted(silent, "10.99.0.54")
    gw = gateway(real_rules("udp://10.99.0.54:5354", "udp://10.99.0.55:5354"), intercept)
    started = moment()
    reply = gw.ask("dead.real.test", edns=True, tcp=tcp)
    assert moment() - started < 6.5
    assert rcode(reply) == "SERVFAIL"
    assert set(ede(reply)) & {22, 23}  # no reachable authority, network error
    assert gw.status()["queries"]["failed"] == 1


def test_without_opt_there_is_no_extended_error(gateway, lab):
    gw = gateway(real_rules("udp://10.99.0.99:1", timeout="200ms"))
    reply = gw.ask("dead.real.test")
    assert rcode(reply) == "SERVFAIL" and reply.edns == -1


def test_what_dies_and_lives_again(gateway, scripted, lab, addresses_in_wan):
    gw = gateway(real_rules("udp://10.99.0.54:5354", timeout="300ms"))
    assert rcode(gw.ask("phoenix.real.test")) == "SERVFAIL"
    scripted(answers("10.50.0.11"))
    wait_for(lambda: addresses(gw.ask("phoenix.real.test")) == ["10.50.0.11"], "the server is used again")


FORGERIES = {
    "another id": lambda wire: answer_to(wire, "60 A 6.6.6.6", id=struct.unpack("!H", wire[:2])[0] ^ 1),
    "another name": lambda wire: answer_to(wire, "60 A 6.6.6.6").replace(b"\x06forged", b"\x06forgee"),
    "another type": lambda wire: _with_question(wire, rdtype=28),
    "another class": lambda wire: _with_question(wire, rdclass=3),
    "no question": lambda wire: answer_to(wire, question=[]),
    "a query": lambda wire: wire,
    "another opcode": lambda wire: answer_to(wire, "60 A 6.6.6.6", flags=dns.flags.QR | 2 << 11),
    "too short": lambda wire: wire[:11],
    "empty": lambda wire: b"",
}


def _with_question(wire, rdtype=1, rdclass=1):
    forged = bytearray(answer_to(wire, "60 A 6.6.6.6"))
    end = forged.index(b"\x00", 12)
    forged[end + 1:end + 5] = struct.pack("!HH", rdtype, rdclass)
    return bytes(forged)


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_answer_is_waited_past_and_counted(gateway, scripted, forgery):
    def handler(wire, client, send):
        send(FORGERIES[forgery](wire))
        send(FORGERIES[forgery](wire))
        send(answer_to(wire, "60 A 10.50.0.12"))

    upstream = scripted(handler)
    gw = gateway(real_rules("udp://10.99.0.54:5354"))
    assert addresses(gw.ask("forged.real.test")) == ["10.50.0.12"]
    assert len(upstream.queries) == 1
    assert wrong_answers(gw) == 2


@pytest.mark.parametrize("source", [("10.99.0.55", 5354), ("10.99.0.54", 5353)], ids=["address", "port"])
def test_an_answer_from_elsewhere_is_not_even_seen(gateway, lab, scripted, source):
    with lab.socket("wan") as elsewhere:
        elsewhere.bind(source)

        def handler(wire, client, send):
            elsewhere.sendto(answer_to(wire, "60 A 6.6.6.6"), client)
            send(answer_to(wire, "60 A 10.50.0.13"))

        scripted(handler)
        gw = gateway(real_rules("udp://10.99.0.54:5354"))
        assert addresses(gw.ask("elsewhere.real.test")) == ["10.50.0.13"]


def test_forgeries_alone_are_servfail(gateway, scripted):
    scripted(lambda wire, client, send: send(FORGERIES["another id"](wire)))
    gw = gateway(real_rules("udp://10.99.0.54:5354", timeout="300ms"))
    assert rcode(gw.ask("only.real.test")) == "SERVFAIL"


def test_an_icmp_error_moves_on_at_once(gateway, scripted):
    """Nobody listens on the first server's port."""
    scripted(answers("10.50.0.14"), "10.99.0.55")
    gw = gateway(real_rules("udp://10.99.0.54:5999", "udp://10.99.0.55:5354"))
    started = moment()
    assert addresses(gw.ask("icmp.real.test")) == ["10.50.0.14"]
    assert moment() - started < 0.9


def test_an_answer_torn_over_segments(gateway, scripted, lab):
    """An upstream over TCP that sends byte by byte."""
    listener = lab.socket("wan", kind=socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("10.99.0.54", 5354))
    listener.listen(4)

    def serve():
        connection, _ = listener.accept()
        connection.settimeout(10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            for byte in framed(answer_to(read_message(connection), "60 A 10.50.0.15")):
                connection.send(bytes([byte]))

    with listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        gw = gateway(real_rules("tcp://10.99.0.54:5354"))
        assert addresses(gw.ask("torn.real.test")) == ["10.50.0.15"]
        thread.join(10)


def test_identical_queries_share_one_flight(gateway, scripted, lab):
    waiting = []

    def handler(wire, client, send):
        waiting.append((wire, send))

    upstream = scripted(handler)
    gw = gateway({**real_rules("udp://10.99.0.54:5354", timeout="5s"), "gateway": {"workers": 1}})
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(lab.connect("8.8.8.8")) for _ in range(20)]
        for sock in socks:
            sock.send(question("shared.real.test", "A").to_wire())
        wait_for(lambda: waiting and gw.status()["queries"]["total"] == 20, "all have come in")
        wire, send = waiting[0]
        send(answer_to(wire, "60 A 10.50.0.16"))
        for sock in socks:
            assert addresses(dns.message.from_wire(sock.recv(4096))) == ["10.50.0.16"]
    assert len(upstream.queries) <= 4  # one, or its repetition on a slow machine
