"""Item 8: when the gateway goes, however it goes, the LAN keeps its DNS."""
import contextlib
import errno
import os
import signal
import socket
import time

import dns.message
import pytest

from lab import PATIENCE_S, addresses, is_fake, leftovers, question, read_exactly, wait_for
from waiting import moment

MODES = pytest.mark.parametrize("intercept", ["tun", "tproxy"])
REAL = ["10.99.0.10"]  # web.test the old way
SERVERS = ["8.8.8.8", "2001:4860:4860::8888"]


def took_s(condition, within_s, what):
    start = moment()
    wait_for(condition, f"{what} within {within_s} s", within_s)
    return moment() - start


def asked_quickly(lab, server, tcp=False, timeout_s=0.2, part="cl"):
    """The addresses of web.test, None if there is no answer by then."""
    try:
        return addresses(lab.ask("web.test", server=server, tcp=tcp, timeout_s=timeout_s, part=part))
    except (TimeoutError, OSError, EOFError):
        return None


def old_way(lab, timeout_s=0.2):
    return all(asked_quickly(lab, server, tcp, timeout_s, part) == REAL
               for server in SERVERS for tcp in (False, True) for part in ("cl", "gw"))


def new_way(lab, timeout_s=0.2):
    return all(is_fake(asked_quickly(lab, server, tcp, timeout_s, part) or [])
               for server in SERVERS for tcp in (False, True) for part in ("cl", "gw"))


def sysctls(lab):
    return lab.run("gw", "sysctl", "-a", "--pattern", r"^net\.ipv[46]\.(conf|ip_forward|route)").stdout


# --- it ends ---

@MODES
def test_an_orderly_stop_leaves_nothing(gateway, lab, intercept):
    before, before_sysctls = lab.snapshot(), sysctls(lab)
    with lab.connect("8.8.8.8") as sock:
        def ask_again():
            sock.send(question("web.test").to_wire())
            return addresses(dns.message.from_wire(sock.recv(4096)))
        assert ask_again() == REAL  # conntrack knows this client's socket from now on
        gw = gateway(intercept=intercept)
        wait_for(lambda: new_way(lab), "interception")
        assert is_fake(ask_again())
        lab.curl("http://web.test/")
        assert lab.snapshot() != before
        sock.settimeout(0.2)
        gw.signal(signal.SIGTERM)
        took_s(lambda: asked_quickly(lab, "8.8.8.8") == REAL, 1, "the old way")
        sock.settimeout(PATIENCE_S)
        assert ask_again() == REAL
    assert gw.end() == 0
    assert old_way(lab, PATIENCE_S)
    assert lab.snapshot() == before
    assert sysctls(lab) == before_sysctls
    assert lab.run("gw", "nft", "list", "ruleset").stdout == ""


@MODES
def test_an_orderly_stop_takes_less_than_a_second(gateway, lab, intercept):
    gw = gateway(intercept=intercept)
    lab.curl("http://web.test/")
    start = moment()
    gw.stop()
    assert moment() - start < 1.3  # of it 0.3 s for looking that nothing is left


@MODES
def test_kill_9(gateway, lab, intercept):
    before = lab.snapshot()
    gw = gateway(intercept=intercept)
    wait_for(lambda: new_way(lab), "interception")
    lab.curl("http://web.test/")
    fakes = [*addresses(gw.ask("web.test")), *addresses(gw.ask("web.test", "AAAA"))]
    with lab.connect("8.8.8.8") as sock, lab.watch("wan") as wan:
        sock.send(question("web.test").to_wire())
        assert is_fake(addresses(dns.message.from_wire(sock.recv(4096))))
        start = moment()
        gw.kill()
        sock.settimeout(0.1)

        def same_socket():
            sock.send(question("web.test").to_wire())
            with contextlib.suppress(TimeoutError):
                return addresses(dns.message.from_wire(sock.recv(4096))) == REAL
        wait_for(same_socket, "the old way within 1 s, on a socket that asked before, too", 1)
        wait_for(lambda: old_way(lab), "the old way within 1 s", 1)
        assert moment() - start < 1
        # The table and the device are gone; what stays of protocol 198 leads nowhere.
        assert lab.run("gw", "nft", "list", "tables").stdout == before["tables"]
        assert sorted(link["ifname"] for link in lab.ip("link")) == before["links"]
        left = leftovers(lab)
        assert left and all(line.startswith(("rule ", "route unreachable ")) or " dev lo table 199 " in line or
                            line.startswith("route local default dev lo") for line in left), left
        assert {line.split()[2] for line in left if "unreachable" in line} == {"198.18.0.0/15", "fd00:198:18::/64"}
        # Clients that still have a fake address fail fast, and nothing of it gets out.
        wan.packets().clear()
        for target in fakes:
            begin = moment()
            with lab.socket("cl", socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_STREAM) as client:
                with pytest.raises(OSError) as trouble:
                    client.connect((target, 80))
            assert trouble.value.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNREFUSED, errno.EACCES)
            assert moment() - begin < 1.5  # the kernel limits its own errors to one a second
        assert not [p for p in wan.packets() if p.target in fakes]
    # The next start takes all of it over, its stop removes it.
    gw.start()
    wait_for(lambda: new_way(lab), "interception again")
    gw.stop()
    assert lab.snapshot() == before


