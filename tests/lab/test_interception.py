"""Item 1: whom a client asks does not matter, the gateway answers; what is exempt or not DNS is left alone."""
import contextlib
import socket

import dns.edns
import dns.message
import pytest

from lab import addresses, framed, is_fake, question, read_message, split_address

V4 = ["8.8.8.8", "203.0.113.9", "192.168.77.1", "10.99.0.1"]
V6 = ["2001:4860:4860::8888", "2001:db8:ffff::9", "fd77::1", "2001:db8:99::1", "fe80::1%eth0"]
REAL = ["10.99.0.10"]  # web.test, when the gateway does not answer


@pytest.fixture(scope="module", params=["tun", "tproxy"])
def gw(request, module_gateway):
    gateway = module_gateway({"gateway": {"exempt": {"to": ["1.1.1.1", "10.99.0.2"]}}}, request.param)
    yield gateway
    if gateway.running():
        gateway.stop()


# --- UDP ---

@pytest.mark.parametrize("rdtype", ["A", "AAAA"])
@pytest.mark.parametrize("server", V4 + V6)
def test_a_udp_query_is_answered_from_the_asked_address(gw, server, rdtype):
    assert is_fake(addresses(gw.ask("web.test", rdtype, server=server)))


@pytest.mark.parametrize("server", ["8.8.8.8", "fd77::1", "fe80::1%eth0"])
def test_a_real_answer_comes_from_the_asked_address_too(gw, server):
    assert addresses(gw.ask("a.real.test", "A", server=server)) == REAL


def test_dig_is_content(gw, lab):
    done = lab.run("cl", "dig", "+time=5", "+tries=1", "@fe80::1%eth0", "web.test", "AAAA")
    assert "status: NOERROR" in done.stdout and "fd00:198:18::" in done.stdout
    assert "reply from unexpected source" not in done.stdout + done.stderr
    assert ";; WARNING" not in done.stdout


def test_one_socket_many_queries(gw, lab):
    """All of a burst are answered, whichever worker gets them."""
    with lab.connect("8.8.8.8") as sock:
        wanted = {}
        for i in range(200):
            query = question(f"burst{i}.test", "A")
            query.id = i
            wanted[i] = query
            sock.send(query.to_wire())
        while wanted:
            reply = dns.message.from_wire(sock.recv(4096))
            assert reply.question == wanted.pop(reply.id).question
            assert is_fake(addresses(reply))


def test_a_client_that_keeps_its_port_is_answered_anew(gw, lab):
    with lab.connect("8.8.8.8") as sock:
        for _ in range(3):
            query = question("same-port.test", "A")
            sock.send(query.to_wire())
            assert is_fake(addresses(dns.message.from_wire(sock.recv(4096))))


# --- TCP ---

@pytest.mark.parametrize("server", V4 + V6)
def test_a_tcp_query_is_answered(gw, server):
    assert is_fake(addresses(gw.ask("web.test", "A", server=server, tcp=True)))


@pytest.mark.parametrize("server", ["8.8.8.8", "2001:4860:4860::8888", "192.168.77.1", "fe80::1%eth0"])
def test_pipelined_queries_are_all_answered(gw, lab, server):
    names = [f"pipe{i}.test" if i % 3 else "a.real.test" for i in range(60)]
    with lab.connect(server, tcp=True) as sock:
        stream = b""
        for i, name in enumerate(names):
            query = question(name, "A")
            query.id = i
            stream += framed(query)
        sock.sendall(stream)
        answered = {}
        for _ in names:
            reply = dns.message.from_wire(read_message(sock))
            answered[reply.id] = reply
    assert sorted(answered) == list(range(len(names)))
    for i, name in enumerate(names):
        got = addresses(answered[i])
        assert answered[i].question[0].name.to_text() == name + "."
        assert got == REAL if name == "a.real.test" else is_fake(got)


@pytest.mark.parametrize("server", ["8.8.8.8", "fd77::1"])
def test_a_query_torn_byte_by_byte_is_answered(gw, lab, server):
    """Each byte is a segment of its own, the two of the length as well; a second query is torn the same way."""
    with lab.connect(server, tcp=True) as sock, lab.watch("cl") as wire:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for name in ("torn.test", "torn-too.test"):
            for byte in framed(question(name, "A")):
                sock.send(bytes([byte]))
            assert is_fake(addresses(dns.message.from_wire(read_message(sock))))
        segments = [p for p in wire.packets() if p.protocol == socket.IPPROTO_TCP and p.target_port == 53
                    and len(p.payload) == 1]
    assert len(segments) > 20


def test_a_query_before_a_half_close_is_answered(gw, lab):
    with lab.connect("8.8.8.8", tcp=True) as sock:
        sock.sendall(framed(question("half.test", "A")) + framed(question("a.real.test", "A")))
        sock.shutdown(socket.SHUT_WR)
        replies = [dns.message.from_wire(read_message(sock)) for _ in range(2)]
        assert sock.recv(1) == b""  # and the other half is closed then
    got = {reply.question[0].name.to_text(): addresses(reply) for reply in replies}
    assert is_fake(got["half.test."]) and got["a.real.test."] == REAL


