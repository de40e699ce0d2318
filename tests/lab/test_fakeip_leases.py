"""Item 5: hosts of the LAN, by the lease files of dnsmasq and odhcpd."""
import os
import time

import pytest

from lab import addresses, has_fake_address, has_soa, rcode, rdata, ttls, wait_for
from waiting import moment

WATCH_S = 0.2
SOON = int(time.time()) + 3600
DNSMASQ = f"""\
{SOON} 02:00:00:00:00:01 192.168.77.50 laptop 01:02:00:00:00:00:01
0 02:00:00:00:00:02 192.168.77.51 Phone *
{SOON} 02:00:00:00:00:03 192.168.77.52 * *
100 02:00:00:00:00:04 192.168.77.53 gone *
{SOON} 02:00:00:00:00:05 192.168.77.54 www.bank.example *
duid 00:01:00:01:2a:3b:4c:5d:02:00:00:00:00:01
{SOON} 123456 fd77::50 laptop 00:01:00:01:aa
"""
ODHCPD = f"""\
192.168.77.60\tconsole.lan\tconsole
# br-lan 02000000000a 0 console {SOON} 3c 32 192.168.77.60/32
fd77::60\tconsole.lan\tconsole
# br-lan 00010001aabbccdd 1 console {SOON} 60 128 fd77::60/128
# br-lan 00010001aabbccde 1 - {SOON} 61 128 fd77::61/128
"""


def config(lab, **leases):
    return {"gateway": {"watch": f"{int(WATCH_S * 1000)}ms"}, "fakeip": {"store": ""},
            "rules": [{"name": "rest", "answer": "fake", "egress": "direct"}],
            "leases": {"files": [str(lab.dir / "dnsmasq.leases"), str(lab.dir / "odhcpd.leases")], **leases}}


def write(lab, name, text):
    """As dnsmasq and odhcpd do: a new file, then its name."""
    new = lab.dir / f"{name}.new"
    new.write_text(text)
    os.replace(new, lab.dir / name)


@pytest.fixture
def gw(lab, gateway):
    write(lab, "dnsmasq.leases", DNSMASQ)
    write(lab, "odhcpd.leases", ODHCPD)
    return gateway(config(lab))


HOSTS = [("laptop", ["192.168.77.50"], ["fd77::50"]), ("phone", ["192.168.77.51"], []),
         ("console", ["192.168.77.60"], ["fd77::60"])]


def test_hosts_are_answered(gw, lab):
    for host, four, six in HOSTS:
        for name in (host, f"{host}.lan", f"{host.upper()}.LAN"):
            assert lab.dig(name, "A", part="cl") == four
            assert lab.dig(name, "AAAA", part="cl") == six
        reply = gw.ask(f"{host}.lan", "AAAA" if six else "A")
        assert rcode(reply) == "NOERROR" and ttls(reply) == [60]
        reply = gw.ask(f"{host}.lan", "MX")
        assert rcode(reply) == "NOERROR" and not reply.answer and has_soa(reply)


def test_addresses_tell_their_names(gw, lab):
    for address, name in (("192.168.77.50", "laptop.lan."), ("fd77::50", "laptop.lan."), ("192.168.77.51", "phone.lan."),
                          ("192.168.77.60", "console.lan."), ("fd77::60", "console.lan.")):
        assert lab.run("cl", "dig", "+short", "@8.8.8.8", "-x", address).stdout.lower() == f"{name}\n"


def test_what_is_no_lease_of_ours(gw):
    assert rcode(gw.ask("gone.lan")) == "NXDOMAIN"  # it is over; upstream's word
    assert has_fake_address(gw.ask("www.bank.example"))  # a host may not call itself so
    assert has_fake_address(gw.ask("laptop.test"))


def test_explain_tells_the_lease(gw):
    result = gw.result("explain", name="laptop.lan")
    assert any("lease" in note for note in result["notes"]), result
    assert not any("lease" in note for note in gw.result("explain", name="web.test")["notes"])


@pytest.mark.parametrize("how", ["renamed", "in place"])
def test_a_changed_file_is_in_force_soon(gw, lab, how):
    assert not addresses(gw.ask("tablet.lan"))
    text = DNSMASQ.replace("192.168.77.50 ", "192.168.77.55 ") + f"{SOON} 02:00:00:00:00:09 192.168.77.59 tablet *\n"
    if how == "renamed":
        write(lab, "dnsmasq.leases", text)
    else:
        (lab.dir / "dnsmasq.leases").write_text(text)
    start = moment()
    wait_for(lambda: addresses(gw.ask("tablet.lan")) == ["192.168.77.59"], "the new lease")
    assert moment() - start < WATCH_S + 1
    assert addresses(gw.ask("laptop")) == ["192.168.77.55"]
    assert rdata(gw.ask("50.77.168.192.in-addr.arpa", "PTR"), "PTR") == []
    assert addresses(gw.ask("console")) == ["192.168.77.60"]  # of the other file


