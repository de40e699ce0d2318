"""Packets made by hand, and what comes back to who sent them.

    with Wire(lab, family) as wire:                     # the client's link
        wire.send(wire.ip(target) / TCP(...))           # scapy; ip() is IP or IPv6 from the client's usual address
        wire.answer(wire.is_reset)                      # the first packet to the client that is so, within a second
"""
import socket
import struct

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6

from lab import Sniffer, wait_for

V4, V6 = socket.AF_INET, socket.AF_INET6
CLIENT = {V4: "192.168.77.2", V6: "fd77::2"}
TCP, UDP, ICMP = socket.IPPROTO_TCP, socket.IPPROTO_UDP, {V4: 1, V6: 58}
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
WITHIN_S = 1  # nothing is silent for longer
IPV6_HDRINCL = 36

# (type, code) of ICMP errors
HOST_UNREACHABLE = {V4: (3, 1), V6: (1, 3)}
PROTOCOL_UNREACHABLE = {V4: (3, 2), V6: (4, 1)}  # IPv6: unrecognized next header
PORT_UNREACHABLE = {V4: (3, 3), V6: (1, 4)}
PROHIBITED = {V4: (3, 13), V6: (1, 1)}
EXCEEDED = {V4: (11, 0), V6: (3, 0)}
ECHO_REPLY = {V4: (0, 0), V6: (129, 0)}


class Wire:
    def __init__(self, lab, family, part="cl", interface="eth0", source=None):
        self.family, self.source = family, source or CLIENT[family]
        self.sniffer = Sniffer(lab, part, interface)
        self.raw = lab.socket(part, family, socket.SOCK_RAW, proto=socket.IPPROTO_RAW)
        if family == V6:
            self.raw.setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
        self._seen = 0

    def ip(self, target, source=None, hops=64, **more):
        source = source or self.source
        return (IP(src=source, dst=target, ttl=hops, **more) if self.family == V4
                else IPv6(src=source, dst=target, hlim=hops, **more))

    def send(self, packet, to=None):
        self.raw.sendto(bytes(packet), (to or packet.dst, 0))

    def new(self, wanted=lambda p: True):
        """The packets to this client that have come since it was last asked."""
        packets = self.sniffer.packets()
        fresh, self._seen = packets[self._seen:], len(packets)
        return [p for p in fresh if p.target == self.source and wanted(p)]

    def answer(self, wanted, what="an answer"):
        found = []

        def come():
            found.extend(self.new())
            return next((p for p in found if wanted(p)), None)
        try:
            return wait_for(come, what, WITHIN_S)
        except AssertionError:
            raise AssertionError(f"{what} did not come, but {found}") from None

    def is_error(self, meaning, about=None):
        """An ICMP error; about: the target of the packet that it speaks of."""
        def wanted(p):
            return (p.protocol == ICMP[self.family] and tuple(p.payload[:2]) == meaning[self.family]
                    and (about is None or socket.inet_pton(self.family, about) in p.payload))
        return wanted

    def is_reset(self, source, port=None):
        return lambda p: (p.protocol == TCP and p.flags & RST and p.source == source
                          and (port is None or p.target_port == port))

    def close(self):
        self.raw.close()
        self.sniffer.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def checksum_is_right(packet):
    """Of an ICMP message; of UDP and TCP, too."""
    source, target = (socket.inet_pton(packet.family, a) for a in (packet.source, packet.target))
    data = packet.payload
    if packet.protocol != ICMP[V4]:
        data = source + target + struct.pack("!II", len(data), packet.protocol) + data
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total == 0xffff
