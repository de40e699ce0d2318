"""Item 10: a name whose addresses lie in a list goes another way; found out behind the client's back."""
import contextlib
import socket
import time

import dns.message
import dns.rdatatype
import pytest

from lab import Upstream, addresses, answer_to, greeter, is_fake, wait_for
from proxies import Socks5
from waiting import moment

FAMILIES = (socket.AF_INET, socket.AF_INET6)
HERE = ("10.99.0.10", "2001:db8:99::10")  # in the list, and somebody listens there
THERE = ("203.0.113.5", "2001:db8:aa::5")  # in no list, and nobody is there
PORT = 9000
AT_ONCE_S = 0.5
WITHIN_S = 1


class Zone(Upstream):
    """{name: addresses, an rcode, or None for silence}; names in .held are answered when release() is called."""

    def __init__(self, lab, zone, **how):
        self.zone, self.held, self._waiting = zone, set(), []
        super().__init__(lab, self._answer, "10.99.0.2", **how)

    def _answer(self, wire, _client, send):
        name, rdtype = asked(wire)
        if name in self.held:
            self._waiting.append((wire, send))
            return
        what = self.zone.get(name, "NXDOMAIN")
        if isinstance(what, str):
            send(answer_to(wire, rcode=dns.rcode.from_text(what)))
        elif what is not None:
            send(answer_to(wire, *(f"300 {kind} {a}" for a in what
                                   if (kind := "AAAA" if ":" in a else "A") == rdtype)))

    def release(self):
        self.held.clear()
        while self._waiting:
            wire, send = self._waiting.pop()
            self._answer(wire, None, send)

    def types(self, name):
        """Which types it was asked for this name, in their order."""
        return [rdtype for asked_name, rdtype in map(asked, [wire for wire, _ in self.queries]) if asked_name == name]


def asked(wire):
    question = dns.message.from_wire(wire).question[0]
    return question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)


ZONE = {"here.test": HERE, "there.test": THERE, "here4.test": HERE[:1], "six.test": ("10.99.0.53", HERE[1]),
        "second.test": (THERE[0], HERE[0]), "none.test": "NXDOMAIN", "nodata.test": (), "broken.test": "SERVFAIL",
        "refused.test": "REFUSED", "silent.test": None, "moves.test": HERE, "late.test": HERE, "udp.test": HERE}


def tell(sock, host, port):
    """The far end of the proxy: who was asked for; then an echo."""
    sock.sendall(f"proxy {host}\n".encode())
    while data := sock.recv(100):
        sock.sendall(data)


def tell_udp(_proxy, _association, host, _port, _payload, answer):
    answer(f"proxy {host}".encode())


def configured(lab, unless=None, here=("10.99.0.10/32", "2001:db8:99::10/128"), **gateway):
    (lab.dir / "here.txt").write_text("# where it is near\n" + "\n".join(here) + "\n")
    return {"gateway": gateway,
            "upstreams": {"near": {"servers": ["udp://10.99.0.2:5354"], "timeout": "5s"}},
            "egress": {"near": {"type": "direct", "upstream": "near"},
                       "proxy": {"type": "socks5", "server": "10.99.0.2:1080"}},
            "lists": {"here-ip": ["here.txt"]},
            "rules": [{"name": "rest", "answer": "fake", "egress": "proxy",
                       "unless": unless or {"resolves_in": "here-ip", "egress": "near", "within": f"{WITHIN_S}s"}}]}


@pytest.fixture
def far(lab):
    """Both far ends: who answers tells which way was taken."""
    with contextlib.ExitStack() as stack:
        for address in HERE + ("10.99.0.53",):
            stack.enter_context(greeter(lab, address, PORT))
        stack.enter_context(Socks5(lab, far=tell, udp=tell_udp))
        yield


@pytest.fixture
def zone(lab):
    with Zone(lab, dict(ZONE)) as zone:
        yield zone


@pytest.fixture(params=["tun", "tproxy"])
def gw(request, lab, gateway, zone, far):
    return gateway(configured(lab), request.param)


def fake(lab, name, family=socket.AF_INET, part="cl", **how):
    address, = addresses(lab.ask(name, "A" if family == socket.AF_INET else "AAAA", part=part, **how))
    assert is_fake([address])
    return address


def greeting(sock):
    return sock.recv(100).decode().split()[0]


