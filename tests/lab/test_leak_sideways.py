"""Item 5: the side ways by which a name could reach the wrong server: whatever asks without a client, or later."""
import contextlib
import signal

import dns.edns
import dns.message
import pytest

from capture import Capture
from lab import addresses, ede, has_fake_address, question, rcode, rdata, wait_for
from proxies import Socks5
from scripted import Scripted, ca_of
from waiting import moment

DOMESTIC, OVERSEAS, SPARE = "10.99.0.54", "10.99.0.55", "10.99.0.56"
ZONE = {"*": ["60 A 10.99.0.10", "60 AAAA 2001:db8:99::10", '60 TXT "text"', "60 HTTPS 1 . alpn=h2"]}
LIST = "inland.example\n"
HOME, ABROAD = "a.inland.example", "foreignx.example"  # foreignx: only overseas may hear of it; housex: nobody


@pytest.fixture
def domestic(lab):
    with Scripted(lab, ZONE, DOMESTIC) as server:
        yield server


@pytest.fixture
def overseas(lab):
    with Scripted(lab, ZONE, OVERSEAS) as server:
        yield server


@pytest.fixture
def wire(lab, domestic, overseas):
    with Capture(lab) as wire:
        yield wire
        told = wire.told("foreignx|housex")
    assert set(told) <= {OVERSEAS} and "housex" not in told.get(OVERSEAS, ()), told


def configured(lab, domestic, overseas, rules=(), listed=LIST, **more):
    (lab.dir / "inland.txt").write_text(listed)
    config = {
        "upstreams": {"domestic": {"servers": [domestic.udp], "leak": "strict", "lists": ["inland"],
                                   "strict_to": "overseas"},
                      "overseas": {"servers": [overseas.udp]}},
        "lists": {"inland": ["inland.txt"]},
        "egress": {"direct": {"upstream": "domestic"}},
        "rules": [*rules, {"name": "rest", "answer": "real", "upstream": "domestic"}]}  # all is asked at home
    for key, value in more.items():
        config[key] = {**config.get(key, {}), **value}
    return config


def names_at(server):
    return {q["name"].lower() for q in server.queries()}


# --- what strict does ---

def test_counted_logged_and_explained(gateway, lab, wire, domestic, overseas):
    gw = gateway(configured(lab, domestic, overseas))
    for i in range(30):
        assert addresses(gw.ask(f"n{i}.{ABROAD}")) == ["10.99.0.10"]
    gw.ask(f"n0.{ABROAD}")  # of the cache, but stopped all the same
    gw.ask(HOME)
    assert gw.status()["leaks_stopped"] == 31
    line, = gw.log_lines("leak: strict:")
    assert all(word in line for word in (f"n0.{ABROAD}", "domestic", "overseas"))
    assert names_at(domestic) == {HOME}
    told = gw.result("explain", name=f"never-asked.{ABROAD}")
    assert told["upstream"] == "overseas"
    assert [n for n in told["notes"] if all(word in n for word in ("leak: strict", "domestic", "overseas"))]
    told = gw.result("explain", name=f"never-asked.{HOME}")
    assert told["upstream"] == "domestic" and not any("leak" in n for n in told["notes"])
    assert "never-asked" not in str(names_at(domestic) | names_at(overseas))
    assert gw.status()["leaks_stopped"] == 31  # to explain is not to ask


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_without_another_group_it_fails(gateway, lab, wire, domestic, overseas, tcp):
    config = configured(lab, domestic, overseas)
    del config["upstreams"]["domestic"]["strict_to"]
    gw = gateway(config)
    for rdtype in ("A", "AAAA", "HTTPS", "TXT"):
        reply = gw.ask(ABROAD, rdtype, edns=True, tcp=tcp)
        assert rcode(reply) == "SERVFAIL" and ede(reply) == [18]
    assert addresses(gw.ask(HOME, tcp=tcp)) == ["10.99.0.10"]
    assert gw.status()["leaks_stopped"] == 4
    assert overseas.queries() == [] and names_at(domestic) == {HOME}
    assert [n for n in gw.result("explain", name=ABROAD)["notes"] if "nobody is asked" in n]


