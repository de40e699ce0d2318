"""Item 1: who of this host is exempt, and what is taken with `gateway.self: no` and on interfaces that come later."""
import os
import pathlib
import subprocess

import pytest

from lab import STATE, addresses, is_fake, wait_for

REAL = ["10.99.0.10"]  # web.test, when the gateway does not answer
NOBODY, NOGROUP = 65534, 65534
MODES = pytest.mark.parametrize("intercept", ["tun", "tproxy"])


def assert_only_exempt(lab, exempt, others):
    """exempt and others: options of lab.dig. Over UDP and TCP, IPv4 and IPv6."""
    for server in ("8.8.8.8", "2001:4860:4860::8888"):
        assert lab.dig("web.test", "A", server, **exempt) == REAL
        assert lab.dig("web.test", "+tcp", server, **exempt) == REAL
        assert is_fake(lab.dig("web.test", "A", server, **others))
        assert is_fake(lab.dig("web.test", "+tcp", server, **others))


@MODES
def test_without_self_only_the_lan_is_taken(gateway, intercept):
    gw = gateway({"gateway": {"self": False}}, intercept)
    for server in ("8.8.8.8", "2001:4860:4860::8888"):
        for tcp in (False, True):
            assert addresses(gw.ask("web.test", "A", server=server, part="gw", tcp=tcp)) == REAL
            assert is_fake(addresses(gw.ask("web.test", "A", server=server, tcp=tcp)))


@MODES
def test_an_exempt_user(gateway, lab, intercept):
    gateway({"gateway": {"exempt": {"uid": ["nobody"]}}}, intercept)
    assert_only_exempt(lab, {"uid": NOBODY}, {"uid": 12345})


@MODES
def test_an_exempt_group(gateway, lab, intercept):
    gateway({"gateway": {"exempt": {"gid": [12347]}}}, intercept)
    assert_only_exempt(lab, {"uid": NOBODY, "gid": 12347}, {"uid": NOBODY, "gid": NOGROUP})


@pytest.fixture
def cgroup():
    """A folder of the cgroup2 hierarchy with the path that the configuration names."""
    mounts = [line.split() for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
    mount = next((pathlib.Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)
    mounted = None
    if mount is None or not os.access(mount, os.W_OK):
        mounted = STATE / f"cgroup2-{os.getpid()}"
        mounted.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "cgroup2", "none", mounted], check=True)
        mount = mounted
    folder = mount / f"tg-{os.getpid()}" / "dnsmasq.service"
    folder.mkdir(parents=True)
    yield folder, str(folder.relative_to(mount))
    wait_for(lambda: not (folder / "cgroup.procs").read_text(), "the cgroup is empty")
    folder.rmdir()
    folder.parent.rmdir()
    if mounted:
        subprocess.run(["umount", mounted], check=True)
        mounted.rmdir()


@MODES
def test_an_exempt_cgroup(gateway, lab, cgroup, intercept):
    folder, path = cgroup
    gateway({"gateway": {"exempt": {"cgroup": [path]}}}, intercept)
    assert_only_exempt(lab, {"cgroup": folder}, {"cgroup": folder.parent})


@MODES
def test_an_exempt_mark(gateway, intercept):
    gw = gateway({"gateway": {"exempt": {"mark": ["0x40/0xc0"]}}}, intercept)
    for server in ("8.8.8.8", "2001:4860:4860::8888"):
        for tcp in (False, True):
            how = {"server": server, "part": "gw", "tcp": tcp}
            assert addresses(gw.ask("web.test", mark=0x40, **how)) == REAL
            assert addresses(gw.ask("web.test", mark=0x41, **how)) == REAL  # the mask leaves bit 0 out
            assert is_fake(addresses(gw.ask("web.test", mark=0xc0, **how)))
            assert is_fake(addresses(gw.ask("web.test", **how)))


