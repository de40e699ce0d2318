"""Item 11: traffic to real addresses that nobody was told, brought to the relay by a mark or by its client."""
import contextlib
import hashlib
import hmac
import socket
import threading
import time

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lab import greeter, wait_for
from proxies import Socks5, descriptors, reset
from test_real_carried import FAMILIES, MODES, OTHER, PARTS, REAL, client_hello, greeting, request, tell_other, to, who
from test_unless import tell, tell_udp
from waiting import moment

PORT = 9000

MARK = """
table inet user {
	chain pre {
		type filter hook prerouting priority mangle
		iifname "lan0" meta l4proto { tcp, udp } th dport { 9000, 7777, 443, 53 } meta mark set mark or 0x400
	}
	chain out {
		type route hook output priority mangle
		meta l4proto { tcp, udp } th dport 9001 meta mark set mark or 0x400
	}
}
"""
RULES = [{"name": "named", "domain": ["p.test", "example.com"], "answer": "real", "egress": "proxy"},
         {"name": "plain", "domain": ["d.test"], "answer": "real", "upstream": "wan"},
         {"name": "blocked", "domain": ["b.test"], "answer": "block"},
         {"name": "rest", "answer": "fake", "egress": "other"}]


def configured(gateway, rules=RULES):
    return {"gateway": gateway,
            "egress": {"proxy": {"type": "socks5", "server": "10.99.0.2:1080"},
                       "other": {"type": "socks5", "server": "10.99.0.2:1088"}},
            "rules": rules}


def tell_other_udp(_proxy, _association, host, _port, _payload, answer):
    answer(f"other {host}".encode(), host=host)


@pytest.fixture
def far(lab):
    with contextlib.ExitStack() as stack:
        for address in (*REAL.values(), *OTHER.values()):
            stack.enter_context(greeter(lab, address, PORT))
        yield (stack.enter_context(Socks5(lab, far=tell, udp=tell_udp)),
               stack.enter_context(Socks5(lab, far=tell_other, udp=tell_other_udp, port=1088)))


@pytest.fixture
def marks(lab):
    lab.nft(MARK)
    yield
    lab.nft("delete table inet user")


# --- by a mark ---

@MODES
@FAMILIES
def test_marked_traffic_goes_by_the_rules(lab, gateway, far, marks, intercept, family):
    """By the name that it tells, else by the rules without names; what is not marked is left alone."""
    gateway(configured({"relay_mark": "0x400/0x400"}), intercept)
    target = REAL[family]
    with lab.watch("wan") as wan:
        for say in (client_hello, request):
            assert who(lab, target, first=say("x.p.test")) == "proxy x.p.test"
            assert who(lab, target, first=say("x.other.test")) == "other x.other.test"
        assert who(lab, target) == f"other {target}"
        with lab.connect(target, port=7777) as sock:
            sock.send(b"no name in here")
            assert sock.recv(100) == f"other {target}".encode()
        assert to(wan, target) == []
    assert who(lab, target, first=request("x.d.test")).startswith(target)
    with pytest.raises((ConnectionResetError, EOFError)):
        if who(lab, target, first=request("x.b.test")) == "":
            raise EOFError
    with lab.watch("wan") as wan, lab.connect(target, port=7778) as sock:
        sock.send(b"x")
        wait_for(lambda: to(wan, target), "it goes straight on")


@MODES
@FAMILIES
def test_this_hosts_own_marked_traffic(lab, gateway, far, marks, intercept, family):
    gateway(configured({"relay_mark": "0x400/0x400"}), intercept)
    target = REAL[family]
    assert who(lab, target, "gw", request("x.p.test"), 9001) == "proxy x.p.test"
    assert who(lab, target, "gw", request("x.p.test")).startswith(target)
    with lab.connect(target, "gw", port=9001) as sock:
        sock.send(b"x")
        assert sock.recv(100) == f"other {target}".encode()
    with lab.connect(target, "gw", tcp=True, port=PORT, mark=0x400) as sock:
        sock.sendall(request("x.p.test"))
        assert greeting(sock) == "proxy x.p.test"


@MODES
@FAMILIES
def test_quic_tells_its_name(lab, gateway, far, marks, quic, intercept, family):
    gateway(configured({"relay_mark": "0x400/0x400"}), intercept)
    with lab.connect(REAL[family], port=443) as sock:
        sock.send(quic)
        assert sock.recv(100) == b"proxy example.com"
        sock.send(b"\x40short header")
        assert sock.recv(100) == b"proxy example.com"
    assert far[0].datagrams[0][1:] == ("example.com", 443, quic)


