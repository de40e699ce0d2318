"""Items 9 and 10: what is wrong is said in one clear line, and nothing half made is left."""
import errno
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import time

import dns.message
import pytest

from lab import PROGRAM, ROOT, addresses, is_fake, leftovers, question, rcode, wait_for

DENY = pathlib.Path(__file__).with_name("deny_syscall.py")
IO_URING_SETUP, IO_URING_REGISTER = 425, 427
MODES = pytest.mark.parametrize("intercept", ["tun", "tproxy"])


def check(path, **env):
    return subprocess.run([PROGRAM, "check", "-c", path], capture_output=True, text=True, timeout=20,
                          env={**os.environ, **env})


# --- check ---

@pytest.fixture
def config(tmp_path):
    """config(text): a file with it."""
    def write(text, name="t.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name
    return write


GOOD = """\
upstreams: { wan: { servers: ["udp://10.99.0.53"] } }
egress: { direct: { type: direct, upstream: wan } }
"""


def test_a_good_file(config):
    done = check(config(GOOD + "rules: [{ name: all, answer: fake, egress: direct }]\n"))
    assert done.returncode == 0
    assert done.stdout == ""
    assert all(": note: " in line for line in done.stderr.splitlines())


@pytest.mark.parametrize("path", ["conf/tungate.yaml", *sorted(f"conf/examples/{p.name}" for p in (ROOT / "conf/examples").glob("*.yaml"))])
def test_what_we_ship_passes_check(path):
    done = check(ROOT / path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text, place, key, words", [
    ("gateway:\n  wurkers: 2\n", "2:3", "gateway.wurkers", ["unknown key", "workers"]),
    ("gateway: { mtu: huge }\n", "1:17", "gateway.mtu", ["'huge'", "1280 to 9000"]),
    ("gateway: { mtu: 100 }\n", "1:17", "gateway.mtu", ["1280 to 9000"]),
    ("gateway: { intercept: maybe }\n", "1:23", "gateway.intercept", ["'maybe'", "auto, tun, tproxy, off"]),
    ("gateway: { self: &x yes }\n", "1:18", "gateway.self", ["anchors"]),
    ("gateway: { lan: { a: b } }\n", "1:17", "gateway.lan", []),
    ("gateway: { exempt: { uid: [no-such-user] } }\n", "1:28", "gateway.exempt.uid[0]", ["no-such-user"]),
    ("fakeip: { ttl: 1s, ttl: 2s }\n", "1:20", "fakeip.ttl", ["twice"]),
    ("fakeip: { pool4: 198.18.0.0/40 }\n", "1:18", "fakeip.pool4", ["/8 to /30"]),
    ("fakeip: { pool6: 198.18.0.0/15 }\n", "1:18", "fakeip.pool6", []),
    ("fakeip: { store: '${TG_NOT_SET}' }\n", "1:18", "fakeip.store", ["TG_NOT_SET"]),
    ("upstreams: { wan: { servers: ['udp://dns.example'] } }\n", "1:19", "upstreams.wan.bootstrap",
     ["'dns.example'", "allowed: a group of servers that are given by address"]),
    ("upstreams: { wan: { servers: ['quic://10.0.0.1'] } }\n", "1:31", "upstreams.wan.servers[0]",
     ["udp://", "tcp://", "dns://", "tls://", "https://"]),
    ("egress: { direct: { type: direct, upstream: none } }\n", "1:45", "egress.direct.upstream", ["'none'"]),
    ("egress: { proxy: { type: socks4 } }\n", "1:26", "egress.proxy.type", ["direct, socks5, http, reject, group"]),
    ("rules: [{ name: a, answer: fake, egress: none }]\n", "1:42", "rules[0].egress", ["'none'"]),
    ("rules: [{ name: a }]\n", "1:9", "rules[0]", ["answer"]),
    ("rules: [{ name: a, answer: real, client: 300.1.1.1 }]\n", "1:42", "rules[0].client", ["300.1.1.1"]),
    ("rules: [{ name: a, answer: real, type: [AAAAA] }]\n", "1:41", "rules[0].type[0]", ["AAAAA"]),
    ("rules: [{ name: a, answer: real, nftset: 4#x }]\n", "1:42", "rules[0].nftset", ["4#inet#TABLE#SET"]),
    ("listen: ['tls://127.0.0.1']\n", "1:10", "listen[0]", ["udp://"]),
    ("control: { mode: 888 }\n", "1:18", "control.mode", ["octal"]),
    ("log: { level: loud }\n", "1:15", "log.level", ["'loud'", "error, warn, info, debug"]),
    ("gateway: [1, 2]\n", "1:10", "gateway", []),
    ("- just\n- a list\n", "1:1", "", []),
])
def test_an_error_names_its_place_its_key_and_what_is_allowed(config, text, place, key, words):
    path = config(text)
    done = check(path)
    assert done.returncode == 1
    found = [line for line in done.stderr.splitlines() if line.startswith(f"{path}:{place}: ") and f" {key}" in line]
    assert found, done.stderr
    for word in words:
        assert word in found[0]


