"""Item 13: an orderly stop with a lame-duck moment; a reload that keeps what lives."""
import signal
import time

import pytest
import yaml

from lab import Download, addresses, greeted, greeter, has_fake_address, is_fake, leftovers, rdata, ttls, wait_for
from waiting import moment

WAYS = pytest.mark.parametrize("name", ["web.test", "v4only.test"], ids=["direct", "socks5"])
EGRESS = {
    "egress": {"proxy": {"type": "socks5", "server": "10.99.0.2:1080", "upstream": "wan"}},
    "rules": [{"name": "ads", "domain": ["ads.test"], "answer": "block"},
              {"name": "far", "domain": ["v4only.test", "far.public.test"], "answer": "fake", "egress": "proxy"},
              {"name": "rest", "answer": "fake", "egress": "direct"}]}


def with_moment(text, **more):
    return {"gateway": {"lame_duck": text}, "fakeip": {"store": ""}, **EGRESS, **more}


# --- the lame-duck moment ---

@pytest.mark.parametrize("intercept, number", [("tun", signal.SIGTERM), ("tproxy", signal.SIGINT)], ids=["tun", "tproxy"])
def test_names_are_real_until_it_ends(gateway, lab, intercept, number):
    gw = gateway(with_moment("1s"), intercept)
    lab.microsocks()
    assert is_fake(lab.dig("web.test", part="cl"))
    gw.signal(number)
    start = moment()
    wait_for(lambda: gw.status()["state"] == "lame_duck", "the state is told")
    assert gw.cli("status").stdout.splitlines()[0].split()[2] == "lame_duck"
    for part in ("cl", "gw"):
        assert lab.dig("web.test", part=part) == ["10.99.0.10"]
        assert lab.dig("v4only.test", part=part) == ["10.99.0.10"]
        assert lab.dig("new.flood.test", part=part) == ["10.99.2.2"]
    assert addresses(gw.ask("web.test", "AAAA", tcp=True)) == ["2001:db8:99::10"]
    assert rdata(gw.ask("ads.test")) == []  # rules hold as before
    assert gw.running() and gw.status()["state"] == "lame_duck"
    assert gw.end() == 0
    assert 0.9 < moment() - start < 3
    gw.assert_nothing_left()
    assert lab.dig("web.test", part="cl") == ["10.99.0.10"]


@WAYS
def test_a_download_goes_on(gateway, lab, name):
    lab.microsocks()
    gw = gateway(with_moment("15s"))
    download = Download(lab, name)
    gw.signal(signal.SIGTERM)
    wait_for(lambda: gw.status()["state"] == "lame_duck", "the state is told")
    download.finish()
    assert gw.running()
    gw.signal(signal.SIGTERM)
    assert gw.end() == 0


@WAYS
def test_who_still_has_the_fake_address_is_carried(gateway, lab, name):
    lab.microsocks()
    gw = gateway(with_moment("15s"))
    old, = addresses(gw.ask(name))
    gw.signal(signal.SIGTERM)
    wait_for(lambda: gw.status()["state"] == "lame_duck", "the state is told")
    # A new connection, whose first packet comes only now.
    assert lab.curl(f"http://{name}/", "--resolve", f"{name}:80:{old}").stdout == "hello from web.test\n"
    pointer = ".".join(reversed(old.split("."))) + ".in-addr.arpa"
    assert rdata(gw.ask(pointer, "PTR"), "PTR") == [f"{name}."]
    gw.signal(signal.SIGTERM)
    assert gw.end() == 0


def test_real_answers_take_the_egress_of_their_rule(gateway, lab):
    lab.microsocks()
    gw = gateway(with_moment("15s"))
    gw.signal(signal.SIGTERM)
    wait_for(lambda: gw.status()["state"] == "lame_duck", "the state is told")
    with greeter(lab, "1.1.1.1"):
        assert addresses(gw.ask("near.public.test")) == ["1.1.1.1"]
        assert greeted(lab, "1.1.1.1") == ("1.1.1.1", "192.168.77.2")
        assert addresses(gw.ask("far.public.test")) == ["1.1.1.1"]
        assert greeted(lab, "1.1.1.1")[1] != "192.168.77.2"  # the proxy's connection
        gw.signal(signal.SIGTERM)
        assert gw.end() == 0
        assert greeted(lab, "1.1.1.1") == ("1.1.1.1", "192.168.77.2")


def test_a_second_signal_ends_it_at_once(gateway, lab):
    gw = gateway(with_moment("30s"))
    gw.signal(signal.SIGTERM)
    wait_for(lambda: gw.status()["state"] == "lame_duck", "the state is told")
    start = moment()
    gw.signal(signal.SIGTERM)
    assert gw.end() == 0
    assert moment() - start < 3
    assert not leftovers(lab)


def test_without_the_moment_it_ends_at_once(gateway, lab):
    gw = gateway(with_moment(0))
    start = moment()
    gw.signal(signal.SIGTERM)
    assert gw.end() == 0
    assert moment() - start < 0.9
    assert not gw.log_lines("stopping in")
    assert not leftovers(lab)


def test_the_moment_is_a_second_by_default(gateway):
    gw = gateway({"fakeip": {"store": ""}})
    del gw.config["gateway"]["lame_duck"]
    gw.rewrite(yaml.safe_dump(gw.config))
    gw.result("reload")
    start = moment()
    gw.signal(signal.SIGTERM)
    assert gw.wait_log("stopping in 1000 ms")
    assert gw.end() == 0
    assert 0.9 < moment() - start < 3


