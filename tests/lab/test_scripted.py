"""The scripted upstream of scripted.py, asked by dig and by sockets of ours, without a gateway."""
import ssl
import time

import dns.flags
import dns.message
import dns.rdataclass
import h2.connection
import h2.events
import h2.settings
import pytest

from lab import addresses, framed, question, rcode, read_exactly, read_message, ttls, wait_for
from scripted import Scripted

AT = "10.99.0.54"
ZONE = {"web.test": ["60 A 10.50.0.1", "60 AAAA 2001:db8:50::1"], "alias.test": ["30 CNAME web.test."],
        "*.wild.test": ["5 A 10.50.0.2"]}


@pytest.fixture(autouse=True)
def ends(lab):
    yield
    lab.end_processes()


@pytest.fixture
def up(lab):
    return Scripted(lab, zone=ZONE)


def dig(lab, up, *words, tls=None):
    """One query of dig's over a transport; its output."""
    options = {"udp": ["+notcp", "-p", up.port["udp"]], "tcp": ["+tcp", "-p", up.port["tcp"]],
               "tls": ["-p", up.port["tls"], "+tls"], "https": ["-p", up.port["https"], "+https"],
               "https_get": ["-p", up.port["https"], "+https-get"]}[tls or "udp"]
    secure = [f"+tls-ca={up.ca}", "+tls-hostname=dns.test"] if tls and tls != "tcp" else []
    return lab.run("gw", "dig", f"@{up.address}", *options, *secure, "+time=1", "+tries=1", "+retry=0", *words,
                   check=False).stdout


def ask(lab, name, rdtype="A", tcp=False, **how):
    return lab.ask(name, rdtype, AT, part="gw", port=5354, tcp=tcp, **how)


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "https", "https_get"])
def test_every_transport_answers(lab, up, transport):
    assert dig(lab, up, "+short", "WEB.test", tls=transport) == "10.50.0.1\n"
    query, = up.queries()
    assert (query["name"], query["type"], query["transport"]) == ("WEB.test", "A", transport.split("_")[0])
    assert query["edns"]["payload"] == 1232 and "10" in query["edns"]["options"]  # dig's cookie
    if transport in ("tls", "https"):
        assert query["tls"]["version"] == "TLSv1.3" and not query["tls"]["resumed"]
        # dig tells no name; its ALPN is right.
        assert query["tls"]["alpn"] == {"tls": "dot", "https": "h2"}[transport]
    if transport.startswith("https"):
        method = "GET" if transport == "https_get" else "POST"
        assert (query["http"]["method"], query["http"]["path"]) == (method, "/dns-query")


def test_zone(lab, up):
    assert addresses(ask(lab, "alias.test")) == ["10.50.0.1"]
    assert addresses(ask(lab, "a.wild.test")) == ["10.50.0.2"]
    assert rcode(ask(lab, "none.test")) == "NXDOMAIN"
    empty = ask(lab, "web.test", "MX")
    assert rcode(empty) == "NOERROR" and not empty.answer and empty.authority
    up.set_zone({"*": ["60 A 10.9.9.9"]})
    assert addresses(ask(lab, "none.test")) == ["10.9.9.9"]


def test_faults_of_answers(lab, up):
    def with_fault(kind, *args, rdtype="A", tcp=False, edns=False, **how):
        up.fault(kind, **how)
        try:
            return ask(lab, "web.test", rdtype, tcp, edns=edns, timeout_s=4 if tcp else 1)
        finally:
            up.clear()
    assert rcode(with_fault("rcode", rcode="REFUSED")) == "REFUSED"
    assert addresses(with_fault("answer", records=["9 A 192.168.1.1"])) == ["192.168.1.1"]
    assert ttls(with_fault("ttl", ttl=0)) == [0]
    assert "TC" in dns.flags.to_text(with_fault("tc").flags)
    assert with_fault("wrong_question").question[0].name.to_text() == "wrong.question.test."
    assert with_fault("wrong_class").question[0].rdclass == dns.rdataclass.CH
    big = with_fault("size", size=65535, tcp=True)
    assert 65500 < big.wire_size <= 65535
    assert "TC" in dns.flags.to_text(with_fault("size", size=65535).flags)
    assert with_fault("no_opt", edns=True).edns == -1
    assert len(with_fault("options", edns=True).options) == 4
    assert 65500 < with_fault("size", size=65535, tcp=True, edns=True).wire_size <= 65535
    with pytest.raises(AssertionError):
        with_fault("wrong_id")
    with pytest.raises(TimeoutError):
        with_fault("wrong_port")
    with pytest.raises(TimeoutError):
        with_fault("silence")
    with pytest.raises(AssertionError, match="no fault"):
        up.fault("nonsense")
    assert addresses(ask(lab, "web.test")) == ["10.50.0.1"]