@MODES
def test_the_gateways_own_mark_is_exempt(gateway, intercept):
    gw = gateway({"gateway": {"mark": "0x01000000/0x01000000"}}, intercept)
    assert addresses(gw.ask("web.test", part="gw", mark=0x01000000)) == REAL
    assert is_fake(addresses(gw.ask("web.test", part="gw", mark=0x10000000)))
    assert is_fake(addresses(gw.ask("web.test")))


@MODES
def test_an_exempt_target(gateway, intercept):
    gw = gateway({"gateway": {"exempt": {"to": ["1.1.1.0/24", "2001:4860::/32"]}}}, intercept)
    for tcp in (False, True):
        for part in ("gw", "cl"):  # nobody's queries to there are taken
            assert addresses(gw.ask("web.test", server="1.1.1.1", part=part, tcp=tcp)) == REAL
            assert addresses(gw.ask("web.test", server="2001:4860:4860::8888", part=part, tcp=tcp)) == REAL
            assert is_fake(addresses(gw.ask("web.test", server="8.8.8.8", part=part, tcp=tcp)))


@pytest.fixture
def guest(lab):
    """A guest bridge on the router; the client has a leg in it, 192.168.88.2."""
    lab.run("gw", "ip", "link", "add", "guest0", "type", "veth", "peer", "name", "eth1", "netns", lab.namespace("cl"))
    lab.run("gw", "ip", "addr", "add", "192.168.88.1/24", "dev", "guest0")
    lab.run("gw", "ip", "link", "set", "guest0", "up")
    lab.run("cl", "ip", "addr", "add", "192.168.88.2/24", "dev", "eth1")
    lab.run("cl", "ip", "link", "set", "eth1", "up")
    yield "192.168.88.1"
    lab.run("gw", "ip", "link", "del", "guest0")


@MODES
@pytest.mark.parametrize("is_exempt", [True, False], ids=["exempt", "not-exempt"])
def test_a_guest_network_behind_this_hosts_dnsmasq(gateway, lab, guest, intercept, is_exempt):
    """An exempt dnsmasq never sees a fake address, so its guests do not either. Without the exemption it would."""
    lab.dnsmasq("--server=8.8.8.8", f"--listen-address={guest}", "--bind-interfaces")
    gw = gateway({"gateway": {"exempt": {"uid": ["nobody"]} if is_exempt else {}}}, intercept)
    for tcp in (False, True):
        got = addresses(gw.ask("web.test", server=guest, tcp=tcp))
        assert got == REAL if is_exempt else is_fake(got)
    assert is_fake(addresses(gw.ask("web.test")))  # the LAN's own are taken as ever


@MODES
def test_a_guest_network_is_not_ours_to_take(gateway, lab, guest, intercept):
    """Queries that come in elsewhere than gateway.lan are forwarded as they are."""
    gw = gateway({}, intercept)
    lab.run("wan", "ip", "route", "add", "192.168.88.0/24", "via", "10.99.0.1")
    lab.run("cl", "ip", "rule", "add", "from", "192.168.88.2", "lookup", "88")
    lab.run("cl", "ip", "route", "add", "default", "via", guest, "table", "88")
    try:
        for tcp in (False, True):
            assert addresses(gw.ask("web.test", source="192.168.88.2", tcp=tcp)) == REAL
    finally:
        lab.run("cl", "ip", "rule", "del", "from", "192.168.88.2", "lookup", "88")
        lab.run("wan", "ip", "route", "del", "192.168.88.0/24")


@MODES
def test_an_interface_that_comes_later_is_taken(gateway, lab, intercept, request):
    gw = gateway({"gateway": {"lan": ["lan0", "guest*"]}}, intercept)
    server = request.getfixturevalue("guest")
    for tcp in (False, True):
        assert is_fake(addresses(gw.ask("web.test", server=server, tcp=tcp)))
    assert is_fake(addresses(gw.ask("web.test", server="8.8.8.8")))