def test_names_that_are_nobodys(gateway, lab, wire, domestic, overseas):
    """Single labels go where their rule says, as all else; what is ours by nature never leaves."""
    gw = gateway(configured(lab, domestic, overseas))
    for name in ("housex.local", "housex.lan", "housex.onion", "housex.invalid", "housex.localhost", "housex.alt",
                 "housex.home.arpa", "housex.internal", "_dns.housex.resolver.arpa", "housex.168.192.in-addr.arpa",
                 "housex.ipv4only.arpa", "housex.use-application-dns.net"):
        for rdtype in ("A", "AAAA", "HTTPS", "TXT", "PTR"):
            gw.ask(name, rdtype)
    gw.ask("_dns.resolver.arpa", "SVCB")
    gw.ask("1.1.168.192.in-addr.arpa", "PTR")
    gw.ask("8.b.d.0.1.0.0.2.ip6.arpa", "PTR")
    assert names_at(domestic) == set()
    assert not any("housex" in name for name in names_at(overseas))
    gw.ask("foreignx")
    gw.ask("4.4.8.8.in-addr.arpa", "PTR")
    assert {"foreignx", "4.4.8.8.in-addr.arpa"} <= names_at(overseas) and names_at(domestic) == set()


# --- asked without a client ---

def test_prefetch_and_stale_after_a_reload(gateway, lab, wire, domestic, overseas):
    """A name that leaves the list is renewed where it belongs now."""
    domestic.set_zone({"*": ["1 A 10.99.0.10"]})
    config = configured(lab, domestic, overseas, listed=LIST + "moves.example\n",
                        cache={"prefetch": {"share": "90%", "hits": 1}, "serve_stale": "1d"})
    gw = gateway(config)
    for name in ("moves.example", HOME):
        assert addresses(gw.ask(name)) == ["10.99.0.10"]
    (lab.dir / "inland.txt").write_text(LIST)
    gw.result("reload")
    domestic.forget()
    overseas.set_zone({"*": ["1 A 10.50.0.1"]})

    def renewed():
        gw.ask(HOME)
        assert addresses(gw.ask("moves.example")) == ["10.50.0.1"]
        return len(domestic.queries()) > 1 and len(overseas.queries(name="moves.example")) > 2
    wait_for(renewed, "both were renewed")
    assert names_at(domestic) == {HOME}
    overseas.fault("silence")
    wait_for(lambda: addresses(gw.ask("moves.example", timeout_s=9)) == ["10.50.0.1"] and ede(
        gw.ask("moves.example", edns=True, timeout_s=9)) == [3], "it is stale", 20)  # overseas' answer, not domestic's
    assert names_at(domestic) == {HOME}


def test_warm_up_after_a_restart(gateway, lab, wire, domestic, overseas):
    """The hottest names are renewed by the rules, lists and records of today."""
    domestic.set_zone({"*": ["1 A 10.99.0.10"]})
    cache = {"store": str(lab.dir / "cache.db"), "warmup": {"count": 100, "rate": 1000}}
    gw = gateway(configured(lab, domestic, overseas, listed=LIST + "moves.example\nruled.example\n", cache=cache))
    at_home = {HOME, "moves.example", "ruled.example", "blocked.inland.example", "recorded.inland.example",
               "client.inland.example"}
    for name in at_home:
        for _ in range(3):
            assert addresses(gw.ask(name))
    gw.stop()
    assert names_at(domestic) == at_home
    domestic.forget()
    overseas.forget()
    rules = [{"name": "blocked", "domain": ["blocked.inland.example"], "answer": "block"},
             {"name": "client", "domain": ["client.inland.example"], "client": "192.168.77.0/24", "answer": "real",
              "upstream": "overseas"},
             {"name": "ruled", "domain": ["ruled.example"], "answer": "fake", "egress": "direct"}]
    gw.rewrite(configured(lab, domestic, overseas, rules, cache=cache,
                          records={"inline": [{"name": "recorded.inland.example", "type": "A",
                                               "rdata": "192.168.77.9"}]}))
    gw.start()
    wait_for(lambda: HOME in names_at(domestic), "the warm-up goes on")
    assert addresses(gw.ask("last.inland.example")) == ["10.99.0.10"]
    wait_for(lambda: "last.inland.example" in names_at(domestic), "it is over")
    # Who asks from elsewhere than the client may still have it asked at home.
    assert names_at(domestic) - {"client.inland.example"} == {HOME, "last.inland.example"}
    assert names_at(overseas) <= {"moves.example"}


