"""What checks have learned: in a file from the first answer on, bounded, verified, and read when others change it."""
import contextlib
import json
import re
import socket
import struct
import subprocess
import threading

import pytest

from asking import ask_all, wire_name
from lab import PROGRAM, Upstream, addresses, mounted, rcode, wait_for

INSIDE, OUTSIDE = "192.0.2.7", "203.0.113.5"
FOLLOWED_S = 1  # gateway.watch is 200 ms
CAPACITY = 10
REFUSED, BLOCKED = "REFUSED", "NXDOMAIN"  # how the rules of `refuse` and `far` answer: the name took them


class Home(Upstream):
    """All names have one address outside, and no other records; but those of .zone: an address, None for silence, ""
    for none, or an rcode."""

    def __init__(self, lab):
        self.zone, self.asked = {}, []
        super().__init__(lab, self._answer, "10.99.0.2")

    def _answer(self, wire, _client, send):
        labels, end = [], 12
        while wire[end]:
            labels.append(wire[end + 1:end + 1 + wire[end]])
            end += 1 + wire[end]
        name = b".".join(labels).decode("latin-1").lower()
        self.asked.append(name)
        what = self.zone.get(name, OUTSIDE)
        is_a = wire[end + 1:end + 3] == b"\0\1"
        if what is None:
            return
        rcode_byte = what if isinstance(what, int) else 0
        records = (b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton(what)
                   if is_a and what and not rcode_byte else b"")
        send(wire[:2] + bytes([0x81, 0x80 | rcode_byte]) + struct.pack("!4H", 1, bool(records), 0, 0)
             + wire[12:end + 5] + records)


def configured(lab, target="far"):
    def rule(name, path=None, to=target, **more):
        path = path or str(lab.dir / f"{name}.txt")
        return {"name": name, "domain": [f"{name}.test"], "answer": "real", "upstream": "home",
                "check": {"answers": "out", "of": "near", "rule": to, "learn": path, **more}}
    lab.dir.joinpath("near.txt").write_text("192.0.2.0/24\n")
    return {
        "gateway": {"watch": "200ms"},
        "upstreams": {"home": {"servers": ["udp://10.99.0.2:5354"], "timeout": "300ms", "total": "400ms"}},
        "egress": {"direct": {"type": "direct", "upstream": "home"}},
        "cache": {"store": ""},
        "lists": {"near": ["near.txt"]},
        "rules": [
            {"name": "far", "domain": ["far.example"], "answer": "block"},
            {"name": "refuse", "domain": ["refuse.example"], "answer": "block", "block": "refused"},
            rule("kept"), rule("killed"), rule("bounded", capacity=CAPACITY), rule("aged", max_age="2s"),
            rule("verified", verify="1s"), rule("edited"), rule("bound", capacity=1), rule("crowd"),
            rule("deep", str(lab.dir / "new/deep.txt")),
            rule("one", str(lab.dir / "shared.txt")), rule("two", str(lab.dir / "shared.txt")),
            rule("room", str(lab.dir / "room/names.txt")), rule("fixed", str(lab.dir / "fixed/names.txt")),
            {"name": "rest", "answer": "real", "upstream": "home"}]}


@pytest.fixture(scope="module")
def home(lab):
    with Home(lab) as home:
        yield home


@pytest.fixture(scope="module")
def gw(lab, module_gateway, home):
    with contextlib.ExitStack() as stack:
        stack.enter_context(mounted(lab.dir / "room", "-t", "tmpfs", "-o", "size=32k", "none"))
        stack.enter_context(mounted(lab.dir / "fixed", "-t", "tmpfs", "none"))
        gw = module_gateway(configured(lab))
        yield gw
        gw.stop()


@pytest.fixture
def path(lab, request):
    """The file of the rule that the test is about, gone before it and after it."""
    path = lab.dir / f"{request.param}.txt"
    yield path
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)


def of(name):
    return pytest.mark.parametrize("path", [name], indirect=True)


def learned(gw, rule="far", zone=""):
    return {n["name"]: n for n in gw.result("learned", rule=rule) if n["name"].endswith(zone)}


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def names_in(path):
    """Each line is whole."""
    found = [re.fullmatch(r"full:(\S+)( # .*)?", line) for line in lines(path)
             if not line.startswith("#")]
    assert all(found) and (not found or path.read_bytes().endswith(b"\n")), path.read_text()
    return [m[1] for m in found]


