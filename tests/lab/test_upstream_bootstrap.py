"""Issue 6, item 1: a start that needs no other DNS, and servers that have names."""
import contextlib
import json
import itertools
import subprocess

import pytest
import yaml

from lab import PROGRAM, base_config, merged, rcode, wait_for
from scripted import Scripted
from upstreams import SECURE, answered, behind, server
from waiting import moment

GOOD, AT, AT6 = "10.50.0.1", "10.99.0.54", "2001:db8:99::54"
BOTH = ["60 A " + AT, "60 AAAA " + AT6]


@pytest.fixture
def up(lab):
    with Scripted(lab, zone={"*": [f"60 A {GOOD}"]}, address=AT, more=[AT6]) as up:
        yield up


@pytest.fixture
def boot(lab):
    """The group's resolver."""
    with Scripted(lab, zone={"dns.test": BOTH}, address="10.99.0.55") as boot:
        yield boot


@pytest.fixture(autouse=True)
def no_file(lab):
    yield
    (lab.dir / "bootstrap.json").unlink(missing_ok=True)


def named(up, transport, boot, lab, **group):
    kind = {"https_get": "https"}.get(transport, transport)
    one = getattr(up, kind + "_by_name") if kind in SECURE else getattr(up, kind).replace(up.address, "dns.test")
    return behind({"url": one, **({"method": "get"} if transport == "https_get" else {})}, lab=lab, bootstrap="boot",
                  more={"boot": {"servers": [server(boot, "udp")], "timeout": "500ms", "health": "200ms"}}, **group)


def wait_answers(gw, what, timeout_s=10):
    """Of names that were not asked before: failures are remembered."""
    names = (f"q{n}.test" for n in itertools.count())
    wait_for(lambda: rcode(gw.ask(next(names), timeout_s=6)) == "NOERROR", what, timeout_s)


def bootstrap_questions(boot):
    return sorted((q["name"], q["type"]) for q in boot.queries() if q["type"] != "NS")


# --- names ---

@pytest.mark.parametrize("transport", ["udp", "tcp", "dns", "tls", "https", "https_get"])
def test_a_name_is_resolved_by_the_bootstrap(gateway, lab, up, boot, transport):
    """By both families, once for all questions."""
    gw = gateway(named(up, transport, boot, lab))
    for i in range(5):
        answered(gw.ask(f"q{i}.test"), GOOD)
    assert bootstrap_questions(boot) == [("dns.test", "A"), ("dns.test", "AAAA")]
    if transport in SECURE:
        assert {q["tls"]["sni"] for q in up.queries()} == {"dns.test"}
    seen = gw.status()["upstreams"]
    assert [s["failures"] for s in seen] == [0, 0] and all(s["up"] for s in seen)


@pytest.mark.parametrize("record", BOTH, ids=["v4", "v6"])
@pytest.mark.parametrize("transport", ["udp", "tls"])
def test_one_family_is_enough(gateway, lab, up, boot, transport, record):
    boot.set_zone({"dns.test": [record]})
    gw = gateway(named(up, transport, boot, lab))
    answered(gw.ask("a.test"), GOOD)
    assert up.queries()[0]["client"] == ("10.99.0.1" if " A " in record else "2001:db8:99::1")


@pytest.mark.parametrize("transport", ["udp", "tls", "https"])
def test_an_address_that_does_not_answer(gateway, lab, up, boot, transport):
    """The other one is used, and goes on being used."""
    boot.set_zone({"dns.test": ["60 A 10.99.0.99", "60 AAAA 2001:db8:99::99", *BOTH]})
    gw = gateway(named(up, transport, boot, lab, timeout="400ms", total="5s", health="200ms"))
    wait_answers(gw, "a good one is found")
    for i in range(5):
        answered(gw.ask(f"then{i}.test"), GOOD)


def test_one_family_without_a_route(gateway, lab, up, boot):
    lab.run("gw", "ip", "-6", "route", "add", "unreachable", AT6)
    try:
        gw = gateway(named(up, "tls", boot, lab))
        answered(gw.ask("a.test"), GOOD)
    finally:
        lab.run("gw", "ip", "-6", "route", "del", "unreachable", AT6)


def test_the_bootstrap_is_slow_in_one_family(gateway, lab, up, boot):
    """RFC 8305: it is not waited for."""
    boot.fault("silence", type="AAAA")
    gw = gateway(named(up, "tls", boot, lab))
    start = moment()
    answered(gw.ask("a.test"), GOOD)
    assert moment() - start < 2
    assert up.queries()[0]["client"] == "10.99.0.1"


