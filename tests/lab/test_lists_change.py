"""Lists that change while the gateway runs: when they are in force, what a bad one does, what queries see meanwhile."""
import concurrent.futures
import contextlib
import os
import subprocess
import threading
import time

import pytest

import list_files as files
from asking import ask_all
from lab import PROGRAM, rcode, wait_for
from waiting import moment

SANITIZED = b"__asan_init" in PROGRAM.read_bytes() or b"__tsan_init" in PROGRAM.read_bytes()
WATCH_S = 1
SLACK = 10 if SANITIZED else 1  # sanitizers are slow, and what they slow down is not what runs
HELD, NOT_HELD = 3, 5  # NXDOMAIN, REFUSED
MILLION = 100_000 if SANITIZED else 1_000_000


def configured(lists, watch=f"{WATCH_S}s", **gateway):
    return {"gateway": {"watch": watch, **gateway}, "lists": lists,
            "rules": [{"name": name, "list": name, "answer": "block"} for name in lists]
            + [{"name": "rest", "answer": "block", "block": "refused"}]}


@pytest.fixture(params=["tun", "tproxy"])
def intercept(request):
    return request.param


@pytest.fixture
def names(lab):
    path = lab.dir / "names.txt"
    path.write_text("old.test\n")
    return path


@pytest.fixture
def gw(gateway, names):
    return gateway(configured({"names": [str(names)]}))


def held(gw, name):
    return {"NXDOMAIN": True, "REFUSED": False}[rcode(gw.ask(name))]


def in_force(gw, names, gone=(), within_s=WATCH_S * SLACK):
    """Waits until all names are held and none of the gone ones; how long that took."""
    start = moment()
    wait_for(lambda: all(held(gw, n) for n in names) and not any(held(gw, n) for n in gone),
             f"{names} are held and {gone} are not", within_s)
    return moment() - start


def stays(condition, what, for_s):
    end = time.monotonic() + for_s
    while time.monotonic() < end:
        assert condition(), what
        time.sleep(0.02)


def entry(gw, name="names"):
    found, = [each for each in gw.status()["lists"] if each["name"] == name]
    return found


def list_problems(gw):
    return [text for text in gw.status()["problems"] if "list" in text]


def resident_kb(gw, key="VmRSS"):
    with open(f"/proc/{gw.pid}/status") as status:
        return int(next(line for line in status if line.startswith(key)).split()[1])


def peak_kb(gw):
    return resident_kb(gw, "VmHWM")


# --- a changed file ---

def in_place(path, text):
    path.write_text(text)


def by_rename(path, text):
    other = path.with_suffix(".new")
    other.write_text(text)
    other.rename(path)


def by_hard_link(path, text):
    other = path.with_suffix(".link")
    other.write_text(text)
    path.unlink()
    os.link(other, path)
    other.unlink()


def removed_first(path, text):
    path.unlink()
    time.sleep(0.02)
    path.write_text(text)


@pytest.mark.parametrize("change", [in_place, by_rename, by_hard_link, removed_first])
def test_a_change_is_in_force_within_the_time(gateway, names, intercept, change):
    gw = gateway(configured({"names": [str(names)]}), intercept)
    assert held(gw, "a.old.test") and not held(gw, "new.test")
    before = entry(gw)
    change(names, "new.test\nmore.test\n")
    took_s = in_force(gw, ["new.test", "a.more.test"], ["old.test"])
    print(f"in force after {took_s:.3f} s")
    after = entry(gw)
    assert (before["names"], after["names"], after["error"]) == (1, 2, None) and not list_problems(gw)
    assert after["loaded_at"] >= before["loaded_at"]
    explained, = gw.result("explain", name="a.more.test")["lists"]
    assert (explained["line"], explained["text"]) == (2, "more.test")


def test_one_change_after_another(gw, names):
    for i in range(4):
        names.write_text(f"n{i}.test\n")
        in_force(gw, [f"n{i}.test"], [f"n{i - 1}.test"])


def test_a_link_that_is_swapped(gateway, lab):
    """As Kubernetes mounts files: names.txt → ..data/names.txt, ..data → a folder with the time in its name."""
    folder = lab.dir / "volume"
    for word in ("one", "two"):
        (folder / word).mkdir(parents=True)
        (folder / word / "names.txt").write_text(f"{word}.test\n")
    (folder / "..data").symlink_to("one")
    (folder / "names.txt").symlink_to("..data/names.txt")
    gw = gateway(configured({"names": [str(folder / "names.txt")]}))
    assert held(gw, "one.test")
    (folder / "..next").symlink_to("two")
    (folder / "..next").rename(folder / "..data")
    in_force(gw, ["two.test"], ["one.test"])


