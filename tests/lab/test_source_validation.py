"""A host whose source validation takes marks along (src_valid_mark: wg-quick sets it for a full tunnel)."""
import socket

import pytest

from lab import addresses, is_fake
from test_real_carried import FAMILIES, MODES, PARTS, REAL, request, who
from test_real_relayed import configured, far  # noqa: F401 (far: a fixture)

NAMES = ("all", "default", "lan0", "wan0")
RULES = [{"name": "proxied", "domain": ["p.test"], "answer": "fake", "egress": "proxy"},
         {"name": "carried", "domain": ["real.test"], "answer": "real", "egress": "proxy"},
         {"name": "rest", "answer": "fake", "egress": "direct"}]
FAR = {socket.AF_INET: "8.8.8.8", socket.AF_INET6: "2001:4860:4860::8888"}
ROUTER = {socket.AF_INET: "192.168.77.1", socket.AF_INET6: "fd77::1"}


def set_filters(lab, reverse_path, marks_too):
    for name in NAMES:
        lab.run("gw", "sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter={reverse_path}")
    lab.run("gw", "sysctl", "-qw", f"net.ipv4.conf.all.src_valid_mark={marks_too}")


@pytest.fixture(params=[0, 1, 2], ids=["off", "strict", "loose"])
def validation(request, lab):
    set_filters(lab, request.param, 1)
    yield
    set_filters(lab, 0, 0)


@pytest.fixture
def gw(gateway, far, validation, intercept):  # noqa: F811
    return gateway(configured({}, RULES), intercept)


def ask(gw, name, family, part, **how):
    """A server that this host does not have; and, of the LAN, the router's own addresses."""
    rdtype = "A" if family == socket.AF_INET else "AAAA"
    got = addresses(gw.ask(name, rdtype, FAR[family], part=part, **how))
    if part == "cl":
        assert addresses(gw.ask(name, rdtype, ROUTER[family], **how)) == got
    return got[0]


@MODES
@FAMILIES
@PARTS
def test_everything_works(lab, gw, intercept, part, family):
    for tcp in (False, True):
        assert is_fake([ask(gw, "web.test", family, part, tcp=tcp)])
    direct = ask(gw, "web.test", family, part)
    assert who(lab, direct, part).startswith(REAL[family])
    fake = ask(gw, "x.p.test", family, part)
    for _ in range(2):
        assert who(lab, fake, part, first=request("x.p.test")) == "proxy x.p.test"
    with lab.connect(fake, part, port=7777) as sock:
        sock.send(b"x")
        assert sock.recv(100) == b"proxy x.p.test"
    carried = ask(gw, "a.real.test", family, part)
    assert carried == REAL[family]
    assert who(lab, carried, part).startswith("proxy ")
    with lab.connect(carried, part, port=7777) as sock:
        sock.send(b"x")
        assert sock.recv(100).startswith(b"proxy ")