def test_ttl_of_32_bits(lab, up):
    up.fault("ttl", ttl=0x80000000)
    wire = lab.exchange_bytes(question("web.test").to_wire(), AT, "gw", port=5354)
    assert wire[-14:-10] + wire[-6:] == b"\0\x01\0\x01" + b"\0\4\x0a\x32\0\1" and wire[-10:-6] == b"\x80\0\0\0"


def test_which_questions_a_fault_is_for(lab, up):
    def is_refused(name, rdtype="A", tcp=False):
        return rcode(ask(lab, name, rdtype, tcp)) == "REFUSED"
    up.fault("rcode", rcode="REFUSED", name="*.wild.test", type="A", transport="udp", skip=1, times=2)
    asked = [("a.wild.test", "A"), ("web.test", "A"), ("b.wild.test", "AAAA"), ("c.wild.test", "A"),
             ("d.wild.test", "A"), ("e.wild.test", "A")]
    assert not is_refused("a.wild.test", tcp=True)
    assert [is_refused(*one) for one in asked] == [False, False, False, True, True, False]
    up.clear()
    up.fault("rcode", rcode="REFUSED", percent=30, seed=7)
    refused = sum(is_refused("web.test") for _ in range(100))
    assert 15 < refused < 45


def test_forged_answer_first(lab, up):
    up.fault("twice", ms=100)
    with lab.connect(AT, "gw", port=5354) as sock:
        sock.send(question("web.test").to_wire())
        got = [addresses(dns.message.from_wire(sock.recv(4096))) for _ in range(2)]
    assert got == [["203.0.113.66"], ["10.50.0.1"]]


def test_reversed(lab, up):
    up.fault("reverse", count=3)
    with lab.connect(AT, "gw", tcp=True, port=5354) as sock:
        queries = [question(name) for name in ("a.wild.test", "b.wild.test", "c.wild.test")]
        sock.sendall(b"".join(map(framed, queries)))
        ids = [dns.message.from_wire(read_message(sock)).id for _ in range(3)]
    assert ids == [query.id for query in reversed(queries)]


def test_delay_lets_others_pass(lab, up):
    up.fault("delay", ms=300, name="web.test")
    with lab.connect(AT, "gw", tcp=True, port=5354) as sock:
        slow, fast = question("web.test"), question("a.wild.test")
        begun = time.monotonic()
        sock.sendall(framed(slow) + framed(fast))
        assert [dns.message.from_wire(read_message(sock)).id for _ in range(2)] == [fast.id, slow.id]
        assert time.monotonic() - begun >= 0.3


def test_connections_end_or_stall(lab, up):
    def connect():
        return lab.connect(AT, "gw", tcp=True, port=5354, timeout_s=1)

    def exchange(sock):
        sock.sendall(framed(question("web.test")))
        return addresses(dns.message.from_wire(read_message(sock)))
    up.fault("stall", after=1, existing=True)
    with connect() as new:
        assert exchange(new) and exchange(new)
    up.clear()
    with connect() as old:
        exchange(old)
        up.fault("stall", after=1, existing=True)
        with pytest.raises(TimeoutError):
            exchange(old)
        assert exchange(connect())
        up.clear()
    up.fault("max_queries", count=2)
    with connect() as sock:
        exchange(sock), exchange(sock)
        assert sock.recv(1) == b""
    up.clear()
    up.fault("cut")
    with connect() as sock, pytest.raises(EOFError):
        exchange(sock)
    up.clear()
    for at in ("accept", "query", "answer"):
        up.fault("reset", at=at)
        with pytest.raises(ConnectionResetError), connect() as sock:
            exchange(sock)
        up.clear()
    with connect() as sock:
        wait_for(lambda: up.connections("tcp"), "the server has accepted")
        up.fault("reset", at="now")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


@pytest.mark.parametrize("which", ["expired", "early", "wrong", "selfsigned"])
def test_certificates(lab, up, which):
    for transport in ("tls", "https"):
        up.fault("certificate", which=which)
        assert "10.50.0.1" not in dig(lab, up, "web.test", tls=transport)
        up.clear()
        assert "10.50.0.1" in dig(lab, up, "web.test", tls=transport)


def test_faults_of_http(lab, up):
    for kind, how in (("http", {"status": 500}), ("content_type", {"value": "text/html"}), ("cut", {}),
                      ("rst_stream", {}), ("goaway", {"after": 0}), ("no_alpn", {}), ("garbage", {"at": "accept"}),
                      ("garbage", {})):
        up.fault(kind, transport="https", **how)
        assert "10.50.0.1" not in dig(lab, up, "web.test", tls="https"), kind
        up.clear()
    up.fault("goaway", after=0, include=True)
    up.fault("age", seconds=7)
    assert "10.50.0.1" in dig(lab, up, "web.test", tls="https")