def test_a_server_that_is_down_is_probed_with_no_name(gateway, lab, wire, domestic, overseas):
    config = configured(lab, domestic, overseas)
    config["upstreams"]["domestic"].update(health="100ms", timeout="200ms", total="500ms")
    config["upstreams"]["overseas"].update(health="100ms", timeout="200ms", total="500ms")
    gw = gateway(config)
    for server in (domestic, overseas):
        server.fault("silence")
    for i in range(6):
        gw.ask(f"n{i}.{ABROAD}")
        gw.ask(f"n{i}.inland.example")
    wait_for(lambda: not any(s["up"] for s in gw.status()["upstreams"] if s["group"] != "wan"), "both are down")

    def are_probes(server):
        asked = server.queries()
        if any(q["name"] != "." for q in asked):  # of before, sent again
            server.forget()
        return len(asked) > 1 and all((q["name"], q["type"], q["edns"]["options"]) == (".", "NS", {}) for q in asked)
    wait_for(lambda: are_probes(domestic) and are_probes(overseas), "probes and nothing else")


def test_fall_backs(gateway, lab, wire, domestic, overseas):
    """Home's fall-back hears of names of the list only; what fails overseas is not asked at home."""
    with Scripted(lab, ZONE, SPARE) as spare:
        config = configured(lab, domestic, overseas)
        config["upstreams"]["domestic"]["fallback"] = "spare"
        config["upstreams"]["spare"] = {"servers": [spare.udp]}
        gw = gateway(config)
        for server in (domestic, overseas):
            server.fault("rcode", rcode="REFUSED")
        assert addresses(gw.ask(HOME)) == ["10.99.0.10"]
        assert rcode(gw.ask(ABROAD)) != "NOERROR"
        assert names_at(spare) == names_at(domestic) == {HOME} and names_at(overseas) == {ABROAD}


@pytest.mark.parametrize("trouble", ["rcode", "silence", "reset", "expired", "gone", "poisoned"])
def test_an_encrypted_group_falls_back_on_encrypted_servers_only(gateway, lab, domestic, overseas, trouble):
    """Without downgrade nothing is to be read on the way, whatever happens; with it, the other server is asked."""
    def config(downgrade):
        return {"upstreams": {"first": {"servers": [overseas.tls], "ca": str(ca_of(lab)), "fallback": "mixed",
                                        "downgrade": downgrade, "timeout": "300ms", "ignore_ip": "203.0.113.66"},
                              "mixed": {"servers": [domestic.udp, domestic.tcp, overseas.https],
                                        "ca": str(ca_of(lab)), "timeout": "300ms"}},
                "cache": {"failure_ttl": 0},
                "rules": [{"name": "rest", "answer": "real", "upstream": "first"}]}
    if trouble == "poisoned":
        overseas.fault("answer", records=["60 A 203.0.113.66"])
    elif trouble == "expired":
        overseas.fault("certificate", which="expired")
    elif trouble == "gone":
        overseas.end()
    else:
        overseas.fault(trouble, **({"rcode": "REFUSED"} if trouble == "rcode" else {"at": "query"}))
    gw = gateway(config(False))
    with Capture(lab) as wire:
        for i in range(12):
            assert rcode(gw.ask(f"foreignx{i % 6}.example")) in ("SERVFAIL", "NOERROR", "REFUSED")
    assert wire.told("foreignx") == {} and domestic.queries() == []
    gw.rewrite(config(True))
    gw.result("reload")
    assert addresses(gw.ask("open.example")) == ["10.99.0.10"]
    assert names_at(domestic) == {"open.example"}


def test_a_list_that_is_not_there(gateway, lab, wire, domestic, overseas):
    """Of no name is it known that it may be asked at home."""
    config = configured(lab, domestic, overseas)
    config["lists"]["inland"] = {"path": "nowhere.txt", "format": "plain", "optional": True}
    gw = gateway(config)
    for name in (HOME, ABROAD):
        assert addresses(gw.ask(name)) == ["10.99.0.10"]
    assert domestic.queries() == []


