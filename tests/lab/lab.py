"""The lab for tests: real clients, a router with the gateway on it, an internet; see scripts/lab for its picture.

A test takes two fixtures of conftest.py:

    def test_x(lab, gateway):
        gw = gateway({"rules": [{"name": "all", "answer": "fake", "egress": "direct"}]})
        reply = lab.ask("web.test", "A", server="8.8.8.8")          # dns.message.Message, asked by the client
        assert addresses(reply) == ["198.18.0.2"]

`lab`      (one a test module, 0.3 s)  class Lab: three namespaces "cl", "gw", "wan".
    .ask(name, type, server=, part=, tcp=, ...)   one question, one reply; the socket is connected, so a reply
                                                  from another address or port than the one asked does not count
    .exchange(query, server, ...)                 the same for a ready dns.message.Message or raw bytes;
                                                  .exchange_bytes() gives the reply as bytes
    .socket(part, family, type)                   a socket that lives in that namespace
    .inside(part)                                 this thread in that namespace, for `with`
    .run(part, "curl", ...)                       a command to its end; .popen(part, ...) one that stays; both take
                                                  uid=, gid= (run also cgroup=, a folder); popen's are killed when the test ends
    .dnsmasq(options...)                          a dnsmasq on the router, until the test ends
    .microsocks() .dante() .http_proxy()          real proxies in wan, until the test ends; each gives a FarEnd:
                                                  .server for an egress, .alive(), .end() for tests that lose it,
                                                  .freeze() for those it leaves without a word, .log()
    .nft(script) .nft_json(...) .ip(...)          the router's nft and ip (part= for another namespace)
    .watch(part, interface)                       a Sniffer: what passes there from now on
    .snapshot()                                   rules, routes, links, tables of the router, to compare
`gateway`  (one a test)  makes a Gateway: gateway(config, intercept="tun", wait=True, ...). `config` is merged over
    base_config() (a dict: sections are merged key by key, lists replaced), or is a text that is used as it is.
    .ask(name, ...) is lab.ask;  .log() the text on stderr so far;  .wait_log(text) waits for a line
    .request(cmd, ...) the control socket's result;  .status();  .cli("fakeip", "list")
    .stop() by SIGTERM: must end with 0 and leave nothing;  .kill() by SIGKILL;  .end() waits for one that ends itself
    .wait_answers() after a start that follows a kill
    .rewrite(config) writes its file anew
    A gateway that a test leaves running is stopped after it, and must then end with 0 and leave nothing behind.
`module_gateway` is the same for fixtures that live as long as the module's lab.

wait_for(condition, what) is the only way to wait: a poll with an end. No test sleeps for longer than 50 ms.
moment() - moment() is how long something took; a limit that it is compared with need not allow for a loaded machine.
The mark by_the_clock is for tests whose subject is time: conftest.py.
Class Download is a curl that stands still in the middle until it is told to finish.
Replies are read by addresses(), rdata(), rcode(), ede(). Class Upstream is a DNS server scripted in Python.
The program comes from the environment: TUNGATE, by default build/tungate. By hand:
    TUNGATE=/tmp/b/tungate /usr/bin/python3 -m pytest -q -p no:cacheprovider tests/lab/test_rules.py -k list
"""
import contextlib
import copy
import ctypes
import itertools
import json
import os
import pathlib
import signal
import socket
import struct
import subprocess
import threading

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import yaml

from far_ends import FarEnds
from waiting import PATIENCE_S, held_up, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("TUNGATE", ROOT / "build" / "tungate")).absolute()
STATE = pathlib.Path("/run/tungate-lab")
CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_numbers = itertools.count(1)


@contextlib.contextmanager
def mounted(target, *words):
    """A file system at a folder, seen by this machine's own programs (the gateway is one)."""
    target.mkdir(exist_ok=True)
    subprocess.run(["mount", *words, target], check=True)
    try:
        yield target
    finally:
        subprocess.run(["umount", "-l", target], check=True)


# --- replies ---

def rcode(reply):
    return dns.rcode.to_text(reply.rcode())


def rdata(reply, rdtype=None):
    """The answers' data as text, in their order; of one type if that is given."""
    wanted = dns.rdatatype.from_text(rdtype) if rdtype else None
    return [item.to_text() for rrset in reply.answer if wanted in (None, rrset.rdtype) for item in rrset]


