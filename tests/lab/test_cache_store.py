"""Item 4 of resolve: the cache's file, and the warm-up after a start."""
import contextlib
import ctypes
import os
import random
import shutil
import signal
import stat
import struct
import subprocess
import time

import pytest

from asking import ask_all
from caching import asked, cached, over, real_rule, stats, up, wait_stale  # noqa: F401: up is a fixture
from lab import addresses, ede, mounted, question, rcode, ttls, wait_for
from scripted import Scripted

NO_WARMUP = {"count": 0}
HEAD = b"TGCACHE\n\1\0\0\0"  # what stands before the zstd frame
_zstd = ctypes.CDLL("libzstd.so.1")


@pytest.fixture
def path(lab):
    folder = lab.dir / "cache-store"
    folder.mkdir(exist_ok=True)
    yield folder / "answers"
    shutil.rmtree(folder)


def storing(up, path, rules=None, **cache):
    return over(up, {"store": str(path), "warmup": NO_WARMUP, **cache}, rules)


def restart(gw):
    gw.stop()
    gw.start()


def ask_numbers(lab, prefix, n):
    with lab.connect("8.8.8.8") as sock:
        answers = ask_all(sock, ((f"{prefix}{i}.test", "A") for i in range(n)), again=True)
    assert all(answer and answer.rcode == 0 for answer in answers)


def told(gw, *words):
    return [p for p in gw.status()["problems"] if all(word in p for word in words)]


# --- the file from outside ---

def unpack(path):
    data = path.read_bytes()
    assert data[:12] == HEAD
    out = ctypes.create_string_buffer(1 << 26)
    _zstd.ZSTD_decompress.restype = ctypes.c_size_t
    n = _zstd.ZSTD_decompress(out, ctypes.c_size_t(len(out)), data[12:], ctypes.c_size_t(len(data) - 12))
    assert not _zstd.ZSTD_isError(ctypes.c_size_t(n))
    return out.raw[:n]


def pack(content, checksum=True):
    """As the program writes it: its window is small."""
    _zstd.ZSTD_createCCtx.restype = ctypes.c_void_p
    _zstd.ZSTD_compress2.restype = ctypes.c_size_t
    context = ctypes.c_void_p(_zstd.ZSTD_createCCtx())
    for parameter, value in ((100, 3), (101, 20), (201, int(checksum))):  # level, windowLog, checksumFlag
        assert not _zstd.ZSTD_isError(_zstd.ZSTD_CCtx_setParameter(context, parameter, value))
    out = ctypes.create_string_buffer(len(content) + 1000)
    n = _zstd.ZSTD_compress2(context, out, ctypes.c_size_t(len(out)), content, ctypes.c_size_t(len(content)))
    _zstd.ZSTD_freeCCtx(context)
    return HEAD + out.raw[:n]


def written_at(path, wall_s):
    """The file as if it had been written then."""
    content = unpack(path)
    path.write_bytes(pack(struct.pack("<q", wall_s) + content[8:]))


# --- over a restart ---

def test_answers_survive_a_restart_and_go_on_counting(gateway, up, path):
    up.set_zone({"a.test": ["100 A 10.50.0.1"], "txt.test": ["100 TXT x"], "b.test": ["100 CNAME a.test."]})
    gw = gateway(storing(up, path))
    began = time.time()
    gw.ask("a.test")
    gw.ask("A.test", edns=True)
    gw.ask("b.test")
    gw.ask("txt.test", "TXT")
    assert rcode(gw.ask("none.test")) == "NXDOMAIN"
    wait_for(lambda: ttls(gw.ask("a.test"))[0] <= 98, "a second or two are over")
    gw.stop()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.with_name("answers.new").exists()
    up.forget()
    gw.start()
    assert gw.log_lines("cache.store", "4 answers")
    age = time.time() - began
    for name, rdtype in (("a.test", "A"), ("b.test", "A"), ("txt.test", "TXT")):
        reply = gw.ask(name, rdtype)
        assert all(100 - age - 3 <= ttl <= 99 for ttl in ttls(reply)) and ttls(reply), (ttls(reply), age)
    reply = gw.ask("none.test")
    assert rcode(reply) == "NXDOMAIN" and reply.authority[0].ttl < 30
    assert not up.queries()
    restart(gw)
    assert ttls(gw.ask("a.test"))[0] <= 99 and not up.queries()


