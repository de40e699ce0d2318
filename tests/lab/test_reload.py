"""Reloads that meet each other, what they mend, and what files that are followed move."""
import os
import signal
import socket

from lab import addresses, wait_for
from test_carry import FAMILIES, fake, tcp_connect, web_of_any_name


def write(lab, name, text):
    new = lab.dir / f"{name}.new"
    new.write_text(text)
    os.replace(new, lab.dir / name)


def test_a_signal_while_a_reload_is_under_way_is_not_lost(lab, gateway):
    """What has changed since the first one began is read, too."""
    config = {"gateway": {"watch": 0}, "fakeip": {"store": ""},
              "lists": {"long": str(lab.dir / "long.txt")},
              "rules": [{"name": "long", "list": ["long"], "answer": "block"}]}
    write(lab, "long.txt", "first.test\n")
    gw = gateway(config)
    write(lab, "long.txt", "".join(f"n{n}.x{n % 999}.test\n" for n in range(300000)))
    gw.signal(signal.SIGHUP)
    wait_for(lambda: len(gw.log_lines("default: is missing")) == 2, "the configuration is read")
    assert gw.request("reload")["code"] == 503  # its list is not
    gw.rewrite({**config, "rules": [{"name": "later", "domain": ["later.test"], "answer": "local", "address": "192.168.77.9"}]})
    gw.signal(signal.SIGHUP)
    wait_for(lambda: addresses(gw.ask("later.test")) == ["192.168.77.9"], "the second configuration", 10)
    wait_for(lambda: len(gw.log_lines("reloaded")) == 2, "two reloads")


def test_a_reload_of_mended_records_clears_the_problem(lab, gateway):
    write(lab, "hosts", "192.168.77.90 house.test\n")
    gw = gateway({"gateway": {"watch": "400ms"}, "fakeip": {"store": ""}, "records": {"files": [str(lab.dir / "hosts")]}})
    write(lab, "hosts", "192.168.77 house.test\nbad\nworse\n[\n")
    wait_for(lambda: gw.status()["problems"], "the problem", 3)
    write(lab, "hosts", "192.168.77.91 house.test\n")
    gw.result("reload")
    assert gw.status()["problems"] == []
    assert addresses(gw.ask("house.test")) == ["192.168.77.91"]


@FAMILIES
def test_a_list_that_is_followed_moves_new_connections_too(lab, gateway, family):
    write(lab, "moved.txt", "other.test\n")
    gw = gateway({"gateway": {"watch": "200ms"}, "fakeip": {"store": ""}, "lists": {"moved": str(lab.dir / "moved.txt")},
                  "egress": {"nobody": {"type": "reject"}}, "upstreams": {"wan": {"servers": ["udp://10.99.0.2:5355"]}},
                  "rules": [{"name": "moved", "list": ["moved"], "answer": "fake", "egress": "nobody"},
                            {"name": "rest", "answer": "fake", "egress": "direct"}]})
    with web_of_any_name(lab):
        target = fake(gw, "x.carry.test", family)
        sock, _ = tcp_connect(lab, target)
        assert isinstance(sock, socket.socket), sock
        write(lab, "moved.txt", "carry.test\n")
        gw.wait_log("lists were read again")
        assert fake(gw, "x.carry.test", family) == target
        new, _ = tcp_connect(lab, target)
        assert not isinstance(new, socket.socket), new
        sock.close()
