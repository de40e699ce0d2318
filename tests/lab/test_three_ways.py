"""One name, three clients: directly, by a marked uplink and by a proxy, all at once, over a reload and a restart."""
import socket

import pytest

from lab import addresses, greeter
from test_carry import MODES, REAL
from test_uplinks import second_uplink  # noqa: F401 (a fixture)

FAMILIES = (socket.AF_INET, socket.AF_INET6)
CLIENTS = {"direct": ("192.168.77.2", "fd77::2"), "vpn": ("192.168.77.12", "fd77::12"),
           "proxy": ("192.168.77.13", "fd77::13")}
PORT = 9000


def rules(of):
    return [{"name": f"for-{name}", "domain": ["web.test"], "client": list(CLIENTS[name]), "answer": "fake",
             "egress": egress} for name, egress in of.items()]


def config(of):
    return {"egress": {"vpn": {"type": "direct", "mark": "0x20", "upstream": "wan"},
                       "proxy": {"type": "socks5", "server": "10.99.0.2:1080"}},
            "rules": rules(of)}


AS_NAMED = {name: name for name in CLIENTS}


@pytest.fixture
def three_clients(lab):
    for name in ("vpn", "proxy"):
        four, six = CLIENTS[name]
        lab.ip("addr", "add", f"{four}/24", "dev", "eth0", part="cl")
        lab.ip("addr", "add", f"{six}/64", "dev", "eth0", "nodad", part="cl")
    yield
    for name in ("vpn", "proxy"):
        four, six = CLIENTS[name]
        lab.ip("addr", "del", f"{four}/24", "dev", "eth0", part="cl")
        lab.ip("addr", "del", f"{six}/64", "dev", "eth0", part="cl")


class Ways:
    """Which way each client's connections go, and that what lives is left alone."""

    def __init__(self, lab, usual, marked):
        self.lab, self.usual, self.marked = lab, usual, marked

    def fake(self, name, family):
        client = CLIENTS[name][family == socket.AF_INET6]
        rdtype, server = ("A", "8.8.8.8") if family == socket.AF_INET else ("AAAA", "2001:4860:4860::8888")
        return addresses(self.lab.ask("web.test", rdtype, server, source=client))[0]

    def all_fakes(self):
        return {(name, family): self.fake(name, family) for name in CLIENTS for family in FAMILIES}

    def connect(self, name, family):
        client = CLIENTS[name][family == socket.AF_INET6]
        sock = self.lab.connect(self.fake(name, family), tcp=True, port=PORT, source=client)
        assert sock.recv(100).decode().split()[0] == REAL[family] or name == "proxy"
        return sock

    def way(self, name, family):
        """A new connection's: "usual", "marked", or "proxy" if neither uplink saw the client."""
        client = CLIENTS[name][family == socket.AF_INET6]
        with self.lab.connect(self.fake(name, family), tcp=True, port=PORT, source=client) as sock:
            sock.recv(100)
            port = sock.getsockname()[1]

            def saw(watched):
                return any(p.source_port == port and p.target == REAL[family] for p in watched.packets())
            seen = saw(self.usual), saw(self.marked)
        return {(True, False): "usual", (False, True): "marked", (False, False): "proxy"}[seen]


def echoes(sock, word):
    sock.sendall(word)
    return sock.recv(100) == word


@pytest.mark.parametrize("intercept", MODES)
def test_three_clients_three_ways(lab, gateway, second_uplink, three_clients, intercept):  # noqa: F811
    usual_way = {"direct": "usual", "vpn": "marked", "proxy": "proxy"}
    lab.microsocks()
    gw = gateway(config(AS_NAMED), intercept)
    with greeter(lab, REAL[socket.AF_INET], PORT), greeter(lab, REAL[socket.AF_INET6], PORT), \
            lab.watch("gw", "wan0") as usual, lab.watch("gw", "wan1") as marked:
        ways = Ways(lab, usual, marked)
        fakes = ways.all_fakes()
        assert len(set(fakes.values())) == 6  # a pair for each
        found = gw.result("fakeip.lookup", name="web.test")
        assert sorted(m["egress"] for m in found) == ["direct", "proxy", "vpn"]
        assert len({m["view"] for m in found}) == 3
        for name, way in usual_way.items():
            for family in FAMILIES:
                assert ways.way(name, family) == way, (name, family)
        live = {(name, family): ways.connect(name, family) for name in CLIENTS for family in FAMILIES}

        # A reload that changes nothing, then one by which two clients change their ways.
        gw.result("reload")
        assert ways.all_fakes() == fakes
        gw.rewrite(config({"direct": "proxy", "vpn": "vpn", "proxy": "direct"}), intercept)
        gw.result("reload")
        assert ways.all_fakes() == fakes
        assert all(echoes(sock, b"still here") for sock in live.values())
        for family in FAMILIES:
            assert ways.way("direct", family) == "proxy" and ways.way("proxy", family) == "usual"
            assert ways.way("vpn", family) == "marked"
        assert all(echoes(sock, b"and here") for sock in live.values())
        for sock in live.values():
            sock.close()

        # A restart, by the old rules: the same pairs, the old ways.
        gw.rewrite(config(AS_NAMED), intercept)
        gw.stop()
        gw.start()
        assert ways.all_fakes() == fakes
        for name, way in usual_way.items():
            for family in FAMILIES:
                assert ways.way(name, family) == way, (name, family)
