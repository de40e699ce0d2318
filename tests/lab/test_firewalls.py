"""Item 1: beside the host's own firewall and its own DNS server."""
import re

import pytest

from lab import ROOT, addresses, is_fake, rcode, wait_for

MODES = pytest.mark.parametrize("intercept", ["tun", "tproxy"])
# What fw4, docker and firewalld make of forwarding.
DROP = """
table inet fw {
    chain forward {
        type filter hook forward priority filter; policy drop
        ct state established,related accept
        iifname lan0 oifname wan0 accept
    }
}"""


@pytest.fixture
def clean_firewall(lab):
    yield
    lab.nft("add table inet fw; delete table inet fw")


@pytest.fixture
def drop(lab, clean_firewall):
    lab.nft(DROP)


def assert_dns_works(gw):
    for server in ("8.8.8.8", "2001:4860:4860::8888", "192.168.77.1", "fe80::1%eth0"):
        for tcp in (False, True):
            assert is_fake(addresses(gw.ask("web.test", "A", server=server, tcp=tcp)))
            assert is_fake(addresses(gw.ask("web.test", "AAAA", server=server, tcp=tcp)))


def assert_fake_addresses_carry(lab):
    for family in ("-4", "-6"):
        # A lost first packet would cost a second.
        page, connected_s = lab.curl("http://web.test/", family, "-w", "%{time_connect}").stdout.rsplit("\n", 1)
        assert page == "hello from web.test" and float(connected_s) < 0.9
        assert " 1 received" in lab.run("cl", "ping", family, "-c", "1", "-W", "20", "web.test").stdout
        assert "hello from web.test" in lab.curl("http://web.test/", family, part="gw").stdout


def mode(gw, wanted):
    wait_for(lambda: gw.status()["intercept"] == wanted, f"interception by {wanted}")


def test_auto_takes_tun_where_nothing_is_in_the_way(gateway, lab):
    gw = gateway(intercept="auto")
    status = gw.status()
    assert status["intercept"] == "tun"
    assert status["problems"] == []
    # What the probe needs is in nobody's way when it is over.
    assert "chain probe" not in lab.run("gw", "nft", "list", "table", "inet", "tungate").stdout
    assert_dns_works(gw)


def test_a_host_that_drops_what_it_does_not_know(gateway, lab, drop):
    gw = gateway(intercept="auto")
    status = gw.status()
    assert status["intercept"] == "tproxy"
    advice = [p for p in status["problems"] if "firewall" in p]
    assert len(advice) == 1
    for line in ('iifname "lan0" oifname "tungate0" accept', 'iifname "tungate0" oifname "lan0" accept'):
        assert line in advice[0]
    assert_dns_works(gw)
    assert_fake_addresses_carry(lab)
    assert is_fake(lab.dig("web.test"))
    # Forwarding of all else is as the host's firewall says.
    assert "hello" in lab.curl("http://10.99.0.10/").stdout


def test_the_lines_it_tells_are_the_lines_that_help(gateway, lab, drop):
    gw = gateway(intercept="auto")
    advice, = [p for p in gw.status()["problems"] if "firewall" in p]
    lines = [line.strip() for line in advice.split("pass:", 1)[1].split("(")[0].split(";")]
    assert len(lines) == 2
    for line in lines:
        lab.nft(f"add rule inet fw forward {line}")
    mode(gw, "tun")
    assert not [p for p in gw.status()["problems"] if "firewall" in p]
    assert_dns_works(gw)
    assert_fake_addresses_carry(lab)


# What a host makes of its input that serves nothing itself.
SHUT = """
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop
        ct state established,related accept
        meta l4proto icmpv6 accept
        iifname != lan0 accept
    }
}"""


@pytest.fixture
def shut(lab):
    lab.nft(SHUT)
    yield
    lab.nft("add table inet filter; delete table inet filter")


def manuals_line(gw):
    """The rule that tungate(8) tells; its mark is what `status` calls tproxy."""
    text = (ROOT / "conf" / "man" / "tungate.8").read_text().replace("\\(aq", "'")
    line, mark = re.search(r"^\.Dl nft '(insert rule .* & (0x[0-9a-f]+) == .*)'$", text, re.MULTILINE).groups()
    assert gw.status()["marks"]["tproxy"] == f"{mark}/{mark}"
    return line


@MODES
def test_the_manuals_line_lets_the_relay_work(gateway, lab, shut, intercept):
    proxy = lab.dante()
    gw = gateway({"egress": {"proxy": {"type": "socks5", "server": proxy.server}},
                  "rules": [{"name": "rest", "answer": "fake", "egress": "proxy"}]}, intercept)
    assert not relayed(lab, gw)
    lab.nft(manuals_line(gw))
    assert is_fake(addresses(gw.ask("web.test", server="192.168.77.1")))
    assert relayed(lab, gw)


def relayed(lab, gw):
    """True if connections of the client through the proxy stand, False if none does."""
    mapping = gw.request("fakeip.lookup", name="web.test")
    if not mapping["ok"]:  # this host asks itself, which no firewall of the LAN's sees
        assert is_fake(addresses(gw.ask("web.test", part="gw", server="8.8.8.8")))
        mapping = gw.request("fakeip.lookup", name="web.test")
    stood = []
    for family, address in (("-4", mapping["result"]["v4"]), ("-6", f"[{mapping['result']['v6']}]")):
        done = lab.curl(f"http://{address}/", family, "-m", "1.5", check=False)
        assert (done.stdout == "hello from web.test\n") == (done.returncode == 0)
        stood.append(done.returncode == 0)
    assert stood[0] == stood[1]
    return stood[0]