def test_an_older_file_and_one_of_the_same_age(gw, names):
    """What was restored from a backup is older than what it replaces; one that is copied keeps its time."""
    stat = names.stat()
    by_rename(names, "elder.test\n")
    os.utime(names, (1, 1))
    in_force(gw, ["elder.test"], ["old.test"])
    by_rename(names, "equal.test\n")
    os.utime(names, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    in_force(gw, ["equal.test"], ["elder.test"])


def test_in_place_with_the_same_size_and_time(gw, names):
    """As `rsync --inplace --times` or `cp --preserve` may leave it."""
    stat = names.stat()
    names.write_text("odd.test\n")
    os.utime(names, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    in_force(gw, ["odd.test"], ["old.test"])


def test_an_included_file(gateway, lab):
    (lab.dir / "outer").write_text("include:inner\nouter.test\n")
    (lab.dir / "inner").write_text("include:innermost\n")
    (lab.dir / "innermost").write_text("one.test\n")
    gw = gateway(configured({"names": {"path": str(lab.dir / "outer"), "format": "v2fly"}}))
    assert held(gw, "one.test")
    (lab.dir / "innermost").write_text("two.test\n")
    in_force(gw, ["two.test", "outer.test"], ["one.test"])
    (lab.dir / "innermost").unlink()
    wait_for(lambda: entry(gw)["error"], "the error")
    assert "includes" in entry(gw)["error"] and held(gw, "two.test")
    (lab.dir / "innermost").write_text("three.test\n")
    in_force(gw, ["three.test"], ["two.test"])
    assert entry(gw)["error"] is None


def test_a_dat_file(gateway, lab):
    path = lab.dir / "site.dat"
    path.write_bytes(files.geosite({"A": [(files.SUFFIX, "one.test")], "B": [(files.SUFFIX, "b.test")]}))
    gw = gateway(configured({"a": [f"{path}:a"], "b": [f"{path}:b"]}))
    path.write_bytes(files.geosite({"A": [(files.SUFFIX, "two.test")], "B": [(files.SUFFIX, "b.test")]}))
    in_force(gw, ["two.test", "b.test"], ["one.test"])
    path.write_bytes(files.geosite({"A": [(files.SUFFIX, "three.test")]}))
    in_force(gw, ["three.test", "b.test"], ["two.test"])
    wait_for(lambda: entry(gw, "b")["error"], "the error of the category that is gone")
    assert 'no category "b"' in entry(gw, "b")["error"] and entry(gw, "a")["error"] is None


# --- a bad file ---

def gone(path):
    path.unlink()


def nul(path):
    path.write_bytes(b"new.test\n\0\n")


def garbage(path):
    path.write_text("<html>\n<h1>502 Bad Gateway</h1>\n</html>\n")


def folder(path):
    path.unlink()
    path.mkdir()


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def bomb(path):
    path.write_bytes(files.gzip_bomb(300 << 20, b"new.test"))


def half_a_gzip(path):
    path.write_bytes(files.gzipped(b"".join(b"n%d.test\n" % i for i in range(10_000)))[:-1000])


def too_many(path):
    """More names than there may be, in less than there may be of bytes."""
    path.write_bytes(files.gzip_bomb(40 << 20, b"a\n"))


@pytest.mark.parametrize("spoil, says", [
    (gone, "No such file"), (nul, "NUL byte"), (garbage, "cannot be read"), (folder, "Is a directory"),
    (fifo, "neither a file"), (bomb, "too large"), (too_many, "too many names"),
    (half_a_gzip, "damaged or ends early")])
def test_a_bad_file_keeps_the_list(gateway, lab, names, spoil, says):
    if SANITIZED and spoil in (bomb, too_many):
        pytest.skip("millions of lines take a sanitizer too long")
    (lab.dir / "other.txt").write_text("other.test\n")
    gw = gateway(configured({"names": [str(names)], "other": [str(lab.dir / "other.txt")]}, watch="200ms"))
    spoil(names)
    wait_for(lambda: entry(gw)["error"], "the error in status")
    error = entry(gw)["error"]
    assert says in error and f"{lab.dir}/" in error and "lists.names" in error, error
    assert entry(gw)["names"] == 1 and held(gw, "a.old.test") and not held(gw, "new.test")
    problem, = list_problems(gw)
    assert "lists.names" in problem and says in problem
    # It is told once, and other lists go on.
    (lab.dir / "other.txt").write_text("changed.test\n")
    in_force(gw, ["changed.test", "old.test"], ["other.test"])
    assert entry(gw)["error"] and entry(gw, "other")["error"] is None and list_problems(gw)
    stays(lambda: held(gw, "old.test"), "the list stays", 0.5)
    assert len(gw.log_lines("error:", says)) <= 2, gw.log()
    assert SANITIZED or peak_kb(gw) < 40_000, "memory is bounded"
    # Mended.
    with contextlib.suppress(IsADirectoryError, PermissionError, FileNotFoundError):
        names.unlink()
    if names.is_dir():
        names.rmdir()
    names.write_text("new.test\n")
    in_force(gw, ["new.test"], ["old.test"])
    assert entry(gw)["error"] is None and not list_problems(gw)


def test_a_reload_with_a_bad_list(gw, names, lab):
    """It changes nothing, ends with 1, and says where."""
    names.write_bytes(b"new.test\nb\0\n")
    done = gw.cli("reload", check=False)
    assert done.returncode == 1 and f"{names}:2:2: lists.names: a NUL byte" in done.stderr, done.stderr
    assert held(gw, "old.test") and not held(gw, "new.test")
    names.write_text("new.test\n")
    assert gw.cli("reload").returncode == 0
    assert held(gw, "new.test") and not held(gw, "old.test") and not list_problems(gw)


def test_a_reload_with_a_bad_configuration(gw, names):
    names.write_text("new.test\n")
    good = gw.config_file.read_text()
    gw.config_file.write_text(good + "nonsense: yes\n")
    done = gw.cli("reload", check=False)
    assert done.returncode == 1 and "nonsense: unknown key" in done.stderr
    # The list has changed all the same, and is followed.
    in_force(gw, ["new.test"], ["old.test"])
    gw.config_file.write_text(good)
    assert gw.cli("reload").returncode == 0 and held(gw, "new.test")


def test_a_bad_list_that_a_reload_takes_away(gw, names, lab):
    names.write_bytes(b"\0")
    wait_for(lambda: list_problems(gw), "the problem")
    (lab.dir / "fresh.txt").write_text("fresh.test\n")
    gw.rewrite(configured({"names": [str(lab.dir / "fresh.txt")]}))
    assert gw.cli("reload").returncode == 0
    assert held(gw, "fresh.test") and not held(gw, "old.test") and not list_problems(gw)
    assert entry(gw)["error"] is None


def test_an_optional_list_that_comes_later(gateway, lab):
    path = lab.dir / "later" / "names.txt"
    gw = gateway(configured({"names": {"path": str(path), "optional": True}}))
    assert not held(gw, "new.test") and entry(gw)["error"] is None and entry(gw)["names"] == 0
    path.parent.mkdir()
    path.write_text("new.test\n")
    in_force(gw, ["new.test"])
    assert entry(gw)["names"] == 1


def test_the_only_list_is_gone(gw, names):
    """No file at all is a change like others."""
    names.unlink()
    wait_for(lambda: entry(gw)["error"], "the error in status", WATCH_S * SLACK)
    assert held(gw, "old.test") and list_problems(gw)
    names.write_text("new.test\n")
    in_force(gw, ["new.test"], ["old.test"])


def test_an_optional_list_that_becomes_bad(gateway, lab, names):
    """One that is gone is as if it had never been there; a bad one keeps the old list like any other."""
    gw = gateway(configured({"names": {"path": str(names), "optional": True}}, watch="200ms"))
    names.write_bytes(b"new.test\n\0")
    wait_for(lambda: entry(gw)["error"], "the error")
    stays(lambda: held(gw, "old.test") and not held(gw, "new.test"), "the list stays", 0.3)
    names.unlink()
    wait_for(lambda: not held(gw, "old.test"), "the list is gone")
    names.write_text("new.test\n")
    in_force(gw, ["new.test"], ["old.test"])
    assert entry(gw)["error"] is None and not list_problems(gw)


# --- when nobody watches ---

def test_only_by_reload(gateway, names):
    gw = gateway(configured({"names": [str(names)]}, watch=0))
    names.write_text("new.test\n")
    stays(lambda: held(gw, "old.test") and not held(gw, "new.test"), "nothing changes", 0.6)
    # What explain finds in the file is not what was loaded.
    explained, = gw.result("explain", name="old.test")["lists"]
    assert explained["line"] is None and explained["file"] == str(names)
    assert gw.cli("reload").returncode == 0
    assert held(gw, "new.test") and not held(gw, "old.test")


# --- files that are being written ---

def test_half_of_a_file_is_not_taken(gw, names):
    """Somebody writes for longer than the time: what was is in force until all of it is there."""
    seen = []
    with open(names, "w") as file:
        for i in range(45):
            file.write(f"part{i}.test\n" * 20)
            file.flush()
            time.sleep(0.03)
            seen.append((held(gw, "old.test"), held(gw, "part0.test")))
        file.write("old.test\n")
    assert set(seen) == {(True, False)}
    in_force(gw, ["part0.test", "part44.test", "old.test"])
    assert not list_problems(gw)


def test_the_second_half_comes_after_a_pause(gateway, lab):
    path = lab.dir / "names.gz"
    path.write_bytes(files.gzipped(b"old.test\n"))
    gw = gateway(configured({"names": [str(path)]}, watch="200ms"))
    data = files.gzipped(b"".join(b"n%d.test\n" % i for i in range(10_000)))
    path.write_bytes(data[:10_000])
    wait_for(lambda: entry(gw)["error"], "the error of the half")
    assert held(gw, "old.test")
    with open(path, "ab") as file:
        file.write(data[10_000:])
    in_force(gw, ["n0.test", "n9999.test"], ["old.test"])
    assert entry(gw)["error"] is None


# --- large lists, reloads at once ---

@pytest.fixture(scope="module")
def million(lab):
    path = lab.dir / "million.txt"
    with open(path, "w") as file:
        for i in range(MILLION):
            file.write(f"n{i}.z{i % 977}.large.test\n")
    return path


@pytest.fixture
def large(lab, million):
    path = lab.dir / "large.txt"
    write_large(path, 0)
    yield path
    path.unlink()


def write_large(path, version):
    """MILLION names and one that changes. By another process: this one is to ask meanwhile."""
    subprocess.run(["sh", "-c", 'cp "$0" "$1.next" && echo "$2" >> "$1.next" && mv "$1.next" "$1"',
                    path.parent / "million.txt", path, f"version{version}.test"], check=True)


class Load:
    """Asks without a pause, of a list's names and of others, and remembers what was wrong."""

    def __init__(self, lab, wanted):
        self.wanted, self.asked, self.lost, self.wrong, self.slowest_s = wanted, 0, 0, [], 0
        self._ending = threading.Event()
        self._sock = lab.connect("8.8.8.8")
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        questions = list(self.wanted.items())
        while not self._ending.is_set():
            answers = ask_all(self._sock, [(name, "A") for name, _ in questions], window=16)
            for (name, want), answer in zip(questions, answers):
                self.asked += 1
                if answer is None:
                    self.lost += 1
                elif answer.rcode != want:
                    self.wrong.append((name, answer.rcode))
                else:
                    self.slowest_s = max(self.slowest_s, answer.took_s)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join(30)
        self._sock.close()

    def assert_good(self, slowest_s=1):
        print(f"{self.asked} asked, slowest {self.slowest_s * 1000:.1f} ms")
        assert self.asked > 500 and not self.lost and not self.wrong, (self.asked, self.lost, self.wrong[:5])
        assert self.slowest_s < slowest_s * SLACK, self.slowest_s


def wanted_of_large():
    wanted = {f"n{i}.z{i % 977}.large.test": HELD for i in range(0, MILLION, MILLION // 100)}
    wanted |= {f"a.b.n{i}.z{i % 977}.large.test": HELD for i in range(1, MILLION, MILLION // 50)}
    wanted |= {f"n{i}.z{(i + 1) % 977}.large.test": NOT_HELD for i in range(0, MILLION, MILLION // 100)}
    return wanted | {"old.test": HELD, "large.test": NOT_HELD, "z1.large.test": NOT_HELD}


def test_a_million_names_change_under_load(gateway, lab, names, large, intercept):
    """No query is lost, none answered wrongly."""
    gw = gateway(configured({"large": [str(large)], "names": [str(names)]}), intercept)
    with Load(lab, wanted_of_large()) as load:
        for version in range(1, 3):
            write_large(large, version)
            took_s = in_force(gw, [f"version{version}.test"], [f"version{version - 1}.test"], 15 * SLACK)
            print(f"in force {took_s:.2f} s after it was written")
        for _ in range(2):
            start = moment()
            assert gw.cli("reload").returncode == 0
            print(f"reload of what is unchanged: {moment() - start:.2f} s")
    load.assert_good()
    assert entry(gw, "large")["names"] == MILLION + 1


def test_reloads_at_once(gateway, lab, names, large):
    """Each is told how it ended; what is in force is right."""
    gw = gateway(configured({"large": [str(large)], "names": [str(names)]}))
    with Load(lab, wanted_of_large()) as load, concurrent.futures.ThreadPoolExecutor(4) as pool:
        write_large(large, 1)
        ends = [done.result() for done in [pool.submit(gw.cli, "reload", check=False) for _ in range(4)]]
        print([(done.returncode, done.stdout, done.stderr) for done in ends])
        assert any(done.returncode == 0 for done in ends)
        for done in ends:
            assert done.returncode == 0 or (done.returncode == 1 and "under way" in done.stderr), done
        in_force(gw, ["version1.test"], ["version0.test"], 15 * SLACK)
    load.assert_good()


def test_a_list_that_changes_during_a_reload(gateway, lab, names, large):
    gw = gateway(configured({"large": [str(large)], "names": [str(names)]}))
    write_large(large, 1)
    with Load(lab, {"a.old.test": HELD, "never.test": NOT_HELD}) as load:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            reload = pool.submit(gw.cli, "reload")
            time.sleep(0.05)
            names.write_text("new.test\nold.test\n")
            assert reload.result().returncode == 0
        in_force(gw, ["new.test", "version1.test"], ["version0.test"], 15 * SLACK)
    load.assert_good()


def test_a_reload_while_lists_are_read(gateway, lab, names, large):
    """It waits for those, and both are in force when it is told that it is done."""
    gw = gateway(configured({"large": [str(large)], "names": [str(names)]}, watch="100ms"))
    with Load(lab, {"n7.z7.large.test": HELD, "never.test": NOT_HELD}) as load:
        for version in range(1, 4):
            write_large(large, version)
            names.write_text(f"new{version}.test\n")
            for _ in range(version):  # 50, 100, 150 ms: before, at and after the beginning
                time.sleep(0.05)
            assert gw.cli("reload").returncode == 0
            assert held(gw, f"version{version}.test") and held(gw, f"new{version}.test")
            assert not held(gw, f"version{version - 1}.test") and not held(gw, f"new{version - 1}.test")
    load.assert_good()


def test_a_stop_while_lists_are_read(gateway, lab, names, large):
    """By SIGTERM, in the middle of a reload: an orderly end."""
    gw = gateway(configured({"large": [str(large)], "names": [str(names)]}))
    write_large(large, 1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        reload = pool.submit(gw.cli, "reload", check=False)
        time.sleep(0.05)
        gw.stop()
        reload.result()


def test_only_the_list_that_changed_is_read(gateway, lab, names, large):
    gw = gateway(configured({"large": [str(large)], "names": [str(names)]}))
    before = entry(gw, "large")["loaded_at"]
    wait_for(lambda: time.time() >= before + 1, "another second")
    names.write_text("new.test\n")
    in_force(gw, ["new.test", f"n7.z7.large.test"], ["old.test"])
    assert entry(gw, "large")["loaded_at"] == before < entry(gw)["loaded_at"]


def test_memory_does_not_grow(gateway, lab, names):
    path = lab.dir / "many.txt"
    gw = gateway(configured({"many": {"path": str(path), "optional": True}, "names": [str(names)]}))
    sizes = []
    for i in range(24):
        path.write_text("\n".join(f"n{k}.v{i}.test" for k in range(50_000)) + "\n")
        assert gw.cli("reload").returncode == 0
        assert held(gw, f"n49999.v{i}.test") and not held(gw, f"n49999.v{i - 1}.test")
        sizes.append(resident_kb(gw))
    print(sizes)
    assert SANITIZED or max(sizes[-4:]) < max(sizes[:4]) * 1.05 + 1000, sizes