def addresses(reply):
    return rdata(reply, "A") + rdata(reply, "AAAA")


def is_fake(answers):
    """One address of a pool (the usual ones)."""
    return len(answers) == 1 and answers[0].startswith(("198.18.", "198.19.", "fd00:198:18::"))


def has_fake_address(reply):
    return is_fake(addresses(reply))


def ttls(reply):
    return [rrset.ttl for rrset in reply.answer]


def ede(reply):
    """The codes of the extended errors (RFC 8914)."""
    return [int(o.code) for o in reply.options if isinstance(o, dns.edns.EDEOption)]


def has_soa(reply):
    return any(rrset.rdtype == dns.rdatatype.SOA for rrset in reply.authority)


# --- sockets ---

def split_address(text):
    """"fe80::1%eth0" → (family, address, interface or None)."""
    host, _, interface = text.partition("%")
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), host, interface or None


def read_exactly(sock, size):
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise EOFError(f"the connection ended after {len(data)} of {size} bytes")
        data += more
    return data


def read_message(sock):
    """One DNS message of a stream."""
    return read_exactly(sock, struct.unpack("!H", read_exactly(sock, 2))[0])


def framed(message):
    wire = message if isinstance(message, bytes) else message.to_wire()
    return struct.pack("!H", len(wire)) + wire