def way(lab, name, family=socket.AF_INET, part="cl", **how):
    """"proxy", or the real address that was reached; and after how long the first byte came."""
    target = fake(lab, name, family, part, **how)
    start = moment()
    with lab.connect(target, part, tcp=True, port=PORT, **how) as sock:
        return greeting(sock), moment() - start


def ways(lab, name, part="cl"):
    return [way(lab, name, family, part)[0] for family in FAMILIES]


def verdict(gw, name):
    return gw.result("fakeip.lookup", name=name)["verdict"]


@pytest.mark.parametrize("part", ["cl", "gw"], ids=["lan", "host"])
def test_both_ways(lab, gw, zone, part):
    assert ways(lab, "here.test", part) == list(HERE)
    assert ways(lab, "there.test", part) == ["proxy", "proxy"]
    assert sorted(set(zone.types("here.test"))) == ["A", "AAAA"]
    assert {key: verdict(gw, "here.test")[key] for key in ("egress", "by")} == {"egress": "near", "by": "unless"}
    assert {key: verdict(gw, "there.test")[key] for key in ("egress", "by")} == {"egress": "proxy", "by": "rule"}


def test_the_answer_does_not_wait_and_the_first_packet_does(lab, gw, zone):
    """Both families are asked before anybody has sent a packet."""
    zone.held.add("here.test")
    start = moment()
    target = fake(lab, "here.test")
    assert moment() - start < AT_ONCE_S
    wait_for(lambda: sorted(set(zone.types("here.test"))) == ["A", "AAAA"], "both families are asked")
    with lab.socket("cl", kind=socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        sock.connect_ex((target, PORT))
        with lab.connect(target, port=7777) as datagram:
            datagram.send(b"held, too")
        end = time.monotonic() + 0.3
        wait_for(lambda: time.monotonic() > end, "a moment")
        with pytest.raises(OSError):
            sock.getpeername()  # nobody has accepted it
        zone.release()
        sock.settimeout(30)
        assert greeting(sock) == HERE[0]


def test_one_address_of_either_family_is_enough(lab, gw):
    assert ways(lab, "six.test") == ["10.99.0.53", HERE[1]]
    assert way(lab, "here4.test")[0] == HERE[0]
    fake(lab, "second.test")  # the second address of its answer
    with lab.connect(fake(lab, "second.test"), port=7777) as sock:
        sock.send(b"x")
        wait_for(lambda: (verdict(gw, "second.test") or {}).get("egress") == "near", "decided")


@pytest.mark.parametrize("name", ["none.test", "nodata.test", "broken.test", "refused.test"])
def test_what_is_not_an_address_leaves_the_rules_own_at_once(lab, gw, name):
    who, took_s = way(lab, name)
    assert who == "proxy" and took_s < AT_ONCE_S


def test_silence_leaves_it_after_a_while(lab, gw):
    start = moment()
    target = fake(lab, "silent.test")
    with lab.connect(target, tcp=True, port=PORT) as sock:
        assert greeting(sock) == "proxy"
    took_s = moment() - start
    assert WITHIN_S - 0.2 < took_s < WITHIN_S + 0.8, took_s
    assert way(lab, "silent.test")[1] < AT_ONCE_S


def test_a_verdict_is_remembered(lab, gw, zone):
    """By the next answers, clients and connections; nobody is asked again."""
    for name in ("here.test", "there.test"):
        ways(lab, name)
        asked_before = len(zone.types(name))
        assert asked_before <= 6  # a question of each worker, and the direct egress's own
        for _ in range(10):
            ways(lab, name)
            ways(lab, name, "gw")
        assert len(zone.types(name)) == asked_before


def test_the_kernel_carries_what_goes_direct(lab, gw):
    with lab.connect(fake(lab, "here.test"), tcp=True, port=PORT) as sock:
        assert greeting(sock) == HERE[0]
        before = gw.status()["carry"]["packets"] if "carry" in gw.status() else None
        for i in range(50):
            sock.sendall(b"%d" % i)
            assert sock.recv(100) == b"%d" % i
        assert before is None or gw.status()["carry"]["packets"] == before
    elements = [item["map"].get("elem", []) for item in lab.nft_json("list", "map", "inet", "tungate", "nat4")
                if "map" in item][0]
    assert [real for key, real in elements if key["elem"]["val"] == fake(lab, "here.test")] == [HERE[0]]


def test_datagrams_wait_as_well(lab, gw, zone):
    """Those that were sent before the verdict arrive, in their order."""
    zone.held.add("udp.test")
    with lab.socket("wan") as server:
        server.bind((HERE[0], 7777))
        with lab.connect(fake(lab, "udp.test"), port=7777) as sock:
            for i in range(5):
                sock.send(b"%d" % i)
            zone.release()
            assert [server.recv(100) for _ in range(5)] == [b"%d" % i for i in range(5)]
    with lab.connect(fake(lab, "there.test"), port=7777) as sock:
        sock.send(b"x")
        assert sock.recv(100) == b"proxy there.test"


def test_two_clients_share_the_pair_and_the_verdict(lab, gw, zone):
    zone.held.add("here.test")
    targets = {fake(lab, "here.test", source=source) for source in ("192.168.77.2", None)}
    targets.add(fake(lab, "here.test", part="gw"))
    assert len(targets) == 1
    socks = []
    try:
        for part in ("cl", "cl", "gw"):
            socks.append(lab.socket(part, kind=socket.SOCK_STREAM))
            socks[-1].setblocking(False)
            socks[-1].connect_ex((next(iter(targets)), PORT))
        zone.release()
        for sock in socks:
            sock.settimeout(30)
            assert greeting(sock) == HERE[0]
    finally:
        for sock in socks:
            sock.close()


def test_the_first_entry_that_holds_wins(lab, gateway, zone, far):
    (lab.dir / "other.txt").write_text("203.0.113.0/24\n10.99.0.0/16\n")
    config = configured(lab, unless=[{"resolves_in": "here-ip", "egress": "near"},
                                     {"resolves_in": ["nothing-ip", "other-ip"], "egress": "other"}])
    (lab.dir / "nothing.txt").write_text("192.0.2.0/24\n")
    config["lists"].update({"other-ip": ["other.txt"], "nothing-ip": ["nothing.txt"]})
    config["egress"]["other"] = {"type": "socks5", "server": "10.99.0.2:1088", "upstream": "near"}
    with Socks5(lab, port=1088, far=lambda sock, host, _: sock.sendall(f"other {host}".encode())):
        gw = gateway(config)
        assert way(lab, "here.test")[0] == HERE[0]  # in both lists
        assert way(lab, "there.test")[0] == "other"
        assert verdict(gw, "there.test")["by"] == "unless"
        assert way(lab, "none.test")[0] == "proxy"
        zone.zone["elsewhere.test"] = ("198.51.100.7",)
        assert way(lab, "elsewhere.test")[0] == "proxy"


def test_a_reload_changes_the_list(lab, gw):
    """New connections go by the new list; what lives is left alone."""
    with lab.connect(fake(lab, "moves.test"), tcp=True, port=PORT) as live:
        assert greeting(live) == HERE[0]
        (lab.dir / "here.txt").write_text("203.0.113.0/24\n")
        gw.result("reload")
        assert ways(lab, "moves.test") == ["proxy", "proxy"]
        live.sendall(b"still here")
        assert live.recv(100) == b"still here"
        (lab.dir / "here.txt").write_text("10.99.0.0/24\n")
        gw.result("reload")
        assert ways(lab, "moves.test") == list(HERE)


def test_a_reload_while_it_is_being_found_out(lab, gw, zone):
    """What was asked for by the old list is not the verdict of the new one."""
    zone.held.add("late.test")
    target = fake(lab, "late.test")
    with lab.socket("cl", kind=socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        sock.connect_ex((target, PORT))
        wait_for(lambda: zone.types("late.test"), "it is asked")
        (lab.dir / "here.txt").write_text("192.0.2.0/24\n")
        gw.result("reload")
        zone.release()
        sock.settimeout(30)
        assert greeting(sock) == "proxy"
    assert way(lab, "late.test")[0] == "proxy"


def test_explain_tells_of_it(lab, gw):
    way(lab, "here.test")
    told = gw.result("explain", name="here.test")
    assert told["rule"] == "rest" and told["egress"] == "proxy"
    assert told["fakeip"]["verdict"]["by"] == "unless" and told["fakeip"]["verdict"]["egress"] == "near"
    rule, = told["rules"]
    assert rule["matched"] and all(word in rule["why"] for word in ("unless", "here-ip", "near")), rule