@pytest.fixture(scope="session")
def quic():
    return make_initial("example.com")


def make_initial(name):
    """A QUIC version 1 Initial packet of a client that asks for this name (RFC 9001 5)."""
    def expand(secret, label, size):
        info = size.to_bytes(2, "big") + bytes([6 + len(label)]) + b"tls13 " + label + b"\0"
        return hmac.new(secret, info + b"\1", hashlib.sha256).digest()[:size]

    dcid = bytes.fromhex("8394c8f03e515708")
    salt = bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")
    client = expand(hmac.new(salt, dcid, hashlib.sha256).digest(), b"client in", 32)
    key, iv, hp = expand(client, b"quic key", 16), expand(client, b"quic iv", 12), expand(client, b"quic hp", 16)
    hello = client_hello(name)[5:]  # without the record's head
    payload = b"\6\0" + (0x4000 | len(hello)).to_bytes(2, "big") + hello
    payload = payload.ljust(1162, b"\0")
    length = (0x4000 | (4 + len(payload) + 16)).to_bytes(2, "big")
    header = b"\xc3" + b"\0\0\0\1" + bytes([len(dcid)]) + dcid + b"\0" + b"\0" + length + b"\0\0\0\2"
    nonce = bytes(a ^ b for a, b in zip(iv, bytes(11) + b"\2"))
    sealed = AESGCM(key).encrypt(nonce, payload, header)
    mask = Cipher(algorithms.AES(hp), modes.ECB()).encryptor().update(sealed[:16])
    head = bytearray(header)
    head[0] ^= mask[0] & 15
    for i in range(4):
        head[-4 + i] ^= mask[1 + i]
    return bytes(head) + sealed


@MODES
def test_sniffing_can_be_off(lab, gateway, far, marks, intercept):
    gateway(configured({"relay_mark": "0x400/0x400", "sniff": "off"}), intercept)
    target = REAL[socket.AF_INET]
    start = moment()
    assert who(lab, target) == f"other {target}"
    assert moment() - start < 0.25  # nobody waits for a name
    assert who(lab, target, first=client_hello("x.p.test")).startswith(f"other {target}")


@MODES
def test_dns_is_still_taken(lab, gateway, far, marks, intercept):
    gw = gateway(configured({"relay_mark": "0x400/0x400"}), intercept)
    assert gw.ask("web.test").answer and gw.ask("web.test", tcp=True).answer
    assert far[1].requests == []


@MODES
def test_hostile_names(lab, gateway, far, marks, intercept):
    """A name that is no name, or one of ours, leads nowhere but by the address."""
    gateway(configured({"relay_mark": "0x400/0x400"}), intercept)
    target = REAL[socket.AF_INET]
    for host in ("a b.test", "x" * 300, "../../etc", "1.2.3.4", "[::1]", "\x00.test", "a..b", "%s%n", "-", "*" * 60):
        told = who(lab, target, first=b"GET / HTTP/1.1\r\nHost: " + host.encode("latin1") + b"\r\n\r\n")
        assert told.split()[0] == "other", (host, told)
    assert all(host in (target, "-") for host, _ in far[1].requests), far[1].requests


# --- by its client ---

def mac(lab):
    return lab.ip("link", "show", "eth0", part="cl")[0]["address"]


@MODES
@pytest.mark.parametrize("by", ["cidr", "mac"])
@FAMILIES
def test_all_traffic_of_a_client(lab, gateway, far, intercept, by, family):
    clients = ["192.168.77.0/24", "2001:db8:77::/64", "fd77::/64"] if by == "cidr" else [mac(lab)]
    gateway(configured({"relay_clients": clients}), intercept)
    target = REAL[family]
    with lab.watch("wan") as wan:
        assert who(lab, target, first=request("x.p.test")) == "proxy x.p.test"
        assert who(lab, target, first=b"?") == f"other {target}"
        for port in (7777, 12345):
            with lab.connect(target, port=port) as sock:
                sock.send(b"x")
                assert sock.recv(100) == f"other {target}".encode()
        assert to(wan, target) == []
    # What stays in the LAN, and this host's own, is not meant.
    assert who(lab, target, "gw").startswith(target)
    with greeter(lab, "192.168.77.1", PORT, "gw"):
        assert who(lab, "192.168.77.1").startswith("192.168.77.1")


@MODES
def test_other_clients_are_left_alone(lab, gateway, far, intercept):
    gateway(configured({"relay_clients": ["192.168.77.99/32", "02:00:00:00:00:01"]}), intercept)
    for target in REAL.values():
        assert who(lab, target).startswith(target)
    assert far[0].accepted + far[1].accepted == 0