def file_status(gw, path):
    one, = [f for f in gw.status()["learned"] if f["file"] == str(path)]
    return one


def problem(gw, path):
    return [p for p in gw.status()["problems"] if str(path) in p]


def is_blocked(gw, name, **how):
    return rcode(gw.ask(name, **how)) == BLOCKED


def restarted(gw, how):
    how()
    gw.start()
    wait_for(lambda: _answers(gw), "it answers")


def _answers(gw):
    try:
        return gw.ask("soon.test", timeout_s=0.5)
    except TimeoutError:
        return False


# --- kept at once, and over restarts ---

@of("killed")
def test_a_kill_loses_nothing(gw, home, path):
    """Each name is in the file when its answer is there."""
    names = [f"n{i}.killed.test" for i in range(40)]
    for i, name in enumerate(names):
        assert is_blocked(gw, name, tcp=i % 2 == 1)
        assert names_in(path) == names[:i + 1]
    restarted(gw, gw.kill)
    assert set(learned(gw, zone="killed.test")) == set(names)
    status = file_status(gw, path)
    assert {key: status[key] for key in ("names", "lines", "restored", "learned", "error")} == {
        "names": 40, "lines": 40, "restored": 40, "learned": 0, "error": None}
    home.asked.clear()
    assert all(is_blocked(gw, name) for name in names)
    assert not [name for name in home.asked if name.endswith("killed.test")]  # nobody at home hears of them any more
    assert names_in(path) == names


@of("kept")
def test_a_learned_name_is_the_name_alone(gw, path):
    """All of its types; not what lies below or beside it."""
    assert is_blocked(gw, "Me.Kept.test")
    for rdtype in ("AAAA", "TXT", "HTTPS"):
        assert is_blocked(gw, "me.kept.test", rdtype=rdtype)
    assert names_in(path) == ["me.kept.test"]
    assert not is_blocked(gw, "below.me.kept.test", rdtype="TXT") and not is_blocked(gw, "e.kept.test", rdtype="TXT")
    restarted(gw, gw.stop)
    assert is_blocked(gw, "me.kept.test", rdtype="TXT")


def test_a_folder_is_made(gw, lab):
    assert is_blocked(gw, "a.deep.test")
    assert names_in(lab.dir / "new/deep.txt") == ["a.deep.test"]


@of("shared")
def test_two_rules_share_a_file(gw, home, path):
    assert is_blocked(gw, "a.one.test") and is_blocked(gw, "b.two.test")
    assert names_in(path) == ["a.one.test", "b.two.test"]
    assert set(learned(gw, zone="one.test")) | set(learned(gw, zone="two.test")) == {"a.one.test", "b.two.test"}
    assert len(gw.result("learned")) == len({n["name"] for n in gw.result("learned")})  # each is shown once
    assert file_status(gw, path)["names"] == 2
    home.asked.clear()
    assert is_blocked(gw, "a.one.test", rdtype="AAAA") and is_blocked(gw, "b.two.test", rdtype="AAAA")
    assert not home.asked


