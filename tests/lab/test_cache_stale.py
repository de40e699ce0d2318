"""Item 4 of resolve: answers past their time while upstreams fail (RFC 8767), and those that are renewed before it."""
import time

import dns.message
import pytest

from asking import ask_all
from caching import asked, cached, over, real_rule, state, stats, taking, up, wait_stale  # noqa: F401: up is a fixture
from lab import addresses, ede, question, rcode, rdata, ttls, wait_for
from scripted import Scripted
from waiting import moment

pytestmark = pytest.mark.by_the_clock


@pytest.fixture
def short(up):
    """All names live for a second."""
    up.set_zone({"*": ["1 A 10.50.0.1", "1 AAAA 2001:db8:50::1", "1 TXT old"]})
    return up


def told_stale(reply):
    assert rcode(reply) == "NOERROR" and ttls(reply) == [30], reply
    assert ede(reply) == [3], reply
    return addresses(reply)


# --- when upstreams are silent ---

@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_silence_is_waited_for_1_8_s_then_the_old_answer_does(gateway, short, tcp):
    gw = gateway(over(short, upstreams={"wan": {"servers": [short.udp], "timeout": "3s"}}))
    assert addresses(gw.ask("x.test", tcp=tcp)) == ["10.50.0.1"]
    wait_stale(gw, "x.test")
    assert state(gw, "x.test") == {"state": "stale", "ttl_s": 0}
    short.fault("silence")
    with taking(1.75, 2.3):
        assert told_stale(gw.ask("x.test", edns=True, tcp=tcp)) == ["10.50.0.1"]
    # The attempt goes on until it has failed.
    wait_for(lambda: [s["failures"] for s in gw.status()["upstreams"]] != [0], "the attempt is over")
    wait_for(lambda: gw.ask("x.test", timeout_s=4), "an answer")
    before = len(short.queries())
    for i in range(20):
        with taking(0, 0.5):
            assert told_stale(gw.ask("x.test", edns=True, tcp=tcp)) == ["10.50.0.1"]
            plain = gw.ask("x.test", tcp=tcp)
            assert plain.edns == -1 and ttls(plain) == [30]
    assert len(asked(short, "x.test")) - before <= 2  # RFC 8767 5: not again within 30 s
    assert stats(gw)["stale"] >= 40
    # Another type of the name has nothing old.
    assert rcode(gw.ask("x.test", "AAAA")) == "SERVFAIL"


def test_who_comes_while_the_old_answer_is_waited_for(gateway, lab, short):
    """Each waits 1.8 s at most; they share a flight."""
    gw = gateway(over(short))
    gw.ask("x.test")
    wait_stale(gw, "x.test")
    short.fault("silence")
    short.forget()
    began, came = time.monotonic(), []
    socks = [lab.connect("8.8.8.8") for _ in range(5)]
    try:
        for sock in socks:
            sock.send(question("x.test", edns=True).to_wire())
        for sock in socks:
            assert told_stale(dns.message.from_wire(sock.recv(4096))) == ["10.50.0.1"]
            came.append(time.monotonic() - began)
    finally:
        for sock in socks:
            sock.close()
    assert 1.75 <= min(came) and max(came) <= 2.3, came
    assert len({q["id"] for q in short.queries()}) <= 2


@pytest.mark.parametrize("fault", [("rcode", {"rcode": "SERVFAIL"}), ("rcode", {"rcode": "REFUSED"})],
                         ids=["servfail", "refused"])
def test_a_failure_that_is_told_is_not_waited_for(gateway, short, fault):
    gw = gateway(over(short))
    gw.ask("x.test")
    wait_stale(gw, "x.test")
    short.fault(fault[0], **fault[1])
    for _ in range(3):
        with taking(0, 1):
            assert told_stale(gw.ask("x.test", edns=True)) == ["10.50.0.1"]


def test_a_server_that_is_gone(gateway, lab, up):
    up.set_zone({"*": ["1 A 10.50.0.1"]})
    gw = gateway(over(up))
    gw.ask("x.test")
    wait_stale(gw, "x.test")
    up.end()
    with taking(0, 2.3):
        assert told_stale(gw.ask("x.test", edns=True)) == ["10.50.0.1"]
    with taking(0, 0.5):
        assert told_stale(gw.ask("x.test", edns=True)) == ["10.50.0.1"]