@pytest.mark.parametrize("key, value", [("fallback", "domestic"), ("strict_to", "domestic2")])
def test_a_strict_group_is_nobodys_way_out(gateway, lab, wire, domestic, overseas, key, value):
    config = configured(lab, domestic, overseas)
    config["upstreams"]["domestic2"] = {"servers": [domestic.udp], "leak": "strict", "lists": ["inland"],
                                        "strict_to": "overseas"}
    config["upstreams"]["overseas" if key == "fallback" else "domestic"][key] = value
    gw = gateway(config, wait=False)
    assert gw.end() == 1
    assert gw.log_lines(f"upstreams.{'overseas' if key == 'fallback' else 'domestic'}.{key}: ", "leak: strict")


# --- traffic's own questions ---

def test_carrying_by_a_direct_egress(gateway, lab, wire, domestic, overseas):
    """The real address of a fake name is looked up by the same rule."""
    gw = gateway(configured(lab, domestic, overseas, [{"name": "all", "answer": "fake", "egress": "direct"}]))
    for name, server in ((ABROAD, overseas), (HOME, domestic)):
        reply = gw.ask(name)
        assert has_fake_address(reply)
        assert "hello" in lab.curl(f"http://{addresses(reply)[0]}/").stdout
        assert names_at(server) == {name}
    assert gw.status()["leaks_stopped"] > 0


def test_carrying_where_nobody_may_be_asked(gateway, lab, wire, domestic, overseas):
    config = configured(lab, domestic, overseas, [{"name": "all", "answer": "fake", "egress": "direct"}])
    del config["upstreams"]["domestic"]["strict_to"]
    gw = gateway(config)
    target = addresses(gw.ask(ABROAD))[0]
    with pytest.raises(OSError):
        lab.connect(target, tcp=True, port=80, timeout_s=3)
    assert domestic.queries() == overseas.queries() == []


@pytest.mark.parametrize("upstream", [{}, {"upstream": "domestic"}], ids=["the-egress's", "named"])
def test_unless(gateway, lab, wire, domestic, overseas, upstream):
    (lab.dir / "near.txt").write_text("10.99.0.10/32\n2001:db8:99::10/128\n")
    rules = [{"name": "all", "answer": "fake", "egress": "proxy",
              "unless": {"resolves_in": "near", "egress": "direct", **upstream}}]
    config = configured(lab, domestic, overseas, rules,
                        egress={"proxy": {"type": "socks5", "server": "10.99.0.2:1080", "upstream": "overseas"}})
    config["lists"]["near"] = ["near.txt"]
    gw = gateway(config)
    gw.ask(ABROAD)
    gw.ask(HOME)
    wait_for(lambda: names_at(domestic) == {HOME} and names_at(overseas) == {ABROAD}, "both were looked up")
    assert gw.status()["leaks_stopped"] > 0


def test_rewritten_https(gateway, lab, wire, domestic, overseas):
    gw = gateway(configured(lab, domestic, overseas, [{"name": "all", "answer": "fake", "egress": "direct"}],
                            fakeip={"https": "rewrite"}))
    for name, server in ((ABROAD, overseas), (HOME, domestic)):
        assert any("alpn" in text for text in rdata(gw.ask(name, "HTTPS")))
        assert names_at(server) == {name}


def test_names_that_are_not_faked(gateway, lab, wire, domestic, overseas):
    """fakeip.except, an exhausted pool, and the moment before the end."""
    (lab.dir / "except.txt").write_text("never-foreignx.example\nnever.inland.example\n")
    gw = gateway(configured(lab, domestic, overseas, [{"name": "all", "answer": "fake", "egress": "direct"}],
                            lists={"inland": ["inland.txt"], "never": ["except.txt"]},
                            fakeip={"except": {"builtin": True, "lists": ["never"]}}, gateway={"lame_duck": "10s"}))
    assert addresses(gw.ask("never-foreignx.example")) == addresses(gw.ask("never.inland.example")) == ["10.99.0.10"]
    gw.signal(signal.SIGTERM)
    wait_for(lambda: addresses(gw.ask(ABROAD)) == ["10.99.0.10"], "the lame duck's answers")
    assert addresses(gw.ask(HOME)) == ["10.99.0.10"]
    gw.signal(signal.SIGTERM)
    assert gw.end() == 0
    assert names_at(domestic) == {"never.inland.example", HOME}
    assert names_at(overseas) == {"never-foreignx.example", ABROAD}