def test_a_bootstrap_over_tls(gateway, lab, up, boot):
    """Encrypted from the first packet, as it stands at an address."""
    config = named(up, "tls", boot, lab)
    config["upstreams"]["boot"] = {"servers": [boot.tls_by_address], "ca": str(boot.ca)}
    gw = gateway(config)
    with lab.watch("gw", "wan0") as wire:
        answered(gw.ask("a.test"), GOOD)
        assert not [packet for packet in wire.packets() if b"dns\x04test" in packet.payload]


def test_a_server_that_moves(gateway, lab, up, boot):
    """When its addresses fail they are asked for again."""
    with Scripted(lab, zone={"*": ["60 A 10.50.0.2"]}, address="10.99.0.56") as moved:
        boot.set_zone({"dns.test": ["1 A " + AT]})
        gw = gateway(named(up, "tls", boot, lab, timeout="300ms", health="200ms"))
        answered(gw.ask("a.test"), GOOD)
        boot.set_zone({"dns.test": ["1 A " + moved.address]})
        up.end()
        wait_answers(gw, "moved", 40)


# --- the file ---

def addresses_on_disk(lab):
    file = lab.dir / "bootstrap.json"
    return json.loads(file.read_text()) if file.exists() else None


@pytest.mark.parametrize("transport", ["udp", "tls", "https"])
def test_the_last_good_addresses_are_kept(gateway, lab, up, boot, transport):
    gw = gateway(named(up, transport, boot, lab))
    answered(gw.ask("a.test"), GOOD)
    gw.stop()
    kept = addresses_on_disk(lab)
    assert sorted(kept["wan"]["dns.test"]) == [AT, AT6]
    boot.end()
    gw.start()
    answered(gw.ask("b.test"), GOOD)
    gw.stop()
    assert addresses_on_disk(lab) == kept


def test_they_are_kept_by_one_that_is_killed_later(gateway, lab, up, boot):
    gw = gateway(named(up, "tls", boot, lab))
    answered(gw.ask("a.test"), GOOD)
    wait_for(lambda: addresses_on_disk(lab), "it is written while it runs", 15)
    gw.kill()
    boot.end()
    gw.start()
    wait_for(lambda: rcode(gw.ask("b.test", timeout_s=2)) == "NOERROR", "it answers")


def test_what_is_kept_is_asked_for_again(gateway, lab, up, boot):
    """It may be old: whoever is up is found, and the file is new then."""
    (lab.dir / "bootstrap.json").write_text(json.dumps({"wan": {"dns.test": ["10.99.0.99"]}}))
    gw = gateway(named(up, "tls", boot, lab, timeout="500ms"))
    wait_answers(gw, "it answers")
    gw.stop()
    assert set(addresses_on_disk(lab)["wan"]["dns.test"]) >= {AT, AT6}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"wan": 5}', '{"wan": {"dns.test": ["x"]}}', "\0" * 5000,
                                  '{"wan": {"dns.test": ["127.0.0.1", 7]}}', "[" * 100000])
def test_a_damaged_file(gateway, lab, up, boot, text):
    (lab.dir / "bootstrap.json").write_text(text)
    gw = gateway(named(up, "tls", boot, lab))
    answered(gw.ask("a.test"), GOOD)
    assert gw.log_lines("warn: ", "bootstrap.json"), gw.log()
    gw.stop()
    assert set(addresses_on_disk(lab)["wan"]["dns.test"]) == {AT, AT6}


# --- without a network ---

@contextlib.contextmanager
def unplugged(lab):
    """Neither link nor route, as before a DHCP client has run."""
    routes = [("-4", lab.run("gw", "ip", "route", "show", "default").stdout.split()),
              ("-6", lab.run("gw", "ip", "-6", "route", "show", "default").stdout.split())]
    link, = [link for link in lab.ip("addr") if link["ifname"] == "wan0"]
    addresses = [a for a in link["addr_info"] if a["scope"] == "global"]
    lab.run("gw", "ip", "addr", "flush", "dev", "wan0", "scope", "global")
    lab.run("gw", "ip", "link", "set", "wan0", "down")

    def plug():
        if routes:
            lab.run("gw", "ip", "link", "set", "wan0", "up")
            for a in addresses:
                nodad = ["nodad"] if a["family"] == "inet6" else []
                lab.run("gw", "ip", "addr", "add", f"{a['local']}/{a['prefixlen']}", "dev", "wan0", *nodad)
            for family, route in routes:
                lab.run("gw", "ip", family, "route", "replace", "default", "via", route[2], "dev", "wan0")
            routes.clear()
    try:
        yield plug
    finally:
        plug()