def test_a_name_that_is_no_more_is_no_failure(gateway, short):
    gw = gateway(over(short))
    gw.ask("x.test")
    wait_stale(gw, "x.test")
    short.set_zone({"other.test": ["60 A 10.50.0.9"]})
    assert rcode(gw.ask("x.test")) == "NXDOMAIN"
    short.fault("silence")
    assert rcode(gw.ask("x.test")) == "NXDOMAIN"


def test_a_slow_server_is_waited_for_up_to_1_8_s(gateway, short):
    gw = gateway(over(short))
    gw.ask("x.test")
    wait_stale(gw, "x.test")
    short.set_zone({"*": ["60 A 10.50.0.2"]})
    short.fault("delay", ms=1300)
    with taking(1.25, 1.8):
        reply = gw.ask("x.test", edns=True)
    assert (addresses(reply), ttls(reply), ede(reply)) == (["10.50.0.2"], [60], [])


def test_what_comes_after_1_8_s_is_for_the_next_ones(gateway, short):
    gw = gateway(over(short, upstreams={"wan": {"servers": [short.udp], "timeout": "4s"}}))
    gw.ask("x.test")
    wait_stale(gw, "x.test")
    short.set_zone({"*": ["60 A 10.50.0.2"]})
    short.fault("delay", ms=2200)
    with taking(1.75, 2.15):
        assert told_stale(gw.ask("x.test", edns=True)) == ["10.50.0.1"]
    wait_for(lambda: cached(gw, "x.test")["A"]["state"] == "fresh", "the late answer is kept")
    short.clear()
    short.forget()
    assert addresses(gw.ask("x.test")) == ["10.50.0.2"]
    assert not short.queries()


def test_fresh_again_when_upstream_is_back(gateway, short):
    gw = gateway(over(short, {"failure_ttl": 1}))
    gw.ask("x.test")
    wait_stale(gw, "x.test")
    short.fault("rcode", rcode="SERVFAIL")
    told_stale(gw.ask("x.test", edns=True))
    short.clear()
    short.set_zone({"*": ["60 A 10.50.0.2"]})
    # Other names are asked at once; this one when 30 s have passed since its failure (RFC 8767 5).
    assert addresses(gw.ask("y.test")) == ["10.50.0.2"]
    short.forget()
    with taking(28, 31.5):
        wait_for(lambda: addresses(gw.ask("x.test")) == ["10.50.0.2"], "x.test is fresh", 32)
    assert len(asked(short, "x.test")) == 1
    assert ede(gw.ask("x.test", edns=True)) == [] and ttls(gw.ask("x.test"))[0] > 30


def test_a_flush_ends_the_30_s(gateway, short):
    gw = gateway(over(short))
    gw.ask("x.test")
    wait_stale(gw, "x.test")
    short.fault("rcode", rcode="SERVFAIL")
    told_stale(gw.ask("x.test", edns=True))
    assert gw.result("cache.flush", name="x.test") == {"flushed": 1}
    assert rcode(gw.ask("x.test")) == "SERVFAIL"  # nothing old is left
    short.clear()
    gw.result("cache.flush")
    assert addresses(gw.ask("x.test")) == ["10.50.0.1"]


# --- its bounds ---

def test_never_longer_than_serve_stale(gateway, short):
    gw = gateway(over(short, {"serve_stale": "2s"}))
    gw.ask("x.test")
    wait_stale(gw, "x.test")
    short.fault("rcode", rcode="SERVFAIL")
    assert told_stale(gw.ask("x.test", edns=True)) == ["10.50.0.1"]
    wait_for(lambda: rcode(gw.ask("x.test")) == "SERVFAIL", "it is too old", 4)
    assert [e for e in gw.result("cache.show", name="x.test") if e["state"] == "stale"] == []
    for _ in range(5):
        assert rcode(gw.ask("x.test")) == "SERVFAIL"


