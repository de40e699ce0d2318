"""Sets of nft as tests see them: through the command, and through the kernel where a process would take too long.

    table(lab, {"v4": "type ipv4_addr; flags timeout;"})    a table `user` with these sets (or maps: "map v4")
    elements(lab, "v4")                                     {address: (timeout, what is left)} by `nft -j`
    texts(lab, "v4")                                        {"10.0.0.1 . 443": "11m"}: as `nft list` writes them
    Reader(lab)                                             the same of the kernel's own messages: .has() .left() .all()
    Others(lab, 100_000)                                    somebody's large set: .load() .flush()
    blocks(lab)                                             an upstream that is asked for addresses by number
"""
import contextlib
import ctypes
import itertools
import os
import re
import signal
import socket
import struct
import time

from waiting import PATIENCE_S, held_up

ADDRESS4, ADDRESS6 = "10.99.0.10", "2001:db8:99::10"  # a.real.test, TTL 77
SET4, SET6 = "4#inet#user#v4", "6#inet#user#v6"
TIMEOUT4, TIMEOUT6 = "type ipv4_addr; flags timeout;", "type ipv6_addr; flags timeout;"
LEAST_S = 660  # the timeout by the default of set_ttl, where the TTL is below ten minutes
BLOCKS = "10.99.0.2"


def table_text(sets, name="user"):
    return f"table inet {name} {{\n" + "".join(f"{which if ' ' in which else 'set ' + which} {{ {what} }}\n"
                                               for which, what in sets.items() if what) + "}\n"


def table(lab, sets, name="user"):
    lab.nft(table_text(sets, name))


def rule(name, **more):
    return {"name": name, "domain": [f"{name}.real.test"], "answer": "real", "upstream": "wan", **more}


def rules(sets, kind="nftset", **more):
    return {"rules": [
        {"name": "office", "domain": ["real.test"], "answer": "real", "upstream": "wan", kind: sets, **more},
        {"name": "rest", "answer": "fake", "egress": "direct"}]}


def elements(lab, name):
    """{address: (timeout, what is left)} in seconds; (None, None) for one without end."""
    found = {}
    for item in lab.nft_json("list", "set", "inet", "user", name):
        for element in item.get("set", {}).get("elem", []):
            if isinstance(element, dict):
                found[element["elem"]["val"]] = (element["elem"]["timeout"], element["elem"]["expires"])
            else:
                found[element] = (None, None)
    return found


def texts(lab, name, what="set"):
    """{element: its timeout or None}, both as nft writes them."""
    listed = lab.run("gw", "nft", "list", what, "inet", "user", name).stdout
    found = re.search(r"elements = \{(.*?)\}", listed, re.S)
    result = {}
    for one in found[1].split(",") if found else []:
        one = " ".join(one.split())
        life = re.search(r" timeout (\S+)", one)
        result[re.sub(r" (timeout|expires) \S+", "", one)] = life and life[1]
    return result


def state(gw, text):
    one, = [s for s in gw.status()["sets"] if s["set"] == text]
    return one


def assert_told_once(gw, text, *words):
    lines = [line for line in gw.log_lines(text) if "ok again" not in line]
    assert len(lines) == 1 and all(word in lines[0] for word in words), gw.log()


# --- what the kernel says ---

NFT = 10 << 8  # NFNL_SUBSYS_NFTABLES
GET_ELEMENT, NEW_ELEMENT, DELETE_ELEMENT = NFT | 13, NFT | 12, NFT | 14
DUMP = 0x300  # NLM_F_DUMP


def nla(kind, data):
    return struct.pack("=2H", len(data) + 4, kind) + data + bytes(-len(data) % 4)


def attributes(data):
    at = 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=2H", data, at)
        yield kind & 0x3fff, data[at + 4:at + size]
        at += (size + 3) & ~3