def test_all_errors_are_told_one_a_line(config):
    path = config("gateway: { mtu: huge, nonsense: 1 }\nfakeip: { pool4: x }\n" + GOOD.replace("upstream: wan", "upstream: own"))
    lines = check(path).stderr.splitlines()
    errors = [line for line in lines if ": note: " not in line and ": warning: " not in line]
    assert [line.split(": ")[1] for line in errors] == \
        ["gateway.mtu", "gateway.nonsense", "fakeip.pool4", "egress.direct.upstream"]


@pytest.mark.parametrize("text", ["a: [\n", "\tx: 1\n", "a: b: c\n", "%YAML 9.9\n---\na: 1\n", "a: 1\n---\nb: 2\n", "\0", "\xff\xfe",
                                  "a: " + "[" * 2000, "? {a: b}\n: c\n", "*x\n", "!!int 3\n", "a: |\n"])
def test_what_is_no_good_yaml_is_told_with_its_place(config, tmp_path, text):
    path = tmp_path / "t.yaml"
    path.write_bytes(text.encode("latin-1"))
    done = check(path)
    assert done.returncode == 1
    errors = [line for line in done.stderr.splitlines() if ": note: " not in line and ": warning: " not in line]
    assert errors and all(line.startswith(f"{path}:") for line in errors), done.stderr


def test_a_folder_a_missing_file_and_one_that_may_not_be_read(tmp_path, config):
    assert "directory" in _one_line(check(tmp_path))
    assert "No such file" in _one_line(check(tmp_path / "none.yaml"))
    too_large = config("#" * (5 << 20))
    assert str(too_large) in _one_line(check(too_large))


def _one_line(done):
    assert done.returncode == 1
    line, = done.stderr.splitlines()
    return line


def test_errors_of_lists_are_told_the_same_way(config, tmp_path):
    (tmp_path / "odd.txt").write_text("good.test\nbad name with blanks\nalso.good.test\n-..-\nfine.test\nok.test\n")
    (tmp_path / "nul.txt").write_bytes(b"good.test\n\0\n")
    path = config(GOOD + "lists: { gone: gone.txt, folder: ., nul: nul.txt, odd: odd.txt }\n"
                  "rules: [{ name: r, list: [gone, folder, nul, odd], answer: block }]\n")
    done = check(path)
    assert done.returncode == 1
    text = done.stderr
    assert f"{path}:3:16: lists.gone: " in text and "No such file" in text
    assert f"{path}:3:34: lists.folder: " in text
    assert f"{tmp_path}/nul.txt:2:1: " in text
    warned = [line for line in text.splitlines() if line.startswith(f"{tmp_path}/odd.txt:")]
    assert len(warned) == 2 and all(": warning: " in line for line in warned), text
    assert warned[0].startswith(f"{tmp_path}/odd.txt:2:")


