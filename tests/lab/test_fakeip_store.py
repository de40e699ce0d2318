"""Item 3: what the table's file survives, and what is said of what it does not."""
import contextlib
import ctypes
import os
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

from lab import addresses, is_fake, mounted

_libc = ctypes.CDLL(None, use_errno=True)


def four(gw, name):
    return addresses(gw.ask(name))[0]


def named(tag, n=20):
    return [f"{tag}{i}.store.test" for i in range(n)]


def given(gw, names):
    answers = {name: four(gw, name) for name in names}
    assert all(is_fake([a]) for a in answers.values()) and len(set(answers.values())) == len(answers)
    return answers


def told(gw, *words):
    return [p for p in gw.status()["problems"] if all(word in p for word in words)]


# --- read only ---

def test_a_read_only_folder(gateway, lab):
    """What is in the file is known; what is new is kept in memory."""
    folder = lab.dir / "ro"
    with mounted(folder, "-t", "tmpfs", "none"):
        gw = gateway({"fakeip": {"store": str(folder / "table.db")}})
        before = given(gw, named("a"))
        gw.stop()
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        gw.start()
        assert told(gw, "ro/table.db", "Read-only file system", "memory only")
        assert given(gw, reversed(before)) == before
        new = given(gw, named("b"))
        assert not set(new.values()) & set(before.values())
        assert "Read-only file system" in gw.status()["fakeip"]["store"]
        gw.kill()
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        gw.start()
        gw.wait_answers()
        assert not told(gw, "table.db") and gw.status()["fakeip"]["store"] == str(folder / "table.db")
        assert given(gw, reversed(before)) == before
        assert not set(given(gw, named("c")).values()) & set(before.values())
        gw.stop()


