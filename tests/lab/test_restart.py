"""Item 2: names keep their addresses over a restart, however the gateway ended."""
import ipaddress

import pytest

from lab import addresses, has_soa, rcode

POOL4 = ipaddress.ip_network("198.18.0.0/15")


def pair(gw, name):
    return addresses(gw.ask(name, "A")) + addresses(gw.ask(name, "AAAA"))


@pytest.mark.parametrize("intercept", ["tun", "tproxy"])
def test_a_restart_keeps_the_pairs(gateway, intercept, tmp_path):
    store = {"fakeip": {"store": str(tmp_path / "table.db")}}
    _restarts(gateway(store, intercept), lambda gw: gw.stop())


def test_kill_9_keeps_the_pairs(gateway, tmp_path):
    store = {"fakeip": {"store": str(tmp_path / "table.db")}}
    _restarts(gateway(store), lambda gw: gw.kill())


def _restarts(gw, end):
    names = [f"k{i}.keep.test" for i in range(30)]
    before = {name: pair(gw, name) for name in names}
    for _ in range(2):
        end(gw)
        gw.start()
        # Asked in another order, so that counting from the start again would be seen.
        gw.wait_answers("newcomer.test")
        assert {name: pair(gw, name) for name in reversed(names)} == before
    taken = {four for four, _ in before.values()}
    assert pair(gw, "another.keep.test")[0] not in taken


def test_a_pool_that_is_off_has_no_data(gateway):
    gw = gateway({"fakeip": {"pool6": "off", "store": ""}})
    assert ipaddress.ip_address(addresses(gw.ask("half.test", "A"))[0]) in POOL4
    reply = gw.ask("half.test", "AAAA")
    assert rcode(reply) == "NOERROR" and not reply.answer and has_soa(reply)