def test_an_exhausted_pool(gateway, lab, wire, domestic, overseas):
    gw = gateway(configured(lab, domestic, overseas, [{"name": "all", "answer": "fake", "egress": "direct"}],
                            fakeip={"pool4": "198.18.0.0/28"}))
    for i in range(20):
        gw.ask(f"n{i}.{ABROAD}")
        gw.ask(f"n{i}.inland.example")
    assert overseas.queries() and domestic.queries()
    assert all("inland" in name for name in names_at(domestic))


def test_the_target_of_a_cname_of_ours(gateway, lab, wire, domestic, overseas):
    rules = [{"name": "to-abroad", "domain": ["alias.inland.example"], "answer": "local", "cname": ABROAD},
             {"name": "to-home", "domain": ["alias.foreignx.example"], "answer": "local", "cname": HOME}]
    gw = gateway(configured(lab, domestic, overseas, rules))
    for name in ("alias.inland.example", "alias.foreignx.example"):
        assert addresses(gw.ask(name)) == ["10.99.0.10"]
    assert names_at(domestic) == {HOME} and names_at(overseas) == {ABROAD}


def test_names_of_servers(gateway, lab, wire, domestic, overseas):
    """A server's own name is asked at its bootstrap, be that strict; nothing else is, and `check` says so."""
    config = configured(lab, domestic, overseas)
    with Scripted(lab, {"dns.test": ["60 A 10.99.0.56"], "*": ["60 A 10.99.0.10"]}, SPARE) as spare:
        domestic.set_zone({"dns.test": [f"60 A {SPARE}"], "*": ["60 A 10.99.0.10"]})
        config["upstreams"]["overseas"] = {"servers": [spare.tls_by_name], "ca": str(ca_of(lab)),
                                           "bootstrap": "domestic"}
        gw = gateway(config)
        assert addresses(gw.ask("over-tls.example")) == ["10.99.0.10"]
        assert names_at(spare) == {"over-tls.example"}
    assert names_at(domestic) == {"dns.test"}
    checked = lab.run("gw", gw.program, "check", "-c", gw.config_file).stderr
    assert any("upstreams.overseas.bootstrap" in line and "leak: strict" in line for line in checked.splitlines())


def test_the_name_of_a_proxy(gateway, lab, wire, domestic, overseas):
    """Likewise; what is asked of the proxy is told to it alone."""
    domestic.set_zone({"proxy.test": ["60 A 10.99.0.2"], "*": ["60 A 10.99.0.10"]})
    config = configured(lab, domestic, overseas, [{"name": "all", "answer": "fake", "egress": "proxy"}])
    config["egress"]["proxy"] = {"type": "socks5", "server": "proxy.test:1080", "bootstrap": "domestic"}
    with Socks5(lab) as proxy:
        gw = gateway(config)
        with lab.connect(addresses(gw.ask("far.example"))[0], tcp=True, port=7):
            wait_for(lambda: proxy.requests == [("far.example", 7)], "the proxy is asked")
    assert names_at(domestic) == {"proxy.test"} and overseas.queries() == []


@pytest.mark.parametrize("labels, where", [
    ([b"foreignx.inland", b"example"], OVERSEAS), ([b"foreignx", b"a.inland.example"], OVERSEAS),
    ([b"foreignx.inland.example"], OVERSEAS), ([b"foreignx", b"inland\0", b"example"], OVERSEAS),
    ([b"foreignx", b"inland.example", b"example"], OVERSEAS), ([b"a.b\0\xff\\", b"INLAND", b"Example"], DOMESTIC)])
def test_labels_of_any_bytes(gateway, lab, wire, domestic, overseas, labels, where):
    """A dot within a label begins no other."""
    gateway(configured(lab, domestic, overseas))
    name = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    reply = lab.exchange_bytes(b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1")
    assert reply[3] & 15 == 0
    asked = {DOMESTIC: len(domestic.queries()), OVERSEAS: len(overseas.queries())}
    assert asked == {DOMESTIC: 0, OVERSEAS: 0, where: 1}


# --- while it changes ---

def test_after_each_of_many_reloads(gateway, lab, wire, domestic, overseas):
    """When `reload` has replied, every worker knows the new list."""
    gw = gateway(configured(lab, domestic, overseas), "tun")
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(lab.connect("8.8.8.8")) for _ in range(8)]  # of both workers
        for i in range(20):
            (lab.dir / "inland.txt").write_text(LIST + ("moves.example\n" if i % 2 else ""))
            gw.result("reload")
            for k, sock in enumerate(socks):
                sock.send(question(f"n{i}-{k}.moves.example").to_wire())
            for sock in socks:
                assert addresses(dns.message.from_wire(sock.recv(4096))) == ["10.99.0.10"]
    for server, parity in ((domestic, 1), (overseas, 0)):
        assert names_at(server) == {f"n{i}-{k}.moves.example" for i in range(parity, 20, 2) for k in range(8)}