@pytest.fixture
def connection(lab):
    """connection(fake address): the client's socket and its peer's at the far end."""
    with contextlib.ExitStack() as stack:
        def make(fake):
            listener = stack.enter_context(lab.socket("wan", kind=socket.SOCK_STREAM, timeout_s=PATIENCE_S))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("10.99.0.10", 7777))
            listener.listen()
            client = stack.enter_context(lab.connect(fake, tcp=True, port=7777))
            far, _ = listener.accept()
            far.settimeout(PATIENCE_S)
            return client, stack.enter_context(far)
        yield make


def assert_carries(client, far):
    for one, other in ((client, far), (far, client)):
        one.sendall(b"hello")
        assert read_exactly(other, 5) == b"hello"


@MODES
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_direct_connection_goes_on_where_the_host_translates(gateway, lab, connection, intercept, end):
    lab.nft("table ip home { chain post { type nat hook postrouting priority srcnat; oifname wan0 masquerade; }; }")
    try:
        gw = gateway(intercept=intercept)
        both = connection(*addresses(gw.ask("v4only.test")))
        assert_carries(*both)
        getattr(gw, end)()
        wait_for(lambda: lab.run("gw", "nft", "list", "tables").stdout == "table ip home\n", "only the host's table")
        assert_carries(*both)
        gw.start()
        assert_carries(*both)
    finally:
        lab.nft("delete table ip home")


@MODES
def test_an_idle_direct_connection_outlives_a_restart(gateway, lab, connection, intercept):
    """Also where nobody else translates: conntrack remembers it."""
    gw = gateway(intercept=intercept)
    both = connection(*addresses(gw.ask("v4only.test")))
    assert_carries(*both)
    gw.kill()
    gw.start()
    assert_carries(*both)


def test_kill_9_of_another_configuration_is_cleaned_up_too(gateway, lab):
    """Other pools, another device: protocol 198 is ours."""
    before = lab.snapshot()
    gateway({"gateway": {"tun": "other9"}, "fakeip": {"pool4": "198.51.100.0/24", "pool6": "2001:2::/64"}}).kill()
    gw = gateway()
    wait_for(lambda: new_way(lab), "interception")
    gw.stop()
    assert lab.snapshot() == before


@MODES
def test_the_same_socket_through_start_kill_and_start(gateway, lab, intercept):
    """One 5-tuple all the time, so that what conntrack once learned is there to do harm."""
    with lab.connect("8.8.8.8") as udp, lab.connect("2001:4860:4860::8888") as udp6:
        def ask(sock):
            sock.settimeout(0.2)
            query = question("web.test")
            sock.send(query.to_wire())
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                while True:
                    reply = dns.message.from_wire(sock.recv(4096))
                    if reply.id == query.id:
                        return addresses(reply)
            return []

        def all_are(check):
            return all(check(ask(sock)) for sock in (udp, udp6))
        gw = None
        for end in ("kill", "kill", "stop", "kill"):
            wait_for(lambda: all_are(lambda got: got == REAL), "the old way within 1 s", 1)
            if gw:
                gw.start()
            else:
                gw = gateway(intercept=intercept)
            wait_for(lambda: all_are(is_fake), "interception within 1 s", 1)
            getattr(gw, end)()
        wait_for(lambda: all_are(lambda got: got == REAL), "the old way within 1 s", 1)
        gw.start()


@MODES
def test_a_gateway_that_hangs_lets_go_and_takes_up_again(gateway, lab, intercept):
    gw = gateway(intercept=intercept)
    wait_for(lambda: new_way(lab), "interception")
    gw.signal(signal.SIGSTOP)
    try:
        took = took_s(lambda: old_way(lab), 3 + 1, "the old way")  # the looking itself takes its time
    finally:
        gw.signal(signal.SIGCONT)
    assert took < 3.3
    took_s(lambda: new_way(lab), 2, "interception again")
    gw.wait_log("interception has lapsed")
    gw.wait_log("interception is back")
    lapses = gw.status()["lapses"]
    assert lapses["times"] >= 1 and lapses["ms"] > 0 and lapses["now"] is False
    assert "hello" in lab.curl("http://web.test/").stdout


# --- others meddle ---

@MODES
def test_a_flush_of_the_ruleset_does_no_harm(gateway, lab, intercept):
    gw = gateway(intercept=intercept)
    lab.nft("table ip other {\nchain x { }\n}")
    for _ in range(3):
        lab.run("gw", "nft", "flush", "ruleset")
        assert new_way(lab, PATIENCE_S)
        assert "hello" in lab.curl("http://web.test/").stdout
    assert "table inet tungate" in lab.run("gw", "nft", "list", "tables").stdout
    assert lab.run("gw", "nft", "delete", "table", "inet", "tungate", check=False).returncode != 0
    assert gw.running()


