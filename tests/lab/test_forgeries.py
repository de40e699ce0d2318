"""Item 3: answers are believed only when they are ours."""
import random
import socket
import struct
import time

import dns.message
import pytest

from asking import ask_all
from lab import Upstream, addresses, answer_to, has_soa, is_fake, question, rcode, rdata, wait_for
from scripted import Scripted
from waiting import moment

AT, OTHER, AT6 = "10.99.0.54", "10.99.0.55", "2001:db8:99::54"
FORGED, RIGHT, OTHERS = "203.0.113.66", "10.50.0.1", "10.50.0.2"
RULES = [{"name": "rest", "answer": "real", "upstream": "wan"}]


@pytest.fixture(autouse=True)
def addresses_in_wan(lab):
    added = ((f"{AT}/24",), (f"{OTHER}/24",), (f"{AT6}/64", "nodad"))
    for address in added:
        lab.run("wan", "ip", "addr", "add", *address, "dev", "eth0")
    yield
    for address in added:
        lab.run("wan", "ip", "addr", "del", address[0], "dev", "eth0")


@pytest.fixture
def up(lab):
    with Scripted(lab, {"*": [f"60 A {RIGHT}", "60 AAAA 2001:db8:50::1"]}, AT) as server:
        yield server


@pytest.fixture
def other(lab):
    with Scripted(lab, {"*": [f"60 A {OTHERS}", "60 AAAA 2001:db8:50::2"]}, OTHER) as server:
        yield server


def configured(*servers, rules=RULES, groups=None, **fields):
    return {"upstreams": {"wan": {"servers": list(servers), "strategy": "sequential", **fields}, **(groups or {})},
            "rules": rules}


def wrong_answers(gw):
    return [server["wrong_answers"] for server in gw.status()["upstreams"]]


def guards(gw):
    return gw.status()["answers"]


def took(function):
    begun = moment()
    result = function()
    return result, moment() - begun


# --- whose it is ---

WRONG = {
    "id": lambda wire: struct.pack("!H", struct.unpack_from("!H", wire)[0] ^ 1) + answer_to(wire, f"60 A {FORGED}")[2:],
    "name": lambda wire: answer_to(_asks(wire, "wrong.example"), f"60 A {FORGED}"),
    "type": lambda wire: answer_to(_asks(wire, rdtype="AAAA"), "60 AAAA 2001:db8::66"),
    "class": lambda wire: _classed(answer_to(wire, f"60 A {FORGED}"), 3),
    "opcode": lambda wire: _flagged(answer_to(wire, f"60 A {FORGED}"), 0xa0),
    "not an answer": lambda wire: wire,
    "two questions": lambda wire: _counted(answer_to(wire, f"60 A {FORGED}")),
    "no question": lambda wire: wire[:2] + b"\x81\x80\0\0\0\0\0\0\0\0",
    "half a header": lambda wire: wire[:7],
}


def _asks(wire, name=None, rdtype=None):
    """The question that wire would have been, had it asked for another name or type."""
    query = dns.message.from_wire(wire)
    old = query.question[0]
    other = dns.message.make_query(name or old.name, rdtype or old.rdtype)
    other.id = query.id
    return other.to_wire()


def _end(wire):
    return wire.index(b"\0", 12) + 1


def _classed(wire, rdclass):
    return wire[:_end(wire) + 2] + struct.pack("!H", rdclass) + wire[_end(wire) + 4:]


def _flagged(wire, byte):
    return wire[:2] + bytes([byte]) + wire[3:]