def test_a_reload_in_the_moment_changes_nothing_of_it(gateway):
    gw = gateway(with_moment("1s"))
    gw.signal(signal.SIGTERM)
    wait_for(lambda: gw.status()["state"] == "lame_duck", "the state is told")
    gw.result("reload")
    assert gw.status()["state"] == "lame_duck"
    assert addresses(gw.ask("web.test")) == ["10.99.0.10"]
    assert gw.end() == 0


def test_the_table_is_kept_over_it(gateway, tmp_path):
    gw = gateway(with_moment("200ms", fakeip={"store": str(tmp_path / "table.db")}))
    before = addresses(gw.ask("web.test"))
    gw.stop()
    gw.start()
    assert addresses(gw.ask("web.test")) == before


# --- reload ---

@WAYS
def test_a_download_outlives_reloads(gateway, lab, name):
    lab.microsocks()
    gw = gateway(with_moment(0))
    old, = addresses(gw.ask(name))
    download = Download(lab, name)
    other = "proxy" if name == "web.test" else "direct"
    gw.rewrite({**with_moment(0), "rules": [{"name": "moved", "domain": [name], "answer": "fake", "egress": other},
                                            {"name": "rest", "answer": "fake", "egress": "direct"}]})
    gw.result("reload")
    gw.result("reload")
    assert addresses(gw.ask(name)) == [old]  # the pair stays
    assert lab.curl(f"http://{name}/", "-4").stdout == "hello from web.test\n"
    assert gw.result("fakeip.lookup", name=name)["verdict"]["egress"] == other  # new connections go the new way
    download.finish()


def test_a_reload_changes_the_ttl(gateway):
    gw = gateway({"fakeip": {"store": "", "ttl": "7s"}})
    assert ttls(gw.ask("web.test")) == [7]
    gw.rewrite({"fakeip": {"store": "", "ttl": "3s"}})
    gw.result("reload")
    assert ttls(gw.ask("web.test")) == ttls(gw.ask("other.test")) == [3]


@pytest.mark.parametrize("shorter", [True, False], ids=["shorter", "longer"])
def test_a_reload_changes_the_hold(gateway, lab, tmp_path, shorter):
    """An address becomes free by the new hold; but answers of a longer TTL are in use that long."""
    holds = ["1h", "1s"] if shorter else ["1s", "1h"]
    pool = {"store": str(tmp_path / "table.db"), "pool4": "198.18.0.0/30", "pool6": "off", "ttl": "1s"}
    gw = gateway({"fakeip": {**pool, "hold": holds[0]}})
    assert gw.status()["fakeip"]["size"] == 1
    lab.run("gw", "conntrack", "-F")  # what earlier tests did with that address
    old = addresses(gw.ask("first.test"))
    gw.rewrite({"fakeip": {**pool, "hold": holds[1]}})
    gw.result("reload")
    start = time.monotonic()
    if shorter:
        wait_for(lambda: addresses(gw.ask("web.test")) == old, "the address is free")
        assert time.monotonic() - start > 1.5
    else:
        while time.monotonic() - start < 3.2:
            assert addresses(gw.ask("web.test")) == ["10.99.0.10"]
        assert gw.result("fakeip.lookup", address=old[0])["name"] == "first.test"


def test_a_shorter_ttl_frees_what_is_answered_from_now_on(gateway, lab, tmp_path):
    """And nothing that was answered with the longer one."""
    pool = {"store": str(tmp_path / "table.db"), "pool4": "198.18.0.0/29", "pool6": "off", "hold": "1s"}
    gw = gateway({"fakeip": {**pool, "ttl": "1h"}})
    lab.run("gw", "conntrack", "-F")
    old = addresses(gw.ask("old.test"))
    gw.rewrite({"fakeip": {**pool, "ttl": "1s"}})
    gw.result("reload")
    start = time.monotonic()
    wait_for(lambda: time.monotonic() - start > 1.5, "it was seen that no worker answers with the old one")
    size, start, turn, seen = gw.status()["fakeip"]["size"], time.monotonic(), 0, set()
    while time.monotonic() - start < 6 and len(seen) <= size:
        turn += 1
        found = addresses(gw.ask(f"n{turn}.flood.test"))
        if is_fake(found):
            assert found != old
            seen.add((turn, *found))
    assert len(seen) > size  # some were given out again
    assert gw.result("fakeip.lookup", address=old[0])["name"] == "old.test"


def test_a_reload_changes_what_a_full_pool_answers(gateway, tmp_path):
    pool = {"store": str(tmp_path / "table.db"), "pool4": "198.18.0.0/30", "pool6": "off"}
    gw = gateway({"fakeip": {**pool, "exhausted": "servfail"}})
    assert has_fake_address(gw.ask("first.test"))
    assert not addresses(gw.ask("web.test"))
    gw.rewrite({"fakeip": {**pool, "exhausted": "real"}})
    gw.result("reload")
    assert addresses(gw.ask("web.test")) == ["10.99.0.10"]


def test_pools_and_the_file_are_not_changed_by_a_reload(gateway, lab):
    gw = gateway({"fakeip": {"store": ""}})
    before = addresses(gw.ask("web.test"))
    gw.rewrite({"fakeip": {"store": str(lab.dir / "new.db"), "pool4": "10.200.0.0/16"}})
    for _ in range(2):  # told again, as long as it is so
        changed = gw.result("reload")["changed"]
        for key in ("fakeip.pool4", "fakeip.store"):
            assert any(key in text and "needs a restart" in text for text in changed), changed
    assert addresses(gw.ask("web.test")) == before
    assert not (lab.dir / "new.db").exists()
    assert gw.status()["fakeip"]["store"] == "memory"
