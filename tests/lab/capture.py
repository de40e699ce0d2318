"""All packets that leave the house, for tests of what may not be seen outside.

    with Capture(lab) as wire:
        ...
        wire.told("secret")         # targets of the packets that have these letters, in any case
"""
import re
import socket
import threading

from lab import Packet

SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 33, 263, 6
PACKET_OUTGOING = 4
ROOM = 64 << 20


class Capture:
    """What comes to an interface of "wan", whatever it is; a thread reads it, so that nothing is lost."""

    def __init__(self, lab, part="wan", interface="eth0"):
        self.frames, self._stopping = [], threading.Event()  # (ethertype, bytes from the IP header on)
        self.sock = lab.socket(part, socket.AF_PACKET, socket.SOCK_DGRAM, timeout_s=0.05)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        with lab.inside(part):
            self.sock.bind((interface, 3))  # ETH_P_ALL
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        while True:
            try:
                frame, (_, ethertype, direction, *_) = self.sock.recvfrom(1 << 17)
            except TimeoutError:
                if self._stopping.is_set():
                    return
                continue
            if direction != PACKET_OUTGOING:
                self.frames.append((ethertype, frame))

    def stop(self):
        """What has passed until now is all there is; none was lost."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._thread.join()
            dropped = int.from_bytes(self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)[4:], "little")
            self.sock.close()
            assert dropped == 0, f"{dropped} packets were not seen"

    def told(self, letters):
        """{target: the words that were found}; "?" for what is no IP packet. letters: a regular expression."""
        wanted, found = re.compile(letters.encode(), re.IGNORECASE), {}
        for ethertype, frame in list(self.frames):
            words = {word.decode().lower() for word in wanted.findall(frame)}
            if words:
                target = Packet(frame).target if ethertype in (0x0800, 0x86dd) else "?"
                found.setdefault(target, set()).update(words)
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
