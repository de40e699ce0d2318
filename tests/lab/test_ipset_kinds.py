"""Ipsets of every type that takes an address get their element before the answer leaves, and again after they have lost
it: nobody tells that, so they are looked at every 2 s."""
import re
import socket
import struct

import dns.message
import dns.rdatatype
import pytest

from lab import Upstream, addresses, answer_to, question, rcode, wait_for

ADDRESS = {4: "10.99.0.10", 6: "2001:db8:99::10"}
CLIENT = {4: "192.168.77.2", 6: "2001:db8:77::2"}
REFILLED_S = 4  # 2 s, and what a loaded machine takes

# Name of the set: family, what `ipset create` is told, fields behind the address, the element.
KINDS = {
    "ip": (4, "hash:ip", "", "{address}"),
    "ip6": (6, "hash:ip family inet6", "", "{address}"),
    "net": (4, "hash:net comment counters", "", "{address}"),
    "net6": (6, "hash:net family inet6", "", "{address}"),
    "bitmap": (4, "bitmap:ip range 10.99.0.0/16", "", "{address}"),
    "ipport": (4, "hash:ip,port skbinfo", " . tcp:443", "{address},tcp:443"),
    "ipport6": (6, "hash:ip,port family inet6", " . udp:53", "{address},udp:53"),
    "ipportip": (4, "hash:ip,port,ip", " . tcp:443 . 192.0.2.9", "{address},tcp:443,192.0.2.9"),
    "client": (4, "hash:ip,port,ip", " . 443 . $client", "{address},tcp:443,{client}"),
    "client6": (6, "hash:ip,port,ip family inet6", " . 443 . $client", "{address},tcp:443,{client}"),
    "ipportnet": (4, "hash:ip,port,net", " . udp:53 . 10.0.0.0/8", "{address},udp:53,10.0.0.0/8"),
    "netport": (4, "hash:net,port", " . icmp:echo-request", "{address},icmp:echo-request"),
    "netif": (4, "hash:net,iface", " . lan0", "{address},lan0"),
    "netif6": (6, "hash:net,iface family inet6", " . wan0", "{address},wan0"),
}
# Each with timeouts, and without.
SETS = {f"{name}-{life}": (*kind, life == "t") for name, kind in KINDS.items() for life in "tp"}


MANY = {f"10.98.0.{number}" for number in range(1, 61)}  # in one answer


def element(name):
    family, _, _, form, _ = SETS[name]
    return form.format(address=ADDRESS[family], client=CLIENT[family])


def creation(name, as_name=None):
    _, what, _, _, has_timeout = SETS[name]
    return f"create {as_name or name} {what}{' timeout 3000' if has_timeout else ''}\n"


def restore(lab, lines):
    lab.run("gw", "ipset", "restore", input=lines)


def saved(lab, name=None):
    """{set: {element: seconds left, None without timeouts}} of what there is."""
    found = {}
    for line in lab.run("gw", "ipset", "save", *([name] if name else [])).stdout.splitlines():
        word, of, *rest = line.split(" ", 3)
        elements = found.setdefault(of, {})
        if word == "add":
            left = re.search(r"\btimeout (\d+)", line)
            elements[rest[0]] = int(left[1]) if left else None
    return found


def rule(name, sets, **more):
    return {"name": name, "domain": [f"{name}.real.test"], "answer": "real", "upstream": "wan", "ipset": sets, **more}


def set_of(name):
    family, _, fields, _, has_timeout = SETS[name]
    text = f"{family}#{name}" + (f" = $addr{fields}" if fields else "")
    return text if has_timeout else {"set": text, "timeout": "permanent"}


def numbered(number):
    return f"10.97.{number >> 8}.{number & 255}"


