"""Proxies that do what a test says, in "wan": what they were asked is recorded, and the test is the far end.

    with Socks5(lab) as proxy:                       # 10.99.0.2:1080
        ...                                          # a client connects to a fake address, port 7
        far = proxy.take()                           # the far end of that connection: a blocking socket
        assert proxy.requests == [("web.test", 7)]

far=        what is done with a connection instead of keeping it for take(): a function (socket, host, port), in a
            thread of its own; echo is one
.gate       a threading.Event: no request is replied to while it is clear
.refuse     {host: reply code}, or {(host, port): code}
script=     what is done with a connection from its first byte on: (proxy, socket); socks5 and http are the usual ones
udp=        a function (proxy, association, host, port, payload, answer) for each datagram; answer(payload, host=,
            port=) sends one back on it. None: UDP ASSOCIATE is refused
.associations   {the gateway's own (address, port): number} of those that have sent; .controls their connections
"""
import contextlib
import ctypes
import itertools
import os
import queue
import select
import socket
import struct
import threading

from lab import PATIENCE_S, read_exactly, split_address, wait_for

_libc = ctypes.CDLL(None)


def packed_address(host):
    """SOCKS5: address type and address of a name or an address in text."""
    for kind, family in ((b"\1", socket.AF_INET), (b"\4", socket.AF_INET6)):
        with contextlib.suppress(OSError):
            return kind + socket.inet_pton(family, host)
    return b"\3" + bytes([len(host)]) + host.encode()


def parsed_address(read):
    """(host, port) by read(size); a name is bytes decoded, an address has its usual text."""
    kind, = read(1)
    if kind == 3:
        host = read(read(1)[0]).decode()
    else:
        family = {1: socket.AF_INET, 4: socket.AF_INET6}[kind]
        host = socket.inet_ntop(family, read(4 if kind == 1 else 16))
    return host, struct.unpack("!H", read(2))[0]


def reset(sock):
    """Its other side gets a RST, unless it was closed."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def disconnect(sock):
    """As reset(), of one that another thread may be waiting for: that is woken, and closes it. A descriptor that is closed
    under a thread may be a pipe of a new child when it gets to waiting for it, and the child's end is not seen then."""
    if sock.fileno() >= 0:
        _libc.connect(sock.fileno(), struct.pack("=H14x", socket.AF_UNSPEC), 16)


def is_open(sock):
    """Whether the other side has neither closed nor reset it; bytes of it may wait."""
    if sock.fileno() < 0:
        return False
    waiting = select.poll()
    waiting.register(sock, select.POLLIN)
    if not waiting.poll(0):
        return True
    try:
        return sock.recv(1, socket.MSG_PEEK) != b""
    except OSError:
        return False


# --- what the far end does ---

def echo(sock, _host, _port):
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


# --- what the proxy says ---

def greet_socks5(proxy, sock):
    """Up to the request: (command, host, port)."""
    _, n = read_exactly(sock, 2)
    methods = read_exactly(sock, n)
    wanted = 2 if proxy.user else 0
    proxy.say(sock, bytes([5, wanted if wanted in methods else 255]))
    if wanted not in methods:
        raise EOFError
    if proxy.user:
        read_exactly(sock, 1)
        login = [read_exactly(sock, read_exactly(sock, 1)[0]).decode() for _ in "up"]
        good = login == [proxy.user, proxy.password]
        proxy.say(sock, b"\1" + (b"\0" if good else b"\1"))
        if not good:
            raise EOFError
    _, command, _ = read_exactly(sock, 3)
    return command, *parsed_address(lambda size: read_exactly(sock, size))


def socks5(proxy, sock):
    command, host, port = greet_socks5(proxy, sock)
    if command == 3:
        proxy.associate(sock)
        return
    code = proxy.asked(host, port)
    proxy.say(sock, bytes([5, code, 0, 1]) + bytes(6))
    if code:
        raise EOFError
    proxy.connected(sock, host, port)


def http(proxy, sock):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += read_exactly(sock, 1)
    lines = head.decode().split("\r\n")
    proxy.heads.append(lines)
    verb, target, _ = lines[0].split(" ")
    assert verb == "CONNECT", lines
    host, port = target.rsplit(":", 1)
    code = proxy.asked(host.strip("[]"), int(port))
    proxy.say(sock, b"HTTP/1.1 502 no\r\n\r\n" if code else b"HTTP/1.1 200 yes\r\nVia: x\r\n\r\n")
    if code:
        raise EOFError
    proxy.connected(sock, host.strip("[]"), int(port))


