"""What a scripted upstream answers: its zone, and the faults that change an answer. No sockets here."""
import fnmatch
import os
import random
import struct

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

SOA = "300 SOA ns.scripted.test. root.scripted.test. 1 3600 900 86400 30"
CHAIN_MAX = 20
PAYLOAD = 1232


KINDS = set("""silence delay rcode answer ttl size tc wrong_id wrong_question wrong_class wrong_case wrong_port twice
    garbage no_opt options reverse cut stall reset close max_queries certificate tls_version no_alpn http content_type
    age long_body rst_stream goaway""".split())


class Faults:
    """The faults in force. Each: {id, kind, at, and what it matches: transport, name (with * and ?), type, existing,
    after; skip, times, percent with seed}; the rest is the kind's own."""

    def __init__(self):
        self.all, self._last = [], 0

    def add(self, fault, newest_connection):
        if fault["kind"] not in KINDS:
            raise ValueError(f"no fault {fault['kind']}")
        self._last += 1
        fault = {"at": "query", **fault, "id": self._last, "newest": newest_connection}
        if "percent" in fault:
            fault["random"] = random.Random(fault.get("seed", 1))
        self.all.append(fault)
        return fault

    def clear(self, number=None, kind=None):
        self.all = [f for f in self.all if number not in (None, f["id"]) or kind not in (None, f["kind"])]

    def take(self, kind, transport, at="query", name=None, rdtype=None, connection=0, questions=0):
        """The first of that kind that matches now, which counts as one use of it; or None. connection: its number;
        questions: how many have come on it."""
        for fault in self.all:
            if (fault["kind"], fault["at"]) == (kind, at) and self._is_for(fault, transport, name, rdtype) \
                    and not (fault.get("existing") and connection > fault["newest"]) \
                    and not questions <= fault.get("after", -1) and self._is_due(fault):
                return fault
        return None

    @staticmethod
    def _is_for(fault, transport, name, rdtype):
        transports = fault.get("transport", transport)
        if transport not in ([transports] if isinstance(transports, str) else transports):
            return False
        if "name" in fault and not (name is not None and fnmatch.fnmatchcase(name, fault["name"].lower())):
            return False
        return fault.get("type", rdtype) == rdtype

    @staticmethod
    def _is_due(fault):
        if fault.get("skip", 0) > 0:
            fault["skip"] -= 1
            return False
        if "times" in fault and fault["times"] <= 0:
            return False
        if "random" in fault and fault["random"].random() * 100 >= fault["percent"]:
            return False
        if "times" in fault:
            fault["times"] -= 1
        return True


def plain(name):
    """As zones and patterns have it."""
    return name.to_text(omit_final_dot=True).lower()


class Zone:
    """{name: ["TTL TYPE DATA", ...]}; "*.x" is for all names below x that are not there, "*" for all."""

    def __init__(self, records):
        self.records = {name.lower().rstrip("."): list(lines) for name, lines in records.items()}

    def _lines(self, name):
        if name in self.records:
            return self.records[name]
        labels = name.split(".")
        for i in range(1, len(labels) + 1):
            above = ".".join(["*", *labels[i:]])
            if above in self.records:
                return self.records[above]
        return None

    def fill(self, reply, rdtype):
        """Answers the question of reply; aliases are followed."""
        owner = reply.question[0].name
        for _ in range(CHAIN_MAX):
            lines = self._lines(plain(owner))
            if lines is None:
                reply.set_rcode(dns.rcode.NXDOMAIN)
                break
            found = [line for line in lines if line.split()[1] == rdtype]
            for line in found:
                add(reply, owner, line)
            alias = next((line for line in lines if line.split()[1] == "CNAME"), None)
            if found or not alias:
                if not found:
                    break
                return
            add(reply, owner, alias)
            owner = dns.name.from_text(alias.split()[2])
        reply.authority.append(rrset(dns.name.from_text("test."), SOA))


def rrset(owner, line):
    ttl, rdtype, data = line.split(" ", 2)
    made = dns.rrset.from_text(owner, 0, "IN", rdtype, data)
    made.ttl = int(ttl, 0)  # beyond what dnspython takes for one, too
    return made


def add(reply, owner, line, section=None):
    """One record; those of a name and type belong together, with the first one's TTL."""
    new = rrset(owner, line)
    section = reply.answer if section is None else section
    for old in section:
        if (old.name, old.rdtype) == (new.name, new.rdtype):
            old.add(new[0], old.ttl)
            return
    section.append(new)