class Element:
    """key, data: bytes; timeout_ms, left_ms: 0 for one without end; ends: the end of an interval."""
    __slots__ = ("key", "data", "timeout_ms", "left_ms", "ends")

    def __init__(self, attr):
        self.key, self.data, self.timeout_ms, self.left_ms, self.ends = b"", b"", 0, 0, False
        for kind, value in attributes(attr):
            if kind in (1, 2):  # NFTA_SET_ELEM_KEY, _DATA
                value = value[4:]  # NFTA_DATA_VALUE
                if kind == 1:
                    self.key = value
                else:
                    self.data = value
            elif kind == 3:
                self.ends = bool(value[3] & 1)
            elif kind in (4, 5):
                number, = struct.unpack("!Q", value)
                if kind == 4:
                    self.timeout_ms = number
                else:
                    self.left_ms = number


class Reader:
    """`nft get element` and `nft list set` without the time that a process takes: what it finds was there then."""

    def __init__(self, lab):
        self.sock = lab.socket("gw", socket.AF_NETLINK, socket.SOCK_RAW, proto=12)  # NETLINK_NETFILTER
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.sock.bind((0, 0))

    def _ask(self, name, table_name, flags, more=b""):
        body = (struct.pack("=BBH", socket.AF_UNSPEC + 1, 0, 0) + nla(1, table_name.encode() + b"\0")  # NFPROTO_INET
                + nla(2, name.encode() + b"\0") + more)
        self.sock.send(struct.pack("=I2H2I", 16 + len(body), GET_ELEMENT, 1 | flags, 1, 0) + body)

    @staticmethod
    def _elements(message):
        for kind, value in attributes(message[20:]):
            if kind == 3:
                for _, element in attributes(value):
                    yield Element(element)

    def get(self, name, key, table_name="user"):
        """The element of this key, or None."""
        key = socket.inet_aton(key) if isinstance(key, str) else key
        self._ask(name, table_name, 0, nla(0x8003, nla(0x8001, nla(0x8001, nla(1, key)))))
        got = self.sock.recv(8192)
        kind, = struct.unpack_from("=H", got, 4)
        return next(self._elements(got)) if kind == NEW_ELEMENT else None

    def has(self, name, key, table_name="user"):
        return self.get(name, key, table_name) is not None

    def left_s(self, name, key, table_name="user"):
        """None: it is not there; 0: it has no end."""
        found = self.get(name, key, table_name)
        return found and found.left_ms / 1000

    def all(self, name, table_name="user"):
        """{key: Element} of what is there; {} also if the set is not. (Not the ends of intervals.)"""
        found = {}
        self._ask(name, table_name, DUMP)
        while True:
            got, at = self.sock.recv(1 << 16), 0
            while at < len(got):
                size, kind = struct.unpack_from("=IH", got, at)
                if kind in (2, 3):  # an error, or the end
                    return found
                if kind == NEW_ELEMENT:
                    found.update((element.key, element) for element in self._elements(got[at:at + size])
                                 if not element.ends)
                at += (size + 3) & ~3

    def count(self, name, table_name="user"):
        return len(self.all(name, table_name))

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Others:
    """A large set of somebody else's, loaded and flushed in one transaction each, of which the kernel's part takes nearly
    all of the time."""
    PER_MESSAGE = 4000

    def __init__(self, lab, n):
        self.lab = lab
        lab.nft("table inet others {\nset huge { type ipv4_addr; size 1000000; }\n}")
        self.sock = lab.socket("gw", socket.AF_NETLINK, socket.SOCK_RAW, proto=12, timeout_s=30)
        self.sock.setsockopt(socket.SOL_SOCKET, 32, 64 << 20)  # SO_SNDBUFFORCE
        self.sock.bind((0, 0))
        names = nla(1, b"others\0") + nla(2, b"huge\0")
        elements = [nla(0x8001, nla(0x8001, nla(1, struct.pack("!I", 0x0b000000 + i)))) for i in range(n)]
        self.loading = [self._message(NEW_ELEMENT, 0x400, names + nla(0x8003, b"".join(elements[at:at + self.PER_MESSAGE])))
                        for at in range(0, n, self.PER_MESSAGE)]
        self.flushing = self._message(DELETE_ELEMENT, 0, names)
        self.end = self._message(0x11, 0, b"", 10, 0)  # NFNL_MSG_BATCH_END

    @staticmethod
    def _message(kind, flags, body, res_id=0, family=socket.AF_UNSPEC + 1):
        body = struct.pack("!BBH", family, 0, res_id) + body
        return struct.pack("=I2H2I", 16 + len(body), kind, 1 | flags, 1, 0) + body

    def _commit(self, *messages):
        last = bytearray(messages[-1])
        struct.pack_into("=H", last, 6, struct.unpack_from("=H", last, 6)[0] | 4)  # NLM_F_ACK
        self.sock.send(self._message(0x10, 0, b"", 10, 0) + b"".join(messages[:-1]) + bytes(last) + self.end)
        kind, error = struct.unpack_from("=4xH10xi", self.sock.recv(8192))
        assert kind == 2 and error == 0, f"the kernel says {error}"

    def load(self):
        self._commit(*self.loading)

    def flush(self):
        self._commit(self.flushing)

    def close(self):
        self.sock.close()
        self.lab.nft("delete table inet others")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# --- names by the thousand ---