class Lab(FarEnds):
    def __init__(self, short):
        self.name = f"{os.getpid()}-{short}{next(_numbers)}"
        self.dir = STATE / self.name
        self._processes = []
        self.far_ends = []
        self._script("up")
        for file in self.dir.glob("*.pid"):
            held_up.follow(file.read_text())

    def _script(self, verb):
        done = subprocess.run([ROOT / "scripts" / "lab", verb, self.name], capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, f"scripts/lab {verb}: {done.stderr}"

    def close(self):
        self.end_processes()
        self._script("down")

    def end_processes(self):
        try:
            for far_end in list(self.far_ends):
                far_end.end()
        finally:
            self._kill_all()

    def _kill_all(self):
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE_S)
            held_up.leave(process.pid)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    pipe.close()
        self._processes.clear()

    # --- namespaces ---

    def namespace(self, part):
        return f"tg-{self.name}-{part}"

    @contextlib.contextmanager
    def inside(self, part):
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.namespace(part)}") as there:
            if _libc.setns(there.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            try:
                yield
            finally:
                if _libc.setns(home.fileno(), CLONE_NEWNET):
                    os._exit(70)  # the rest of the tests would run in the wrong place

    def socket(self, part, family=socket.AF_INET, kind=socket.SOCK_DGRAM, timeout_s=PATIENCE_S, proto=0):
        with self.inside(part):
            sock = socket.socket(family, kind, proto)
        sock.settimeout(timeout_s)
        return sock

    def connect(self, server, part="cl", tcp=False, port=53, source=None, mark=None, timeout_s=PATIENCE_S):
        """A connected socket."""
        family, host, interface = split_address(server)
        sock = self.socket(part, family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM, timeout_s)
        try:
            if mark is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            if source:
                sock.bind((source, 0))
            with self.inside(part):
                scope = socket.if_nametoindex(interface) if interface else 0
            sock.connect((host, port, 0, scope) if family == socket.AF_INET6 else (host, port))
        except BaseException:
            sock.close()
            raise
        return sock

    # --- questions ---

    def exchange_bytes(self, wire, server="8.8.8.8", part="cl", tcp=False, port=53, source=None, mark=None,
                       timeout_s=PATIENCE_S):
        with self.connect(server, part, tcp, port, source, mark, timeout_s) as sock:
            if tcp:
                sock.sendall(framed(wire))
                return read_message(sock)
            sock.send(wire)
            return sock.recv(65535)

    def exchange(self, query, server="8.8.8.8", part="cl", tcp=False, port=53, source=None, mark=None,
                 timeout_s=PATIENCE_S):
        wire = query if isinstance(query, bytes) else query.to_wire()
        got = self.exchange_bytes(wire, server, part, tcp, port, source, mark, timeout_s)
        reply = dns.message.from_wire(got, raise_on_truncation=False)
        reply.wire_size = len(got)
        if not isinstance(query, bytes):
            assert reply.id == query.id
        return reply

    def ask(self, name, rdtype="A", server="8.8.8.8", *, edns=False, payload=1232, flags=None, **how):
        return self.exchange(question(name, rdtype, edns=edns, payload=payload, flags=flags), server, **how)

    # --- programs ---

    def _command(self, part, command, uid, gid, cgroup=None):
        if command[0] in ("ip", "nft", "ss"):
            prefix = ["nsenter", f"--net=/run/netns/{self.namespace(part)}"]
        else:  # with files of its own in /etc, which costs 20 ms
            prefix = ["ip", "netns", "exec", self.namespace(part)]
        if cgroup:  # before `ip netns exec`, which hides the cgroups
            prefix = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(cgroup)] + prefix
        if uid is not None or gid is not None:
            prefix += ["setpriv", "--clear-groups"]
            prefix += [f"--regid={gid}"] if gid is not None else []
            prefix += [f"--reuid={uid}"] if uid is not None else []
        return prefix + [str(word) for word in command]

    def run(self, part, *command, uid=None, gid=None, cgroup=None, check=True, timeout_s=90, **options):
        done = subprocess.run(self._command(part, command, uid, gid, cgroup), capture_output=True, text=True,
                              timeout=timeout_s, **options)
        if check:
            assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}"
        return done

    def popen(self, part, *command, uid=None, gid=None, **options):
        process = subprocess.Popen(self._command(part, command, uid, gid), stdin=subprocess.DEVNULL, text=True,
                                   **options)
        return self.add_process(process)

    def add_process(self, process):
        """It ends with the test."""
        self._processes.append(process)
        held_up.follow(process.pid)
        return process

    def dig(self, name, rdtype="A", server="8.8.8.8", part="gw", **how):
        """`dig +short` as a program of its own, for users and groups; its lines."""
        done = self.run(part, "dig", "+short", "+time=5", "+tries=1", f"@{server}", name, rdtype, **how)
        return done.stdout.split("\n")[:-1]

    def curl(self, url, *options, part="cl", check=True):
        return self.run(part, "curl", "-sS", "-m", "20", *options, url, check=check)

    def dnsmasq(self, *options, part="gw", user="nobody"):
        """A dnsmasq that reads nothing of this machine; returns when it listens."""
        process = self.popen(
            part, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-hosts", "--no-resolv",
            "--pid-file=", "--cache-size=0", f"--user={user}", "--log-facility=-", *options,
            stdout=subprocess.DEVNULL, stderr=open(self.dir / "dnsmasq.log", "ab"))
        pid = str(process.pid)
        wait_for(lambda: process.poll() is not None or f"pid={pid}," in self.run(part, "ss", "-Hlnup").stdout,
                 "dnsmasq listens")
        assert process.poll() is None, (self.dir / "dnsmasq.log").read_text()
        return process

    def nft(self, script, part="gw", check=True):
        return self.run(part, "nft", "-f", "-", input=script, check=check)

    def nft_json(self, *words, part="gw"):
        return json.loads(self.run(part, "nft", "-j", *words).stdout)["nftables"]

    def ip(self, *words, part="gw"):
        text = self.run(part, "ip", "-j", *words).stdout
        return json.loads(text) if text.strip() else []

    # --- what is seen ---

    def watch(self, part="wan", interface="eth0"):
        return Sniffer(self, part, interface)

    def snapshot(self):
        """What the router's kernel holds, without what changes by itself."""
        def text(*command):
            return self.run("gw", *command).stdout
        return {
            "rules": text("ip", "rule") + text("ip", "-6", "rule"),
            "routes": sorted((text("ip", "route", "show", "table", "all")
                              + text("ip", "-6", "route", "show", "table", "all")).splitlines()),
            "links": sorted(link["ifname"] for link in self.ip("link")),
            "tables": text("nft", "list", "tables"),
        }


def question(name, rdtype="A", *, edns=False, payload=1232, flags=None):
    """edns: False (no OPT), True or a version number."""
    query = dns.message.make_query(name, rdtype)
    if edns is not False:
        query.use_edns(0 if edns is True else edns, payload=payload)
    if flags is not None:
        query.flags = flags
    return query


# --- the gateway ---