def test_off(gateway, short):
    gw = gateway(over(short, {"serve_stale": "off"}))
    gw.ask("x.test")
    wait_for(lambda: not cached(gw, "x.test"), "its time is over")
    short.fault("rcode", rcode="SERVFAIL")
    assert rcode(gw.ask("x.test")) == "SERVFAIL"
    assert state(gw, "x.test")["state"] == "miss" and stats(gw)["stale"] == 0


def test_turned_off_by_a_reload(gateway, short):
    config = over(short)
    gw = gateway(config)
    gw.ask("x.test")
    wait_stale(gw, "x.test")
    config["cache"] = {"serve_stale": "off"}
    gw.rewrite(config)
    gw.result("reload")
    short.fault("rcode", rcode="SERVFAIL")
    assert rcode(gw.ask("x.test")) == "SERVFAIL"


def test_negative_answers_grow_old_as_well(gateway, lab, up):
    up.set_zone({"other.test": ["1 A 10.50.0.1"]})
    up.fault("ttl", ttl=1)
    gw = gateway(over(up))
    assert rcode(gw.ask("none.test")) == "NXDOMAIN"
    wait_stale(gw, "none.test")
    up.fault("rcode", rcode="SERVFAIL")
    reply = gw.ask("none.test", edns=True)
    assert (rcode(reply), ede(reply)) == ("NXDOMAIN", [3])


def test_not_across_a_changed_policy(gateway, lab, short):
    with Scripted(lab, address="10.99.0.55") as dead:
        dead.fault("rcode", rcode="SERVFAIL")
        config = over(short, upstreams={"second": {"servers": [dead.udp]}})
        gw = gateway(config)
        gw.ask("x.test")
        gw.ask("y.test")
        wait_stale(gw, "x.test")
        short.fault("rcode", rcode="SERVFAIL")
        config["rules"] = [{"name": "moved", "domain": ["x.test"], "answer": "real", "upstream": "second"},
                           {"name": "gone", "domain": ["z.test"], "answer": "block"}, real_rule()]
        gw.rewrite(config)
        gw.result("reload")
        assert rcode(gw.ask("x.test")) == "SERVFAIL"
        assert told_stale(gw.ask("y.test", edns=True)) == ["10.50.0.1"]
        config["rules"] = [{"name": "gone", "domain": ["y.test"], "answer": "block"}, real_rule()]
        gw.rewrite(config)
        gw.result("reload")
        assert rcode(gw.ask("y.test")) == "NXDOMAIN"
        assert told_stale(gw.ask("x.test", edns=True)) == ["10.50.0.1"]


def test_the_fallback_is_asked_before_an_old_answer_is_given(gateway, lab, short):
    with Scripted(lab, {"*": ["60 A 10.50.0.2"]}, address="10.99.0.55") as second:
        gw = gateway(over(short, upstreams={"wan": {"servers": [short.udp], "timeout": "500ms", "fallback": "second"},
                                            "second": {"servers": [second.udp]}}))
        gw.ask("x.test")
        wait_stale(gw, "x.test")
        short.fault("silence")
        with taking(0.3, 1.6):
            assert addresses(gw.ask("x.test")) == ["10.50.0.2"]


# --- before their time ---

def renewed(up, name, n):
    wait_for(lambda: len(asked(up, name)) >= n, f"{name} is asked {n} times")


def test_prefetch_renews_in_the_background(gateway, up):
    """A TTL of 5 s, and 60 %: from the third second on, and nobody waits."""
    up.set_zone({"x.test": ["5 A 10.50.0.1"]})
    gw = gateway(over(up, {"prefetch": "60%", "serve_stale": "off"}))
    began = moment()
    gw.ask("x.test")
    up.set_zone({"x.test": ["5 A 10.50.0.2"]})
    up.fault("delay", ms=300)

    def step():
        with taking(0, 0.25):
            reply = gw.ask("x.test")
        assert ttls(reply)[0] >= 1
        return addresses(reply) == ["10.50.0.2"]
    wait_for(step, "the renewed answer", 5)
    assert 1.5 <= moment() - began <= 4.5
    assert len(asked(up, "x.test")) == 2  # one refresh only
    assert stats(gw)["refreshes"] == 1 and stats(gw)["misses"] == 1