def blow_up(reply, rdtype, size):
    """Answers of about that size in bytes, never more."""
    owner = reply.question[0].name
    reply.answer, reply.authority = [], []
    room = size - len(reply.to_wire(max_size=65535))
    if rdtype in ("A", "AAAA"):
        each = 16 if rdtype == "A" else 28
        form = "10.%d.%d.%d" if rdtype == "A" else "fd00::%x:%x:%x"
        texts = [form % (1 + i // 65536, i // 256 % 256, i % 256) for i in range(room // each)]
    else:
        rdtype, texts = "TXT", []
        while room > 12 + 10:
            length = min(255, room - 13)
            texts.append('"' + f"{len(texts):08d}".ljust(length, "x")[:length] + '"')
            room -= 13 + length
    if texts:
        reply.answer.append(dns.rrset.from_text_list(owner, 60, "IN", rdtype, texts))


OPTIONS = {  # as a server might send them
    "cookie": dns.edns.GenericOption(10, bytes(range(16))),
    "ecs": dns.edns.ECSOption("10.1.2.0", 24, 24),
    "nsid": dns.edns.GenericOption(3, b"scripted"),
    "ede": dns.edns.EDEOption(dns.edns.EDECode.STALE_ANSWER, "scripted"),
}


class Answers:
    """Makes answers; faults decide what is wrong with them."""

    def __init__(self, faults, zone):
        self.faults, self.zone = faults, Zone(zone)

    def make(self, asked):
        """[(delay in s, bytes, through: None or "port")] to be sent for one question; none: silence."""
        def fault(kind):
            return self.faults.take(kind, asked.transport, name=asked.name, rdtype=asked.rdtype,
                                    connection=asked.connection, questions=asked.number)
        if fault("silence"):
            return []
        late = fault("delay")
        delay_s = late["ms"] / 1000 if late else 0
        if fault("garbage"):
            return [(delay_s, os.urandom(40), None)]
        wire = self._wire(asked, fault)
        way = "port" if fault("wrong_port") else None
        twice = fault("twice")
        if not twice:
            return [(delay_s, wire, way)]
        forged = self._forged(asked, twice)
        return [(delay_s, forged, None), (delay_s + twice.get("ms", 20) / 1000, wire, way)]

    def _forged(self, asked, fault):
        reply = self._start(asked.message)
        for line in fault.get("records", ["300 A 203.0.113.66"]):
            if line.split()[1] == asked.rdtype:
                add(reply, reply.question[0].name, line)
        if fault.get("opt", False) and asked.message.edns >= 0:
            reply.use_edns(0, payload=PAYLOAD)
        else:
            reply.use_edns(False)
        return reply.to_wire(max_size=65535)

    @staticmethod
    def _start(query):
        reply = dns.message.make_response(query, recursion_available=True, our_payload=PAYLOAD)
        reply.use_edns(False)
        return reply

    def _wire(self, asked, fault):
        reply = self._start(asked.message)
        if bad := fault("rcode"):
            reply.set_rcode(dns.rcode.from_text(bad["rcode"]))
        elif other := fault("answer"):
            for line in other["records"]:
                add(reply, reply.question[0].name, line)
        else:
            self.zone.fill(reply, asked.rdtype)
        if changed := fault("ttl"):
            for section in (reply.answer, reply.authority):
                for one in section:
                    one.ttl = changed["ttl"]
        self._set_opt(reply, asked, fault)
        if big := fault("size"):
            blow_up(reply, asked.rdtype, big["size"])
        self._set_question(reply, fault)
        wire = reply.to_wire(max_size=65535)
        if asked.transport == "udp" and (len(wire) > asked.room or fault("tc")):
            reply.answer, reply.authority = [], []
            reply.flags |= dns.flags.TC
            wire = reply.to_wire(max_size=65535)
        if fault("wrong_id"):
            wire = struct.pack("!H", struct.unpack_from("!H", wire)[0] ^ 0x5555) + wire[2:]
        return wire

    @staticmethod
    def _set_opt(reply, asked, fault):
        if asked.message.edns < 0 or fault("no_opt"):
            return
        sent = fault("options")
        options = [OPTIONS[name] for name in (sent.get("options") or OPTIONS)] if sent else []
        reply.use_edns(0, ednsflags=asked.message.ednsflags, payload=PAYLOAD, options=options)

    @staticmethod
    def _set_question(reply, fault):
        old = reply.question[0]
        name, rdclass = old.name, old.rdclass
        if fault("wrong_question"):
            name = dns.name.from_text("wrong.question.test")
        if fault("wrong_class"):
            rdclass = dns.rdataclass.CH
        if fault("wrong_case"):
            name = dns.name.from_text(name.to_text().swapcase())
        if (name, rdclass) != (old.name, old.rdclass) or name.labels != old.name.labels:
            reply.question = [dns.rrset.RRset(name, rdclass, old.rdtype)]