def test_a_list_of_the_wrong_kind_is_told(config, tmp_path):
    (tmp_path / "nets.txt").write_text("10.0.0.0/8\n")
    (tmp_path / "names.txt").write_text("a.test\n")
    (tmp_path / "both.txt").write_text("a.test\n10.0.0.0/8\n")
    (tmp_path / "empty.txt").write_text("")
    path = config(GOOD + "lists: { nets: nets.txt, names: names.txt, both: both.txt, empty: empty.txt }\n"
                  "rules:\n  - { name: r, list: [nets, names, both, empty], answer: block }\n"
                  "  - { name: s, to: [nets, names, both, empty], answer: block }\n")
    done = check(path)
    assert done.returncode == 0
    warned = [line for line in done.stderr.splitlines() if "and so holds no" in line]
    assert len(warned) == 2, done.stderr
    assert warned[0].startswith(f"{path}:5:") and "rules.r.list: nets has addresses and no names" in warned[0]
    assert warned[1].startswith(f"{path}:6:") and "rules.s.to: names has names and no addresses" in warned[1]


def test_the_environment_is_filled_in(config):
    path = config(GOOD.replace("10.99.0.53", "${TG_SERVER}") + "log: { level: '${TG_LEVEL:-info}' }\n")
    assert check(path, TG_SERVER="10.99.0.53").returncode == 0
    assert check(path, TG_SERVER="10.99.0.53", TG_LEVEL="loud").returncode == 1
    assert check(path).returncode == 1


@pytest.mark.parametrize("words", [[], ["nonsense"], ["run", "--what"], ["check", "a", "b"], ["status", "-s"], ["explain"]])
def test_wrong_usage_ends_with_2(words):
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert done.stderr and not done.stdout


def test_a_command_without_a_daemon_says_so(tmp_path):
    done = subprocess.run([PROGRAM, "status", "-s", tmp_path / "none.sock"], capture_output=True, text=True, timeout=20)
    assert str(tmp_path / "none.sock") in _one_line(done)


# --- run ---

@pytest.fixture
def refused(gateway, lab):
    """refused(...) starts a gateway that must not start: it ends with 1, has written one line, which is returned, and
    the kernel holds what it held before."""
    def start(config=None, lines=1, **options):
        before = lab.snapshot()
        gw = gateway(config, wait=False, **options)
        assert gw.end() == 1, gw.log()
        told = gw.log().splitlines()
        assert len(told) == lines, gw.log()
        assert lab.snapshot() == before
        assert not leftovers(lab)
        return told[0]
    return start


def test_run_with_a_bad_file(refused):
    line = refused({"gateway": {"mtu": "huge"}})
    assert "tungate.yaml:" in line and "gateway.mtu: 'huge'" in line


def test_run_with_two_errors_tells_both(refused):
    refused({"gateway": {"mtu": "huge"}, "nonsense": 1}, lines=2)


def test_run_with_a_missing_list(refused):
    line = refused({"lists": {"gone": "gone.txt"}})
    assert "lists.gone" in line and "No such file" in line


def many_sets(n):
    """As many sets, 64 a rule."""
    return {"rules": [{"name": f"r{first}", "domain": [f"r{first}.test"], "answer": "real", "upstream": "wan",
                       "nftset": [f"4#inet#t#s{i}" for i in range(first, min(first + 64, n))]}
                      for first in range(0, n, 64)]}


def test_more_sets_than_there_is_room_for(gateway):
    gw = gateway(many_sets(4097), wait=False)
    assert gw.end() == 1
    assert len(gw.log_lines("rules: more than 4096 sets")) == 1, gw.log()
    gw.rewrite(many_sets(1))
    gw.start()
    gw.rewrite(many_sets(4097))
    reply = gw.request("reload")
    assert not reply["ok"] and "more than 4096 sets" in reply["errors"][0], reply


def test_without_dev_net_tun(refused, tmp_path):
    line = refused(wrap=["unshare", "-m", "sh", "-c", f"mount --bind {tmp_path} /dev/net && exec \"$@\"", "sh"])
    assert "/dev/net/tun" in line and "modprobe tun" in line