def test_a_reload_while_it_is_asked(gateway, lab, wire, domestic, overseas):
    """Whoever asks after the reload does not wait for what was asked before it, and does not get its answer."""
    domestic.fault("delay", ms=1500, name="moves.example")
    overseas.set_zone({"*": ["60 A 10.50.0.1"]})
    config = configured(lab, domestic, overseas, listed=LIST + "moves.example\n")
    gw = gateway(config)
    with lab.connect("8.8.8.8") as early:
        early.send(question("moves.example").to_wire())
        wait_for(lambda: domestic.queries(name="moves.example"), "it is asked at home")
        (lab.dir / "inland.txt").write_text(LIST)
        gw.result("reload")
        start = moment()
        assert addresses(gw.ask("moves.example")) == ["10.50.0.1"]
        assert moment() - start < 1
        assert addresses(dns.message.from_wire(early.recv(4096))) == ["10.99.0.10"]
    assert addresses(gw.ask("moves.example")) == ["10.50.0.1"]
    asked = len(domestic.queries(name="moves.example"))
    for server in (domestic, overseas):  # and back again
        server.clear()
    gw.cli("cache", "flush")
    (lab.dir / "inland.txt").write_text(LIST + "moves.example\n")
    gw.result("reload")
    assert addresses(gw.ask("moves.example")) == ["10.99.0.10"]
    assert len(domestic.queries(name="moves.example")) == asked + 1


# --- what else a message could carry ---

def options_of(reply):
    return {int(o.otype) for o in reply.options}


def nosy_question(name, rdtype="A"):
    """A client with a cookie, a subnet, a request for the server's name, keys and padding."""
    query = dns.message.make_query(name, rdtype)
    options = [dns.edns.ECSOption("192.168.77.0", 24), dns.edns.GenericOption(10, b"housexck"),
               dns.edns.GenericOption(3, b""), dns.edns.GenericOption(11, b""), dns.edns.GenericOption(12, b"housex"),
               dns.edns.GenericOption(65001, b"housex of the client"), dns.edns.GenericOption(65074, b"02:5e:housex")]
    query.use_edns(0, ednsflags=0, payload=4096, options=options)
    return query


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "https"])
@pytest.mark.parametrize("tcp", [False, True], ids=["udp-client", "tcp-client"])
def test_options_go_no_further(gateway, lab, wire, domestic, overseas, transport, tcp):
    config = configured(lab, domestic, overseas)
    for group, server in (("domestic", domestic), ("overseas", overseas)):
        config["upstreams"][group].update(servers=[getattr(server, transport)])
        if transport in ("tls", "https"):
            config["upstreams"][group]["ca"] = str(ca_of(lab))
        server.fault("options")
    gw = gateway(config)
    for name, server in ((HOME, domestic), (ABROAD, overseas)):
        for _ in range(2):  # the second time by the cache
            reply = lab.exchange(nosy_question(name), tcp=tcp)
            assert addresses(reply) == ["10.99.0.10"] and options_of(reply) == set() and reply.payload == 1232
            assert lab.ask(name, tcp=tcp).edns == -1
        asked, = server.queries(name=name)
        assert set(asked["edns"]["options"]) == ({"12"} if transport in ("tls", "https") else set())
        assert asked["edns"]["ecs"] is None and asked["edns"]["payload"] == 1232
        assert set(bytes.fromhex(asked["edns"]["options"].get("12", ""))) <= {0}
    assert gw.status()["leaks_stopped"] > 0


@pytest.mark.parametrize("subnet, sent", [("198.51.100.0/24", "198.51.100.0/24"), ("203.0.112.0/21", "203.0.112.0/21"),
                                          ("2001:db8:5::/48", "2001:db8:5::/48"), ("0.0.0.0/0", "0.0.0.0/0"),
                                          ("198.51.100.77/32", "198.51.100.77/32")])
