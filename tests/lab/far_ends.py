"""Real proxies at the far end of an egress: what class Lab of lab.py is of them."""
import contextlib
import os
import pathlib
import signal

from waiting import PATIENCE_S, wait_for

FAR_ADDRESSES = {  # where each namespace is reached from the others
    "wan": ("10.99.0.2", "2001:db8:99::2"),
    "gw": ("192.168.77.1", "2001:db8:77::1"),
    "cl": ("192.168.77.2", "2001:db8:77::2"),
}

DANTE = """
logoutput: {log}
internal: {first} port = {port}
internal: {second} port = {port}
external: {first}
external: {second}
clientmethod: none
socksmethod: {method}
user.privileged: root
user.unprivileged: nobody
udp.connectdst: no
client pass {{ from: 0/0 to: 0/0 }}
socks pass {{ from: 0/0 to: 0/0 command: {commands} }}
{replies}
"""


class FarProcess:
    """What leads a group of processes, `process`, in a namespace of `lab`, which has it among its far ends."""

    def alive(self):
        return self.process.poll() is None

    def _signal(self, number):
        if self.alive():  # once it is reaped its number may be another's
            os.killpg(self.process.pid, number)

    def freeze(self):
        """Its kernel goes on taking connections, but nobody says a word on them."""
        self._signal(signal.SIGSTOP)

    def thaw(self):
        self._signal(signal.SIGCONT)

    def _kill(self):
        """False: it had ended before; its port may be another's."""
        if self not in self.lab.far_ends:
            return False
        self.lab.far_ends.remove(self)
        self._signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        return True


class FarEnd(FarProcess):
    """A proxy that listens on IPv4 and IPv6; what it forks ends with it."""

    def __init__(self, lab, part, name, port, command, log=None):
        self.lab, self.part, self.port = lab, part, port
        self.address, self.address6 = FAR_ADDRESSES[part]
        self.server, self.server6 = f"{self.address}:{port}", f"[{self.address6}]:{port}"
        self._log = log or lab.dir / f"{name}-{part}-{port}.log"
        with open(self._log, "wb") as out:
            self.process = lab.popen(part, *command, stdout=out, stderr=out, process_group=0)
        lab.far_ends.append(self)
        wait_for(lambda: self.process.poll() is not None or self.listens(), f"{name} listens on port {port}")
        assert self.alive(), f"{name} ended: {self.log()}"

    def listens(self):
        return self.lab.run(self.part, "ss", "-Hltn", f"sport = :{self.port}").stdout.count("\n") > 0

    def log(self):
        return self._log.read_text(errors="replace")

    def end(self):
        """It is gone with all its connections when this returns."""
        if self._kill():
            wait_for(lambda: not self.listens(), f"port {self.port} is free")


class FarEnds:
    """Each until the test ends; ended by its process id."""

    def microsocks(self, part="wan", user=None, password=None, port=1080):
        """A SOCKS5 server: TCP only; with a user, nobody gets in without."""
        login = ["-u", user, "-P", password] if user else []
        return FarEnd(self, part, "microsocks", port, ["microsocks", "-i", "::", "-p", port, *login])

    def dante(self, part="wan", port=1081, users=None, udp=True):
        """A SOCKS5 server that has UDP ASSOCIATE, too, and passes on what any third host answers. users: {name:
        password}."""
        file = self.dir / f"dante-{part}-{port}.conf"
        first, second = FAR_ADDRESSES[part]
        commands = "connect udpassociate" if udp else "connect"
        file.write_text(DANTE.format(
            log=file.with_suffix(".log"), port=port, first=first, second=second, commands=commands,
            method="username" if users else "none",
            replies="socks pass { from: 0/0 to: 0/0 command: udpreply }" if udp else ""))
        with self._system_users(part, users or {}):
            return FarEnd(self, part, "dante", port, ["danted", "-f", file, "-p", file.with_suffix(".danted")],
                          log=file.with_suffix(".log"))

    def http_proxy(self, part="wan", port=8080, user=None, password=None):
        """An HTTP proxy that lets CONNECT reach any port; with a user, nobody gets in without."""
        file = self.dir / f"tinyproxy-{part}-{port}.conf"
        file.write_text(f"Port {port}\nTimeout 600\nMaxClients 1000\nDisableViaHeader Yes\nLogLevel Info\n"
                        + (f"BasicAuth {user} {password}\n" if user else ""))
        return FarEnd(self, part, "tinyproxy", port, ["tinyproxy", "-d", "-c", file])

    @contextlib.contextmanager
    def _system_users(self, part, users):
        """What is started meanwhile in that namespace finds these users beside the machine's: `ip netns exec` puts the
        files of /etc/netns over those of /etc."""
        over = pathlib.Path("/etc/netns", self.namespace(part))
        files = [over / "passwd", over / "shadow"] if users else []
        for file in files:
            over.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.write_text(pathlib.Path("/etc", file.name).read_text())
            with file.open("a") as lines:
                for number, (name, password) in enumerate(users.items()):
                    secret = self.run(part, "openssl", "passwd", "-6", "-stdin", input=password).stdout.strip()
                    lines.write(f"{name}:x:{64000 + number}:65534::/:/bin/false\n" if file.name == "passwd"
                                else f"{name}:{secret}:19000:0:99999:7:::\n")
        try:
            yield
        finally:
            for file in files:
                file.unlink()
