"""A DNS upstream that does what a test says, over UDP, TCP, DoT and DoH, as a process of its own in "wan".

    with Scripted(lab, zone={"web.test": ["60 A 10.50.0.1"]}) as up:
        gw = gateway({"upstreams": {"wan": {"servers": [up.tls], "ca": str(up.ca)}}, ...})
        up.fault("delay", ms=300, name="slow.*")
        ...
        assert [q["name"] for q in up.queries("tls")] == ["web.test"]

Scripted(lab, zone=..., address="10.99.0.54", names=["dns.test"], ...)   begins at once and lives until end(), or until
    the test ends. The address is added to wan's eth0 if it is not there.
zone        {name: ["TTL TYPE DATA", ...]}; "*.x" and "*" for what is not named; aliases are followed. By default each
            name has an A, an AAAA and a TXT record. What is not there is NXDOMAIN or an empty answer, with a SOA
.udp .tcp .dns .tls .https .https_get     servers for a configuration (the last a dict); TLS ones with "@NAME"; without
            it (the address is in the certificate, too): .tls_by_address .https_by_address; with a name that is to be
            resolved: .tls_by_name .https_by_name
.port       {transport: port}: 5354 for udp and tcp (53 is unbound's), 853 and 443
.ca         file of the lab's CA, the same for all Scripted of a lab; ca_of(lab) gives it before one is made
.pin        "sha256/…" of its key, whatever certificate it shows
.queries(transport=None, name=None)   what it was asked, in order: dicts with time, transport, name (as asked), type,
            class, id, flags, size, client, port, connection (its number), edns (None, or payload, do, padding: bytes
            or None, ecs: "10.0.0.0/24" or None, options: {code: hex}), tls (None, or version, resumed, sni, alpn),
            http (None, or method, path, stream, headers)
.events(kind)   of connections: "connect", "handshake" (with tls), "handshake_failed" (why), "disconnect", "malformed"
            (a query that is none), "http_error"
.forget()   what was asked so far is not told any more
.connections(transport=None)    numbers of those that are open
.fault(kind, ...)   from now on (when it returns), until clear(id) or clear(): all faults; gives its id. Each takes
            transport=  "udp" "tcp" "tls" "https", or a list of them; all by default
            name=, type=    for these questions only; * and ? in names
            skip=, times=   lets so many matches pass; acts so many times only
            percent=, seed= acts on so many of 100, the same ones each time
            existing=True   on connections that had been made before the fault only
            after=          from each connection's question number after+1 on
  of answers:
    "silence"           none (with percent= and seed=: loss)
    "delay"             ms=
    "rcode"             rcode="SERVFAIL" "REFUSED" "FORMERR" ...
    "answer"            records=["60 A 192.168.1.1"] instead of the zone's
    "ttl"               ttl= of all records, any 32 bits
    "size"              size= of the answer in bytes: A, AAAA or TXT records, up to 65535
    "tc"                UDP: truncated, nothing in it
    "wrong_id" "wrong_question" "wrong_class" "wrong_case" "wrong_port" (UDP)
    "twice"             first a forged answer (records=, opt=False), ms= (20) later the right one
    "garbage"           40 random bytes instead
    "no_opt"            no EDNS in answers
    "options"           options=["cookie", "ecs", "nsid", "ede"] (all) in answers to queries with EDNS
    "reverse"           count= answers of a connection (all, over UDP) are collected and sent in reversed order; also
                        when within_ms= (2000) have passed since the first
    "cut"               half of the answer, then the end: of the connection, or of the HTTP stream
  of connections:
    "stall"             at="query" (it is not answered), "accept" (before TLS), "now" (those that are open): the server
                        neither reads nor writes nor closes any more
    "reset"             a RST, at="query", "accept", "answer" (in the middle of it), "now"
    "close"             after each answer; at="now": at once
    "max_queries"       count=: closed after so many answers
    "garbage"           at="accept": before TLS
    "certificate"       which="expired" "early" "wrong" "selfsigned"
    "tls_version"       version="1.1" "1.2" "1.3"
    "no_alpn"
  of HTTP:
    "http"              status=, location=
    "content_type"      value=
    "long_body"         size=: zeros behind the answer
    "age"               seconds=
    "rst_stream"        code="REFUSED_STREAM" (or another of h2.errors.ErrorCodes)
    "goaway"            after=N: at question N+1 of a connection; it and later ones are not answered; include=True: it
                        is; close_after_ms=: the end of the connection
.set_zone(zone)
.freeze() .thaw()   the whole process; its kernel goes on taking connections
.end()      it is gone, with its connections, when this returns
"""
import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import sys

import scripted_certificates
from far_ends import FarProcess
from waiting import PATIENCE_S, wait_for

PROGRAM = pathlib.Path(__file__).with_name("scripted_server.py")
PORTS = {"udp": 5354, "tcp": 5354, "tls": 853, "https": 443}
DEFAULT_ZONE = {"*": ["60 A 10.50.0.1", "60 AAAA 2001:db8:50::1", '60 TXT "scripted"']}


def ca_of(lab):
    return scripted_certificates.make_ca(lab.dir)


class Factory:
    """Makes processes of the program; one a test module, that has loaded what it needs."""
    process = None

    @classmethod
    def make(cls, *line):
        if cls.process is None:
            cls.process = subprocess.Popen([sys.executable, "-B", PROGRAM], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, text=True)
        cls.process.stdin.write(json.dumps([str(word) for word in line]) + "\n")
        cls.process.stdin.flush()
        return Made(int(cls.process.stdout.readline()))


