"""A link like WireGuard's: a device of layer 3 (no neighbours, no broadcast) with a smaller MTU, whose packets a
program carries inside UDP over another uplink. (The kernel of the build machine has no WireGuard.)

    with Tunnel(lab, "wg0"):      # 10.88.0.1 and 2001:db8:88::1 in gw, .2 and ::2 in wan
"""
import fcntl
import os
import select
import socket
import struct
import threading

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454ca, 1, 0x1000
PORT = 51820
MTU = 1420


class Tunnel:
    def __init__(self, lab, name, mark=0):
        """mark: on the packets that carry, so that they do not go into the tunnel themselves."""
        self.lab, self.name = lab, name
        self._stopping = threading.Event()
        self._devices, self._socks = {}, {}
        for part, four, six, here, there in (("gw", "10.88.0.1/24", "2001:db8:88::1/64", "10.99.0.1", "10.99.0.2"),
                                             ("wan", "10.88.0.2/24", "2001:db8:88::2/64", "10.99.0.2", "10.99.0.1")):
            with lab.inside(part):
                device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
            lab.run(part, "ip", "link", "set", name, "mtu", MTU, "up")
            lab.run(part, "ip", "addr", "add", four, "dev", name)
            lab.run(part, "ip", "addr", "add", six, "dev", name, "nodad")
            sock = lab.socket(part)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark if part == "gw" else 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            sock.bind((here, PORT))
            sock.connect((there, PORT))
            sock.setblocking(False)
            self._devices[part], self._socks[part] = device, sock
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def _carry(self):
        ways = {}
        for part, device in self._devices.items():
            sock = self._socks[part]
            ways[device] = (lambda fd=device: os.read(fd, 65535), lambda data, to=sock: to.send(data))
            ways[sock.fileno()] = (lambda s=sock: s.recv(65535), lambda data, to=device: os.write(to, data))
        while not self._stopping.is_set():
            for fd in select.select(list(ways), [], [], 0.05)[0]:
                take, give = ways[fd]
                try:
                    give(take())
                except OSError:
                    pass  # as a link loses packets

    def close(self):
        self._stopping.set()
        self._thread.join()
        for sock in self._socks.values():
            sock.close()
        for device in self._devices.values():
            os.close(device)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