def serve(wire, client, send):
    """Each name has the same two addresses, but for those that begin with `far`, `many` and numbers."""
    asked = dns.message.from_wire(wire).question[0]
    if asked.rdtype == dns.rdatatype.A:
        first = asked.name.labels[0].decode()
        found = {"far": ["192.0.2.77"], "many": MANY}.get(first, [ADDRESS[4]])
        if first.isdigit():
            found = [numbered(int(first))]
        send(answer_to(wire, *(f"77 A {address}" for address in found)))
    elif asked.rdtype == dns.rdatatype.AAAA:
        send(answer_to(wire, f"77 AAAA {ADDRESS[6]}"))
    else:
        send(answer_to(wire))


@pytest.fixture(scope="module")
def gw(lab, module_gateway):
    restore(lab, "".join(creation(name) for name in SETS)
            + "create wrong-list list:set\ncreate wrong-port bitmap:port range 0-1000\n"
            "create wrong-fields hash:ip,port\ncreate wrong-family hash:ip family inet6\n"
            "create many hash:ip timeout 0\ncreate new hash:ip timeout 0\n"
            "create changing hash:ip timeout 0\ncreate own-p hash:ip comment\n"
            f"add own-p {ADDRESS[4]} comment mine\n")
    with Upstream(lab, serve, "10.99.0.2", port=5354):
        yield module_gateway({
            "upstreams": {"wan": {"servers": ["udp://10.99.0.2:5354"]}},
            "rules": [
                *(rule(name, set_of(name), on_error="servfail") for name in SETS),
                *(rule(name, f"4#{name}") for name in ("wrong-list", "wrong-port", "wrong-fields", "wrong-family")),
                rule("strict", "4#wrong-port", on_error="servfail"),
                rule("own", {"set": "4#own-p", "timeout": "permanent"}),
                rule("changing", "4#changing"),
                rule("many", "4#many"),
                rule("new", "4#new", on_error="servfail"),
                {"name": "rest", "answer": "fake", "egress": "direct"},
            ]})
    lab.run("gw", "ipset", "destroy")


def ask(gw, name):
    """From the client's address of the set's family."""
    family = SETS[name][0]
    return gw.ask(f"{name}.real.test", "A" if family == 4 else "AAAA",
                  server="8.8.8.8" if family == 4 else "2001:4860:4860::8888")


def state(gw, text):
    one, = [s for s in gw.status()["sets"] if s["set"] == text]
    return one


@pytest.mark.parametrize("name", SETS)
def test_the_element_is_there_when_the_answer_comes(gw, lab, name):
    assert saved(lab, name)[name] == {}
    assert addresses(ask(gw, name)) == [ADDRESS[SETS[name][0]]]
    there = saved(lab, name)[name]
    assert list(there) == [element(name)]
    left = there[element(name)]
    assert 640 <= left <= 660 if SETS[name][4] else left is None
    text = set_of(name) if isinstance(set_of(name), str) else set_of(name)["set"]
    assert state(gw, text) == {"set": text, "state": "ok", "elements": 1, "errors": 0}


def attribute(kind, data):
    return struct.pack("=2H", len(data) + 4, kind) + data + bytes(-len(data) % 4)


def has_element(netlink, name, address):
    """`ipset test`, without the time that a process takes: what it finds was there then."""
    data = attribute(0x8001, attribute(0x4001, socket.inet_aton(address)))  # IPSET_ATTR_IP, IPSET_ATTR_IPADDR_IPV4
    body = (struct.pack("=BBH", socket.AF_INET, 0, 0) + attribute(1, b"\7") + attribute(2, name.encode() + b"\0")
            + attribute(0x8007, data))  # the protocol, the set, IPSET_ATTR_DATA
    netlink.send(struct.pack("=I2H2I", 16 + len(body), 6 << 8 | 11, 5, 1, 0) + body)  # IPSET_CMD_TEST
    error, = struct.unpack_from("=i", netlink.recv(8192), 16)
    assert error in (0, -4103)  # IPSET_ERR_EXIST
    return error == 0