def test_prefetch_is_off_by_default(gateway, up):
    up.set_zone({"x.test": ["2 A 10.50.0.1"]})
    gw = gateway(over(up))
    gw.ask("x.test")
    wait_for(lambda: ttls(gw.ask("x.test")) == [1], "it is nearly over")
    assert len(asked(up, "x.test")) == 1 and stats(gw)["refreshes"] == 0


def test_prefetch_wants_so_many_hits(gateway, up):
    up.set_zone({"*": ["4 A 10.50.0.1"]})
    gw = gateway(over(up, {"prefetch": {"share": "80%", "hits": 5}}))
    gw.ask("few.test")
    gw.ask("many.test")
    wait_for(lambda: cached(gw, "few.test")["A"]["ttl_s"] <= 3, "a second is over")
    wait_for(lambda: cached(gw, "many.test")["A"]["ttl_s"] <= 2, "two seconds are over")
    for _ in range(4):
        gw.ask("few.test")
        gw.ask("many.test")
    assert stats(gw)["refreshes"] == 0
    gw.ask("many.test")
    renewed(up, "many.test", 2)
    assert stats(gw)["refreshes"] == 1
    assert len(asked(up, "few.test")) == 1


def test_a_refresh_is_no_hit(gateway, up):
    """Status counts what clients asked."""
    up.set_zone({"*": ["3 A 10.50.0.1"]})
    gw = gateway(over(up, {"prefetch": "90%"}))
    gw.ask("x.test")
    wait_for(lambda: cached(gw, "x.test")["A"]["ttl_s"] <= 2, "a second is over")
    gw.ask("x.test")
    renewed(up, "x.test", 2)
    wait_for(lambda: cached(gw, "x.test")["A"]["ttl_s"] == 3, "it is renewed")
    now = stats(gw)
    assert (now["hits"], now["misses"], now["refreshes"]) == (1, 1, 1)
    assert gw.status()["queries"]["total"] == 2
    assert cached(gw, "x.test")["A"]["hits"] <= 1


def test_a_refresh_that_fails_hurts_nobody_and_is_not_repeated_at_once(gateway, up):
    up.set_zone({"*": ["4 A 10.50.0.1"]})
    gw = gateway(over(up, {"prefetch": "90%"}))
    gw.ask("x.test")
    up.fault("rcode", rcode="SERVFAIL")
    wait_for(lambda: cached(gw, "x.test")["A"]["ttl_s"] <= 3, "a second is over")
    up.forget()
    while cached(gw, "x.test")["A"]["ttl_s"] > 1:
        reply = gw.ask("x.test", edns=True)
        assert addresses(reply) == ["10.50.0.1"] and ede(reply) == [] and ttls(reply)[0] <= 3
    assert 1 <= len(asked(up, "x.test")) <= 2


def test_who_asks_no_more_is_renewed_no_more(gateway, up):
    up.set_zone({"*": ["2 A 10.50.0.1"]})
    gw = gateway(over(up, {"prefetch": "90%", "serve_stale": "off"}))
    gw.ask("x.test")
    wait_for(lambda: not cached(gw, "x.test"), "its time is over")
    assert len(asked(up, "x.test")) == 1


def test_refreshes_are_bounded(gateway, lab, up):
    """1,000 names come due within a moment; clients are served meanwhile."""
    up.set_zone({"*": ["6 A 10.50.0.1"]})
    gw = gateway(over(up, {"prefetch": "90%"}))
    with lab.connect("8.8.8.8") as sock:
        questions = [(f"due{i}.test", "A") for i in range(1000)]
        assert all(a and a.rcode == 0 for a in ask_all(sock, questions, again=True))
        wait_for(lambda: cached(gw, "due999.test")["A"]["ttl_s"] <= 4, "they are due")
        up.forget()
        up.fault("delay", ms=1000)
        answers = ask_all(sock, questions, again=True)
    assert all(a and a.rcode == 0 and a.answers == 1 for a in answers)
    assert max(a.took_s for a in answers) < 0.5
    names, asked_ids = {q["name"] for q in up.queries()}, {(q["name"], q["id"]) for q in up.queries()}
    assert 1 <= len(names) <= len(asked_ids) < 1.2 * len(names) + 2  # on a busy machine one may be asked once more
    assert rdata(gw.ask("due1.test")) == ["10.50.0.1"]