@MODES
def test_a_device_that_somebody_deletes_is_made_again(gateway, lab, intercept):
    gw = gateway(intercept=intercept)
    before = lab.snapshot()
    for _ in range(3):
        lab.run("gw", "ip", "link", "del", "tungate0")
        took_s(lambda: "tungate0" in lab.snapshot()["links"] and new_way(lab), 2, "device and interception")
        assert "hello" in lab.curl("http://web.test/").stdout
    wait_for(lambda: without_link_local(lab.snapshot()) == without_link_local(before), "all is as it was")
    assert gw.running()


def without_link_local(snapshot):
    """The device's link-local address is another each time."""
    return {**snapshot, "routes": [r for r in snapshot["routes"] if not ("fe80:" in r and "tungate0" in r)]}


@MODES
def test_a_device_that_somebody_downs_is_up_again(gateway, lab, intercept):
    gateway(intercept=intercept)
    lab.run("gw", "ip", "link", "set", "tungate0", "down")
    took_s(lambda: new_way(lab), 2, "interception again")
    assert "hello" in lab.curl("http://web.test/", "-4").stdout
    assert "hello" in lab.curl("http://web.test/", "-6").stdout


@MODES
@pytest.mark.parametrize("family", ["-4", "-6"])
def test_rules_and_routes_that_somebody_deletes_are_put_back(gateway, lab, intercept, family):
    gateway(intercept=intercept)
    before = lab.snapshot()
    tun_route = ["198.18.0.0/15"] if family == "-4" else ["fd00:198:18::/64"]
    for deletion in (["rule", "del", "lookup", "198"], ["rule", "del", "lookup", "199"],
                     ["route", "flush", "table", "198"], ["route", "flush", "table", "199"],
                     ["route", "del", *tun_route, "dev", "tungate0"], ["route", "del", "unreachable", *tun_route],
                     ["route", "flush", "proto", "198"]):
        lab.run("gw", "ip", family, *deletion)
        wait_for(lambda: lab.snapshot() == before, f"after ip {' '.join(deletion)} all is as it was", 3)
    assert new_way(lab, PATIENCE_S)
    assert "hello" in lab.curl("http://web.test/").stdout


@MODES
def test_lan_interfaces_that_come_later_are_served(gateway, lab, intercept):
    """lan0 goes and comes, with another index: its clients are served as before."""
    gateway({"gateway": {"lan": ["lan*"]}}, intercept)
    lab.run("cl", "ip", "link", "add", "eth9", "type", "veth", "peer", "name", "lan9", "netns", lab.namespace("gw"))
    try:
        for part, device, address in (("gw", "lan9", "192.168.79.1/24"), ("cl", "eth9", "192.168.79.2/24")):
            lab.run(part, "ip", "link", "set", device, "up")
            lab.run(part, "ip", "addr", "add", address, "dev", device)
        took_s(lambda: is_fake(asked_quickly(lab, "192.168.79.1") or []), 2, "the new interface is served")
        assert is_fake(asked_quickly(lab, "192.168.79.1", True, PATIENCE_S))
        assert is_fake(asked_quickly(lab, "8.8.8.8", False, PATIENCE_S))
    finally:
        lab.run("cl", "ip", "link", "del", "eth9")
    assert new_way(lab, PATIENCE_S)


# --- what was answered stays ---

def test_kill_9_under_load_loses_no_mapping_that_was_answered(gateway, lab):
    """The pairs that were seen before the kill are the pairs after it, for all that could be seen."""
    gw = gateway()
    seen = {}
    for turn in range(3):
        with lab.connect("8.8.8.8") as sock:
            sock.setblocking(False)
            sent = 0
            kill_at = len(seen) + 700
            end = time.monotonic() + PATIENCE_S
            while len(seen) < kill_at and time.monotonic() < end:
                for _ in range(20):  # always some in flight when the end comes
                    sock.send(question(f"t{turn}n{sent}.keep.test").to_wire())
                    sent += 1
                _collect(sock, seen, 0.001)
            os.kill(gw.pid, signal.SIGKILL)
            gw.process.wait(PATIENCE_S)
            _collect(sock, seen, 0.05)  # what had left before
            assert len(seen) >= kill_at
        gw.start()
        again = {}
        with lab.connect("8.8.8.8") as sock:
            names = list(reversed(seen))
            for start in range(0, len(names), 50):
                for name in names[start:start + 50]:
                    sock.send(question(name).to_wire())
                for _ in names[start:start + 50]:
                    reply = dns.message.from_wire(sock.recv(4096))
                    again[reply.question[0].name.to_text(omit_final_dot=True)] = addresses(reply)[0]
        assert again == seen
        assert len(set(seen.values())) == len(seen)
    print(f"{len(seen)} pairs kept over three kills")


def _collect(sock, seen, idle_s):
    end = time.monotonic() + idle_s
    while True:
        try:
            reply = dns.message.from_wire(sock.recv(4096))
        except (BlockingIOError, ConnectionRefusedError):
            if time.monotonic() >= end:
                return
            continue
        got = addresses(reply)
        if is_fake(got):
            seen[reply.question[0].name.to_text(omit_final_dot=True)] = got[0]
