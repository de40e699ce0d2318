"""Many questions at once over one socket, each with the answer that it got."""
import select
import struct
import time

import dns.rdatatype

from waiting import Took, held_up

WINDOW = 64  # questions on their way
AGAIN_S = 0.5
LOOKED_S = 0.01  # so old may be what is known of the machine


def wire_name(name):
    return b"".join(bytes([len(label)]) + label.encode("latin-1") for label in name.split(".") if label) + b"\0"


def query(name, rdtype, number):
    code = rdtype if isinstance(rdtype, int) else dns.rdatatype.from_text(rdtype)
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + wire_name(name) + struct.pack("!2H", code, 1)


class Asked:
    """One answer: rcode, addresses as bytes of A and AAAA at the end of the message, how long it took."""
    __slots__ = ("wire", "took_s")

    def __init__(self, wire, took_s):
        self.wire, self.took_s = wire, took_s

    @property
    def rcode(self):
        return self.wire[3] & 15

    @property
    def answers(self):
        return struct.unpack_from("!H", self.wire, 6)[0]


def ask_all(sock, questions, window=WINDOW, patience_s=10, again=False):
    """The answers to (name, type) in their order; None for one that none came for. again: ask again like a client."""
    questions = list(questions)
    answers, waiting, at = [None] * len(questions), {}, 0
    end = time.monotonic() + patience_s
    looked, held_up_s = -1, 0
    sock.setblocking(False)
    while at < len(questions) or waiting:
        if time.monotonic() - looked > LOOKED_S:
            held_up_s, looked = held_up.total_s(), time.monotonic()
        while at < len(questions) and len(waiting) < window:
            name, rdtype = questions[at]
            number = at & 0xffff
            wire = query(name, rdtype, number)
            now = time.monotonic()
            waiting[number] = (at, wire, now, now, held_up_s)
            sock.send(wire)
            end, at = now + patience_s, at + 1
        if select.select([sock], [], [], 0.05)[0]:
            while True:
                try:
                    got = sock.recv(4096)
                except BlockingIOError:
                    break
                number = struct.unpack_from("!H", got)[0]
                index, wire, began, _, held_up_then_s = waiting.get(number, (None, b"", 0, 0, 0))
                if index is None or got[12:len(wire)].lower() != wire[12:].lower():
                    continue  # one that was asked twice
                del waiting[number]
                took_s = time.monotonic() - began
                if took_s > LOOKED_S and time.monotonic() - looked > LOOKED_S:
                    held_up_s, looked = held_up.total_s(), time.monotonic()
                answers[index] = Asked(got, Took(took_s, held_up_s - held_up_then_s))
        now = time.monotonic()
        if now > end:
            break
        if again:
            for number, (index, wire, began, last, then_s) in list(waiting.items()):
                if now - last > AGAIN_S:
                    waiting[number] = (index, wire, began, now, then_s)
                    sock.send(wire)
    return answers
