"""Item 4 of resolve: `tungate cache`, what explain and status tell of it, and the sets of answers that it gives."""
import json
import os
import socket
import threading

import pytest

from asking import ask_all
from caching import asked, cached, over, real_rule, state, stats, up, wait_stale  # noqa: F401: up is a fixture
from lab import addresses, question, rcode, wait_for

ZONE = {"a.test": ["60 A 10.50.0.1", "60 A 10.50.0.2", "60 AAAA 2001:db8:50::1", "60 TXT x"],
        "alias.test": ["60 CNAME a.test."], "*.many.test": ["60 A 10.50.0.3"]}


@pytest.fixture
def zoned(up):
    up.set_zone(ZONE)
    return up


def raw(gw, *lines):
    """Lines as they are, over one connection; the replies."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(gw.socket_path)
        replies = []
        with sock.makefile("rb") as reader:
            for line in lines:
                sock.sendall(line + b"\n")
                replies.append(json.loads(reader.readline()))
        return replies


# --- show and flush ---

def test_show_over_the_socket(gateway, zoned):
    gw = gateway(over(zoned))
    assert gw.result("cache.show") == []
    for name, rdtype in (("a.test", "A"), ("A.test", "AAAA"), ("a.test", "TXT"), ("alias.test", "A"), ("no.test", "A")):
        gw.ask(name, rdtype)
    shown = {(e["name"], e["type"]): e for e in gw.result("cache.show")}
    assert set(shown) == {("a.test", "A"), ("a.test", "AAAA"), ("a.test", "TXT"), ("alias.test", "A"), ("no.test", "A")}
    one = shown["a.test", "A"]
    assert (one["rcode"], sorted(one["addresses"]), one["state"]) == (0, ["10.50.0.1", "10.50.0.2"], "fresh")
    assert 58 <= one["ttl_s"] <= 60
    assert shown["a.test", "AAAA"]["addresses"] == ["2001:db8:50::1"]
    assert shown["a.test", "TXT"]["addresses"] == []
    assert sorted(shown["alias.test", "A"]["addresses"]) == ["10.50.0.1", "10.50.0.2"]
    assert (shown["no.test", "A"]["rcode"], shown["no.test", "A"]["addresses"]) == (3, [])
    assert {e["type"] for e in gw.result("cache.show", name="A.TEST.")} == {"A", "AAAA", "TXT"}
    assert gw.result("cache.show", name="test") == gw.result("cache.show", name="none.test") == []


def test_show_is_bounded(gateway, lab, zoned):
    gw = gateway(over(zoned))
    with lab.connect("8.8.8.8") as sock:
        assert all(ask_all(sock, ((f"n{i}.many.test", "A") for i in range(1200)), again=True))
    assert len(gw.result("cache.show")) == 1000
    assert len(gw.result("cache.show", limit=3)) == 3
    assert len(gw.result("cache.show", limit=5000)) == 1200
    assert len(gw.cli("cache", "show").stdout.splitlines()) == 1000


def test_looking_changes_nothing(gateway, zoned):
    gw = gateway(over(zoned))
    gw.ask("a.test")
    before = stats(gw)
    for _ in range(5):
        gw.result("cache.show")
        gw.result("cache.show", name="a.test")
        state(gw, "a.test")
        gw.status()
    assert stats(gw) == before and cached(gw, "a.test")["A"]["hits"] == 0


def test_flush_of_a_name_takes_all_of_it_and_nothing_else(gateway, lab, zoned):
    gw = gateway(over(zoned))
    for name, rdtype in (("a.test", "A"), ("a.test", "AAAA"), ("alias.test", "A")):
        gw.ask(name, rdtype)
    query = question("a.test", edns=True)
    query.want_dnssec(True)
    lab.exchange(query)
    assert gw.result("cache.flush", name="A.test") == {"flushed": 3}
    assert [e["name"] for e in gw.result("cache.show")] == ["alias.test"]
    assert gw.result("cache.flush", name="a.test") == gw.result("cache.flush", name="no.test") == {"flushed": 0}
    gw.ask("a.test")
    assert asked(zoned, "a.test") == ["A", "AAAA", "A", "A"]
    assert gw.result("cache.flush") == {"flushed": 2}
    assert gw.result("cache.show") == [] and stats(gw)["entries"] == 0
    gw.ask("alias.test")
    assert len(asked(zoned, "alias.test")) == 2


def test_a_flush_while_the_question_is_asked(gateway, lab, zoned):
    """The answer that is on its way still comes."""
    gw = gateway(over(zoned))
    zoned.fault("delay", ms=300)
    with lab.connect("8.8.8.8") as sock:
        sock.send(question("a.test").to_wire())
        wait_for(lambda: asked(zoned, "a.test"), "it is asked")
        assert gw.result("cache.flush") == {"flushed": 0}
        assert sock.recv(4096)
    assert gw.running()


def test_the_command_line(gateway, zoned):
    gw = gateway(over(zoned))
    assert gw.cli("cache", "show").stdout == "nothing is kept\n"
    assert json.loads(gw.cli("cache", "show", "--json").stdout) == []
    gw.ask("a.test")
    gw.ask("no.test")
    zoned.fault("rcode", rcode="SERVFAIL")
    gw.ask("broken.test")
    lines = {line.split()[0]: line.split() for line in gw.cli("cache", "show").stdout.splitlines()}
    assert lines["a.test"][1] == "A" and sorted(lines["a.test"][-2:]) == ["10.50.0.1", "10.50.0.2"]
    assert lines["a.test"][2] in ("60s", "59s", "58s", "1m")
    assert lines["no.test"][1] == "A" and lines["no.test"][-1] == "NXDOMAIN"
    assert lines["broken.test"][1:] == ["A", "failed", "SERVFAIL"]
    assert gw.cli("cache", "show", "a.test").stdout.split()[0] == "a.test"
    assert gw.cli("cache", "show", "none.test").stdout == "nothing is kept\n"
    entry, = json.loads(gw.cli("cache", "show", "a.test", "--json").stdout)
    assert (entry["name"], entry["type"], entry["rcode"]) == ("a.test", "A", 0)
    assert gw.cli("cache", "flush", "a.test").stdout == "1 flushed\n"
    assert json.loads(gw.cli("cache", "flush", "--json").stdout) == {"flushed": 2}
    assert gw.cli("cache", "flush").stdout == "0 flushed\n"


@pytest.mark.parametrize("words", [["cache"], ["cache", "drop"], ["cache", "show", "a", "b"],
                                   ["cache", "flush", "a", "b"], ["cache", "show", "--client", "1.2.3.4"]])
def test_wrong_usage(gateway, up, words):
    gw = gateway(over(up))
    done = gw.cli(*words, check=False)
    assert done.returncode == 2 and done.stderr and not done.stdout


# --- hostile ---

NO_NAMES = ["..", "a..test", "a" * 64 + ".test", "a." * 128 + "test", "x" * 60000, "a\\", "\\256.test", "\\25",
            "\u001b[31m.", "%s%n.test", "\u0000", "", ".", "\u00e4.test", "a b.test", "\\000.test", "'; --"]
NO_ARGUMENTS = [{"name": 5}, {"name": ["a.test"]}, {"name": {"a": 1}}, {"name": True}, {"limit": -1}, {"limit": "x"},
                {"limit": 1e30}, {"limit": 0}, {"nonsense": 1}, {"name": "b.test", "client": "1.2.3.4"}]


def test_nonsense_is_refused_and_harms_nothing(gateway, zoned):
    gw = gateway(over(zoned))
    gw.ask("a.test")
    for command in ("cache.show", "cache.flush"):
        for arguments in [{"name": name} for name in NO_NAMES] + NO_ARGUMENTS:
            reply = gw.request(command, **arguments)
            if reply["ok"]:  # a name that is none of ours, an argument that is not for it
                assert reply["result"] in ([], {"flushed": 0}), arguments
            else:
                assert reply["code"] == 400 and 0 < len(reply["error"]) < 300, reply
            assert len(gw.result("cache.show")) == 1, arguments
    for name in NO_NAMES[:8]:
        assert not gw.request("cache.show", name=name)["ok"], name
        assert not gw.request("cache.flush", name=name)["ok"], name


def test_a_line_of_64_kib(gateway, zoned):
    gw = gateway(over(zoned))
    for size in (60000, 65500, 70000, 200000):
        line = b'{"cmd":"cache.show","name":"' + b"x" * size + b'"}'
        refused, after = raw(gw, line, b'{"cmd":"version"}')
        assert refused["ok"] is False and after["ok"] is True


def test_names_of_all_bytes_are_shown_in_one_line_each(gateway, lab, up):
    """What a client asks for comes to the screen of who looks: no control characters, no second line."""
    gw = gateway(over(up))
    names = ["\\027[31mred.test", "a\\010b.test", "a\\.b.test", "sp\\032ace.test", "\\255\\254.test", "q\\\"uote.test",
             "\\000.test"]
    for name in names:
        assert addresses(gw.ask(name)) == ["10.50.0.1"]
    text = gw.cli("cache", "show").stdout
    assert len(text.splitlines()) == len(names) and all(32 <= ord(c) < 127 or c == "\n" for c in text), ascii(text)
    for entry in gw.result("cache.show"):
        assert [e["name"] for e in gw.result("cache.show", name=entry["name"])] == [entry["name"]]
        assert gw.result("cache.flush", name=entry["name"]) == {"flushed": 1}


def test_many_look_and_flush_while_many_ask(gateway, lab, up):
    gw = gateway(over(up, gateway={"workers": 2}))
    stopping, troubles = threading.Event(), []

    def look():
        while not stopping.is_set():
            for command, how in (("cache.show", {}), ("cache.flush", {"name": "n5.test"}), ("cache.flush", {}),
                                 ("cache.show", {"limit": 100000})):
                if not gw.request(command, **how)["ok"]:
                    troubles.append(command)
    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with lab.connect("8.8.8.8") as sock:
            for _ in range(3):
                answers = ask_all(sock, ((f"n{i}.test", "A") for i in range(700)), again=True)
                assert all(a and a.rcode == 0 and a.answers == 1 for a in answers)
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    assert not troubles


# --- explain and status ---

def test_explain_tells_what_is_kept(gateway, up):
    up.set_zone({"*": ["2 A 10.50.0.1"]})
    gw = gateway(over(up))
    assert state(gw, "x.test") == {"state": "miss", "ttl_s": 0}
    gw.ask("x.test")
    found = state(gw, "X.test")
    assert found["state"] == "hit" and found["ttl_s"] in (1, 2)
    assert state(gw, "x.test", type="AAAA")["state"] == "miss"
    assert "hit" in gw.cli("explain", "x.test").stdout
    wait_stale(gw, "x.test")
    assert state(gw, "x.test") == {"state": "stale", "ttl_s": 0}
    assert "stale" in gw.cli("explain", "x.test").stdout
    gw.result("cache.flush")
    assert state(gw, "x.test")["state"] == "miss"


def test_explain_follows_the_client(gateway, up):
    gw = gateway(over(up, rules=[
        {"name": "kids", "client": ["192.168.77.98"], "answer": "real", "upstream": "wan", "ttl": {"max": 20}},
        {"name": "live", "domain": ["live.test"], "answer": "real", "upstream": "wan", "cache": "no"}, real_rule()]))
    gw.ask("x.test")
    gw.ask("x.live.test")
    assert state(gw, "x.test", client="192.168.77.2")["state"] == "hit"
    assert state(gw, "x.test", client="192.168.77.98")["state"] == "miss"
    assert state(gw, "x.live.test")["state"] == "miss"


def test_status_counts(gateway, up):
    up.set_zone({"*": ["1 A 10.50.0.1"], "long.test": ["600 A 10.50.0.1"]})
    gw = gateway(over(up))
    empty = stats(gw)
    assert (empty["entries"], empty["hits"], empty["misses"], empty["stale"], empty["evicted"]) == (0,) * 5
    gw.ask("long.test")
    for _ in range(3):
        gw.ask("long.test")
    gw.ask("x.test")
    now = stats(gw)
    assert (now["entries"], now["hits"], now["misses"]) == (2, 3, 2)
    assert now["bytes"] > empty["bytes"]
    wait_stale(gw, "x.test")
    up.fault("rcode", rcode="SERVFAIL")
    gw.ask("x.test")
    gw.ask("broken.test")
    gw.ask("broken.test")
    now = stats(gw)
    assert now["stale"] >= 1 and now["hits"] == 4
    assert "hits 4" in gw.cli("status").stdout


# --- sets ---

@pytest.fixture
def sets(lab):
    lab.nft("table inet user { set v4 { type ipv4_addr; flags timeout; }; }")
    yield lambda: [e["elem"]["val"] for item in lab.nft_json("list", "set", "inet", "user", "v4")
                   for e in item.get("set", {}).get("elem", [])]
    lab.nft("delete table inet user")


@pytest.mark.parametrize("how", ["flush", "delete"])
def test_a_cached_answer_puts_its_address_into_the_set_before_it_leaves(gateway, lab, up, sets, how):
    gw = gateway(over(up, rules=[real_rule(nftset=["4#inet#user#v4"])]))
    assert addresses(gw.ask("x.test")) == ["10.50.0.1"] and sets() == ["10.50.0.1"]
    for _ in range(10):
        if how == "flush":
            lab.nft("flush set inet user v4")
        else:
            lab.nft("delete element inet user v4 { 10.50.0.1 }")
        assert addresses(gw.ask("x.test")) == ["10.50.0.1"]
        assert sets() == ["10.50.0.1"]
    assert len(up.queries()) == 1


def test_a_stale_answer_does_so_too(gateway, lab, up, sets):
    up.set_zone({"*": ["1 A 10.50.0.1"]})
    gw = gateway(over(up, rules=[real_rule(nftset=["4#inet#user#v4"])]))
    gw.ask("x.test")
    wait_stale(gw, "x.test")
    up.fault("rcode", rcode="SERVFAIL")
    for _ in range(3):
        lab.nft("flush set inet user v4")
        assert addresses(gw.ask("x.test")) == ["10.50.0.1"]
        assert sets() == ["10.50.0.1"]


def test_an_answer_of_the_file_does_so_too(gateway, lab, up, sets):
    store = lab.dir / "with-sets"
    gw = gateway(over(up, {"store": str(store), "warmup": {"count": 0}}, rules=[real_rule(nftset=["4#inet#user#v4"])]))
    gw.ask("x.test")
    gw.stop()
    lab.nft("flush set inet user v4")
    gw.start()
    assert addresses(gw.ask("x.test")) == ["10.50.0.1"] and sets() == ["10.50.0.1"]
    assert len(up.queries()) == 1
    gw.stop()
    store.unlink()


# --- the sanitized build ---

def test_the_cache_under_sanitizers(gateway, lab, up):
    if "TUNGATE_ASAN" not in os.environ:
        pytest.skip("TUNGATE_ASAN is not set")
    gw = gateway(over(up, {"size": 50, "bytes": "100k", "prefetch": "90%"}), program=os.environ["TUNGATE_ASAN"])
    up.fault("size", size=3000, name="big*.test")
    for i in range(150):
        gw.ask(f"n{i % 70}.test")
        assert rcode(gw.ask(f"big{i % 30}.test", "TXT", tcp=True)) == "NOERROR"
        if i % 10 == 0:
            gw.result("cache.show")
            gw.result("cache.flush", name=f"n{i}.test")