@MODES
@FAMILIES
def test_unless_looks_at_the_address(lab, gateway, far, intercept, family):
    """Nobody is asked: it is known."""
    (lab.dir / "here.txt").write_text("10.99.0.10/32\n2001:db8:99::10/128\n")
    config = configured({"relay_clients": ["192.168.77.0/24", "2001:db8:77::/64", "fd77::/64"]})
    config["egress"]["direct"] = {"type": "direct", "upstream": "wan"}
    config["lists"] = {"here-ip": ["here.txt"]}
    config["rules"] = [*RULES[:-1], dict(RULES[-1], unless={"resolves_in": "here-ip", "egress": "direct"})]
    gateway(config, intercept)
    with lab.watch("wan") as wan:
        assert who(lab, REAL[family]).startswith(REAL[family])
        assert who(lab, REAL[family], first=client_hello("x.other.test")).startswith(REAL[family])
        assert wan.dns_questions() == []
    assert who(lab, OTHER[family]) == f"other {OTHER[family]}"
    assert who(lab, REAL[family], first=client_hello("x.p.test")) == "proxy x.p.test"


@MODES
def test_a_crowd_that_says_nothing(lab, gateway, far, intercept):
    """Clients that connect, say nothing and leave, before anything is decided or after: nothing stays."""
    gw = gateway(configured({"relay_clients": ["192.168.77.0/24"]}), intercept)
    target, fds = REAL[socket.AF_INET], descriptors(gw)
    who(lab, target)
    for patience_s in (0, 0.4):
        socks = [lab.connect(target, tcp=True, port=PORT) for _ in range(200)]
        end = time.monotonic() + patience_s
        wait_for(lambda: time.monotonic() >= end, "a moment")
        for i, sock in enumerate(socks):
            (reset if i % 2 else socket.socket.close)(sock)
        wait_for(lambda: gw.status()["relay"]["tcp"]["live"] == 0, "no connection stays")
        wait_for(lambda: descriptors(gw) <= fds, "no descriptor stays")
    assert who(lab, target, first=request("x.p.test")) == "proxy x.p.test"


# --- full cone ---

@contextlib.contextmanager
def stun(lab, address, port):
    """Tells each datagram where it came from."""
    stopping = threading.Event()
    with lab.socket("wan", timeout_s=0.05) as sock:
        sock.bind((address, port))

        def serve():
            while not stopping.is_set():
                with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                    _, client = sock.recvfrom(2000)
                    sock.sendto(f"{client[0]} {client[1]}".encode(), client)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()


@MODES
def test_a_console_has_one_mapping_and_others_get_in(lab, gateway, intercept):
    """By a real SOCKS5 server: two STUN servers see one address and port; whoever sends there reaches the client, with
    his true address; and what the client answers him arrives, from the same port."""
    lab.dante(port=1088)
    gw = gateway(configured({"relay_clients": ["192.168.77.2/32"]}), intercept)
    with stun(lab, "10.99.0.10", 3478), stun(lab, "10.99.0.53", 3479), lab.socket("cl") as console, \
            lab.socket("wan") as peer:
        console.bind(("192.168.77.2", 3074))
        peer.bind(("1.1.1.1", 5555))
        mapped = set()
        for server in (("10.99.0.10", 3478), ("10.99.0.53", 3479)) * 3:
            console.sendto(b"who am I", server)
            data, source = console.recvfrom(100)
            assert source == server
            mapped.add(tuple(data.decode().split()))
        assert len(mapped) == 1
        (address, port), = mapped
        assert address == "10.99.0.2"
        for i in range(3):
            peer.sendto(b"let me in", (address, int(port)))
            assert console.recvfrom(100) == (b"let me in", ("1.1.1.1", 5555))
            console.sendto(b"you are in", ("1.1.1.1", 5555))
            assert peer.recvfrom(100) == (b"you are in", (address, int(port)))
        found, = [e for e in gw.status()["egress"] if e["name"] == "other"]
        assert found["flows"] == 1


@MODES
def test_many_sockets_of_a_console(lab, gateway, intercept):
    """Each has a mapping of its own."""
    lab.dante(port=1088)
    gateway(configured({"relay_clients": ["192.168.77.2/32"]}), intercept)
    with stun(lab, "10.99.0.10", 3478), contextlib.ExitStack() as stack:
        ports = set()
        for _ in range(20):
            sock = stack.enter_context(lab.connect("10.99.0.10", port=3478))
            sock.send(b"?")
            ports.add(sock.recv(100))
        assert len(ports) == 20
