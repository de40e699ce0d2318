"""Items 2 and 4: `fakeip flush` while flows live."""
import socket
import time

import pytest

from lab import Download, Upstream, addresses, answer_to, greeter, is_fake, wait_for

WAYS = pytest.mark.parametrize("name", ["web.test", "v4only.test"], ids=["direct", "socks5"])


@pytest.fixture
def gw(lab, gateway, tmp_path):
    lab.microsocks()
    return gateway({
        "fakeip": {"store": str(tmp_path / "table.db")},
        "egress": {"proxy": {"type": "socks5", "server": "10.99.0.2:1080", "upstream": "wan"}},
        "rules": [{"name": "far", "domain": ["v4only.test"], "answer": "fake", "egress": "proxy"},
                  {"name": "rest", "answer": "fake", "egress": "direct"}]})


def four(gw, name):
    address, = addresses(gw.ask(name))
    assert is_fake([address]), f"{name} is {address}; {gw.status()}\n{gw.log()}"
    return address


@WAYS
@pytest.mark.parametrize("by", ["name", "address", "all"])
def test_a_download_outlives_a_flush(gw, lab, name, by):
    old = four(gw, name)
    download = Download(lab, name)
    words = {"name": [name], "address": [old], "all": []}[by]
    done = gw.cli("fakeip", "flush", *words)
    assert done.stdout.split(":")[0] == "1 flushed, of these 1 still in use"
    new = four(gw, name)
    assert is_fake([new]) and new != old
    by_name = gw.result("fakeip.lookup", name=name)
    assert (by_name["v4"], by_name["state"], by_name["flushed"]) == (new, "live", False)
    by_address = gw.result("fakeip.lookup", address=old)
    assert (by_address["name"], by_address["state"], by_address["flushed"]) == (name, "hold", True)
    shown = gw.cli("fakeip", "lookup", old).stdout
    assert shown.startswith(f"{name}\n") and old in shown and "hold" in shown
    status = gw.status()["fakeip"]
    assert (status["used"], status["flushed"]) == (2, 1)
    # A client that still has the old answer, as well as one that asks again.
    assert lab.curl(f"http://{name}/", "--resolve", f"{name}:80:{old}").stdout == "hello from web.test\n"
    assert lab.curl(f"http://{name}/", "-4").stdout == "hello from web.test\n"
    download.finish()


@WAYS
@pytest.mark.parametrize("part", ["name", "all"])
def test_a_connection_that_is_being_made_outlives_a_flush(gw, lab, name, part):
    """Its SYN waits for a slow resolver, or a slow proxy's."""
    def slow(wire, client, send):
        time.sleep(0.3)
        send(answer_to(wire, *(["60 A 10.99.0.10"] if wire[wire.index(b"\0", 12) + 2] == 1 else [])))
    with Upstream(lab, slow, "10.99.0.2", port=5355) as upstream, greeter(lab, "10.99.0.10"):
        gw.rewrite({**gw.config, "upstreams": {"wan": {"servers": ["udp://10.99.0.2:5355"]}}})
        gw.result("reload")
        old = four(gw, name)
        sock = lab.socket("cl", socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.connect_ex((old, 9000))
        if name == "web.test":
            wait_for(lambda: upstream.queries, "the name is being resolved")
        gw.result("fakeip.flush", **({"name": name} if part == "name" else {}))
        assert four(gw, name) != old
        sock.settimeout(30)
        with sock:
            assert sock.recv(100).decode().split()[0] == "10.99.0.10"


def test_a_flush_of_all(gw):
    before = {f"n{i}.test": four(gw, f"n{i}.test") for i in range(20)}
    assert gw.result("fakeip.flush") == {"flushed": 20, "kept": 20}
    after = {name: four(gw, name) for name in before}
    assert not set(before.values()) & set(after.values())
    assert gw.result("fakeip.flush") == {"flushed": 20, "kept": 20}  # what was flushed is so once
    assert gw.status()["fakeip"]["flushed"] == 40


def test_a_flush_by_the_ipv6_address(gw):
    old, = addresses(gw.ask("web.test", "AAAA"))
    assert gw.result("fakeip.flush", address=old) == {"flushed": 1, "kept": 1}
    new, = addresses(gw.ask("web.test", "AAAA"))
    assert new != old and gw.result("fakeip.lookup", name="web.test")["v6"] == new


def test_a_flush_of_all_views(gw, lab):
    lab.run("cl", "ip", "addr", "replace", "192.168.77.3/24", "dev", "eth0")
    gw.rewrite({"rules": [{"name": "tablet", "domain": ["two.test"], "client": "192.168.77.3", "answer": "fake",
                           "egress": "direct"},
                          {"name": "rest", "answer": "fake", "egress": "direct"}], "fakeip": gw.config["fakeip"]})
    gw.result("reload")
    pairs = [addresses(gw.ask("two.test", source=source)) for source in ("192.168.77.2", "192.168.77.3")]
    assert gw.result("fakeip.flush", name="two.test") == {"flushed": 2, "kept": 2}
    assert [addresses(gw.ask("two.test", source=source)) for source in ("192.168.77.2", "192.168.77.3")] != pairs


@pytest.mark.parametrize("word", ["never-asked.test", "198.18.99.99", "fd00:198:18::9999", "192.0.2.1"])
def test_a_flush_of_what_is_not_there(gw, word):
    done = gw.cli("fakeip", "flush", word, check=False)
    assert done.returncode == 1 and "no such" in done.stderr


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_flush_outlives_a_restart(gw, end):
    old, bystander = four(gw, "web.test"), four(gw, "stays.test")
    gw.result("fakeip.flush", name="web.test")
    new = four(gw, "web.test")
    getattr(gw, end)()
    gw.start()
    gw.wait_answers()
    assert four(gw, "web.test") == new
    assert four(gw, "stays.test") == bystander
    assert gw.result("fakeip.lookup", address=old)["name"] == "web.test"  # clients may still use it


def test_a_flush_after_the_hold_keeps_nothing(gateway, lab):
    """Nobody can use the address any more, so it is free at once."""
    lab.run("gw", "conntrack", "-F")  # what earlier tests did with that address
    gw = gateway({"fakeip": {"ttl": "1s", "hold": "1s", "store": ""}})
    four(gw, "web.test")
    wait_for(lambda: gw.result("fakeip.lookup", name="web.test")["last_answer_s"] >= 3, "the hold is over")
    assert gw.result("fakeip.flush", name="web.test") == {"flushed": 1, "kept": 0}
    assert gw.status()["fakeip"]["used"] == 0