def test_a_firewall_that_comes_and_goes(gateway, lab, clean_firewall):
    gw = gateway(intercept="auto")
    for _ in range(2):
        mode(gw, "tun")
        assert_dns_works(gw)
        lab.nft(DROP)
        mode(gw, "tproxy")
        assert_dns_works(gw)
        assert_fake_addresses_carry(lab)
        lab.nft("delete table inet fw")
    mode(gw, "tun")
    assert_fake_addresses_carry(lab)


def test_a_firewall_whose_policy_alone_changes(gateway, lab, clean_firewall):
    lab.nft(DROP.replace("policy drop", "policy accept"))
    gw = gateway(intercept="auto")
    mode(gw, "tun")
    lab.nft("add chain inet fw forward { policy drop; }")
    mode(gw, "tproxy")
    lab.nft("add chain inet fw forward { policy accept; }")
    mode(gw, "tun")


def test_a_firewall_that_is_loaded_anew(gateway, lab, drop):
    """As fw4 does: in one transaction, all of it goes and comes again."""
    gw = gateway(intercept="auto")
    for _ in range(3):
        lab.nft("delete table inet fw\n" + DROP)
        assert_dns_works(gw)
    lab.run("gw", "nft", "flush", "ruleset")
    assert_dns_works(gw)
    mode(gw, "tun")


@MODES
def test_tungates_own_connections_pass_a_strict_output(gateway, lab, clean_firewall, intercept):
    """A firewall that lets only DNS, the web and what is established out and in: upstream queries need no more."""
    lab.nft("""table inet fw {
        chain input { type filter hook input priority filter; policy accept; iifname wan0 ct state new drop; }
        chain output { type filter hook output priority filter; policy accept; oifname wan0 udp dport != 53 drop; }
    }""")
    gw = gateway(intercept=intercept)
    assert addresses(gw.ask("a.real.test")) == ["10.99.0.10"]
    assert_dns_works(gw)


@MODES
def test_a_host_that_translates_addresses(gateway, lab, clean_firewall, intercept):
    """The usual router: what leaves by wan0 is masqueraded."""
    lab.nft("table inet fw { chain srcnat { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }; }")
    gw = gateway(intercept=intercept)
    assert addresses(gw.ask("a.real.test")) == ["10.99.0.10"]
    assert_dns_works(gw)
    assert_fake_addresses_carry(lab)


@MODES
@pytest.mark.parametrize("value", [0, 1, 2])
def test_reverse_path_filters(gateway, lab, intercept, value):
    for name in ("all", "default", "lan0", "wan0"):
        lab.run("gw", "sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter={value}")
    try:
        gw = gateway(intercept=intercept)
        assert_dns_works(gw)
        assert_fake_addresses_carry(lab)
        assert addresses(gw.ask("a.real.test")) == ["10.99.0.10"]
    finally:
        for name in ("all", "default", "lan0", "wan0"):
            lab.run("gw", "sysctl", "-qw", f"net.ipv4.conf.{name}.rp_filter=0")


# --- beside another DNS server ---

OTHER = "9.9.9.9"  # what the host's dnsmasq says


def wildcard(lab):
    """On port 53 of every address, both families, UDP and TCP."""
    process = lab.dnsmasq(f"--address=/web.test/{OTHER}", "--server=10.99.0.53")
    listening = lab.run("gw", "ss", "-Hlntu", "sport = 53").stdout
    assert "0.0.0.0:53" in listening and "[::]:53" in listening
    return process


@MODES
def test_a_wildcard_dnsmasq_that_was_there_before(gateway, lab, intercept):
    wildcard(lab)
    for server in ("192.168.77.1", "fd77::1", "fe80::1%eth0"):
        assert addresses(lab.ask("web.test", server=server)) == [OTHER]
    gw = gateway(intercept=intercept)
    assert_dns_works(gw)
    assert addresses(gw.ask("web.test", server="127.0.0.1", part="gw")) == [OTHER]
    gw.stop()
    for server in ("192.168.77.1", "fd77::1", "fe80::1%eth0"):
        for tcp in (False, True):
            assert addresses(lab.ask("web.test", server=server, tcp=tcp)) == [OTHER]


@MODES
def test_a_wildcard_dnsmasq_that_comes_later(gateway, lab, intercept):
    gw = gateway(intercept=intercept)
    assert_dns_works(gw)
    wildcard(lab)
    assert_dns_works(gw)
    assert addresses(gw.ask("web.test", server="127.0.0.1", part="gw")) == [OTHER]


@MODES
def test_the_hosts_dnsmasq_as_upstream(gateway, lab, intercept):
    """Exempt, on a loopback address: the usual way to keep its names."""
    wildcard(lab)
    gw = gateway({"gateway": {"exempt": {"uid": ["nobody"]}}, "upstreams": {"wan": {"servers": ["udp://127.0.0.1"]}}},
                 intercept)
    assert addresses(gw.ask("a.real.test")) == ["10.99.0.10"]
    assert rcode(gw.ask("none.real.test")) == "NXDOMAIN"
    assert_dns_works(gw)