def test_a_tun_device_that_may_not_be_opened(refused):
    """As in a container that was not given the device: the node is there, opening it fails."""
    script = ("mount -t tmpfs -o nodev none /dev/net && mknod /dev/net/tun c 10 200 && exec \"$@\"")
    line = refused(wrap=["unshare", "-m", "sh", "-c", script, "sh"])
    assert "/dev/net/tun" in line and "not allowed" in line


def test_without_cap_net_admin(refused):
    line = refused(wrap=["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"])
    assert "CAP_NET_ADMIN" in line


def test_without_cap_net_raw_or_bind(refused):
    """What else it needs is named as well."""
    line = refused(wrap=["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw"])
    assert "CAP_NET_RAW" in line


def test_as_an_ordinary_user(refused, lab):
    home = lab.dir / "nobody"
    home.mkdir(exist_ok=True)
    os.chown(home, 65534, 65534)
    line = refused({"control": {"socket": str(home / "sock")}, "fakeip": {"store": str(home / "db")}},
                   wrap=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    assert "root" in line and "CAP_NET_ADMIN" in line


@pytest.mark.parametrize("call, error, words", [
    (IO_URING_SETUP, errno.EPERM, ["forbidden", "kernel.io_uring_disabled=0", "seccomp"]),
    (IO_URING_SETUP, errno.ENOSYS, ["CONFIG_IO_URING"]),
    (IO_URING_SETUP, errno.ENOMEM, ["memory"]),
    (IO_URING_REGISTER, errno.EPERM, ["io_uring"]),
], ids=["setup-eperm", "setup-enosys", "setup-enomem", "register-eperm"])
def test_without_io_uring(refused, call, error, words):
    line = refused(wrap=[sys.executable, DENY, call, error])
    for word in words:
        assert word in line


@pytest.mark.parametrize("kind", ["udp", "tcp"])
@pytest.mark.parametrize("address", ["192.168.77.1", "fd77::1"])
def test_a_port_that_is_taken(refused, lab, kind, address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with lab.socket("gw", family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as holder:
        holder.bind((address, 5300))
        if kind == "tcp":
            holder.listen(1)
        url = f"{kind}://[{address}]:5300" if ":" in address else f"{kind}://{address}:5300"
        line = refused({"listen": [url]})
    assert url in line and "taken" in line


@pytest.mark.parametrize("kind", ["udp", "tcp"])
@pytest.mark.parametrize("address", ["192.168.77.9", "fd77::9"])
def test_a_listener_on_an_address_that_comes_later(gateway, lab, kind, address):
    """At boot the addresses are often late."""
    host = f"[{address}]" if ":" in address else address
    gw = gateway({"gateway": {"intercept": "off"}, "listen": [f"{kind}://{host}:5300"]})
    lab.run("gw", "ip", "addr", "add", f"{address}/{64 if ':' in address else 24}", "dev", "lan0", *["nodad"] * (":" in address))
    try:
        assert is_fake(addresses(gw.ask("late.test", server=address, port=5300, tcp=kind == "tcp")))
    finally:
        lab.run("gw", "ip", "addr", "del", f"{address}/{64 if ':' in address else 24}", "dev", "lan0")


def test_a_second_one_on_the_same_socket(gateway, refused, lab):
    first = gateway()
    second = refused_beside(gateway, lab, {"gateway": {"tun": "tgsecond"}, "fakeip": {"store": ""}})
    assert str(first.pid) in second and str(first.socket_path) in second
    assert is_fake(addresses(first.ask("web.test")))
    assert first.status()["pid"] == first.pid


def test_a_second_one_on_the_same_store(gateway, lab):
    first = gateway()
    second = refused_beside(gateway, lab, {"gateway": {"tun": "tgsecond"},
                                           "control": {"socket": str(lab.dir / "second.sock")}})
    assert str(first.pid) in second and "fakeip.db" in second
    assert is_fake(addresses(first.ask("web.test")))
    assert not (lab.dir / "second.sock").exists()


def test_a_second_one_with_nothing_in_common_but_the_host(gateway, lab):
    first = gateway()
    second = refused_beside(gateway, lab, {"gateway": {"tun": "tgsecond"}, "fakeip": {"store": ""},
                                           "control": {"socket": str(lab.dir / "second.sock")}})
    assert "another" in second and "CAP_NET_ADMIN" not in second
    assert is_fake(addresses(first.ask("web.test")))
    assert "hello from web.test" in lab.curl("http://web.test/").stdout


def refused_beside(gateway, lab, config):
    """The line of a second gateway that must not start beside the running one, whose things all stay."""
    before = lab.snapshot()
    second = gateway(config, name="second", wait=False)
    assert second.end() == 1, second.log()
    errors = second.log_lines("error:")
    assert len(errors) == 1, second.log()
    assert lab.snapshot() == before
    return errors[0]


# --- after a kill ---

@MODES
def test_a_start_after_kill_9_is_not_hindered(gateway, intercept):
    gw = gateway(intercept=intercept)
    for _ in range(5):
        gw.wait_answers()
        gw.kill()
        gw.start()
    gw.wait_answers()


@MODES
def test_a_kill_at_any_moment_of_the_start_hinders_nothing(gateway, intercept):
    gw = gateway(intercept=intercept)
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(20):
        gw.kill()
        gw.start(wait=False)
        time.sleep(chance.uniform(0, 0.02))
    gw.kill()
    gw.start()
    gw.wait_answers()
    gw.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_any_moment_of_the_start_ends_it_cleanly(gateway, lab, number):
    gw = gateway()
    for i in range(10):
        gw.stop()
        gw.start(wait=False)
        time.sleep(i * 0.002)
        gw.signal(number)
        # Until the daemon has said how it takes signals, they end it like any program.
        assert gw.end() in (0, -number), gw.log()
        assert not leftovers(lab)
        gw.start()


def test_sigint_is_an_orderly_stop(gateway, lab):
    gw = gateway()
    before_start = leftovers(lab)
    assert before_start  # it has set something up
    gw.signal(signal.SIGINT)
    assert gw.end() == 0
    assert not leftovers(lab)
    assert not pathlib.Path(gw.socket_path).exists()


def test_what_was_there_before_is_there_after(gateway, lab):
    lab.nft("table inet mine { set s { type ipv4_addr; flags timeout; elements = { 10.0.0.1 timeout 1h }; }; "
            "chain c { type filter hook prerouting priority raw; }; }")
    lab.run("gw", "ip", "rule", "add", "fwmark", "0x55", "lookup", "55", "pref", "905")
    lab.run("gw", "ip", "route", "add", "default", "via", "10.99.0.2", "table", "55")
    before = lab.snapshot()
    gw = gateway()
    assert is_fake(addresses(gw.ask("web.test")))
    assert lab.snapshot() != before
    gw.stop()
    assert lab.snapshot() == before
    lab.run("gw", "ip", "rule", "del", "pref", "905")
    lab.nft("delete table inet mine")


# --- the store ---

def test_a_store_that_cannot_be_written_is_a_problem_not_an_outage(gateway):
    gw = gateway({"fakeip": {"store": "/proc/nowhere/fakeip.db"}})
    assert is_fake(addresses(gw.ask("web.test")))
    problems = gw.status()["problems"]
    assert any("/proc/nowhere/fakeip.db" in p and "memory only" in p for p in problems), problems


def test_a_store_that_is_a_folder_is_a_problem_not_an_outage(gateway, lab):
    (lab.dir / "folder.db").mkdir(exist_ok=True)
    gw = gateway({"fakeip": {"store": str(lab.dir / "folder.db")}})
    assert is_fake(addresses(gw.ask("web.test")))
    assert any("folder.db" in p for p in gw.status()["problems"])


def test_a_store_of_something_else_is_not_destroyed_in_silence(gateway, lab):
    foreign = lab.dir / "foreign.db"
    foreign.write_text("dear diary\n" * 100)
    gw = gateway({"fakeip": {"store": str(foreign)}})
    assert is_fake(addresses(gw.ask("web.test")))
    assert gw.log_lines("foreign.db")


# --- reload ---

BETTER = {"rules": [{"name": "new", "domain": ["new.test"], "answer": "block"},
                    {"name": "rest", "answer": "fake", "egress": "direct"}]}
BAD = [("gateway: [1\n", "yaml"),
       ({"rules": [{"name": "new", "answer": "sometimes"}]}, "rules[0].answer"),
       ({**BETTER, "lists": {"gone": "gone.txt"}}, "lists.gone"),
       ({**BETTER, "unknown": 1}, "unknown")]


@pytest.mark.parametrize("bad, words", BAD, ids=["yaml", "value", "list", "key"])
def test_a_bad_file_at_reload_changes_nothing(gateway, lab, bad, words):
    gw = gateway()
    control = gw.config
    before = gw.status()
    gw.rewrite(bad)
    gw.config = control
    reply = gw.request("reload")
    assert not reply["ok"] and 400 <= reply["code"] < 600
    assert words in str(reply)
    done = gw.cli("reload", check=False)
    assert done.returncode == 1 and words in done.stderr
    assert gw.ask("new.test").answer  # still faked
    assert rcode(gw.ask("ads.test")) == "NXDOMAIN"
    assert addresses(gw.ask("a.real.test")) == ["10.99.0.10"]
    gw.signal(signal.SIGHUP)
    gw.wait_log("stays in force")
    assert gw.ask("new.test").answer
    assert gw.status()["intercept"] == before["intercept"]
    assert gw.status()["pid"] == before["pid"]


def test_a_file_that_is_gone_at_reload_changes_nothing(gateway):
    gw = gateway()
    gw.config_file.unlink()
    assert not gw.request("reload")["ok"]
    assert is_fake(addresses(gw.ask("web.test")))


@pytest.mark.parametrize("how", ["socket", "cli", "sighup"])
def test_a_good_file_at_reload_is_in_force(gateway, how):
    gw = gateway()
    pair = addresses(gw.ask("keeps.test"))
    assert is_fake(addresses(gw.ask("new.test")))
    gw.rewrite(BETTER)
    if how == "socket":
        gw.result("reload")
    elif how == "cli":
        gw.cli("reload")
    else:
        gw.signal(signal.SIGHUP)
        gw.wait_log("reloaded")
    assert rcode(gw.ask("new.test")) == "NXDOMAIN"
    assert is_fake(addresses(gw.ask("a.real.test")))
    assert addresses(gw.ask("keeps.test")) == pair


def test_a_list_that_changed_is_read_at_reload(gateway, lab):
    path = lab.dir / "changing.txt"
    path.write_text("one.test\n")
    gw = gateway({"lists": {"changing": str(path)},
                  "rules": [{"name": "l", "list": "changing", "answer": "block"},
                            {"name": "rest", "answer": "fake", "egress": "direct"}]})
    assert rcode(gw.ask("one.test")) == "NXDOMAIN" and gw.ask("two.test").answer
    path.write_text("two.test\n")
    gw.result("reload")
    assert rcode(gw.ask("two.test")) == "NXDOMAIN" and gw.ask("one.test").answer
    path.unlink()
    assert not gw.request("reload")["ok"]
    assert rcode(gw.ask("two.test")) == "NXDOMAIN"


def test_no_query_is_lost_while_reloading(gateway, lab):
    gw = gateway()
    with lab.connect("8.8.8.8") as sock:
        sock.settimeout(30)
        for i in range(20):
            for k in range(20):
                sock.send(question(f"r{i}x{k}.test" if k % 2 else f"r{i}x{k}.real.test").to_wire())
            gw.result("reload")
            for _ in range(20):
                assert rcode(dns.message.from_wire(sock.recv(4096))) in ("NOERROR", "NXDOMAIN")


def test_reload_of_interception(gateway, lab):
    gw = gateway(intercept="tun")
    for mode in ("tproxy", "tun", "off", "tun"):
        gw.rewrite({}, mode)
        gw.result("reload")
        wait_for(lambda: gw.status()["intercept"] == mode, f"interception by {mode}")
        got = addresses(gw.ask("web.test"))
        assert got == ["10.99.0.10"] if mode == "off" else is_fake(got)