def test_a_file_that_may_not_be_written(gateway, lab):
    folder = lab.dir / "bind"
    folder.mkdir()
    gw = gateway({"fakeip": {"store": str(folder / "table.db")}})
    before = given(gw, named("a"))
    gw.stop()
    path = folder / "table.db"
    subprocess.run(["mount", "--bind", path, path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        gw.start()
        assert told(gw, "bind/table.db", "memory only")
        assert given(gw, reversed(before)) == before
        assert not set(given(gw, named("b")).values()) & set(before.values())
        gw.stop()
    finally:
        subprocess.run(["umount", "-l", path], check=True)
    gw.start()
    assert given(gw, reversed(before)) == before


def test_a_disk_that_is_full_from_the_beginning(gateway, lab):
    with mounted(lab.dir / "none-left", "-t", "tmpfs", "-o", "size=16k", "none") as folder:
        with contextlib.suppress(OSError), open(folder / "ballast", "wb", buffering=0) as out:
            while out.write(b"x" * 512):
                pass
        gw = gateway({"fakeip": {"store": str(folder / "table.db")}})
        assert told(gw, "none-left/table.db", "No space left on device", "memory only")
        given(gw, named("a"))
        gw.stop()


# --- what is not ours, what is damaged ---

@pytest.mark.parametrize("text", [b"dear diary\n" * 100, b"\0" * 4096, os.urandom(5000), b"x"],
                         ids=["text", "zeros", "noise", "short"])
def test_a_foreign_file_is_kept(gateway, tmp_path, text):
    path = tmp_path / "table.db"
    path.write_bytes(text)
    gw = gateway({"fakeip": {"store": str(path)}})
    assert gw.log_lines("table.db", "not ours", "table.db.foreign")
    assert (tmp_path / "table.db.foreign").read_bytes() == text
    before = given(gw, named("a"))
    gw.kill()
    gw.start()
    gw.wait_answers()
    assert given(gw, reversed(before)) == before
    assert not (tmp_path / "table.db.foreign.2").exists()


def test_a_second_foreign_file_is_kept_too(gateway, tmp_path):
    path = tmp_path / "table.db"
    for text in (b"one\n", b"two\n"):
        path.write_bytes(text)
        gateway({"fakeip": {"store": str(path)}}).stop()
    assert (tmp_path / "table.db.foreign").read_bytes() == b"one\n"
    assert (tmp_path / "table.db.foreign.2").read_bytes() == b"two\n"


@pytest.mark.parametrize("damage", ["middle", "first", "cut", "header"])
def test_damage_is_told_and_lies_to_nobody(gateway, tmp_path, damage):
    path = tmp_path / "table.db"
    gw = gateway({"fakeip": {"store": str(path)}})
    before = given(gw, named("a", 50))
    gw.kill()
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[-5:]
    else:
        data[{"middle": len(data) // 2, "first": 64 + 40, "header": 20}[damage]] ^= 0x10
    path.write_bytes(data)
    gw.start()
    gw.wait_answers()
    if damage == "header":  # whole records prove whose file it is
        assert gw.status()["problems"] == []
    else:
        assert told(gw, "table.db", "1 damaged records were left out", "49 mappings loaded")
    known = {m["name"]: m["v4"] for m in gw.result("fakeip.list")} | {"soon.test": four(gw, "soon.test")}
    lost = set(before) - set(known)
    assert len(lost) == (0 if damage == "header" else 1)
    owner = {address: name for name, address in before.items()}
    for name, address in known.items():
        assert owner.get(address, name) == name
    # A client may still hold the answer for a lost name: its address is not given to another one.
    for name in named("new", 30) + sorted(lost):
        address = four(gw, name)
        assert owner.get(address, name) == name
    assert {name: four(gw, name) for name in set(before) - lost} == \
        {name: before[name] for name in set(before) - lost}


# --- kill -9 ---

class Flood:
    """New names without end, each of the greatest length; remembers what was answered and when."""
    BURST = 32

    def __init__(self, lab):
        self.lab = lab
        self.answers = {}  # name: (address, when), in the order in which they came
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @staticmethod
    def _name(number):
        return f"{number:063d}.{'b' * 63}.{'c' * 63}.{'d' * 50}.test"

    def _run(self):
        number = 0
        with self.lab.connect("8.8.8.8", timeout_s=0.2) as sock:
            while not self._stopping:
                names = [self._name(number + i) for i in range(self.BURST)]
                number += self.BURST
                try:
                    for i, name in enumerate(names):
                        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
                        sock.send(struct.pack("!6H", i, 0x100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1")
                    for _ in names:
                        reply = sock.recv(4096)
                        if reply[7] == 1 and reply[-4] == 198:
                            self.answers[names[reply[1]]] = (socket.inet_ntoa(reply[-4:]), time.monotonic())
                except OSError:
                    pass

    def stop(self):
        self._stopping = True
        self._thread.join(10)


@contextlib.contextmanager
def folder_events(path, mask):
    """A descriptor that becomes readable when something of mask happens in the folder."""
    fd = _libc.inotify_init1(os.O_NONBLOCK)
    assert fd >= 0 and _libc.inotify_add_watch(fd, os.fsencode(path), mask) >= 0
    try:
        yield fd
    finally:
        os.close(fd)


IN_MODIFY, IN_MOVED_TO = 0x2, 0x80


def names_of_events(fd):
    with contextlib.suppress(BlockingIOError):
        data, at = os.read(fd, 65536), 0
        while at < len(data):
            size = struct.unpack_from("12xI", data, at)[0]
            yield data[at + 16:at + 16 + size].rstrip(b"\0").decode()
            at += 16 + size


def wait_event(fd, name, what):
    """Without a pause: what follows must come right behind it."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if name in names_of_events(fd):
            return
    raise AssertionError(f"not seen: {what}")


@pytest.mark.parametrize("event, name", [(IN_MODIFY, "table.db.new"), (IN_MOVED_TO, "table.db")],
                         ids=["half written", "renamed"])
def test_kill_9_while_the_file_is_compacted(gateway, lab, tmp_path, event, name):
    """A pool that is used up again and again, so that the log grows and little of it is true; then the end, in the
    middle of its renewal."""
    ttl_s, hold_s = 0, 1
    gw = gateway({"fakeip": {"store": str(tmp_path / "table.db"), "pool4": "198.18.0.0/20", "pool6": "off",
                             "ttl": f"{ttl_s}s", "hold": f"{hold_s}s", "exhausted": "servfail"}})
    with folder_events(tmp_path, event) as events:
        flood = Flood(lab)
        try:
            wait_event(events, name, "the compaction of the log")
            gw.signal(signal.SIGKILL)
            killed = time.monotonic()
            gw.end()
        finally:
            flood.stop()
    gw.start()
    now = {m["v4"]: m["name"] for m in gw.result("fakeip.list", limit=10000)}
    # The last name that each address was answered for: of it nobody may see another one's.
    last = {address: (name, when) for name, (address, when) in flood.answers.items()}
    assert len(last) > 3000 and len(now) > 3000
    for address, (name, when) in last.items():
        is_sure = killed - when < ttl_s + hold_s
        # An address whose hold was over may have been given to a name whose answer did not arrive any more.
        assert now.get(address) == name or (not is_sure and (address not in now or now[address] not in flood.answers))
    assert sum(now.get(address) == name for address, (name, _) in last.items()) > 1000


def test_kill_9_after_a_flush_of_all(gateway, tmp_path):
    """Flushed names and those that were asked again, each has its own address still."""
    gw = gateway({"fakeip": {"store": str(tmp_path / "table.db")}})
    first = given(gw, named("f", 200))
    gw.result("fakeip.flush")
    second = given(gw, named("f", 100))
    gw.kill()
    gw.start()
    gw.wait_answers()
    assert given(gw, reversed(second)) == second
    third = given(gw, named("f", 200)[100:])
    assert not set(third.values()) & (set(first.values()) | set(second.values()))
    for name, address in first.items():
        assert gw.result("fakeip.lookup", address=address)["name"] == name