class Made:
    """Like a Popen, of a process that is not our child."""
    stdin = stdout = stderr = None

    def __init__(self, pid):
        self.pid, self._fd = pid, os.pidfd_open(pid)

    def wait(self, timeout_s):
        if self._fd is None:
            return 0
        polled = select.poll()
        polled.register(self._fd, select.POLLIN)
        if not polled.poll(timeout_s * 1000):
            raise subprocess.TimeoutExpired("scripted_server.py", timeout_s)
        os.close(self._fd)
        self._fd = None
        return 0

    def poll(self):
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def kill(self):
        signal.pidfd_send_signal(self._fd, signal.SIGKILL)


class Scripted(FarProcess):
    def __init__(self, lab, zone=None, address="10.99.0.54", names=("dns.test",), ports=None, part="wan", more=()):
        """more: addresses that it listens on, too."""
        self.lab, self.part, self.address, self.names = lab, part, address, list(names)
        self.port = {**PORTS, **(ports or {})}
        self.process, self._added, self._read_from = None, [], 0
        self.dir = lab.dir / f"scripted-{address.replace(':', '-')}-{self.port['udp']}-{self.port['tls']}"
        self.dir.mkdir(exist_ok=True)
        self.ca = ca_of(lab)
        scripted_certificates.make_certificates(lab.dir, self.dir, self.names, [address, *more])
        self.pin = scripted_certificates.pin_of(self.dir)
        for one in (address, *more):
            self._add_address(one)
        self._start(zone or DEFAULT_ZONE, [address, *more])

    # --- its process ---

    def _add_address(self, address):
        there = [a["local"] for link in self.lab.ip("addr", part=self.part) for a in link["addr_info"]]
        if address not in there:
            tail = ("/64", "nodad") if ":" in address else ("/24",)
            self.lab.run(self.part, "ip", "addr", "add", address + tail[0], "dev", "eth0", *tail[1:])
            self._added.append(address + tail[0])

    def _start(self, zone, addresses):
        for name in ("log.jsonl", "control"):
            (self.dir / name).unlink(missing_ok=True)
        listen = [[transport, address, port] for address in addresses for transport, port in self.port.items()]
        config = self.dir / "config.json"
        config.write_text(json.dumps({"dir": str(self.dir), "zone": zone, "listen": listen}))
        output = self.dir / "output"
        output.write_bytes(b"")
        self.process = Factory.make(config, self.lab.namespace(self.part), output)
        self.lab.add_process(self.process)
        self.lab.far_ends.append(self)
        wait_for(lambda: not self.alive() or self.listens(), "the scripted upstream listens")
        assert self.alive(), self.log()

    def listens(self):
        try:
            return self.connections() is not None
        except (FileNotFoundError, ConnectionRefusedError):
            return False

    def log(self):
        return (self.dir / "output").read_text(errors="replace")

    def end(self):
        if not self._kill():
            return
        for address in self._added:
            self.lab.run(self.part, "ip", "addr", "del", address, "dev", "eth0", check=False)
        assert "Traceback" not in self.log(), self.log()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    # --- how a configuration names it ---

    def _url(self, scheme, transport, host=None, tail=""):
        host = host or (f"[{self.address}]" if ":" in self.address else self.address)
        return f"{scheme}://{host}:{self.port[transport]}{tail}"

    @property
    def udp(self):
        return self._url("udp", "udp")

    @property
    def tcp(self):
        return self._url("tcp", "tcp")

    @property
    def dns(self):
        return self._url("dns", "udp")

    @property
    def tls(self):
        return self._url("tls", "tls", tail="@" + self.names[0])

    @property
    def tls_by_address(self):
        return self._url("tls", "tls")

    @property
    def tls_by_name(self):
        return self._url("tls", "tls", self.names[0])

    @property
    def https(self):
        return self._url("https", "https", tail="/dns-query@" + self.names[0])

    @property
    def https_get(self):
        return {"url": self.https, "method": "get"}

    @property
    def https_by_address(self):
        return self._url("https", "https", tail="/dns-query")

    @property
    def https_by_name(self):
        return self._url("https", "https", self.names[0], "/dns-query")

    # --- what it does ---

    def _request(self, do, **how):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(PATIENCE_S)
            sock.connect(str(self.dir / "control"))
            sock.sendall(json.dumps({"do": do, **how}).encode() + b"\n")
            with sock.makefile("rb") as lines:
                reply = json.loads(lines.readline())
        assert reply["ok"], reply["error"]
        return reply["result"]

    def fault(self, kind, **how):
        return self._request("fault", kind=kind, **how)

    def clear(self, number=None):
        self._request("clear", number=number)

    def set_zone(self, zone):
        self._request("zone", zone=zone)

    def connections(self, transport=None):
        return self._request("connections", **({"transport": transport} if transport else {}))

    # --- what it was asked ---

    def _records(self):
        with open(self.dir / "log.jsonl", "rb") as lines:
            lines.seek(self._read_from)
            text = lines.read()
        return [json.loads(line) for line in text[:text.rfind(b"\n") + 1].splitlines()]

    def forget(self):
        self._read_from = (self.dir / "log.jsonl").stat().st_size

    def events(self, kind, transport=None):
        return [r for r in self._records() if r["event"] == kind and transport in (None, r["transport"])]

    def queries(self, transport=None, name=None):
        return [q for q in self.events("query", transport) if name in (None, q["name"].lower())]