def test_what_grew_old_meanwhile_is_stale(gateway, up, path):
    up.set_zone({"*": ["1 A 10.50.0.1"]})
    gw = gateway(storing(up, path))
    gw.ask("x.test")
    wait_stale(gw, "x.test")
    restart(gw)
    assert cached(gw, "x.test")["A"]["state"] == "stale"
    up.fault("rcode", rcode="SERVFAIL")
    reply = gw.ask("x.test", edns=True)
    assert (addresses(reply), ttls(reply), ede(reply)) == (["10.50.0.1"], [30], [3])


def test_failures_are_not_kept_over_a_restart(gateway, up, path):
    gw = gateway(storing(up, path, failure_ttl="5m"))
    up.fault("rcode", rcode="SERVFAIL")
    assert rcode(gw.ask("x.test")) == rcode(gw.ask("x.test")) == "SERVFAIL"
    up.clear()
    restart(gw)
    assert addresses(gw.ask("x.test")) == ["10.50.0.1"]


def test_do_cd_and_views_survive(gateway, lab, up, path):
    rules = [{"name": "low", "domain": ["low.test"], "answer": "real", "upstream": "wan", "ttl": {"max": 50}},
             real_rule()]
    gw = gateway(storing(up, path, rules))
    query = question("x.test", edns=True)
    query.want_dnssec(True)
    lab.exchange(query)
    gw.ask("x.low.test")
    restart(gw)
    up.forget()
    lab.exchange(query)
    assert ttls(gw.ask("x.low.test"))[0] <= 50
    assert not up.queries()
    gw.ask("x.test")
    assert len(up.queries()) == 1
    gw.stop()
    rules[0]["ttl"]["max"] = 40
    gw.rewrite(storing(up, path, rules))
    gw.start()
    assert ttls(gw.ask("x.low.test"))[0] == 40  # another policy asks anew
    assert len(up.queries()) == 2


def test_nothing_is_written_without_a_path_or_with_size_0(gateway, up, path):
    gw = gateway(over(up, {"store": ""}))
    gw.ask("x.test")
    gw.stop()
    gateway(storing(up, path, size=0)).stop()
    assert list(path.parent.iterdir()) == []


def test_a_smaller_cache_takes_what_fits(gateway, lab, up, path):
    gw = gateway(storing(up, path))
    ask_numbers(lab, "n", 500)
    gw.ask("n7.test")
    gw.stop()
    gw.rewrite(storing(up, path, size=100))
    gw.start()
    assert stats(gw)["entries"] == 100
    gw.stop()
    gw.rewrite(storing(up, path, size=100, bytes="30k"))
    gw.start()
    assert 0 < stats(gw)["entries"] <= 100 and stats(gw)["bytes"] <= 30_000


def test_store_every_writes_while_it_runs(gateway, lab, up, path):
    gw = gateway(storing(up, path, store_every="1s"))
    gw.ask("x.test")
    wait_for(path.exists, "the file is written")
    first = path.stat()
    assert stat.S_IMODE(first.st_mode) == 0o600
    gw.ask("y.test")
    wait_for(lambda: path.stat().st_ino != first.st_ino, "it is written again")
    wait_for(lambda: b"\1y\4test" in unpack(path), "with the new name")
    gw.kill()
    up.forget()
    gw.start()
    gw.wait_log("cache.store", "answers")
    wait_for(lambda: addresses(gw.ask("x.test", timeout_s=1)) == ["10.50.0.1"], "answers")
    gw.ask("y.test")
    assert not up.queries()


def test_a_reload_moves_the_file(gateway, up, path):
    gw = gateway(storing(up, path))
    gw.ask("x.test")
    gw.rewrite(storing(up, path.with_name("elsewhere")))
    gw.result("reload")
    gw.stop()
    assert path.with_name("elsewhere").exists() and not path.exists()


def test_it_is_compressed(gateway, lab, up, path):
    gw = gateway(storing(up, path))
    ask_numbers(lab, "compressed", 2000)
    gw.stop()
    assert path.stat().st_size < len(unpack(path)) / 3
    assert len(unpack(path)) > 2000 * 50


# --- whole or not at all ---