def base_config(lab):
    """Names below real.test get real answers, all else fake ones. A stop is at once."""
    return {
        "gateway": {"lan": ["lan0"], "workers": 2, "intercept": "tun", "lame_duck": 0},
        "fakeip": {"ttl": "7s", "store": str(lab.dir / "fakeip.db")},
        "upstreams": {"wan": {"servers": ["udp://10.99.0.53"]}},
        "egress": {"direct": {"type": "direct", "upstream": "wan"}},
        "rules": [
            {"name": "ads", "domain": ["ads.test"], "answer": "block"},
            {"name": "office", "domain": ["real.test"], "answer": "real", "upstream": "wan"},
            {"name": "rest", "answer": "fake", "egress": "direct"},
        ],
        "control": {"socket": str(lab.dir / "tungate.sock")},
    }


def merged(base, over):
    result = copy.deepcopy(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


class Gateway:
    def __init__(self, lab, config=None, intercept=None, name="tungate", wrap=(), env=None, wait=True,
                 program=PROGRAM):
        """wrap: a command before the program's, such as setpriv with its options."""
        self.lab = lab
        self.program = program
        self.wrap = [str(word) for word in wrap]
        self.env = env
        self.config_file = lab.dir / f"{name}.yaml"
        self.log_file = lab.dir / f"{name}.log"
        self.process = None
        self.rewrite(config or {}, intercept)
        self.start(wait)

    def rewrite(self, config, intercept=None):
        """A new text in its file, without telling the daemon. A text is kept as it is."""
        if isinstance(config, str):
            self.config = yaml.safe_load(config) if "control" in config else {}
            self.config_file.write_text(config)
            return
        self.config = merged(base_config(self.lab), config)
        if intercept:
            self.config["gateway"]["intercept"] = intercept
        for group in self.config["upstreams"].values():  # nearly all addresses of the lab are private ones
            group.setdefault("rebind", "allow")
        self.config_file.write_text(yaml.safe_dump(self.config, sort_keys=False))

    @property
    def socket_path(self):
        return self.config["control"]["socket"]

    @property
    def pid(self):
        return self.process.pid

    def start(self, wait=True):
        """In the router's namespace; nsenter becomes the program, so its process id is ours to signal."""
        self.log_file.touch()
        self.log_start = self.log_file.stat().st_size
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.lab.namespace('gw')}", *self.wrap,
                 self.program, "run", "-c", self.config_file],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(self.env or {})})
        held_up.follow(self.process.pid)
        if wait:
            wait_for(lambda: self.ready() or self.process.poll() is not None, "the gateway is ready", 60)
            assert self.ready(), f"the gateway ended with {self.process.returncode}:\n{self.log()}"

    def ready(self):
        return "ready in" in self.log()

    def log(self):
        """What this run has written so far."""
        with open(self.log_file, "rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace")

    def log_lines(self, *words):
        """The lines that have all these words."""
        return [line for line in self.log().splitlines() if all(word in line for word in words)]

    def wait_log(self, *words, timeout_s=PATIENCE_S):
        return wait_for(lambda: self.log_lines(*words), f"a log line with {words}; the log:\n{self.log()}", timeout_s)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def signal(self, number):
        os.kill(self.process.pid, number)

    def end(self, timeout_s=60):
        """Waits for one that ends by itself; its exit status."""
        return self.process.wait(timeout_s)

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def stop(self):
        """An orderly stop: exit status 0, and nothing of ours is left in the kernel."""
        assert self.running(), f"the gateway had ended with {self.process.returncode}:\n{self.log()}"
        self.signal(signal.SIGTERM)
        status = self.end()
        assert status == 0, f"exit status {status}:\n{self.log()}"
        assert "Sanitizer" not in self.log() and "runtime error" not in self.log(), self.log()
        self.assert_nothing_left()

    def assert_nothing_left(self):
        left = leftovers(self.lab, self.config.get("gateway", {}).get("tun", "tungate0"))
        assert not left, f"left behind: {left}\n{self.log()}"

    # --- talking to it ---

    def ask(self, *args, **how):
        return self.lab.ask(*args, **how)

    def wait_answers(self, name="soon.test", timeout_s=3):
        """Until a query of the client is answered by it. The sockets of one that was killed live on for some ms, and a
        query may be lost to them; clients ask again."""
        def is_answered():
            try:
                return has_fake_address(self.ask(name, timeout_s=0.5))
            except TimeoutError:
                return False
        wait_for(is_answered, f"an answer for {name}", timeout_s)

    def request(self, command, **arguments):
        """The reply of the control socket as it is: {"ok": ..., ...}."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(self.socket_path)
            sock.sendall(json.dumps({"cmd": command, **arguments}).encode() + b"\n")
            with sock.makefile("rb") as lines:
                return json.loads(lines.readline())

    def result(self, command, **arguments):
        reply = self.request(command, **arguments)
        assert reply["ok"], reply
        return reply["result"]

    def status(self):
        return self.result("status")

    def cli(self, *words, check=True):
        """The command line: `tungate WORDS -s SOCKET`."""
        done = subprocess.run([PROGRAM, *words, "-s", self.socket_path], capture_output=True, text=True, timeout=60)
        if check:
            assert done.returncode == 0, done.stderr
        return done


def leftovers(lab, tun="tungate0"):
    """What of ours the router's kernel still holds: rules, routes, the device, the table."""
    left = []
    for family in ("-4", "-6"):
        left += [f"rule {rule}" for rule in lab.run("gw", "ip", family, "rule").stdout.splitlines()
                 if "proto 198" in rule or "lookup 198" in rule or "lookup 199" in rule]
        left += [f"route {route}" for route in
                 lab.run("gw", "ip", family, "route", "show", "table", "all", "proto", "198").stdout.splitlines()]
    left += [f"link {link['ifname']}" for link in lab.ip("link") if link["ifname"] == tun]
    left += [f"table {item['table']['name']}" for item in lab.nft_json("list", "tables")
             if item.get("table", {}).get("name", "").startswith("tungate")]
    return left