@of("crowd")
def test_many_clients_at_once(gw, lab, path):
    """500 new names, each asked by four at the same time: each is learned once, and all get the other rule's answer."""
    names = [f"n{i}.crowd.test" for i in range(500)]
    answers = [None] * 4
    socks = [lab.connect("8.8.8.8") for _ in answers]

    def ask(i):
        answers[i] = ask_all(socks[i], [(name, "A") for name in names[i * 100:] + names[:i * 100]])
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(answers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sock in socks:
        sock.close()
    assert {a and a.rcode for one in answers for a in one} == {3}  # NXDOMAIN
    assert sorted(names_in(path)) == sorted(names)
    status = file_status(gw, path)
    assert (status["learned"], status["names"], status["lines"]) == (500, 500, 500)
    assert set(learned(gw, zone="crowd.test")) == set(names)


# --- bounds ---

@of("bounded")
def test_the_name_asked_longest_ago_goes_first(gw, path):
    """And the file has at most twice as many lines as names may be, at any time."""
    first = [f"n{i}.bounded.test" for i in range(CAPACITY)]
    for name in first:
        assert is_blocked(gw, name)
    assert is_blocked(gw, first[0], rdtype="TXT") and is_blocked(gw, first[2], rdtype="TXT")
    for i in range(3):
        assert is_blocked(gw, f"more{i}.bounded.test")
    left = set(learned(gw, zone="bounded.test"))
    assert left == {f"more{i}.bounded.test" for i in range(3)} | set(first) - {first[1], first[3], first[4]}
    assert not is_blocked(gw, first[1], rdtype="TXT")
    assert file_status(gw, path)["evicted"] == {"capacity": 3, "age": 0}
    for i in range(60):
        assert is_blocked(gw, f"x{i}.bounded.test")
        assert len(lines(path)) <= 2 * CAPACITY
        assert f"x{i}.bounded.test" in names_in(path)
    status = file_status(gw, path)
    assert status["names"] == CAPACITY and status["compactions"] >= 3 and status["evicted"]["capacity"] == 63
    assert [n for n in learned(gw, zone="bounded.test")] == [f"x{i}.bounded.test" for i in range(59, 49, -1)]
    restarted(gw, gw.kill)
    assert set(learned(gw, zone="bounded.test")) == {f"x{i}.bounded.test" for i in range(50, 60)}


# One wait for all that takes time: names that age, and those that are verified.

def test_names_age_and_are_verified(gw, lab, home):
    aged, verified = lab.dir / "aged.txt", lab.dir / "verified.txt"
    aged.write_text("full:mine.aged.test\n")  # without times: it never ages
    wait_for(lambda: "mine.aged.test" in learned(gw), "the file is read", FOLLOWED_S)
    names = {kind: f"{kind}.verified.test" for kind in ("same", "moved", "silent", "broken", "none", "unasked")}
    for name in ("a.aged.test", "busy.aged.test", *names.values()):
        assert is_blocked(gw, name)
    before = learned(gw)
    home.zone.update({names["moved"]: INSIDE, names["silent"]: None, names["broken"]: 2, names["none"]: "",
                      names["unasked"]: INSIDE})
    home.asked.clear()

    def all_is_seen():
        """They are asked all the time, for what no answer of the cache is checked by."""
        for name in [*names.values(), "busy.aged.test"]:
            if name != names["unasked"]:
                gw.ask(name, "TXT")
        now = learned(gw)
        return (names["moved"] not in now and "a.aged.test" not in now and now[names["same"]]["verified_at"]
                > max(now[names[kind]]["verified_at"] for kind in ("silent", "broken", "none", "unasked")))
    wait_for(all_is_seen, "the one that moved and the one that nobody asks for are gone, the same is verified", 8)
    left = learned(gw)
    assert set(names.values()) - set(left) == {names["moved"]}
    assert "busy.aged.test" in left and "mine.aged.test" in left
    assert left[names["unasked"]]["verified_at"] == before[names["unasked"]]["verified_at"]
    assert {names["silent"], names["broken"], names["none"]} <= set(home.asked) and names["unasked"] not in home.asked
    assert addresses(gw.ask(names["moved"])) == [INSIDE]
    assert file_status(gw, verified)["unlearned"] == 1
    assert file_status(gw, aged)["evicted"] == {"capacity": 0, "age": 1}
    wait_for(lambda: names["moved"] not in names_in(verified) and "a.aged.test" not in names_in(aged),
             "the files are written anew", 4)
    assert set(names_in(verified)) == set(names.values()) - {names["moved"]}
    assert lines(aged)[0] == "full:mine.aged.test"


# --- what others make of the file ---

@of("edited")
def test_edits_are_followed(gw, home, path):
    assert is_blocked(gw, "a.edited.test")
    path.write_text("# my own\nfull:b.edited.test\nfull:elsewhere.example # a note\n")
    wait_for(lambda: set(learned(gw)) >= {"b.edited.test", "elsewhere.example"}, "the edit is in force", FOLLOWED_S)
    assert "a.edited.test" not in learned(gw)
    home.asked.clear()
    assert is_blocked(gw, "b.edited.test") and is_blocked(gw, "elsewhere.example")
    assert not home.asked
    with path.open("a") as file:
        file.write("full:c.edited.test\n")
    wait_for(lambda: "c.edited.test" in learned(gw), "the line is in force", FOLLOWED_S)
    assert is_blocked(gw, "d.edited.test")
    assert names_in(path) == ["b.edited.test", "elsewhere.example", "c.edited.test", "d.edited.test"]
    assert lines(path)[0] == "# my own"
    path.unlink()
    wait_for(lambda: not learned(gw, zone="edited.test"), "they are forgotten", FOLLOWED_S)
    assert is_blocked(gw, "e.edited.test")
    assert names_in(path) == ["e.edited.test"]


@of("edited")
@pytest.mark.parametrize("text, where", [
    (b"full:x.edited.test\nfull:\0\n", "2:6: learn: a NUL byte"),
    (b"nonsense\nfull:b.edited.test\n<html>\n", "1:1: learn: 2 of 3 lines"), (None, "1:1: learn: a directory")],
    ids=["nul", "most-lines", "directory"])
def test_a_bad_edit_changes_nothing(gw, path, text, where):
    """It is told once, where it is wrong; names live in memory until the file is in order again."""
    assert is_blocked(gw, "a.edited.test")
    wait_for(lambda: names_in(path) == ["a.edited.test"], "it is written")
    path.unlink()
    if text is None:
        path.mkdir()
    else:
        path.write_bytes(text)
    wait_for(lambda: problem(gw, path), "it is a problem", FOLLOWED_S)
    told, = problem(gw, path)
    assert f"{path}:{where}" in told
    in_order = len(gw.log_lines(str(path), "in order"))
    assert is_blocked(gw, "a.edited.test", rdtype="TXT") and is_blocked(gw, "b.edited.test")
    assert set(learned(gw, zone="edited.test")) == {"a.edited.test", "b.edited.test"}
    if text is None:
        assert not list(path.iterdir())
        path.rmdir()
        expected = {"b.edited.test"}  # a file that was removed forgets what was in it
    else:
        assert path.read_bytes() == text
        path.write_text("full:c.edited.test\n")
        expected = {"b.edited.test", "c.edited.test"}
    wait_for(lambda: set(learned(gw, zone="edited.test")) == expected, "the good one is in force", FOLLOWED_S)
    wait_for(lambda: sorted(names_in(path)) == sorted(expected), "what lived in memory is in the file", 2)
    assert not problem(gw, path)
    assert len(gw.log_lines("error: ", f"{path}:{where}")) == 1 and len(gw.log_lines("warn: ", told)) == 1
    assert len(gw.log_lines(str(path), "in order")) == in_order + 1
    path.unlink()
    wait_for(lambda: not learned(gw, zone="edited.test"), "they are forgotten", FOLLOWED_S)


def test_file_systems_that_are_full_or_read_only(gw, lab):
    """Names live in memory, answers go on leaving, it is told once; written again when that is possible."""
    room, fixed = lab.dir / "room/names.txt", lab.dir / "fixed/names.txt"
    names = {"room": [f"{'long' * 12}{i}.room.test" for i in range(80)], "fixed": ["a.fixed.test", "b.fixed.test"]}
    assert is_blocked(gw, names["room"][0]) and is_blocked(gw, names["fixed"][0])
    with contextlib.suppress(OSError), open(room.with_name("ballast"), "wb", buffering=0) as out:
        while out.write(bytes(512)):
            pass
    subprocess.run(["mount", "-o", "remount,ro", fixed.parent], check=True)
    try:
        assert all(is_blocked(gw, name) for name in names["room"] + names["fixed"])
        written = names_in(room)
        assert written == names["room"][:len(written)] and 1 <= len(written) < 80
        assert names_in(fixed) == names["fixed"][:1]
        told = f"{room}: No space left on device (and 1 other file)"
        wait_for(lambda: [p for p in problem(gw, room) if told in p], "it is told", 3)
        assert file_status(gw, room)["error"] == "No space left on device"
        assert file_status(gw, fixed)["error"] == "Read-only file system"
        assert set(learned(gw, zone="room.test")) == set(names["room"])
        assert set(learned(gw, zone="fixed.test")) == set(names["fixed"])
        assert is_blocked(gw, names["room"][79], rdtype="TXT")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", fixed.parent], check=True)
        room.with_name("ballast").unlink()
    wait_for(lambda: names_in(fixed) == names["fixed"] and len(names_in(room)) == 80, "they are written", 8)
    assert set(names_in(room)) == set(names["room"])
    wait_for(lambda: not problem(gw, room) and not problem(gw, fixed), "there is no problem any more", 2)
    assert len(gw.log_lines("No space left")) <= 2 and len(gw.log_lines(str(room), "in order")) == 1


@of("bound")
def test_a_file_that_is_mounted_by_itself(gw, lab, path):
    """As into a container: lines can be added, but it cannot be replaced, and the user is told what helps."""
    outside = lab.dir / "outside.txt"
    outside.write_text("full:mine.bound.test\n")
    path.touch()
    subprocess.run(["mount", "--bind", outside, path], check=True)
    try:
        wait_for(lambda: "mine.bound.test" in learned(gw), "the file is read", 5)
        assert is_blocked(gw, "a.bound.test") and is_blocked(gw, "b.bound.test")
        wait_for(lambda: [p for p in problem(gw, path) if "mount its folder" in p], "it is told", 5)
        assert names_in(path) == ["mine.bound.test", "a.bound.test"]
        assert is_blocked(gw, "b.bound.test", rdtype="TXT")
    finally:
        subprocess.run(["umount", "-l", path], check=True)
    wait_for(lambda: not problem(gw, path), "there is no problem any more", 8)
    wait_for(lambda: names_in(path) == ["b.bound.test"], "what lived in memory is in the file", 5)


# --- reload ---

@of("kept")
def test_a_reload_keeps_what_was_learned(gw, lab, home, path):
    """And sends it to the rule that the check names now."""
    assert is_blocked(gw, "r.kept.test")
    try:
        gw.rewrite(configured(lab, "refuse"))
        gw.result("reload")
        home.asked.clear()
        assert rcode(gw.ask("r.kept.test")) == REFUSED and not home.asked
        assert "r.kept.test" in learned(gw, "refuse") and not gw.request("learned", rule="far")["ok"]
        assert rcode(gw.ask("s.kept.test")) == REFUSED
        assert names_in(path)[-2:] == ["r.kept.test", "s.kept.test"]
        without = configured(lab)
        without["rules"] = [rule for rule in without["rules"] if rule["name"] != "kept"]
        gw.rewrite(without)
        gw.result("reload")
        assert addresses(gw.ask("r.kept.test")) == [OUTSIDE]
    finally:
        gw.rewrite(configured(lab))
        gw.result("reload")
    home.asked.clear()
    assert is_blocked(gw, "r.kept.test") and not home.asked  # from the file again


@of("kept")
def test_a_reload_that_fails_costs_no_name(gw, lab, path):
    """A smaller capacity is in force when the rest is."""
    names = {f"n{i}.kept.test" for i in range(5)}
    assert all(is_blocked(gw, name) for name in names)
    small = configured(lab)
    for rule in small["rules"]:
        if rule["name"] == "kept":
            rule["check"]["capacity"] = 2
    broken = {**small, "lists": {"near": ["near.txt", "not-there.txt"]}}
    try:
        gw.rewrite(broken)
        assert not gw.request("reload")["ok"]
        gw.rewrite(small)
        assert names <= set(learned(gw, zone="kept.test"))
        gw.result("reload")
        wait_for(lambda: len(learned(gw, zone="kept.test")) == 2, "the capacity is in force", 5)
    finally:
        gw.rewrite(configured(lab))
        gw.result("reload")


# --- what people are told ---

@of("kept")
def test_the_command(gw, path):
    assert is_blocked(gw, "shown.kept.test")
    text = gw.cli("learned").stdout
    line, = [line for line in text.splitlines() if "shown.kept.test" in line]
    assert "far" in line and "near" in line and OUTSIDE in line

    def all_tell_the_same():  # some names of the tests before grow too old meanwhile
        told = json.loads(gw.cli("learned", "--json").stdout)
        return told == json.loads(gw.cli("learned", "--rule", "far", "--json").stdout) == gw.result("learned") and told
    everything = wait_for(all_tell_the_same, "all tell the same")
    one, = [n for n in everything if n["name"] == "shown.kept.test"]
    assert (one["rule"], one["list"], one["addresses"]) == ("far", "near", [OUTSIDE])
    assert one["learned_at"] == one["asked_at"] == one["verified_at"]
    for rule in ("kept", "nobody"):  # the rule that takes the names is meant
        done = gw.cli("learned", "--rule", rule, check=False)
        assert done.returncode == 1 and rule in done.stderr and not done.stdout
    assert gw.cli("learned", "--role", "far", check=False).returncode == 2


@pytest.mark.parametrize("arguments", [
    {"rule": 5}, {"rule": ["far"]}, {"rule": {}}, {"rule": ""}, {"rule": "x" * 5000}, {"rule": "far\n"},
    {"rule": "\0"}, {"rule": True}, {"name": "a.kept.test"}, {"limit": "5"}, {"role": "far"}],
    ids=lambda a: json.dumps(a)[:20])
def test_nonsense_at_the_socket(gw, arguments):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(gw.socket_path)
        with sock.makefile("rb") as replies:
            sock.sendall(json.dumps({"cmd": "learned", **arguments}).encode() + b"\n")
            reply = json.loads(replies.readline())
            assert not reply["ok"] and 400 <= reply["code"] < 500 and len(reply["error"]) < 400, reply
            sock.sendall(b'{"cmd": "learned", "rule": "far"}\n')
            assert json.loads(replies.readline())["ok"]


def test_names_of_all_bytes_are_kept(gw, lab):
    """A name is not only letters: what is written is read again as the same name."""
    weird = [b"a#b", b"a b", b"a\tb", b"a\\b", b"\xff\0x", b'"', b"a.b", b"full:"]
    wires = [bytes([len(label)]) + label + wire_name("killed.test") for label in weird]
    for wire in wires:
        assert lab.exchange_bytes(struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + wire + b"\0\1\0\1")[3] & 15 == 3
    before = set(learned(gw, zone="killed.test"))
    assert len(before) == len(weird)
    restarted(gw, gw.kill)
    assert set(learned(gw, zone="killed.test")) == before
    for wire in wires:  # TXT is not checked: only a learned name is blocked
        assert lab.exchange_bytes(struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + wire + b"\0\x10\0\1")[3] & 15 == 3
    lab.dir.joinpath("killed.txt").unlink()


# --- check ---

@pytest.fixture
def check(gw, lab):
    """What `tungate check` makes of a learned file with this text; None: of a directory."""
    path, config = lab.dir / "bad.txt", lab.dir / "bad.yaml"

    def run(text):
        path.mkdir() if text is None else path.write_bytes(text)
        config.write_text(gw.config_file.read_text().replace(str(lab.dir / "killed.txt"), str(path)))
        return lab.run("gw", PROGRAM, "check", "-c", config, check=False)
    yield run
    path.rmdir() if path.is_dir() else path.unlink()


@pytest.mark.parametrize("text, where", [
    (b"full:a.test\n\0x\n", "2:1: learn: a NUL byte"),
    (b"full:a.test\nx\ny\n", "2:1: warning: learn: not a learned name"), (None, "1:1: learn: a directory")],
    ids=["nul", "most-lines", "directory"])
def test_check_refuses_a_bad_file(lab, check, text, where):
    done = check(text)
    assert done.returncode == 1 and f"{lab.dir}/bad.txt:{where}" in done.stderr, done.stderr
    assert not lab.dir.joinpath("bad.txt").is_file() or lab.dir.joinpath("bad.txt").read_bytes() == text


def test_check_takes_a_file_with_a_bad_line(lab, check):
    done = check(b"full:a.test\nfull:b..c\nfull:d.test # asked=soon\nfull:e.test\n")
    assert done.returncode == 0, done.stderr
    assert f"{lab.dir}/bad.txt:2:6: warning: learn: not a domain name" in done.stderr
    assert f"{lab.dir}/bad.txt:3:15: warning: learn: not a time" in done.stderr