def address_of(number):
    return struct.pack("!I", 0x0a800000 + number)  # 10.128.0.0


def text_of(number):
    return socket.inet_ntoa(address_of(number))


def numbered(number, zone="real.test", count=1):
    """A name that blocks() knows: it has `count` addresses from number on, at most 25."""
    return f"n{number}x{count}.{zone}"


def query_bytes(number, message_id, zone="real.test"):
    name = b"".join(bytes([len(label)]) + label.encode() for label in numbered(number, zone).split("."))
    return struct.pack("!6H", message_id, 0x0100, 1, 0, 0, 0) + name + b"\0" + struct.pack("!2H", 1, 1)


def serve_numbers(sock, ttl=60):
    """A DNS server for the names of numbered()."""
    while True:
        wire, client = sock.recvfrom(512)
        number, count = (int(part) for part in wire[14:13 + wire[12]].split(b"x"))
        end = wire.index(b"\0", 12) + 5
        records = b"".join(b"\xc0\x0c\0\1\0\1" + struct.pack("!IH", ttl, 4) + address_of(number + i)
                           for i in range(count))
        sock.sendto(wire[:2] + b"\x81\x80\0\1" + struct.pack("!H", count) + b"\0\0\0\0" + wire[12:end] + records,
                    client)


def forked(body):
    pid = os.fork()
    if pid:
        held_up.follow(pid)
        return pid
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # ends with us
        body()
    finally:
        os._exit(0)


def end_forked(*pids):
    for pid in pids:
        held_up.leave(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def blocks(lab, ttl=60):
    """serve_numbers() as a process of its own; gives what a config needs to ask it."""
    with lab.socket("wan") as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind((BLOCKS, 5354))
        sock.settimeout(None)
        pid = forked(lambda: serve_numbers(sock, ttl))
    try:
        yield {"upstreams": {"wan": {"servers": [f"udp://{BLOCKS}:5354"]}}}
    finally:
        end_forked(pid)


def ask_numbers(sock, report, rate, load_s, first=1_000_000, zone="real.test"):
    """`rate` new names a second for load_s, each again after a second like clients do; tells how many were asked for and
    answered, and in what time: struct "!2Id"."""
    sock.setblocking(False)
    total, sent, got, waiting = rate * load_s, 0, 0, {}
    start = last = time.monotonic()
    while got < total and time.monotonic() < last + PATIENCE_S:
        now = time.monotonic()
        again = [number for number, when in itertools.islice(waiting.items(), 64) if now - when > 1]
        due = min(total, int((now - start) * rate))
        for number in [*again, *range(sent, min(due, sent + 64))]:
            waiting.pop(number, None)  # the order is that of time
            waiting[number] = now
            sock.send(query_bytes(first + number, number & 0xffff, zone))
        sent = max(sent, min(due, sent + 64))
        try:
            while True:
                reply = sock.recv(512)
                if reply[7] and waiting.pop(struct.unpack_from("!H", reply)[0], None):
                    got, last = got + 1, time.monotonic()
        except BlockingIOError:
            time.sleep(0.001)
    os.write(report, struct.pack("!2Id", sent, got, last - start))