class Proxy:
    def __init__(self, lab, script=socks5, address="10.99.0.2", port=1080, far=None, udp=None, user=None,
                 password=None, slowly=False):
        self.lab, self.script, self.far, self.udp = lab, script, far, udp
        self.user, self.password, self.slowly = user, password, slowly
        self.address, self.port = address, port
        self.server = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        self.accepted = 0
        self.requests, self.heads, self.refuse, self.datagrams = [], [], {}, []
        self.controls, self.associations, self.associated = [], {}, 0
        self.gate = threading.Event()
        self.gate.set()
        self._taken, self._open, self._lock = queue.Queue(), set(), threading.Lock()
        self._numbers = itertools.count()
        self._stopping = False
        family = split_address(address)[0]
        self._relay = lab.socket("wan", family, timeout_s=0.05)
        self._relay.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._relay.bind((address, 0))
        self._threads = [threading.Thread(target=self._serve_udp, daemon=True)]
        self._threads[0].start()
        self.listen()

    # --- for tests ---

    def take(self, timeout_s=PATIENCE_S):
        """The next connection that stands, as its far end."""
        sock = self._taken.get(timeout=timeout_s)
        sock.settimeout(timeout_s)
        return sock

    def listen(self):
        """Takes connections, again after deaf()."""
        listener = self.lab.socket("wan", split_address(self.address)[0], socket.SOCK_STREAM, timeout_s=0.05)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.address, self.port))
        listener.listen(4096)
        self._listener = listener
        self._accepting = threading.Thread(target=self._accept, args=(listener,), daemon=True)
        self._accepting.start()

    def deaf(self):
        """New connections are refused; those that stand go on."""
        listener, self._listener = self._listener, None
        if listener:
            self._accepting.join(PATIENCE_S)
            listener.close()

    def hang_up(self):
        """Every connection ends by a reset."""
        with self._lock:
            socks, self._open = self._open, set()
        for sock in socks:
            disconnect(sock)

    def live_controls(self):
        return sum(is_open(sock) for sock in self.controls)

    def close(self):
        self.gate.set()
        self._stopping = True
        self.deaf()
        self.hang_up()
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._relay.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- for scripts ---

    def asked(self, host, port):
        """Records it, waits at the gate; the reply code."""
        self.requests.append((host, port))
        self.gate.wait(PATIENCE_S * 2)
        return self.refuse.get((host, port), self.refuse.get(host, 0))

    def say(self, sock, data):
        if not self.slowly:
            sock.sendall(data)
            return
        for byte in data:
            sock.sendall(bytes([byte]))
            threading.Event().wait(0.005)

    def connected(self, sock, host, port):
        if not self.far:
            self._taken.put(sock)
            return
        self.far(sock, host, port)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):  # a close over what is unread would be a reset
            pass
        raise EOFError

    def associate(self, sock):
        self.associated += 1
        self.gate.wait(PATIENCE_S * 2)
        if not self.udp:
            self.say(sock, b"\5\7\0\1" + bytes(6))
            raise EOFError
        self.controls.append(sock)
        host, port = self._relay.getsockname()[:2]
        self.say(sock, b"\5\0\0" + packed_address(host) + struct.pack("!H", port))

    # --- its threads ---

    def _accept(self, listener):
        while self._listener is listener:
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self.accepted += 1
            sock.settimeout(PATIENCE_S * 3)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(sock)
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock):
        try:
            self.script(self, sock)
        except (OSError, EOFError, ValueError):
            with self._lock:
                self._open.discard(sock)
            sock.close()

    def _serve_udp(self):
        while not self._stopping:
            try:
                data, client = self._relay.recvfrom(65535)
            except (TimeoutError, ConnectionRefusedError):
                continue
            number = self.associations.setdefault(client, len(self.associations))
            assert data[:3] == b"\0\0\0"
            parts = iter(data[3:])
            host, port = parsed_address(lambda size: bytes(itertools.islice(parts, size)))
            payload = bytes(parts)
            self.datagrams.append((number, host, port, payload))

            def answer(payload, host="203.0.113.7", port=port, to=client):
                self._relay.sendto(b"\0\0\0" + packed_address(host) + struct.pack("!H", port) + payload, to)
            if self.udp:
                self.udp(self, number, host, port, payload, answer)


class Socks5(Proxy):
    pass


class Http(Proxy):
    def __init__(self, lab, script=http, port=8080, **how):
        super().__init__(lab, script, port=port, **how)


def proxied(egress=None, **sections):
    """A configuration: every name fake, by egress "proxy", whose options are given."""
    proxy = {"type": "socks5", "server": "10.99.0.2:1080", **(egress or {})}
    return {"egress": {"proxy": proxy}, "rules": [{"name": "rest", "answer": "fake", "egress": "proxy"}], **sections}


def egress_status(gw, name="proxy"):
    found, = [egress for egress in gw.status()["egress"] if egress["name"] == name]
    return found


def wait_no_flows(gw, name="proxy"):
    wait_for(lambda: egress_status(gw, name)["flows"] == 0, f"no flow by {name}")


def descriptors(gw):
    return len(os.listdir(f"/proc/{gw.pid}/fd"))