def test_killed_while_it_saves(gateway, lab, up, path):
    """At any moment: what is there is whole, the old or the new."""
    gw = gateway(storing(up, path, store_every="1s"))
    ask_numbers(lab, "killed", 3000)
    wait_for(lambda: path.exists() and unpack(path).count(b"killed") == 3000, "all are in the file", 15)
    chance = random.Random(4)
    for i in range(6):
        new = path.with_name("answers.new")
        last = path.stat().st_mtime_ns
        # Half of them as soon as the new file is there.
        end = time.monotonic() + (3 if i % 2 else chance.random() * 1.2)
        while time.monotonic() < end and not (i % 2 and new.exists() and path.stat().st_mtime_ns == last):
            pass
        gw.kill()
        assert unpack(path).count(b"killed") == 3000
        gw.start()
        assert gw.log_lines("cache.store", "answers") and not gw.log_lines("foreign")
        assert stats(gw)["entries"] >= 3000
    assert not path.with_name("answers.foreign").exists()
    gw.stop()
    assert not path.with_name("answers.new").exists()


def test_a_full_disk(gateway, lab, up):
    up.set_zone({"*": ['600 TXT "%s"' % os.urandom(100).hex(), "600 A 10.50.0.1"]})
    with mounted(lab.dir / "full", "-t", "tmpfs", "-o", "size=64k", "none") as folder:
        path = folder / "answers"
        gw = gateway(storing(up, path, store_every="1s"))
        gw.ask("x.test")
        wait_for(path.exists, "the file is written")
        with contextlib.suppress(OSError), open(folder / "ballast", "wb", buffering=0) as out:
            while out.write(b"x" * 512):
                pass
        ask_numbers(lab, "full", 2000)
        wait_for(lambda: told(gw, "full/answers", "No space left on device"), "the problem is told")
        assert gw.wait_log("full/answers", "No space left on device")
        assert addresses(gw.ask("new.test")) == ["10.50.0.1"]
        assert b"\1x\4test" in unpack(path) and b"\5full1" not in unpack(path)
        assert not path.with_name("answers.new").exists()
        (folder / "ballast").unlink()
        wait_for(lambda: not told(gw, "full/answers"), "it is written again")
        gw.stop()


def test_a_read_only_folder(gateway, lab, up):
    with mounted(lab.dir / "ro", "-t", "tmpfs", "none") as folder:
        path = folder / "answers"
        gw = gateway(storing(up, path))
        gw.ask("x.test")
        gw.stop()
        before = path.read_bytes()
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        gw.rewrite(storing(up, path, store_every="1s"))
        gw.start()
        up.forget()
        assert addresses(gw.ask("x.test")) == ["10.50.0.1"] and not up.queries()
        wait_for(lambda: told(gw, "ro/answers", "Read-only file system"), "the problem is told")
        assert gw.log_lines("ro/answers", "Read-only file system")
        assert addresses(gw.ask("y.test")) == ["10.50.0.1"]
        gw.stop()
        assert path.read_bytes() == before


def test_a_folder_that_is_not_there(gateway, lab, up):
    path = lab.dir / "nowhere" / "answers"
    gw = gateway(storing(up, path, store_every="1s"))
    wait_for(lambda: told(gw, "nowhere/answers", "No such file or directory"), "the problem is told")
    assert addresses(gw.ask("x.test")) == ["10.50.0.1"]
    lines = len(gw.log_lines("nowhere/answers"))
    assert lines == 1, gw.log()
    path.parent.mkdir()
    wait_for(path.exists, "the file is written once there is a folder")
    wait_for(lambda: not told(gw, "nowhere/answers"), "the problem is gone")
    gw.stop()
    path.unlink()
    path.parent.rmdir()


# --- files that are not what they should be ---

def kept_aside(gw, path, data):
    assert gw.log_lines("warn", "cache.store", "answers.foreign", "started anew")
    assert path.with_name("answers.foreign").read_bytes() == data
    assert stats(gw)["entries"] == 0
    assert addresses(gw.ask("new.test")) == ["10.50.0.1"]
    gw.stop()
    assert b"\3new\4test" in unpack(path)


@pytest.mark.parametrize("data", [b"", b"dear diary\n" * 100, b"\0" * 4096, HEAD, HEAD + b"x" * 50,
                                  b"TGCACHE\n\2\0\0\0" + b"x" * 50],
                         ids=["empty", "text", "zeros", "head", "head-noise", "version"])
def test_foreign_files_are_kept(gateway, up, path, data):
    path.write_bytes(data)
    kept_aside(gateway(storing(up, path)), path, data)


