"""Item 5: 10,000 names are asked, and every packet on the WAN is looked at: no name is told to the wrong server."""
import random
import struct
import threading

import pytest

from asking import ask_all, query, wire_name
from capture import Capture
from lab import Upstream, framed, read_message
from scripted import Scripted, ca_of

NAMES = 10_000
DOMESTIC, OVERSEAS = "10.99.0.54", "10.99.0.55"
ZONES = 50
TYPES = ("A", "AAAA", "HTTPS", "A", "AAAA", "HTTPS", "TXT", "MX", "SRV", 65280)
SUFFIXES = ("lan", "home.arpa", "fritz.box", "corp.example")  # what resolvers of clients append
LIST = ([f"zone{i}.inland.example" for i in range(ZONES)] + [f"full:only{i}.single.example" for i in range(ZONES)]
        + ["keyword:inlandword", r"regexp:^re[0-9]+\.domestix[0-9]+\.pattern\.example$"])


def long_name(head, zone):
    """255 bytes on the wire."""
    room = 255 - len(wire_name(f"{head}.{zone}"))
    labels = []
    while room > 1:
        size = min(63, room - 1 if room - 1 <= 63 else room - 3)
        labels.append("x" * size)
        room -= size + 1
    name = ".".join([head, *labels, zone])
    assert len(wire_name(name)) in (254, 255)
    return name


def domestic_name(i, chance):
    head, zone = f"domestix{i:05d}", f"zone{i % ZONES}.inland.example"
    return chance.choice([
        f"{head}.{zone}", f"www.{head}.{zone}", f"{head}.a.b.c.d.{zone}", f"{head}.inlandword.example",
        f"{head}.xinlandwordx.example", f"re{i}.{head}.pattern.example", long_name(head, zone)])


def foreign_name(i, chance):
    head, zone = f"foreignx{i:05d}", f"zone{i % ZONES}.inland.example"
    return chance.choice([
        f"{head}.abroad.example", f"{head}.inland.example",
        f"{head}{zone}",  # ends like one of the list, but not where a label begins
        f"{head}.{zone}.evil.example", f"{head}.only{i % ZONES}.single.example", f"{head}.{zone}x",
        f"re{i}.{head}.pattern.example", f"{head}.{chance.choice(SUFFIXES)}", head,
        f"{head}.fakes.example", f"www.{head}.fakes.example", f"{head}.unlessfake.example",
        long_name(head, "abroad.example"), long_name(head, "evil" + zone)])


def in_any_case(name, chance):
    return "".join(chance.choice((c.upper(), c)) for c in name) if chance.random() < 0.3 else name


def make_questions(seed):
    chance = random.Random(seed)
    names = [(domestic_name if i % 2 else foreign_name)(i, chance) for i in range(NAMES)]
    questions = [(in_any_case(name, chance), chance.choice(TYPES)) for name in names]
    chance.shuffle(questions)
    return questions