@pytest.mark.parametrize("transport", ["udp", "tls", "https"])
@pytest.mark.parametrize("by", ["address", "name"])
def test_a_start_without_a_network(gateway, lab, up, boot, transport, by):
    """SERVFAIL at once, and answers within seconds of the network."""
    config = named(up, transport, boot, lab) if by == "name" else behind(server(up, transport), lab=lab)
    with unplugged(lab) as plug:
        gw = gateway(config)
        for i in range(3):
            assert rcode(gw.ask(f"early{i}.test", timeout_s=6)) == "SERVFAIL"
        plug()
        wait_answers(gw, "answers, names of before apart", 3)
        wait_for(lambda: rcode(gw.ask("early0.test", timeout_s=6)) == "NOERROR", "failures are forgotten", 6)
        assert all(s["up"] for s in gw.status()["upstreams"] if s["group"] == "wan")


# --- circles ---

CIRCLES = {
    "itself": {"upstreams": {"wan": {"servers": ["tls://dns.test"], "bootstrap": "wan"}}},
    "two": {"upstreams": {"wan": {"servers": ["tls://dns.test"], "bootstrap": "b"},
                          "b": {"servers": ["tls://dns.other.test"], "bootstrap": "wan"}}},
    "three": {"upstreams": {"wan": {"servers": ["https://dns.test/x"], "bootstrap": "b"},
                            "b": {"servers": ["udp://b.test"], "bootstrap": "c"},
                            "c": {"servers": ["tcp://c.test"], "bootstrap": "wan"}}},
    "the-proxys-name": {"upstreams": {"wan": {"servers": ["tls://1.1.1.1"], "via": "p"}},
                        "egress": {"p": {"type": "socks5", "server": "proxy.test:1080", "bootstrap": "wan"}}},
    "the-proxys-bootstrap": {"upstreams": {"wan": {"servers": ["tls://1.1.1.1"], "via": "p"},
                                           "b": {"servers": ["tls://b.test"], "bootstrap": "wan"}},
                             "egress": {"p": {"type": "socks5", "server": "proxy.test:1080", "bootstrap": "b"}}},
}
FINE = {
    "an-address": {"upstreams": {"wan": {"servers": ["tls://dns.test"], "bootstrap": "b"},
                                 "b": {"servers": ["udp://10.99.0.53"]}}},
    "by-the-proxy": {"upstreams": {"wan": {"servers": ["tls://dns.test"], "via": "p"}},
                     "egress": {"p": {"type": "socks5", "server": "10.99.0.2:1080"}}},
    "the-proxys-name-by-another": {
        "upstreams": {"wan": {"servers": ["tls://dns.test"], "via": "p"}, "b": {"servers": ["udp://10.99.0.53"]}},
        "egress": {"p": {"type": "http", "server": "proxy.test:1080", "bootstrap": "b"}}},
    "one-server-has-an-address": {
        "upstreams": {"wan": {"servers": ["tls://dns.test", "tls://1.1.1.1"], "bootstrap": "b"},
                      "b": {"servers": ["udp://10.99.0.53"], "fallback": "wan", "downgrade": True}}},
}


def check(tmp_path, lab, config):
    file = tmp_path / "checked.yaml"
    file.write_text(yaml.safe_dump(merged(base_config(lab), config), sort_keys=False))
    return subprocess.run([PROGRAM, "check", "-c", file], capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("which", CIRCLES)
def test_check_refuses_a_circle(lab, tmp_path, which):
    done = check(tmp_path, lab, CIRCLES[which])
    assert done.returncode == 1
    assert "checked.yaml:" in done.stderr and "wan" in done.stderr


@pytest.mark.parametrize("which", FINE)
def test_check_takes_what_is_none(lab, tmp_path, which):
    done = check(tmp_path, lab, FINE[which])
    assert done.returncode == 0, done.stderr


def test_a_name_without_a_bootstrap(lab, tmp_path):
    done = check(tmp_path, lab, {"upstreams": {"wan": {"servers": ["tls://dns.test"]}}})
    assert done.returncode == 1 and "bootstrap" in done.stderr