def _counted(wire):
    end = _end(wire) + 4
    return wire[:4] + b"\0\2" + wire[6:end] + wire[12:]


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
@pytest.mark.parametrize("at", [AT, f"[{AT6}]"], ids=["v4", "v6"])
def test_what_is_not_ours_is_waited_past(gateway, lab, scheme, at):
    """All kinds of wrong ones come first, over datagrams and over a connection; the right one counts."""
    def handler(wire, _client, send):
        for make in WRONG.values():
            if scheme == "udp" or make is not WRONG["half a header"]:
                send(make(wire))
        send(answer_to(wire, f"60 A {RIGHT}"))
    with Upstream(lab, handler, at.strip("[]"), tcp=True) as upstream:
        gw = gateway(configured(f"{scheme}://{at}:5354"))
        assert addresses(gw.ask("a.example")) == [RIGHT]
        assert len(upstream.queries) + len(upstream.tcp_queries) == 1
        wait_for(lambda: sum(wrong_answers(gw)) == len(WRONG) - (scheme == "tcp"), "each is counted")
        assert addresses(gw.ask("a.example")) == [RIGHT]


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "https"])
@pytest.mark.parametrize("kind", ["wrong_id", "wrong_question", "wrong_class"])
def test_a_server_that_answers_wrongly(gateway, lab, up, other, transport, kind):
    """Nothing but wrong answers: the next server is asked, and nobody hears a wrong one. (The id of an answer over
    HTTPS tells nothing: the stream is the question's.)"""
    up.fault(kind, transport=transport)
    servers = [getattr(server, transport) for server in (up, other)]
    gw = gateway(configured(*servers, timeout="400ms", **({"ca": str(up.ca)} if transport in ("tls", "https") else {})))
    reply, s = took(lambda: gw.ask("a.example"))
    assert addresses(reply) == [OTHERS] and s < 3
    assert wrong_answers(gw)[0] >= 1
    up.clear()
    other.fault("silence")
    assert addresses(gw.ask("b.example")) == [RIGHT]  # it is still of use


@pytest.mark.parametrize("source", [(OTHER, 5354), (AT, 5355)])
def test_from_elsewhere(gateway, lab, up, source):
    """Right in all but where it comes from: not even 1,000 of them are believed."""
    up.fault("delay", ms=400)
    with lab.socket("wan", timeout_s=0.2) as forger:
        forger.bind(source)
        gateway(configured(up.udp))
        with lab.connect("8.8.8.8") as sock:
            query = question("a.example")
            sock.send(query.to_wire())
            asked, = wait_for(up.queries, "it is asked")
            mine = question("a.example")
            mine.id = asked["id"]
            for _ in range(1000):
                forger.sendto(answer_to(mine.to_wire(), f"60 A {FORGED}"), ("10.99.0.1", asked["port"]))
            assert addresses(dns.message.from_wire(sock.recv(4096))) == [RIGHT]


# --- what cannot be guessed ---