def answer(wire, _client, send):
    """An address for A, nothing for the rest."""
    end = wire.index(b"\0", 12) + 5
    found = wire[end - 4:end] == b"\0\1\0\1"
    send(wire[:2] + b"\x81\x80\0\1" + struct.pack("!3H", found, 0, 0) + wire[12:end]
         + (b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x0a\x32\0\1" if found else b""))


def ask_over_tcp(lab, questions, server="8.8.8.8", at_once=30):
    """How many were answered."""
    answered = 0
    with lab.connect(server, tcp=True) as sock:
        for at in range(0, len(questions), at_once):
            some = questions[at:at + at_once]
            sock.sendall(b"".join(framed(query(name, rdtype, i)) for i, (name, rdtype) in enumerate(some)))
            for _ in some:
                answered += len(read_message(sock)) > 12
    return answered


def ask_everything(lab, questions):
    """Three clients' ways at once: UDP over both families, and TCP."""
    third = len(questions) // 3
    answered = []

    def over_udp(server, some):
        with lab.connect(server) as sock:
            answered.extend(a is not None for a in ask_all(sock, some, again=True, patience_s=20))
    threads = [threading.Thread(target=over_udp, args=("8.8.8.8", questions[:third])),
               threading.Thread(target=over_udp, args=("2001:4860:4860::8888", questions[third:2 * third]))]
    for thread in threads:
        thread.start()
    over_tcp = ask_over_tcp(lab, questions[2 * third:])
    for thread in threads:
        thread.join()
    assert sum(answered) + over_tcp == len(questions)


def configured(lab, domestic, overseas, **strict):
    """strict: further options of the domestic group."""
    (lab.dir / "inland.txt").write_text("\n".join(LIST) + "\n")
    (lab.dir / "inland-ip.txt").write_text("203.0.113.0/24\n")
    return {
        "upstreams": {"domestic": {**domestic, **strict}, "overseas": overseas},
        "lists": {"inland": {"path": "inland.txt", "format": "v2fly"}, "inland-ip": ["inland-ip.txt"]},
        "egress": {"direct": {"upstream": "domestic"},
                   "proxy": {"type": "socks5", "server": "10.99.0.2:1080", "upstream": "overseas"}},
        "rules": [
            {"name": "inland", "list": "inland", "answer": "real", "egress": "direct"},
            {"name": "fakes", "domain": ["fakes.example"], "answer": "fake", "egress": "proxy"},
            {"name": "unless", "domain": ["unlessfake.example"], "answer": "fake", "egress": "proxy",
             "unless": {"resolves_in": "inland-ip", "egress": "direct"}},
            {"name": "rest", "answer": "real", "egress": "proxy", "carry": False}]}


STRICT = {"leak": "strict", "lists": ["inland"], "strict_to": "overseas"}
# What somebody who is not careful writes: all of these have names asked at the domestic server.
MISTAKES = [
    {"name": "types", "type": ["HTTPS", "SRV"], "answer": "real", "upstream": "domestic"},
    {"name": "zones", "domain": ["inland.example", "abroad.example"], "answer": "real", "upstream": "domestic"},
    {"name": "faked", "domain": ["evil.example"], "answer": "fake", "egress": "direct"}]


@pytest.fixture
def wan(lab):
    for address in (DOMESTIC, OVERSEAS):
        lab.run("wan", "ip", "addr", "add", f"{address}/24", "dev", "eth0")
    yield
    for address in (DOMESTIC, OVERSEAS):
        lab.run("wan", "ip", "addr", "del", f"{address}/24", "dev", "eth0")


@pytest.fixture
def servers(lab, wan):
    with Upstream(lab, answer, DOMESTIC, tcp=True) as domestic, Upstream(lab, answer, OVERSEAS, tcp=True) as overseas:
        yield domestic, overseas


def plain(address):
    return {"servers": [f"dns://{address}:5354"]}


def assert_only(told, letters, *targets):
    """Names with these letters went to these servers and nowhere else."""
    where = {target for target, words in told.items() if any(word.startswith(letters) for word in words)}
    assert where == set(targets), {t: sorted(told[t])[:5] for t in where - set(targets)}


def heard(told, letters):
    return {word for words in told.values() for word in words if word.startswith(letters)}


@pytest.mark.parametrize("mistakes", [False, True], ids=["good-rules", "careless-rules"])
def test_strict(lab, gateway, servers, mistakes):
    """Whatever the rules say, names of no list are told to the other server alone, `unless` included."""
    config = configured(lab, plain(DOMESTIC), plain(OVERSEAS), **STRICT)
    config["rules"][1:1] = MISTAKES if mistakes else []
    gw = gateway(config)
    questions = make_questions(1)
    with Capture(lab) as wire:
        ask_everything(lab, questions)
    assert gw.status()["leaks_stopped"] > (1000 if mistakes else 100)  # else those of `unless` alone
    told = wire.told(r"(?:domestix|foreignx)\d{5}")
    assert_only(told, "domestix", DOMESTIC)
    assert_only(told, "foreignx", OVERSEAS)
    asked = {name.lower() for name, _ in questions}
    assert len(heard(told, "domestix")) == sum("domestix" in name for name in asked)
    assert len(heard(told, "foreignx") & {name.split(".")[0] for name in asked if "unlessfake" in name}) > 50
    assert len(gw.log_lines("leak: strict:")) == 1


def test_the_rules_alone(lab, gateway, servers):
    """Without strict: none wrong, but for names under `unless`; `check` has said so."""
    gw = gateway(configured(lab, plain(DOMESTIC), plain(OVERSEAS)))
    questions = make_questions(2)
    with Capture(lab) as wire:
        ask_everything(lab, questions)
    told = wire.told(r"(?:domestix|foreignx)\d{5}")
    assert_only(told, "domestix", DOMESTIC)
    under_unless = {name.lower().split(".")[0] for name, _ in questions if "unlessfake" in name.lower()}
    wrong = {word for word in told[DOMESTIC] if word.startswith("foreignx")}
    assert wrong <= under_unless and len(wrong) > 50
    assert gw.status()["leaks_stopped"] == 0
    checked = lab.run("gw", gw.program, "check", "-c", gw.config_file)
    assert "note: rules[2].unless: every name of the rule is asked at 'domestic'\n" in checked.stderr


@pytest.mark.parametrize("scheme", ["tls", "https"])
def test_encrypted(lab, gateway, scheme):
    """Nothing is to be read on the way; the far ends tell what they were asked."""
    zone = {"*": ["60 A 10.50.0.1", "60 AAAA 2001:db8:50::1"]}
    domestic = Scripted(lab, zone, DOMESTIC, names=("dns.inland.test",))
    overseas = Scripted(lab, zone, OVERSEAS, names=("dns.abroad.test",))
    ca = str(ca_of(lab))
    groups = [{"servers": [getattr(server, scheme)], "ca": ca} for server in (domestic, overseas)]
    config = configured(lab, *groups, **STRICT)
    config["rules"][1:1] = MISTAKES
    gateway(config)
    questions = make_questions(3)
    with Capture(lab) as wire:
        ask_everything(lab, questions)
    assert wire.told(r"domestix\d|foreignx\d|example") == {}
    assert set(wire.told(r"dns.(?:inland|abroad).test")) == {DOMESTIC, OVERSEAS}  # SNI
    asked = {name.lower() for name, _ in questions}
    at_home, abroad = ({q["name"].lower() for q in server.queries()} - {""} for server in (domestic, overseas))
    assert at_home == {name for name in asked if "domestix" in name}
    assert abroad and all("foreignx" in name for name in abroad) and abroad <= asked
    assert {q["transport"] for q in domestic.queries() + overseas.queries()} == {scheme}