def test_a_second_foreign_file_is_kept_beside_the_first(gateway, up, path):
    for number, name in enumerate(["answers.foreign", "answers.foreign.2"]):
        path.write_bytes(b"dear diary %d\n" % number)
        gw = gateway(storing(up, path))
        assert gw.log_lines("warn", "cache.store", f"kept as {path.with_name(name)}, started anew"), gw.log()
        gw.stop()
    assert path.with_name("answers.foreign").read_bytes() == b"dear diary 0\n"
    assert path.with_name("answers.foreign.2").read_bytes() == b"dear diary 1\n"


DAMAGES = {
    "first": lambda d: d[:14] + bytes([d[14] ^ 1]) + d[15:],
    "middle": lambda d: d[:len(d) // 2] + bytes([d[len(d) // 2] ^ 0x10]) + d[len(d) // 2 + 1:],
    "checksum": lambda d: d[:-1] + bytes([d[-1] ^ 1]),
    "torn": lambda d: d[:-5],
    "half": lambda d: d[:len(d) // 2],
    "more": lambda d: d + b"\0",
    "twice": lambda d: d + d[12:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_kept_and_nothing_of_them_is_taken(gateway, lab, up, path, damage):
    gw = gateway(storing(up, path))
    ask_numbers(lab, "damaged", 200)
    gw.stop()
    data = DAMAGES[damage](path.read_bytes())
    path.write_bytes(data)
    gw.start()
    kept_aside(gw, path, data)


def record(name=b"\4evil\4test\0", rdtype=1, flags=0, queue=0, hits=9, view=1, age=0, life=600, rdata=b"\x0a\x32\0\x09",
           length=None, ancount=1):
    message = (struct.pack("!6H", 0, 0x8180, 1, ancount, 0, 0) + name + struct.pack("!2H", rdtype, 1)
               + b"\xc0\x0c" + struct.pack("!2HIH", rdtype, 1, 600, len(rdata)) + rdata)
    return struct.pack("<HHBBHQII", len(message) if length is None else length, rdtype, flags, queue, hits, view, age,
                       life) + message


@pytest.mark.parametrize("bad", [
    record(length=5), record(length=65535), record(flags=200), record(queue=7), record(life=0), record(life=0xffffffff),
    record(age=0xffffffff), record(rdtype=1, ancount=500), record(name=b"\xc0\x0c"), record(name=b"\4EVIL\4test\0"),
    record()[:-1], record() + b"\0", record(name=b"\x3f" + b"a" * 62 + b"\0\0"), b"\0" * 24, b"\xff" * 24],
    ids=lambda bad: bad[:8].hex())
def test_whole_files_with_records_that_cannot_be(gateway, up, path, bad):
    """The frame and its checksum are right. All or nothing of it is taken; nothing of it breaks anything."""
    path.write_bytes(pack(struct.pack("<q", int(time.time())) + record(name=b"\4good\4test\0") + bad))
    gw = gateway(storing(up, path))
    if gw.log_lines("foreign"):
        assert stats(gw)["entries"] == 0
    for name in ("evil.test", "good.test"):
        assert addresses(gw.ask(name)) == ["10.50.0.1"]
        gw.result("cache.show", name=name)
    gw.result("cache.show")


def test_a_bomb(gateway, up, path):
    """1 GiB and more of zeros in a few kilobytes."""
    big = pack(b"\0" * (1 << 26))
    path.write_bytes(big + b"".join(pack(b"\0" * 100)[12:] for _ in range(3)))
    gw = gateway(storing(up, path))
    assert gw.log_lines("answers.foreign")
    assert addresses(gw.ask("x.test")) == ["10.50.0.1"]


def test_a_view_of_nobody_is_served_to_nobody(gateway, up, path):
    path.write_bytes(pack(struct.pack("<q", int(time.time())) + record()))
    gw = gateway(storing(up, path, warmup={"count": 10, "rate": 100}))
    assert gw.log_lines("1 answers")
    assert addresses(gw.ask("evil.test")) == ["10.50.0.1"]


@pytest.mark.parametrize("kind", ["folder", "fifo", "null"])
def test_what_is_no_file_is_left_where_it_is(gateway, lab, up, path, kind):
    """A folder has others' files in it, and a device is everybody's."""
    if kind == "folder":
        path.mkdir()
        (path / "diary").write_text("dear diary")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    before = os.lstat(path)
    gw = gateway(storing(up, path, store_every="1s"))
    assert addresses(gw.ask("x.test")) == ["10.50.0.1"]
    wait_for(lambda: told(gw, "cache-store/answers"), "the problem is told")
    gw.stop()
    now = os.lstat(path)
    assert (now.st_ino, now.st_mode) == (before.st_ino, before.st_mode)
    assert [file.name for file in path.parent.iterdir()] == ["answers"]


def test_the_table_of_fake_addresses_is_not_taken_for_it(gateway, lab, up, path):
    """One path for both is a mistake that check tells; neither file is lost."""
    gw = gateway({**storing(up, path), "fakeip": {"store": str(path)}}, wait=False)
    assert gw.end() == 1
    assert "cache.store" in gw.log() and "fakeip.store" in gw.log()


# --- clocks ---

DAY = 86400


@pytest.mark.parametrize("ago, state, ttl", [
    (0, "fresh", (7190, 7200)), (3600, "fresh", (3590, 3600)), (8000, "stale", None),
    (-10, "stale", None), (-400 * DAY, "stale", None), (40 * DAY, "stale", None), (50 * 365 * DAY, "stale", None),
    (None, "stale", None), (2 * DAY, None, None)],
    ids=["now", "hour", "two-hours", "future", "far-future", "40-days", "1976", "no-clock", "two-days"])
def test_time_between_two_runs(gateway, up, path, ago, state, ttl):
    """A clock that jumped makes answers neither immortal nor dead: their age is not known, so they are old."""
    up.set_zone({"*": ["7200 A 10.50.0.1"]})
    gw = gateway(storing(up, path))
    gw.ask("x.test")
    gw.stop()
    written_at(path, 0 if ago is None else int(time.time()) - ago)
    gw.start()
    found = cached(gw, "x.test")
    assert (found["A"]["state"] if found else None) == state
    up.set_zone({"*": ["7200 A 10.50.0.2"]})
    reply = gw.ask("x.test")
    if state == "fresh":
        assert addresses(reply) == ["10.50.0.1"] and ttl[0] <= ttls(reply)[0] <= ttl[1]
    else:
        assert addresses(reply) == ["10.50.0.2"] and ttls(reply) == [7200]
    assert cached(gw, "x.test")["A"]["state"] == "fresh"


def test_ages_do_not_hang_on_the_time_since_boot(gateway, lab, up, path):
    """As after a reboot: the clock that counts from there begins anew."""
    up.set_zone({"*": ["600 A 10.50.0.1"]})
    holder = subprocess.Popen(["unshare", "-T", "--monotonic", "3000000", "--fork", "--kill-child", "sleep", "1000"])
    try:
        child = wait_for(lambda: subprocess.run(["pgrep", "-P", str(holder.pid)], capture_output=True,
                                                text=True).stdout.strip(), "the time namespace is there")
        gw = gateway(storing(up, path), wrap=["nsenter", f"--time=/proc/{child}/ns/time"])
        gw.ask("x.test")
        wait_for(lambda: ttls(gw.ask("x.test"))[0] <= 598, "two seconds are over")
        gw.stop()
        gw.wrap = []
        up.forget()
        gw.start()
        assert 580 <= ttls(gw.ask("x.test"))[0] <= 598
        assert not up.queries()
    finally:
        holder.kill()  # and its child with it
        holder.wait()


# --- warm-up ---

def ask_times(gw, names):
    """Each name one time more than the one before."""
    for i, name in enumerate(names):
        for _ in range(i + 1):
            gw.ask(name)


def warmed(up, n, timeout_s=10):
    wait_for(lambda: len(up.queries()) >= n, f"{n} names are asked again", timeout_s)
    return up.queries()


def test_the_hottest_first_at_their_rate(gateway, up, path):
    names = [f"hot{i}.test" for i in range(8)]
    gw = gateway(storing(up, path, warmup={"count": 5, "rate": 10}))
    ask_times(gw, names)
    gw.stop()
    up.forget()
    gw.start()
    queries = warmed(up, 5)
    assert [q["name"] for q in queries] == names[:2:-1]
    gaps = [b["time"] - a["time"] for a, b in zip(queries, queries[1:])]
    assert all(0.08 <= gap for gap in gaps) and sum(gaps) <= 1.5, gaps
    wait_for(lambda: cached(gw, "hot7.test")["A"]["ttl_s"] >= 59, "it is renewed")
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 0.4, "time for more")
    assert len(up.queries()) == 5
    assert stats(gw)["misses"] == stats(gw)["hits"] == 0


def test_clients_are_served_while_it_warms_up(gateway, up, path):
    gw = gateway(storing(up, path, warmup={"count": 100, "rate": 1}))
    names = [f"hot{i}.test" for i in range(20)]
    for name in names:
        gw.ask(name)
    gw.stop()
    up.forget()
    gw.start()
    for name in names:
        assert addresses(gw.ask(name)) == ["10.50.0.1"]
    assert len(up.queries()) <= 1


def test_a_warm_up_of_many_keeps_its_rate(gateway, lab, up, path):
    gw = gateway(storing(up, path, warmup={"count": 1000, "rate": 200}))
    ask_numbers(lab, "warm", 300)
    gw.stop()
    up.forget()
    gw.start()
    queries = warmed(up, 300)
    for i in range(len(queries)):  # no second has more than its share
        inside = [q for q in queries[i:] if q["time"] - queries[i]["time"] < 1]
        assert len(inside) <= 220
    assert len({q["name"] for q in queries}) == len(queries)


def test_none_is_warmed_up_with_count_0(gateway, up, path):
    gw = gateway(storing(up, path))
    gw.ask("x.test")
    gw.stop()
    up.forget()
    gw.start()
    assert gw.log_lines("1 answers, 0 of them")
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 0.4, "time for a warm-up")
    assert not up.queries()


def test_only_what_todays_rules_ask_there(gateway, lab, up, path):
    with Scripted(lab, address="10.99.0.55") as second:
        names = ["blocked.test", "moved.test", "fake.test", "live.test", "local.test", "kept.test"]
        config = storing(up, path, warmup={"count": 100, "rate": 100})
        config["upstreams"]["second"] = {"servers": [second.udp]}
        gw = gateway(config)
        for name in names:
            gw.ask(name)
        gw.stop()
        up.forget()
        config["rules"] = [
            {"name": "ads", "domain": ["blocked.test"], "answer": "block"},
            {"name": "moved", "domain": ["moved.test"], "answer": "real", "upstream": "second"},
            {"name": "faked", "domain": ["fake.test"], "answer": "fake", "egress": "direct"},
            {"name": "live", "domain": ["live.test"], "answer": "real", "upstream": "wan", "cache": "no"},
            {"name": "local", "domain": ["local.test"], "answer": "local", "address": ["192.168.1.1"]},
            real_rule()]
        gw.rewrite(config)
        gw.start()
        warmed(up, 1)
        began = time.monotonic()
        wait_for(lambda: time.monotonic() - began > 0.4, "time for the others")
        assert [q["name"] for q in up.queries()] == ["kept.test"]
        assert not second.queries()


def test_names_with_local_records_are_not_warmed_up(gateway, lab, up, path):
    config = storing(up, path, warmup={"count": 100, "rate": 100})
    gw = gateway(config)
    gw.ask("ours.test")
    gw.ask("kept.test")
    gw.stop()
    up.forget()
    config["records"] = {"inline": [{"name": "ours.test", "type": "A", "rdata": "192.168.1.9"}]}
    gw.rewrite(config)
    gw.start()
    warmed(up, 1)
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > 0.3, "time for the other")
    assert [q["name"] for q in up.queries()] == ["kept.test"]


def test_types_and_flags_are_warmed_up_as_they_were(gateway, lab, up, path):
    gw = gateway(storing(up, path, warmup={"count": 10, "rate": 100}))
    query = question("x.test", "AAAA", edns=True)
    query.want_dnssec(True)
    lab.exchange(query)
    gw.stop()
    up.forget()
    gw.start()
    one, = warmed(up, 1)
    assert (one["name"], one["type"], one["edns"]["do"]) == ("x.test", "AAAA", True)


def test_a_stop_in_the_middle_of_a_warm_up(gateway, lab, up, path):
    gw = gateway(storing(up, path, warmup={"count": 1000, "rate": 1000}))
    ask_numbers(lab, "warm", 500)
    up.fault("silence")
    for _ in range(2):
        restart(gw)
        wait_for(lambda: up.queries(), "it has begun")
    gw.signal(signal.SIGTERM)
    assert gw.end() == 0