def test_many_connections_at_a_time(gw, lab):
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(lab.connect(server, tcp=True))
                 for server in ("8.8.8.8", "fd77::1", "192.168.77.1") for _ in range(60)]
        for i, sock in enumerate(socks):
            sock.sendall(framed(question(f"conn{i}.test", "A")))
        for i, sock in enumerate(socks):
            reply = dns.message.from_wire(read_message(sock))
            assert reply.question[0].name.to_text() == f"conn{i}.test." and is_fake(addresses(reply))


def test_a_connection_serves_several_queries_in_turn(gw, lab):
    with lab.connect("8.8.8.8", tcp=True) as sock:
        for i in range(5):
            sock.sendall(framed(question(f"turn{i}.test", "A")))
            assert is_fake(addresses(dns.message.from_wire(read_message(sock))))


# --- the host's own ---

@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("server", ["8.8.8.8", "203.0.113.9", "2001:4860:4860::8888"])
def test_the_hosts_own_queries_are_taken(gw, server, tcp):
    assert is_fake(addresses(gw.ask("web.test", "A", server=server, part="gw", tcp=tcp)))


def test_the_hosts_own_programs_get_fake_addresses(gw, lab):
    assert is_fake(lab.dig("web.test"))
    assert is_fake(lab.dig("web.test", "AAAA", "2001:4860:4860::8888"))


@pytest.mark.parametrize("server", ["127.0.0.1", "::1"])
def test_queries_to_loopback_are_not_taken(gw, server):
    with pytest.raises(ConnectionRefusedError):
        gw.ask("web.test", "A", server=server, part="gw")


def test_queries_to_an_exempt_target_of_this_host_go_there(gw):
    for tcp in (False, True):
        assert addresses(gw.ask("web.test", "A", server="1.1.1.1", part="gw", tcp=tcp)) == REAL


# --- what is not DNS ---

@pytest.fixture
def marks(lab):
    """Counts packets that leave by wan0 with any mark."""
    lab.nft("""table inet probe {
        counter total {}
        counter marked {}
        chain leaving {
            type filter hook postrouting priority 300
            iifname lan0 oifname wan0 counter name total
            iifname lan0 oifname wan0 meta mark != 0 counter name marked
        }
    }""")
    yield lambda: {item["counter"]["name"]: item["counter"]["packets"]
                   for item in lab.nft_json("list", "counters", "table", "inet", "probe") if "counter" in item}
    lab.nft("delete table inet probe")


def test_web_traffic_to_real_addresses_is_not_touched(gw, lab, marks):
    for url in ("http://10.99.0.10/", "http://[2001:db8:99::10]/"):
        assert "hello from web.test" in lab.curl(url).stdout
    assert marks()["total"] > 4 and marks()["marked"] == 0


@pytest.mark.parametrize("target", ["10.99.0.10", "2001:db8:99::10"])
def test_udp_to_other_ports_is_not_touched(gw, lab, marks, target):
    family = split_address(target)[0]
    with lab.socket("wan", family) as far, lab.connect(target, port=5353) as near:
        far.bind((target, 5353))
        near.send(question("web.test", "A").to_wire())
        wire, client = far.recvfrom(4096)
        assert client[:2] == near.getsockname()[:2]
        far.sendto(b"as it is", client)
        assert near.recv(100) == b"as it is"
    assert marks() == {"total": 1, "marked": 0}


def test_answers_from_port_53_to_others_are_not_touched(gw, lab):
    """A packet *from* port 53 of a LAN host is no query."""
    with lab.socket("cl") as near, lab.socket("wan") as far:
        far.bind(("10.99.0.10", 7777))
        near.bind(("192.168.77.2", 53))
        near.sendto(b"from a server", ("10.99.0.10", 7777))
        assert far.recvfrom(100) == (b"from a server", ("192.168.77.2", 53))


# --- fragments ---

@pytest.fixture
def small_mtu(lab):
    """small_mtu(server, mtu): the client cuts what is larger on the way to the server."""
    made = []

    def cut(server, mtu):
        family = "-6" if ":" in server else "-4"
        via = {"8.8.8.8": ["via", "192.168.77.1"], "2001:4860:4860::8888": ["via", "fd77::1"]}.get(server, [])
        # IPv4 packets carry "don't fragment" while the MTU may still be found out; `lock` says it is known.
        lab.run("cl", "ip", family, "route", "add", server, *via, "dev", "eth0", "mtu", "lock", mtu)
        made.append((family, server))

    yield cut
    for family, server in made:
        lab.run("cl", "ip", family, "route", "del", server, "dev", "eth0")


@pytest.mark.parametrize("server, mtu, size", [("8.8.8.8", 576, 1100), ("2001:4860:4860::8888", 1280, 1400),
                                               ("192.168.77.1", 576, 1100), ("fd77::1", 1280, 1400)])
def test_a_query_in_fragments_is_answered(gw, lab, small_mtu, server, mtu, size):
    query = question("fragments.test", "A")
    query.use_edns(0, payload=1232, options=[dns.edns.GenericOption(12, bytes(size - 60))])
    small_mtu(server, mtu)
    with lab.watch("cl") as wire:
        reply = dns.message.from_wire(lab.exchange_bytes(query.to_wire(max_size=4096), server))
        assert sum(p.fragment for p in wire.packets()) >= 2
    assert is_fake(addresses(reply))