# --- connections that live while a test does something ---

@contextlib.contextmanager
def greeter(lab, address, port=9000, part="wan"):
    """Tells each TCP connection "WHERE WHO\\n", the address that it came to and the one that it came from; then echoes."""
    def serve(connection, client):
        with connection, contextlib.suppress(OSError):
            connection.sendall(f"{address} {client[0]}\n".encode())
            while data := connection.recv(100):
                connection.sendall(data)

    def accept():
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                connection, client = listener.accept()
                connection.settimeout(120)
                threading.Thread(target=serve, args=(connection, client), daemon=True).start()
    stopping = threading.Event()
    with lab.socket(part, split_address(address)[0], socket.SOCK_STREAM, 0.05) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen()
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()


def greeted(lab, target, port=9000, part="cl"):
    """(where, who) of a new connection."""
    with lab.connect(target, part, tcp=True, port=port) as sock:
        return tuple(sock.recv(100).decode().split())


class Download:
    """A curl of some noise from http://NAME/ that is under way, and stands still until finish()."""
    NOISE_BYTES, RATE = 12_000_000, "10M"  # it is stopped long before its end

    def __init__(self, lab, name, *options):
        source = lab.dir / "www" / "noise"
        if not source.exists():
            source.write_bytes(os.urandom(self.NOISE_BYTES))
        self.source, self.got = source, lab.dir / f"{name}.got"
        self.got.unlink(missing_ok=True)
        self.process = lab.popen("cl", "curl", "-sS", "-4", "-m", "60", "--limit-rate", self.RATE, *options,
                                 "-o", self.got, f"http://{name}/noise")
        wait_for(lambda: self.got.exists() and self.got.stat().st_size > 0, "the download has begun")
        self.process.send_signal(signal.SIGSTOP)
        assert self.process.poll() is None and self.got.stat().st_size < self.NOISE_BYTES

    def finish(self):
        """It goes on, and ends whole."""
        assert self.process.poll() is None
        self.process.send_signal(signal.SIGCONT)
        assert self.process.wait(60) == 0
        assert self.got.read_bytes() == self.source.read_bytes()


# --- what passes an interface ---