def test_each_new_name_has_its_element(gw, lab):
    netlink = lab.socket("gw", socket.AF_NETLINK, socket.SOCK_RAW, proto=12)  # NETLINK_NETFILTER
    netlink.bind((0, 0))
    with netlink, lab.connect("8.8.8.8") as client:
        for number in range(1, 501):
            assert not has_element(netlink, "new", numbered(number))
            client.send(question(f"{number}.new.real.test").to_wire())
            reply = client.recv(512)
            assert has_element(netlink, "new", numbered(number)), f"answer {number} left before its element was there"
            assert addresses(dns.message.from_wire(reply)) == [numbered(number)]


def lose(lab, how):
    lines = ""
    for name in SETS:
        lines += {
            "flushed": f"flush {name}\n",
            "deleted": f"del {name} {element(name)}\n",
            "made anew": f"destroy {name}\n" + creation(name),
            "swapped": creation(name, "other") + f"swap other {name}\ndestroy other\n",
        }[how]
    lines += {
        "flushed": "flush many\n",
        "deleted": "",
        "made anew": "destroy many\ncreate many hash:ip timeout 0\n",
        "swapped": "create other hash:ip timeout 0\nswap other many\ndestroy other\n",
    }[how]
    restore(lab, lines)


@pytest.mark.parametrize("how", ["flushed", "deleted", "made anew", "swapped"])
def test_what_is_lost_is_put_in_again(gw, lab, how):
    for name in SETS:
        ask(gw, name)
    assert len(addresses(gw.ask("many.real.test", tcp=True))) == len(MANY)
    assert set(saved(lab, "many")["many"]) == MANY
    lose(lab, how)

    def missing():
        there = saved(lab)
        return ([name for name in SETS if list(there[name]) != [element(name)]]
                + [address for address in MANY if address not in there["many"]])
    assert missing()
    wait_for(lambda: not missing(), "all are filled again", REFILLED_S)
    there = saved(lab)
    for name in SETS:
        left = there[name][element(name)]
        assert 600 <= left <= 660 if SETS[name][4] else left is None


@pytest.mark.parametrize("name", ["wrong-list", "wrong-port", "wrong-fields", "wrong-family"])
def test_a_type_that_does_not_fit_is_told_and_the_answer_leaves(gw, lab, name):
    assert addresses(gw.ask(f"{name}.real.test")) == [ADDRESS[4]]
    assert state(gw, f"4#{name}")["state"] == "wrong type"
    assert saved(lab, name)[name] == {}
    assert gw.log_lines(f"4#{name}", "wrong type")


def test_on_error_servfail(gw):
    assert rcode(gw.ask("strict.real.test")) == "SERVFAIL"


@pytest.mark.parametrize("name", ["bitmap-t", "bitmap-p"])
def test_an_address_out_of_range_is_that_ones_error(gw, lab, name):
    assert rcode(gw.ask(f"far.{name}.real.test")) == "SERVFAIL"
    assert addresses(gw.ask(f"near.{name}.real.test")) == [ADDRESS[4]]
    assert element(name) in saved(lab, name)[name]


def test_an_element_of_the_users_stays_as_it_is(gw, lab):
    assert addresses(gw.ask("own.real.test")) == [ADDRESS[4]]
    assert f"add own-p {ADDRESS[4]} comment \"mine\"" in lab.run("gw", "ipset", "save", "own-p").stdout


def test_a_set_made_anew_with_another_type(gw, lab):
    """It is told, the answers leave, and it is filled when it is as it was."""
    assert addresses(gw.ask("changing.real.test")) == [ADDRESS[4]]
    assert list(saved(lab, "changing")["changing"]) == [ADDRESS[4]]
    restore(lab, "destroy changing\ncreate changing hash:ip,port timeout 0\n")
    wait_for(lambda: state(gw, "4#changing")["state"] == "wrong type", "it is seen", REFILLED_S)
    assert addresses(gw.ask("changing.real.test")) == [ADDRESS[4]]
    assert saved(lab, "changing")["changing"] == {}
    restore(lab, "destroy changing\ncreate changing hash:net timeout 0\n")
    wait_for(lambda: list(saved(lab, "changing")["changing"]) == [ADDRESS[4]], "it is filled", REFILLED_S)
    assert state(gw, "4#changing")["state"] == "ok"