def test_what_is_seen_of_tls(lab, up):
    context = ssl.create_default_context(cafile=up.ca)
    context.set_alpn_protocols(["dot"])
    session = None
    for i in range(3):
        if i == 2:
            up.fault("certificate", which="expired")
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with lab.connect(AT, "gw", tcp=True, port=853) as sock:
            with context.wrap_socket(sock, server_hostname="dns.test", session=session) as tls:
                tls.sendall(framed(question("web.test")))
                assert addresses(dns.message.from_wire(read_message(tls))) == ["10.50.0.1"]
                session = tls.session
    seen = [query["tls"] for query in up.queries("tls")]
    assert [one.pop("resumed") for one in seen] == [False, True, False]
    assert seen == [{"version": "TLSv1.3", "sni": "dns.test", "alpn": "dot"}] * 3
    assert len(up.events("handshake")) == len(up.events("connect")) == 3
    up.clear()
    up.fault("tls_version", version="1.2")
    assert "10.50.0.1" in dig(lab, up, "web.test", tls="tls")
    assert up.queries()[-1]["tls"]["version"] == "TLSv1.2"
    up.clear()
    up.fault("tls_version", version="1.1")
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with lab.connect(AT, "gw", tcp=True, port=853) as sock:
        assert context.wrap_socket(sock).version() == "TLSv1.1"


def ask_over_http(lab, up, count, window):
    """One connection with all questions at once; ({stream: answer}, GOAWAY's last stream or None)."""
    context = ssl.create_default_context(cafile=up.ca)
    context.set_alpn_protocols(["h2"])
    bodies, done, last = {}, set(), None
    client = h2.connection.H2Connection()
    client.initiate_connection()
    client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
    with lab.connect(AT, "gw", tcp=True, port=443, timeout_s=0.5) as sock:
        with context.wrap_socket(sock, server_hostname="dns.test") as tls:
            for i in range(count):
                stream = client.get_next_available_stream_id()
                client.send_headers(stream, [(":method", "POST"), (":scheme", "https"), (":authority", "dns.test"),
                                             (":path", "/dns-query"), ("content-type", "application/dns-message")])
                client.send_data(stream, question(f"q{i}.wild.test").to_wire(), end_stream=True)
            try:
                while len(done) < count:
                    tls.sendall(client.data_to_send())
                    if not (data := tls.recv(65536)):
                        break
                    for event in client.receive_data(data):
                        if isinstance(event, h2.events.DataReceived):
                            bodies.setdefault(event.stream_id, bytearray()).extend(event.data)
                            client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                        elif isinstance(event, h2.events.StreamEnded):
                            done.add(event.stream_id)
                        elif isinstance(event, h2.events.ConnectionTerminated):
                            last = event.last_stream_id
            except TimeoutError:
                pass
    return {stream: dns.message.from_wire(bytes(bodies[stream])) for stream in done}, last


def test_many_streams(lab, up):
    up.fault("size", size=30000)
    answers, last = ask_over_http(lab, up, 10, 1000)
    assert len(answers) == 10 and last is None
    assert len(addresses(answers[1])) > 1800
    assert [q["http"]["stream"] for q in up.queries("https")] == list(range(1, 21, 2))
    assert {q["connection"] for q in up.queries("https")} == {up.events("connect")[0]["connection"]}


def test_goaway_says_which_streams_are_not_answered(lab, up):
    up.fault("goaway", after=2)
    answers, last = ask_over_http(lab, up, 5, 65535)
    assert (set(answers), last) == ({1, 3}, 3)


def test_64_kilobytes_over_tls_and_http(lab, up):
    up.fault("size", size=65000)
    for transport in ("tls", "https"):
        assert "MSG SIZE  rcvd: 6" in dig(lab, up, "web.test", tls=transport)


def test_it_freezes_and_ends(lab, up):
    up.freeze()
    with lab.connect(AT, "gw", tcp=True, port=5354, timeout_s=0.3) as sock:
        sock.sendall(framed(question("web.test")))
        with pytest.raises(TimeoutError):
            read_exactly(sock, 2)
        up.thaw()
        assert read_message(sock)
    up.end()
    assert not up.alive()
    with Scripted(lab, zone={"*": ["60 A 10.50.0.3"]}) as again:
        assert addresses(ask(lab, "web.test")) == ["10.50.0.3"]
        assert len(again.queries()) == 1