class Packet:
    """An IP packet as far as tests ask: family, protocol, source, target, ports, flags, payload."""

    def __init__(self, frame):
        self.family = socket.AF_INET if frame[0] >> 4 == 4 else socket.AF_INET6
        if self.family == socket.AF_INET:
            self.protocol, start = frame[9], (frame[0] & 15) * 4
            source, target = frame[12:16], frame[16:20]
            self.fragment = bool(struct.unpack_from("!H", frame, 6)[0] & 0x3fff)
        else:
            self.protocol, start = frame[6], 40
            source, target = frame[8:24], frame[24:40]
            self.fragment = self.protocol == 44
        self.source, self.target = (socket.inet_ntop(self.family, a) for a in (source, target))
        self.source_port = self.target_port = self.flags = 0  # flags: of TCP
        self.payload = frame[start:]
        if self.protocol in (socket.IPPROTO_UDP, socket.IPPROTO_TCP) and not self.fragment:
            self.source_port, self.target_port = struct.unpack_from("!HH", frame, start)
            self.flags = frame[start + 13] if self.protocol == socket.IPPROTO_TCP else 0
            self.payload = frame[start + (8 if self.protocol == socket.IPPROTO_UDP else frame[start + 12] // 16 * 4):]

    def __repr__(self):
        return f"<{self.source}.{self.source_port} > {self.target}.{self.target_port} proto {self.protocol}>"


class Sniffer:
    """Reads what was sent and received on one interface since it was made; no thread."""

    def __init__(self, lab, part, interface):
        self.sock = lab.socket(part, socket.AF_PACKET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        with lab.inside(part):
            self.sock.bind((interface, 3))  # ETH_P_ALL
        self._packets = []

    def packets(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, (_, protocol, *_) = self.sock.recvfrom(65535)
                if protocol in (0x0800, 0x86dd):
                    with contextlib.suppress(struct.error, IndexError, ValueError):  # tests send broken ones, too
                        self._packets.append(Packet(frame))
        return self._packets

    def dns_questions(self):
        """(name, type) of each query over UDP."""
        found = []
        for packet in self.packets():
            if packet.protocol == socket.IPPROTO_UDP and packet.target_port == 53:
                with contextlib.suppress(dns.exception.DNSException):
                    asked = dns.message.from_wire(packet.payload).question[0]
                    found.append((asked.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(asked.rdtype)))
        return found

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# --- an upstream that does what the test says ---

class Upstream:
    """A DNS server over UDP and TCP in one namespace. handler(wire, client, send) is called for each query over UDP
    with send(reply_bytes); over TCP too, if tcp=True. Every query is in .queries, .tcp_queries. (Port 53 of all addresses in wan is
    unbound's.)"""

    def __init__(self, lab, handler, address="10.99.0.54", part="wan", port=5354, tcp=False):
        self.lab, self.handler, self.queries, self.tcp_queries = lab, handler, [], []
        family = split_address(address)[0]
        self._stopping = False
        self._sockets = []
        self.udp = lab.socket(part, family, timeout_s=0.05)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.udp.bind((address, port))
        self._sockets.append(self.udp)
        self._threads = [threading.Thread(target=self._serve_udp, daemon=True)]
        if tcp:
            self.listener = lab.socket(part, family, socket.SOCK_STREAM, timeout_s=0.05)
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.listener.bind((address, port))
            self.listener.listen(16)
            self._sockets.append(self.listener)
            self._threads.append(threading.Thread(target=self._serve_tcp, daemon=True))
        for thread in self._threads:
            thread.start()

    def _serve_udp(self):
        while not self._stopping:
            try:
                wire, client = self.udp.recvfrom(65535)
            except (TimeoutError, ConnectionRefusedError):
                continue
            except OSError:
                return
            self.queries.append((wire, client))
            self.handler(wire, client, lambda reply, to=client: self.udp.sendto(reply, to))

    def _serve_tcp(self):
        while not self._stopping:
            try:
                connection, client = self.listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            connection.settimeout(PATIENCE_S)
            threading.Thread(target=self._serve_connection, args=(connection, client), daemon=True).start()

    def _serve_connection(self, connection, client):
        """Each worker keeps one open."""
        with connection, contextlib.suppress(OSError, EOFError):
            while not self._stopping:
                wire = read_message(connection)
                self.tcp_queries.append((wire, client))
                self.handler(wire, client, lambda reply: connection.sendall(framed(reply)))

    def close(self):
        self._stopping = True
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for sock in self._sockets:
            sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def answer_to(wire, *records, rcode=dns.rcode.NOERROR, **changes):
    """A response to a query: records as ("TTL TYPE DATA"), with fields of the message changed."""
    query = dns.message.from_wire(wire)
    reply = dns.message.make_response(query, recursion_available=True)
    for record in records:
        ttl, rdtype, data = record.split(" ", 2)
        reply.answer.append(dns.rrset.from_text(query.question[0].name, int(ttl), "IN", rdtype, data))
    reply.set_rcode(rcode)
    for key, value in changes.items():
        setattr(reply, key, value)
    return reply.to_wire(max_size=65535)