def chi_square(values, low, high, buckets):
    counts = [0] * buckets
    for value in values:
        counts[(value - low) * buckets // (high - low)] += 1
    expected = len(values) / buckets
    return sum((count - expected) ** 2 / expected for count in counts)


def assert_spread(values, low, high):
    """No order, no favourites: bounds that chance does not meet once in a million times."""
    assert chi_square(values, low, high, 16) < 56, sorted(values)  # 15 degrees of freedom
    assert 100 < sum(a < b for a, b in zip(values, values[1:])) < 200
    assert len({b - a for a, b in zip(values, values[1:])}) > 270
    assert len(set(values)) > 280


def test_ids_and_ports(gateway, lab, up):
    low, high = map(int, lab.run("gw", "sysctl", "-n", "net.ipv4.ip_local_port_range").stdout.split())
    gateway(configured(up.udp))
    with lab.connect("8.8.8.8") as sock:
        ask_all(sock, [(f"n{i}.example", "A") for i in range(300)], window=1)
    queries = up.queries()
    assert len(queries) == 300
    ids, ports = [q["id"] for q in queries], [q["port"] for q in queries]
    assert_spread(ids, 0, 1 << 16)
    assert_spread(ports, low, high + 1)
    assert all(a != b for a, b in zip(ports, ports[1:]))
    for bit in range(16):
        assert 90 < sum(one >> bit & 1 for one in ids) < 210, bit


def test_ids_and_ports_under_load(gateway, lab, up):
    """300 at once: no two share id and port, and nobody learns much from one of them."""
    up.fault("delay", ms=200)
    gateway(configured(up.udp, timeout="3s"))
    with lab.connect("8.8.8.8") as sock:
        answers = ask_all(sock, [(f"n{i}.example", "A") for i in range(300)], window=300)
    assert all(a and a.answers == 1 for a in answers)
    first = {}
    for q in up.queries():
        first.setdefault(q["name"], (q["id"], q["port"]))
    assert len(first) == len(set(first.values())) == 300
    ids = [one[0] for one in first.values()]
    assert chi_square(ids, 0, 1 << 16, 16) < 56 and len(set(ids)) > 280
    assert len({port for _, port in first.values()}) > 4


# --- 0x20 ---

NAME = "abcdefghijklmnopqrst.example"


def test_case_varies(gateway, lab, up):
    gw = gateway(configured(up.udp, case_randomization=True))
    for i in range(60):
        assert addresses(gw.ask(f"n{i}.{NAME}")) == [RIGHT]
    asked = [q["name"] for q in up.queries()]
    assert len(asked) == 60 and len({name.split(".", 1)[1] for name in asked}) > 55
    letters = "".join(filter(str.isalpha, "".join(asked)))
    assert 0.4 < sum(map(str.isupper, letters)) / len(letters) < 0.6
    reply = gw.ask("N1.ABCdefghijklmnopqrst.Example")  # of the cache, in the client's own letters
    assert reply.question[0].name.to_text() == "N1.ABCdefghijklmnopqrst.Example." and addresses(reply) == [RIGHT]
    assert len(up.queries()) == 60


def test_without_it_names_are_asked_in_lower_case(gateway, lab, up):
    gw = gateway(configured(up.udp))
    gw.ask("WWW.Example")
    assert [q["name"] for q in up.queries()] == ["www.example"]


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
def test_a_forger_does_not_know_the_case(gateway, lab, change):
    def handler(wire, _client, send):
        end = _end(wire)
        forged = answer_to(wire, f"60 A {FORGED}")
        send(forged[:12] + change(wire[12:end].decode("latin-1")).encode("latin-1") + forged[end:])
        send(answer_to(wire, f"60 A {RIGHT}"))
    with Upstream(lab, handler, AT):
        gw = gateway(configured(f"udp://{AT}:5354", case_randomization=True))
        for i in range(20):
            assert addresses(gw.ask(f"n{i}.{NAME}")) == [RIGHT]
        assert wrong_answers(gw)[0] == 20


@pytest.mark.parametrize("scheme", ["udp", "tcp"])
def test_a_server_that_changes_the_case(gateway, lab, scheme):
    """It is of use all the same: over TCP at once, over UDP the question is sent again without the game."""
    def handler(wire, _client, send):
        end = _end(wire)
        right = answer_to(wire, f"60 A {RIGHT}")
        send(right[:12] + wire[12:end].lower() + right[end:])
    with Upstream(lab, handler, AT, tcp=True):
        gw = gateway(configured(f"{scheme}://{AT}:5354", case_randomization=True))
        for i in range(3):
            reply, s = took(lambda: gw.ask(f"n{i}.{NAME}"))
            assert addresses(reply) == [RIGHT] and s < (2 if scheme == "udp" else 0.5)


# --- forgeries that look right ---

def test_ignore_ip(gateway, lab, up, other):
    """The forged one comes first: waited past. Nothing else comes: the next server."""
    up.fault("twice", ms=100, name="both.example")
    up.fault("answer", records=[f"60 A {FORGED}"], name="only.example")
    up.fault("answer", records=["60 A 8.8.8.8", "60 A 203.0.113.200"], name="among.example")
    up.fault("answer", records=["60 HTTPS 1 . ipv4hint=203.0.113.5"], name="hint.example")
    up.fault("answer", records=["60 AAAA 2001:db8:bad::1"], name="six.example", type="AAAA")
    gw = gateway(configured(up.udp, other.udp, ignore_ip=["203.0.113.0/24", "2001:db8:bad::/48"]))
    assert addresses(gw.ask("both.example")) == [RIGHT] and other.queries() == []
    for name, rdtype, expected in (("only.example", "A", [OTHERS]), ("among.example", "A", [OTHERS]),
                                   ("six.example", "AAAA", ["2001:db8:50::2"])):
        assert addresses(gw.ask(name, rdtype)) == expected
    assert rdata(gw.ask("hint.example", "HTTPS")) == []
    assert guards(gw)["forged"] >= 5
    assert guards(gw)["poisoned_names"] == 5


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
def test_nothing_but_forgeries(gateway, lab, up, transport):
    up.fault("answer", records=[f"60 A {FORGED}"])
    gw = gateway(configured(getattr(up, transport), ignore_ip="203.0.113.0/24", timeout="300ms", total="1s",
                            **({"ca": str(up.ca)} if transport == "tls" else {})))
    for _ in range(2):
        reply, s = took(lambda: gw.ask("a.example"))
        assert rcode(reply) == "SERVFAIL" and addresses(reply) == [] and s < 1.5


def test_ignore_ip_behind_an_alias(gateway, lab, up, other):
    up.set_zone({"a.example": ["60 CNAME b.example."], "b.example": [f"60 A {FORGED}"]})
    gw = gateway(configured(up.udp, other.udp, ignore_ip="203.0.113.66", timeout="300ms"))
    assert addresses(gw.ask("a.example")) == [OTHERS]


def test_bogus_nxdomain(gateway, lab, up):
    up.set_zone({"typo.example": ["60 A 203.0.113.1", "60 AAAA 2001:db8:ad::1"], "good.example": [f"60 A {RIGHT}"],
                 "alias.example": ["60 CNAME typo.example."], "hint.example": ["60 HTTPS 1 . ipv4hint=203.0.113.9"]})
    gw = gateway(configured(up.udp, bogus_nxdomain=["203.0.113.0/24", "2001:db8:ad::/64"]))
    for name, rdtype in (("typo.example", "A"), ("typo.example", "AAAA"), ("alias.example", "A"),
                         ("hint.example", "HTTPS")):
        for tcp in (False, True):
            reply = gw.ask(name, rdtype, tcp=tcp)
            assert rcode(reply) == "NXDOMAIN" and not reply.answer and has_soa(reply)
            assert 0 < reply.authority[0].ttl <= 300
    assert addresses(gw.ask("good.example")) == [RIGHT]
    assert guards(gw)["bogus"] == 4 and len(up.queries()) == 5  # it is kept


def test_require_edns(gateway, lab, up):
    up.fault("twice", ms=100, name="both.example")
    up.fault("no_opt", name="*none.example")
    config = configured(up.udp, require_edns=True, timeout="300ms", total="700ms")
    gw = gateway(config)
    assert addresses(gw.ask("both.example")) == [RIGHT]
    assert rcode(gw.ask("none.example")) == "SERVFAIL"
    config["upstreams"]["wan"]["servers"] = [up.tcp]  # nobody injects there
    gw.rewrite(config)
    gw.result("reload")
    assert addresses(gw.ask("still-none.example")) == [RIGHT]


def test_min_rtt(gateway, lab, up):
    """Each sending of a question may get one, the second ones, too."""
    up.fault("twice", ms=400, opt=True, name="both.example")
    gw = gateway(configured(up.udp, min_rtt="150ms", timeout="800ms", total="1800ms"))
    reply, s = took(lambda: gw.ask("both.example"))
    assert addresses(reply) == [RIGHT] and s >= 0.39
    assert rcode(gw.ask("soon.example")) == "SERVFAIL"  # all that comes is too early
    assert guards(gw)["poisoned_names"] == 2
    up.fault("delay", ms=230)  # the answer comes soon after a second sending
    assert addresses(gw.ask("late.example")) == [RIGHT]
    assert guards(gw)["poisoned_names"] == 2


def test_window(gateway, lab, up):
    """Of two that differ the later wins; what comes alone waits for the window's end and no longer."""
    up.fault("twice", ms=100, opt=True, name="both*.example")
    up.fault("twice", ms=100, opt=True, name="same.example", records=[f"300 A {RIGHT}"])
    gw = gateway(configured(up.udp, window="300ms"))
    for name in ("both.example", "same.example", "alone.example"):
        reply, s = took(lambda: gw.ask(name))
        assert addresses(reply) == [RIGHT] and 0.29 < s < 2, name
        assert addresses(gw.ask(name)) == [RIGHT]  # of the cache
    assert guards(gw) == {**guards(gw), "forged": 1, "poisoned_names": 1}
    up.clear()
    up.fault("twice", ms=700, opt=True, name="late.example")  # after the window
    assert addresses(gw.ask("late.example")) == [FORGED]


@pytest.mark.parametrize("later, expected", [("SERVFAIL", "NOERROR"), ("REFUSED", "NOERROR"),
                                             ("NXDOMAIN", "NXDOMAIN")])
def test_window_and_a_server_that_has_no_answer(gateway, lab, up, other, later, expected):
    """What differs from it makes a forgery of the first, and need not be an answer itself."""
    up.fault("twice", ms=100, opt=True)
    up.fault("rcode", rcode=later)
    gw = gateway(configured(up.udp, other.udp, window="300ms"))
    reply = gw.ask("a.example")
    assert rcode(reply) == expected and addresses(reply) == ([OTHERS] if expected == "NOERROR" else [])
    assert guards(gw) == {**guards(gw), "forged": 1, "poisoned_names": 1}


@pytest.mark.parametrize("how", [{"window": "400ms"}, {"ignore_ip": FORGED}], ids=["window", "ignore_ip"])
def test_a_poisoned_name_is_learned(gateway, lab, up, other, how):
    """The next time it is asked where it was not forged."""
    up.fault("twice", ms=100, opt=True, name="poisoned.example")
    gw = gateway(configured(up.udp, fallback="far", groups={"far": {"servers": [other.udp]}}, **how))
    assert addresses(gw.ask("poisoned.example")) == [RIGHT] and other.queries() == []
    assert guards(gw)["poisoned_names"] == 1
    gw.cli("cache", "flush")
    up.forget()
    assert addresses(gw.ask("poisoned.example")) == [OTHERS] and up.queries() == []
    assert addresses(gw.ask("poisoned.example", "AAAA")) == ["2001:db8:50::2"]
    assert addresses(gw.ask("another.example")) == [RIGHT]
    gw.result("reload")
    gw.cli("cache", "flush")
    assert addresses(gw.ask("poisoned.example")) == [OTHERS]  # a reload forgets nothing


def test_a_poisoned_name_without_a_fall_back_is_listened_for(gateway, lab, up):
    """A forgery of other addresses than those that are known, the second time."""
    up.fault("twice", ms=50, opt=True, name="poisoned.example", times=1)
    up.fault("twice", ms=100, opt=True, name="poisoned.example", records=["300 A 198.51.100.66"])
    gw = gateway(configured(up.udp, ignore_ip=FORGED))
    assert addresses(gw.ask("poisoned.example")) == [RIGHT]
    gw.cli("cache", "flush")
    assert addresses(gw.ask("poisoned.example")) == [RIGHT]


# --- chains ---

def chain(wire, length, loop=False, address=RIGHT):
    """An answer of so many CNAMEs, n0 to n1 to …, that ends in an address or where it began."""
    reply = dns.message.make_response(dns.message.from_wire(wire))
    name = reply.question[0].name
    for i in range(length):
        target = reply.question[0].name.to_text() if loop and i == length - 1 else f"n{i + 1}.chain.example."
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", "CNAME", target))
        name = dns.name.from_text(target)
    if not loop:
        reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", address))
    return reply.to_wire(max_size=65535)


CHAINS = [(1, False), (8, False), (15, False), (16, False), (17, False), (1000, False),
          (1, True), (2, True), (16, True), (1000, True)]


@pytest.fixture
def links(lab):
    """A server of chains: its first label says how long, and whether it leads back."""
    def handler(wire, _client, send):
        first = dns.message.from_wire(wire).question[0].name.labels[0].decode()
        length = "".join(filter(str.isdigit, first))
        if not length:
            send(answer_to(wire, f"60 A {RIGHT}"))
        else:
            send(chain(wire, int(length), first.startswith("loop"), "10.99.0.10"))
    with Upstream(lab, handler, AT, tcp=True) as server:
        yield server


@pytest.mark.parametrize("length, loop", CHAINS)
def test_chains(gateway, lab, links, length, loop):
    """Whatever leads nowhere takes no time; what is of sane length is whole, its addresses in the sets."""
    lab.nft("table inet t {\n set s4 { type ipv4_addr; flags timeout; }\n}\n")
    try:
        rules = [{"name": "all", "answer": "real", "upstream": "wan", "nftset": ["4#inet#t#s4"]}]
        gw = gateway(configured(f"tcp://{AT}:5354", rules=rules))
        name = f"{'loop' if loop else 'n'}{length}.example"
        reply, s = took(lambda: gw.ask(name, tcp=True))
        assert s < 1 and rcode(reply) in ("NOERROR", "SERVFAIL")
        elements = [item["set"] for item in lab.nft_json("list", "set", "inet", "t", "s4") if "set" in item][0]
        in_set = [e["elem"]["val"] for e in elements.get("elem", [])]
        if not loop and length <= 15:
            assert addresses(reply) == in_set == ["10.99.0.10"] and len(reply.answer) == length + 1
        if loop:
            assert in_set == []
        assert addresses(gw.ask("plain.example")) == [RIGHT]
        gw.stop()
    finally:
        lab.nft("delete table inet t\n")


@pytest.mark.parametrize("length, loop", [(15, False), (1000, False), (2, True), (1000, True)])
def test_chains_of_a_fake_name(gateway, lab, links, length, loop):
    """The direct egress looks for the address at the end, and gives up in time where there is none."""
    gw = gateway({**configured(f"tcp://{AT}:5354", rules=[{"name": "all", "answer": "fake", "egress": "direct"}]),
                  "egress": {"direct": {"type": "direct", "upstream": "wan"}}})
    target = addresses(gw.ask(f"{'loop' if loop else 'n'}{length}.example"))
    assert is_fake(target)
    if not loop and length <= 15:
        assert "hello" in lab.curl(f"http://{target[0]}/").stdout
        return
    begun = moment()
    try:
        lab.connect(target[0], tcp=True, port=80, timeout_s=5).close()
        assert not loop
    except OSError:
        assert moment() - begun < 4
    assert is_fake(addresses(gw.ask("plain.example")))


def test_hints_are_addresses_too(gateway, lab, up):
    """They go into the sets, of both families."""
    up.set_zone({"*": ["60 HTTPS 1 . ipv4hint=192.0.2.1,192.0.2.2 ipv6hint=2001:db8:7::1", "60 A 192.0.2.3"]})
    lab.nft("table inet t {\n set s4 { type ipv4_addr; flags timeout; }\n"
            " set s6 { type ipv6_addr; flags timeout; }\n}\n")
    try:
        gw = gateway(configured(up.udp, rules=[{"name": "all", "answer": "real", "upstream": "wan",
                                                "nftset": ["4#inet#t#s4", "6#inet#t#s6"]}]))
        gw.ask("a.example", "HTTPS")
        for name, expected in (("s4", ["192.0.2.1", "192.0.2.2"]), ("s6", ["2001:db8:7::1"])):
            found = [item["set"] for item in lab.nft_json("list", "set", "inet", "t", name) if "set" in item][0]
            assert sorted(e["elem"]["val"] for e in found["elem"]) == expected
        gw.stop()
    finally:
        lab.nft("delete table inet t\n")


# --- under attack ---

SHOTS = 20_000


@pytest.mark.parametrize("knows_port", [False, True], ids=["blind", "knows-the-port"])
@pytest.mark.parametrize("at", [AT, AT6], ids=["v4", "v6"])
def test_a_forger(gateway, lab, at, knows_port):
    """From the server's own address and port, 20,000 times, while it is slow: none hits. (Who knows the port hits one
    time in 65,536; those are left out.) The same question of a hundred clients makes no more targets."""
    asked = []

    def handler(wire, client, send):
        asked.append((wire, client, send))
    low, high = map(int, lab.run("gw", "sysctl", "-n", "net.ipv4.ip_local_port_range").stdout.split())
    chance = random.Random(7)
    with Upstream(lab, handler, at) as upstream:
        host = f"[{at}]" if ":" in at else at
        gw = gateway(configured(f"udp://{host}:5354", timeout="20s", total="20s"))
        socks = [lab.connect("8.8.8.8") for _ in range(100)]
        try:
            for sock in socks:
                sock.send(question("target.example").to_wire())
            wait_for(lambda: asked, "it is asked")
            ids = {wire[:2] for wire, _, _ in asked}
            for _ in range(SHOTS):
                wire, client, _ = asked[0]
                guess = chance.getrandbits(16).to_bytes(2, "big")
                if guess not in ids:
                    port = client[1] if knows_port else chance.randrange(low, high + 1)
                    upstream.udp.sendto(guess + answer_to_a(wire)[2:], (client[0], port, *client[2:]))
            assert len({(wire[:2], client[1]) for wire, client, _ in asked}) <= 2  # one of each worker
            for wire, _, send in list(asked):
                send(answer_to(wire, f"60 A {RIGHT}"))
            for sock in socks:
                wait_for(lambda: answered_again(sock, asked), "the right answer")
            assert addresses(gw.ask("target.example")) == [RIGHT]
            if knows_port:
                assert wrong_answers(gw)[0] > SHOTS / 10  # the kernel drops what nobody has room for
        finally:
            for sock in socks:
                sock.close()


def answer_to_a(wire):
    """A forged answer to a question for an address, quickly."""
    end = _end(wire) + 4
    return (wire[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + wire[12:end] + b"\xc0\x0c\0\1\0\1\0\0\1\x2c\0\4"
            + socket.inet_aton(FORGED))


def answered_again(sock, asked):
    """The client's answer; the server says it once more to who may have lost it."""
    sock.settimeout(0.5)
    try:
        assert addresses(dns.message.from_wire(sock.recv(4096))) == [RIGHT]
        return True
    except TimeoutError:
        for wire, _, send in list(asked):
            send(answer_to(wire, f"60 A {RIGHT}"))
        return False