def test_a_subnet_of_the_configuration(gateway, lab, wire, domestic, overseas, subnet, sent):
    """Whoever asks, and with whatever subnet: the same is sent, so one answer serves all."""
    config = configured(lab, domestic, overseas)
    config["upstreams"]["domestic"]["ecs"] = subnet
    domestic.fault("options", options=["ecs"])
    gw = gateway(config)
    for reply in (lab.exchange(nosy_question(HOME)), gw.ask(HOME), gw.ask(HOME, tcp=True), gw.ask(HOME, part="gw")):
        assert addresses(reply) == ["10.99.0.10"] and (reply.edns < 0 or options_of(reply) == set())
    gw.ask(HOME, "AAAA")
    gw.ask(ABROAD)
    assert [(q["type"], q["edns"]["ecs"], set(q["edns"]["options"])) for q in domestic.queries()] == [
        ("A", sent, {"8"}), ("AAAA", sent, {"8"})]
    assert [q["edns"]["ecs"] for q in overseas.queries()] == [None]


# --- what `check` says ---

def test_rules_that_are_asked_in_the_clear(lab, gateway, domestic, overseas):
    """A note for each rule whose names somebody on the way can read, and for no other."""
    (lab.dir / "inland.txt").write_text(LIST)
    upstreams = {
        "plain": {"servers": [domestic.udp]}, "tcp": {"servers": [domestic.tcp]}, "dns": {"servers": [domestic.dns]},
        "tls": {"servers": [overseas.tls], "ca": str(ca_of(lab))},
        "https": {"servers": [overseas.https], "ca": str(ca_of(lab))},
        "mixed": {"servers": [overseas.tls, domestic.udp], "ca": str(ca_of(lab))},
        "proxied": {"servers": [domestic.udp], "via": "proxy"},
        "falls": {"servers": [overseas.tls], "ca": str(ca_of(lab)), "fallback": "plain", "downgrade": True},
        "strict": {"servers": [overseas.tls], "ca": str(ca_of(lab)), "leak": "strict", "lists": ["inland"],
                   "strict_to": "plain"},
        "safe": {"servers": [overseas.tls], "ca": str(ca_of(lab)), "leak": "strict", "lists": ["inland"],
                 "strict_to": "https"}}
    egress = {"proxy": {"type": "socks5", "server": "10.99.0.2:1080", "upstream": "tls"},
              "open": {"type": "direct", "upstream": "plain"}, "closed": {"type": "direct", "upstream": "https"}}
    told, quiet = ("plain", "tcp", "dns", "mixed", "falls", "strict"), ("tls", "https", "proxied", "safe")
    rules = [{"name": f"r-{group}", "domain": [f"{group}.example"], "answer": "real", "upstream": group}
             for group in (*told, *quiet)]
    rules += [
        {"name": "f-open", "domain": ["f1.example"], "answer": "fake", "egress": "open"},
        {"name": "f-closed", "domain": ["f2.example"], "answer": "fake", "egress": "closed"},
        {"name": "f-proxy", "domain": ["f3.example"], "answer": "fake", "egress": "proxy"},
        {"name": "f-unless", "domain": ["f4.example"], "answer": "fake", "egress": "proxy",
         "unless": {"resolves_in": "inland", "egress": "open"}},
        {"name": "f-unless-closed", "domain": ["f5.example"], "answer": "fake", "egress": "proxy",
         "unless": {"resolves_in": "inland", "egress": "closed"}},
        {"name": "block", "domain": ["b.example"], "answer": "block"},
        {"name": "local", "domain": ["l.example"], "answer": "local", "address": "192.0.2.1"},
        {"name": "rest", "answer": "real", "upstream": "https"}]
    gw = gateway({"upstreams": upstreams, "egress": egress, "lists": {"inland": ["inland.txt"]}, "rules": rules},
                 wait=False)
    checked = lab.run("gw", gw.program, "check", "-c", gw.config_file).stderr
    print(checked)
    noted = {rules[int(line.split("rules[")[1].split("]")[0])]["name"] for line in checked.splitlines()
             if "neither encrypted" in line}
    assert noted == {f"r-{group}" for group in told} | {"f-open", "f-unless"}
    wait_for(lambda: gw.ready() or not gw.running(), "it is up")
