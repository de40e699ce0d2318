"""Items 7 and 8: what the kernel carries stays where it began, for as long as it lives."""
import contextlib
import socket
import threading
import time

import dns.message
import dns.rdatatype
import pytest

from lab import Gateway, Lab, Upstream, addresses, answer_to, is_fake, split_address, wait_for
from test_carry import FAMILIES, PARTS, fake, flag, tcp_connect
from test_firewalls import DROP
from waiting import moment

V4, V6 = socket.AF_INET, socket.AF_INET6
FIRST = {V4: "10.99.0.10", V6: "2001:db8:99::10"}
SECOND = {V4: "10.99.0.53", V6: "2001:db8:99::53"}
TYPES = {V4: "A", V6: "AAAA"}
ELEMENT_S = 20  # the least that an element lives, however short the TTL
PORTS = (500, 4500, 7777, 443)
AT_ONCE_S = 0.5
EGRESSES = {"egress": {"noquic": {"type": "direct", "upstream": "wan", "quic": "reject"},
                       "noudp": {"type": "direct", "upstream": "wan", "udp": "reject"}},
            "rules": [{"name": "q", "domain": ["noquic.test"], "answer": "fake", "egress": "noquic"},
                      {"name": "u", "domain": ["noudp.test"], "answer": "fake", "egress": "noudp"},
                      {"name": "rest", "answer": "fake", "egress": "direct"}],
            "upstreams": {"wan": {"servers": ["udp://10.99.0.2:5355"]}}}


class Far:
    """The far end: an upstream to which every name is web.test's addresses until a test changes them, and two hosts
    that tell where one came to, by TCP port 9000 and UDP."""

    def __init__(self, lab, ttl_s=1):
        self.lab, self.ttl_s, self.moved, self.questions = lab, ttl_s, set(), []
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(Upstream(lab, self._answer, "10.99.0.2", port=5355))
        self._stopping = threading.Event()
        for address in (*FIRST.values(), *SECOND.values()):
            self._start(self._greet_tcp, self._bound(address, 9000, socket.SOCK_STREAM), address)
            for port in PORTS:
                self._start(self._greet_udp, self._bound(address, port, socket.SOCK_DGRAM), address)

    def _answer(self, wire, _client, send):
        asked = dns.message.from_wire(wire).question[0]
        name, rdtype = asked.name.to_text(True).lower(), dns.rdatatype.to_text(asked.rdtype)
        self.questions.append((name, rdtype))
        real = SECOND if name in self.moved else FIRST
        send(answer_to(wire, *(f"{self.ttl_s} {TYPES[f]} {real[f]}" for f in (V4, V6) if TYPES[f] == rdtype)))

    def asked(self, name):
        return sum(question[0] == name for question in self.questions)

    def _bound(self, address, port, kind):
        sock = self.lab.socket("wan", split_address(address)[0], kind, 0.05)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        self._stack.callback(sock.close)
        return sock

    def _start(self, job, sock, address):
        thread = threading.Thread(target=job, args=(sock, address), daemon=True)
        thread.start()
        self._stack.callback(thread.join)

    def _greet_udp(self, sock, address):
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                data, client = sock.recvfrom(65535)
                sock.sendto(f"{address} {client[0]} ".encode() + data, client)

    def _greet_tcp(self, sock, address):
        sock.listen()
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                connection, client = sock.accept()
                threading.Thread(target=self._serve, args=(connection, f"{address} {client[0]} "), daemon=True).start()

    @staticmethod
    def _serve(connection, greeting):
        connection.settimeout(300)
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(100):
                connection.sendall(greeting.encode() + data)

    def close(self):
        self._stopping.set()
        self._stack.close()


def where(sock, word=b"x"):
    """The address that it is connected to in truth."""
    sock.send(word)
    place, _, said = sock.recv(300).split(b" ")
    assert said == word
    return place.decode()