def test_a_file_that_comes_later_and_one_that_goes(gateway, lab):
    for name in ("dnsmasq.leases", "odhcpd.leases"):
        (lab.dir / name).unlink(missing_ok=True)
    gw = gateway(config(lab))
    assert gw.status()["problems"] == []
    assert not addresses(gw.ask("laptop.lan"))
    write(lab, "dnsmasq.leases", DNSMASQ)
    wait_for(lambda: addresses(gw.ask("laptop.lan")) == ["192.168.77.50"], "the file is read")
    (lab.dir / "dnsmasq.leases").unlink()
    wait_for(lambda: not addresses(gw.ask("laptop.lan")), "the file is gone")


def test_broken_lines_are_told_and_the_rest_counts(gateway, lab):
    write(lab, "dnsmasq.leases", "what is this\n" + DNSMASQ)
    gw = gateway(config(lab))
    assert gw.log_lines("dnsmasq.leases:1:")
    assert addresses(gw.ask("laptop")) == ["192.168.77.50"]


def test_answer_no_never_fakes_but_asks_upstream(gateway, lab):
    write(lab, "dnsmasq.leases", DNSMASQ + f"{SOON} 02:00:00:00:00:09 192.168.77.59 nas *\n")
    gw = gateway(config(lab, answer="no"))
    assert addresses(gw.ask("nas.lan")) == ["10.99.1.6"]  # upstream's
    assert rcode(gw.ask("laptop.lan")) == "NXDOMAIN"
    assert rdata(gw.ask("50.77.168.192.in-addr.arpa", "PTR"), "PTR") == []
    assert any("never fake" in note and "lease" in note for note in gw.result("explain", name="nas.lan")["notes"])


def test_another_domain(gateway, lab):
    """Names of leases win over a rule that fakes all, and over the list of never-fake names."""
    write(lab, "dnsmasq.leases", DNSMASQ)
    gw = gateway({**config(lab, domain="home.test"), "fakeip": {"store": "", "except": {"builtin": "no"}}})
    assert addresses(gw.ask("laptop.home.test")) == addresses(gw.ask("laptop")) == ["192.168.77.50"]
    assert rcode(gw.ask("laptop.lan")) == "NXDOMAIN"  # .lan is a name of the house all the same
    assert rdata(gw.ask("50.77.168.192.in-addr.arpa", "PTR"), "PTR") == ["laptop.home.test."]


def test_watch_0_only_by_reload(gateway, lab):
    write(lab, "dnsmasq.leases", DNSMASQ)
    gw = gateway({**config(lab), "gateway": {"watch": 0}})
    write(lab, "dnsmasq.leases", DNSMASQ.replace("laptop", "newname"))
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        assert addresses(gw.ask("laptop")) == ["192.168.77.50"]
    gw.result("reload")
    assert addresses(gw.ask("newname")) == ["192.168.77.50"]


def test_dnsmasq_itself(gateway, lab):
    """A lease that a real dnsmasq gave, over DHCP."""
    gw = gateway(config(lab))
    (lab.dir / "dnsmasq.leases").unlink(missing_ok=True)
    lab.dnsmasq("--port=0", "--interface=lan0", "--bind-interfaces", "--dhcp-range=192.168.77.100,192.168.77.110,1h",
                "--dhcp-leasefile=" + str(lab.dir / "dnsmasq.leases"), "--dhcp-authoritative", "--no-ping", user="root")
    with lab.socket("cl") as sock:
        sock.setsockopt(1, 6, 1)  # SO_BROADCAST
        sock.setsockopt(1, 25, b"eth0\0")  # SO_BINDTODEVICE
        sock.bind(("0.0.0.0", 68))
        mac = bytes.fromhex("020000000042")
        request = (b"\1\1\6\0" + b"tung" + b"\0\0\x80\0" + b"\0" * 16 + mac + b"\0" * 10 + b"\0" * 192 +
                   b"\x63\x82\x53\x63" + b"\x35\1\3" + b"\x32\4\xc0\xa8\x4d\x65" + b"\x0c\5robot" + b"\xff")
        sock.sendto(request.ljust(300, b"\0"), ("255.255.255.255", 67))
        wait_for(lambda: addresses(gw.ask("robot.lan")) == ["192.168.77.101"], "the host is known")
    assert rdata(gw.ask("101.77.168.192.in-addr.arpa", "PTR"), "PTR") == ["robot.lan."]