def opened(lab, target, port=9000, tcp=True, part="cl", source_port=0):
    sock = lab.socket(part, split_address(target)[0], socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    if source_port:
        sock.bind(("::" if ":" in target else "0.0.0.0", source_port))
    sock.connect((target, port))
    return sock


def elements(lab, target):
    """What the kernel's maps say about a fake address, and for how long."""
    for item in lab.nft_json("list", "map", "inet", "tungate", "nat6" if ":" in target else "nat4"):
        for key, real in item.get("map", {}).get("elem", []):
            if key["elem"]["val"] == target:
                return real, key["elem"]["timeout"]
    return None


# --- what takes its time goes on while the tests below run ---

class Old:
    """A lab and a gateway of their own, with flows that began when this module did."""

    def __init__(self, intercept):
        self.lab = Lab("old")
        self.far = Far(self.lab)
        # Else whether a flow of datagrams still lives would be a question of how fast the tests are.
        self.lab.run("gw", "sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=120")
        self.gw = Gateway(self.lab, EGRESSES, intercept)
        self.start = time.monotonic()
        self.fakes, self.flows = {}, {}
        for name in ("idle.test", "pinned.test", "over.test", "kept.test"):
            for family in (V4, V6):
                self.fakes[name, family] = fake(self.gw, name, family)
        for family in (V4, V6):
            self.flows["idle", family] = opened(self.lab, self.fakes["idle.test", family])
            self.flows["pinned", family] = opened(self.lab, self.fakes["pinned.test", family], 500, tcp=False)
            self.flows["kept", family] = opened(self.lab, self.fakes["kept.test", family])
            with opened(self.lab, self.fakes["over.test", family]) as sock:
                assert where(sock) == FIRST[family]
        for (_, family), sock in self.flows.items():
            assert where(sock) == FIRST[family]
        self.far.moved |= {"idle.test", "pinned.test", "over.test"}

    def wait(self, seconds):
        wait_for(lambda: time.monotonic() >= self.start + seconds, "it is old enough", seconds + 5)

    def close(self):
        try:
            for sock in self.flows.values():
                sock.close()
            if self.gw.running():
                self.gw.stop()
        finally:
            self.far.close()
            self.lab.close()


@pytest.fixture(scope="module", autouse=True)
def old():
    with contextlib.ExitStack() as stack:
        made = {}
        for intercept in ("tun", "tproxy"):
            made[intercept] = Old(intercept)
            stack.callback(made[intercept].close)
        yield made


@pytest.fixture(scope="module", params=["tun", "tproxy", "firewalled"])
def gw(request, module_gateway, lab):
    """firewalled: forwarding is as fw4, docker and firewalld make it."""
    if request.param == "firewalled":
        lab.nft(DROP)
    gateway = module_gateway(EGRESSES, "auto" if request.param == "firewalled" else request.param)
    gateway.mode = gateway.config["gateway"]["intercept"]
    assert gateway.status()["intercept"] == ("tun" if request.param == "tun" else "tproxy")
    yield gateway
    lab.nft("add table inet fw; delete table inet fw")
    if gateway.running():
        gateway.stop()


@pytest.fixture(scope="module")
def far(lab):
    far = Far(lab)
    yield far
    far.close()


# --- the pin ---

@PARTS
@FAMILIES
def test_one_question_for_all_that_follows(gw, lab, far, family, part):
    """TCP, UDP to several ports and pings of one fake address: one real address, asked for once."""
    name = f"one-{part}-{family}.{gw.config_file.stem}-{id(gw)}.test"
    target = fake(gw, name, family, part)
    with opened(lab, target, part=part) as first:
        assert where(first) == FIRST[family]
        far.moved.add(name)
        for port in PORTS:
            with opened(lab, target, port, tcp=False, part=part) as sock:
                assert where(sock) == FIRST[family]
        with opened(lab, target, part=part) as sock:
            assert where(sock) == FIRST[family]
        assert " 1 received" in lab.run(part, "ping", flag(family), "-c", "1", "-W", "20", target).stdout
        assert far.asked(name) == 1
        real, life_s = elements(lab, target)
        assert real == FIRST[family] and life_s == ELEMENT_S


@FAMILIES
def test_reloads_ask_nobody(gw, lab, far, family):
    """Also those by which the kernel's sets are made anew: a decision is remembered beside them."""
    name = f"reload-{family}.{id(gw)}.test"
    target = fake(gw, name, family)
    with opened(lab, target) as tcp, opened(lab, target, 500, tcp=False) as udp:
        assert where(tcp) == where(udp) == FIRST[family]
        far.moved.add(name)
        more = {"aaa": {"type": "direct", "mark": "0x40", "upstream": "wan"},
                "zzz": {"type": "reject"}}
        for egress in ({}, more, {}):
            gw.rewrite({**EGRESSES, "egress": {**egress, **EGRESSES["egress"]}}, gw.mode)
            gw.result("reload")
            assert where(tcp) == where(udp) == FIRST[family]
            with opened(lab, target, 4500, tcp=False) as new_udp, opened(lab, target) as new_tcp:
                assert where(new_udp) == where(new_tcp) == FIRST[family]
        assert far.asked(name) == 1


@FAMILIES
def test_another_way_in_changes_no_flow(gw, lab, far, family):
    """By a reload, or because the host's firewall goes and comes."""
    name = f"way-{family}.{id(gw)}.test"
    target = fake(gw, name, family)
    with opened(lab, target) as tcp, opened(lab, target, 500, tcp=False) as udp:
        assert where(tcp) == where(udp) == FIRST[family]
        for mode in ("tproxy", "tun", "tun" if gw.mode == "tun" else "tproxy"):
            if gw.mode == "auto":
                lab.nft("add table inet fw; delete table inet fw" + (DROP if mode == "tproxy" else ""))
                wait_for(lambda: gw.status()["intercept"] == mode, f"interception by {mode}")
            else:
                gw.rewrite(EGRESSES, mode)
                gw.result("reload")
                assert gw.status()["intercept"] == mode
            assert where(tcp) == where(udp) == FIRST[family]
            with opened(lab, target, 4500, tcp=False) as new_udp, opened(lab, target) as new_tcp:
                assert where(new_udp) == where(new_tcp) == FIRST[family]
        assert far.asked(name) == 1


# --- what an egress does not carry ---

def refused(lab, target, port, part):
    """A datagram is answered by "port unreachable", at once."""
    start = moment()
    with opened(lab, target, port, tcp=False, part=part) as sock:
        sock.send(b"x")
        try:
            return sock.recv(300) is None
        except ConnectionRefusedError:
            return moment() - start < AT_ONCE_S


@PARTS
@FAMILIES
@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
def test_quic_reject(gw, lab, far, family, part, known):
    """Before the kernel carries the address and after."""
    target = fake(gw, f"q{known}-{part}-{family}.{id(gw)}.noquic.test", family, part)
    if known:
        with opened(lab, target, part=part) as sock:
            assert where(sock) == FIRST[family]
    assert all(refused(lab, target, 443, part) for _ in range(3))
    for port in (7777, 500):
        with opened(lab, target, port, tcp=False, part=part) as sock:
            assert where(sock) == FIRST[family]
    assert refused(lab, target, 443, part)
    with opened(lab, target, part=part) as sock:
        assert where(sock) == FIRST[family]


@PARTS
@FAMILIES
@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
def test_udp_reject(gw, lab, far, family, part, known):
    target = fake(gw, f"u{known}-{part}-{family}.{id(gw)}.noudp.test", family, part)
    if known:
        with opened(lab, target, part=part) as sock:
            assert where(sock) == FIRST[family]
    assert all(refused(lab, target, port, part) for port in (443, 7777, 500, 443))
    with opened(lab, target, part=part) as sock:
        assert where(sock) == FIRST[family]
    assert " 1 received" in lab.run(part, "ping", flag(family), "-c", "1", "-W", "20", target).stdout
    assert refused(lab, target, 7777, part)


@FAMILIES
def test_a_live_flow_of_datagrams_ends_when_its_egress_rejects_them(gw, lab, far, family):
    """From the reload on the client hears so, and takes TCP."""
    name = f"later-{family}.{id(gw)}.test"
    target = fake(gw, name, family)
    with opened(lab, target, 7777, tcp=False) as udp, opened(lab, target) as tcp:
        assert where(udp) == where(tcp) == FIRST[family]
        gw.rewrite({**EGRESSES, "egress": {**EGRESSES["egress"],
                                           "direct": {"type": "direct", "upstream": "wan", "udp": "reject"}}}, gw.mode)
        gw.result("reload")
        udp.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            udp.recv(300)
        assert where(tcp) == FIRST[family]
        gw.rewrite(EGRESSES, gw.mode)
        gw.result("reload")
        assert where(udp) == where(tcp) == FIRST[family]


# --- what is old by now ---

OLD = pytest.mark.parametrize("intercept", ["tun", "tproxy"])


@OLD
@FAMILIES
def test_while_a_flow_lives_its_address_stays(old, intercept, family):
    """IKE: port 500, then 4500, when the element is over and the resolver has changed its mind."""
    it = old[intercept]
    it.wait(ELEMENT_S + 2)
    target = it.fakes["pinned.test", family]
    assert elements(it.lab, target) is None
    before = it.far.asked("pinned.test")
    with opened(it.lab, target, 4500, tcp=False) as new_udp:
        assert where(new_udp) == FIRST[family]
        assert it.far.asked("pinned.test") == before + 1  # the TTL is over
        assert elements(it.lab, target)[0] == FIRST[family]
        it.gw.result("reload")
        with opened(it.lab, target) as tcp:
            assert where(tcp) == where(new_udp) == where(it.flows["pinned", family]) == FIRST[family]
    assert it.far.asked("pinned.test") == before + 1


@OLD
@FAMILIES
def test_when_no_flow_lives_the_new_address_is_taken(old, intercept, family):
    it = old[intercept]
    it.wait(ELEMENT_S + 2)
    target = it.fakes["over.test", family]
    it.lab.run("gw", "conntrack", *(["-f", "ipv6"] if family == V6 else []), "-D", "-d", target)
    with opened(it.lab, target) as tcp, opened(it.lab, target, 500, tcp=False) as udp:
        assert where(tcp) == where(udp) == SECOND[family]
        assert elements(it.lab, target)[0] == SECOND[family]


@OLD
@FAMILIES
def test_the_ttl_is_refreshed_under_a_live_flow(old, intercept, family):
    """The resolver says the same as before: the element is renewed, and the flow that began before goes on."""
    it = old[intercept]
    it.wait(ELEMENT_S + 2)
    target = it.fakes["kept.test", family]
    for _ in range(2):
        with opened(it.lab, target) as tcp:
            assert where(tcp) == where(it.flows["kept", family]) == FIRST[family]
    assert elements(it.lab, target)[0] == FIRST[family]


@OLD
@FAMILIES
def test_a_connection_idle_for_three_times_its_elements_life(old, intercept, family):
    """Not a byte in either direction, the element is long gone, the resolver says something else, then a reload."""
    it = old[intercept]
    it.wait(3 * ELEMENT_S + 1)
    target = it.fakes["idle.test", family]
    sock = it.flows["idle", family]
    asked = it.far.asked("idle.test")
    assert elements(it.lab, target) is None
    assert where(sock) == FIRST[family]
    it.gw.result("reload")
    for _ in range(5):
        assert where(sock, b"y" * 90) == FIRST[family]
    assert it.far.asked("idle.test") == asked and elements(it.lab, target) is None
    sock.shutdown(socket.SHUT_WR)
    assert sock.recv(1) == b""
