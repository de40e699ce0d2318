"""Item 7: the command line and the socket protocol."""
import grp
import ipaddress
import json
import os
import re
import signal
import socket
import stat
import subprocess

import dns.message
import pytest
import yaml

from lab import PATIENCE_S, PROGRAM, addresses, has_fake_address, question, rcode, wait_for

MAPPING_KEYS = {"name", "view", "v4", "v6", "rule", "egress", "state", "last_answer_s", "expires_in_s", "flows",
                "verdict"}
STATUS_KEYS = {"version", "pid", "uptime_s", "state", "workers", "marks", "queries", "fakeip", "cache", "upstreams",
               "egress", "relay", "loops_stopped", "push_errors", "stray", "outside", "unmapped", "leaks_stopped",
               "sets", "lists", "problems"}
LIST_TEXT = "# a comment\n\nlisted.test\nother.test\n"


def config(lab):
    (lab.dir / "names.txt").write_text(LIST_TEXT)
    return {
        "fakeip": {"store": ""},  # each test begins with an empty table
        "lists": {"some": [str(lab.dir / "names.txt")]},
        "rules": [
            {"name": "ads", "domain": ["ads.test"], "answer": "block"},
            {"name": "listed", "list": "some", "answer": "real", "upstream": "wan", "nftset": ["4#inet#fw#listed"]},
            {"name": "tablet", "domain": ["shared.test"], "client": "192.168.77.3", "answer": "fake",
             "egress": "direct"},
            {"name": "office", "domain": ["real.test"], "answer": "real", "upstream": "wan"},
            {"name": "rest", "answer": "fake", "egress": "direct"}],
    }


@pytest.fixture
def gw(gateway, lab):
    return gateway(config(lab))


def cli_json(gw, *words):
    return json.loads(gw.cli(*words, "--json").stdout)


# --- status ---

def test_status(gw, lab):
    gw.ask("one.test")
    gw.ask("one.test", "AAAA")
    gw.ask("one.test", "MX")
    gw.ask("a.real.test")
    gw.ask("x.ads.test")
    gw.ask("a.real.test", tcp=True)
    status = gw.status()
    assert STATUS_KEYS <= set(status)
    assert status["pid"] == gw.pid and status["state"] == "running" and status["workers"] == 2
    assert 0 <= status["uptime_s"] < 30
    assert status["version"] == subprocess.run([PROGRAM, "version"], capture_output=True, text=True).stdout.split()[-1]
    assert status["queries"] == {"total": 6, "fake": 3, "real": 2, "block": 1, "local": 0, "failed": 0, "rerouted": 0}
    assert status["marks"]["own"] == "0x10000000/0x10000000"
    pool = status["fakeip"]
    assert pool["pool4"] == "198.18.0.0/15" and pool["pool6"] == "fd00:198:18::/64"
    assert pool["used"] == 1 and pool["used"] + pool["free"] == pool["size"] > 100_000
    assert pool["in_hold"] == 0 and pool["store"] == "memory"
    cache = status["cache"]
    assert (cache["entries"], cache["hits"], cache["misses"]) == (1, 1, 1) and 0 < cache["bytes"] < 100_000
    upstream, = status["upstreams"]
    assert upstream["group"] == "wan" and upstream["url"] == "udp://10.99.0.53" and upstream["up"] is True
    assert upstream["queries"] == 1 and upstream["failures"] == 0 and upstream["wrong_answers"] == 0
    assert 0 < upstream["rtt_us"] < 1_000_000
    egress, = status["egress"]
    assert {key: egress[key] for key in ("name", "type", "up")} == {"name": "direct", "type": "direct", "up": True}
    one_list, = status["lists"]
    assert one_list["name"] == "some" and one_list["names"] == 2 and one_list["files"] == 1
    assert one_list["cidrs"] == 0 and one_list["error"] is None
    assert status["sets"] == [{"set": "4#inet#fw#listed", "state": "missing", "elements": 0, "errors": 0}]
    assert status["leaks_stopped"] == 0


def test_status_as_text_and_json(gw):
    gw.ask("one.test")
    text = gw.cli("status").stdout
    for word in (str(gw.pid), "running", "198.18.0.0/15", "udp://10.99.0.53", "direct", "4#inet#fw#listed", "missing"):
        assert word in text
    by_json, by_socket = cli_json(gw, "status"), gw.status()
    assert by_json["queries"]["total"] == 1 and set(by_json) == set(by_socket)


def test_status_of_every_egress(gateway, lab):
    proxy, web = lab.microsocks(), lab.http_proxy()
    gw = gateway({
        "egress": {"proxy": {"type": "socks5", "server": proxy.server, "user": "me", "password": "not-to-be-shown"},
                   "web": {"type": "http", "server": web.server6},
                   "none": {"type": "reject"},
                   "both": {"type": "group", "of": ["proxy", "web"]}},
        "rules": [{"name": "rest", "answer": "fake", "egress": "both"}]})
    fake, = addresses(gw.ask("web.test"))
    asked = b"GET / HTTP/1.0\r\nHost: web.test\r\n\r\n"
    with lab.connect(fake, tcp=True, port=80) as client:
        client.sendall(asked)
        wait_for(lambda: b"hello" in client.recv(2000), "the page")
        status = gw.status()
        egress = {one["name"]: one for one in status["egress"]}
        assert {name: one["type"] for name, one in egress.items()} == {
            "direct": "direct", "proxy": "socks5", "web": "http", "none": "reject", "both": "group"}
        assert [name for name, one in egress.items() if not one["up"]] == []
        assert egress["both"]["member"] == "proxy" and egress["proxy"]["flows"] == 1 and egress["web"]["flows"] == 0
        assert 0 < egress["proxy"]["rtt_us"] < 1_000_000
        assert status["relay"]["tcp"]["flows"] == 1 and status["relay"]["tcp"]["live"] == 1
        mapping = gw.result("fakeip.lookup", name="web.test")
        assert mapping["egress"] == "both" and mapping["flows"] == 1
        assert mapping["verdict"] == {"egress": "proxy", "address4": None, "address6": None, "by": "rule"}
        assert "proxy (by rule)" in gw.cli("fakeip", "lookup", "web.test").stdout
    wait_for(lambda: gw.status()["relay"]["tcp"]["live"] == 0, "the connection is over")
    tcp = gw.status()["relay"]["tcp"]
    assert tcp["to_egress_bytes"] == len(asked) and 100 < tcp["to_client_bytes"] < 2000
    text = gw.cli("status").stdout
    assert re.search(r"both +group +up .* takes proxy\n", text) and re.search(r"web +http +up ", text)
    assert re.search(rf"relay +tcp 1 flows, 0 live, {len(asked)} bytes out", text)
    for shown in (text, json.dumps(gw.status()), gw.log()):
        assert "not-to-be-shown" not in shown


def test_a_failed_query_is_counted(gateway):
    gw = gateway({"upstreams": {"wan": {"servers": ["udp://10.99.0.77"], "timeout": "100ms"}}})
    assert rcode(gw.ask("a.real.test")) == "SERVFAIL"
    status = gw.status()
    assert status["queries"]["failed"] == 1 and status["queries"]["total"] == 1
    assert status["upstreams"][0]["failures"] >= 1


# --- fakeip ---

def test_lookup_by_name_and_by_address(gw):
    four, = addresses(gw.ask("One.Test"))
    six, = addresses(gw.ask("one.test", "AAAA"))
    wanted = gw.result("fakeip.lookup", name="one.test")
    assert MAPPING_KEYS <= set(wanted)
    assert (wanted["name"], wanted["view"], wanted["v4"], wanted["v6"]) == ("one.test", "", four, six)
    assert (wanted["rule"], wanted["egress"], wanted["state"]) == ("rest", "direct", "live")
    assert wanted["last_answer_s"] <= 2 and 4 <= wanted["expires_in_s"] <= 7 and wanted["flows"] == 0
    for arguments in ({"address": four}, {"address": six}, {"name": "ONE.TEST"}, {"name": "one.test."}):
        again = gw.result("fakeip.lookup", **arguments)
        assert all(again[key] == wanted[key] for key in ("name", "v4", "v6", "rule"))
    for what in ("one.test", four, six, str(ipaddress.ip_address(six).exploded)):
        assert cli_json(gw, "fakeip", "lookup", what)["v4"] == four
        text = gw.cli("fakeip", "lookup", what).stdout
        assert "one.test" in text and four in text and six in text


def test_lookup_of_a_name_with_two_views(gw, lab):
    lab.run("cl", "ip", "addr", "replace", "192.168.77.3/24", "dev", "eth0")
    tablet, = addresses(gw.ask("shared.test", source="192.168.77.3"))
    others, = addresses(gw.ask("shared.test", source="192.168.77.2"))
    both = gw.result("fakeip.lookup", name="shared.test")
    assert {m["v4"] for m in both} == {tablet, others}
    assert {m["v4"]: bool(m["view"]) for m in both} == {tablet: True, others: False}
    assert {m["v4"]: m["rule"] for m in both} == {tablet: "tablet", others: "rest"}
    assert gw.result("fakeip.lookup", name="shared.test", client="192.168.77.3")["v4"] == tablet
    assert gw.result("fakeip.lookup", name="shared.test", client="192.168.77.9")["v4"] == others
    assert gw.result("fakeip.lookup", address=tablet)["rule"] == "tablet"
    text = gw.cli("fakeip", "lookup", "shared.test").stdout
    assert tablet in text and others in text


@pytest.mark.parametrize("what", ["never-asked.test", "198.18.200.200", "8.8.8.8", "fd00:198:18::dead"])
def test_a_lookup_that_finds_nothing(gw, what):
    kind = "address" if what[0] in "18f" else "name"
    reply = gw.request("fakeip.lookup", **{kind: what})
    assert reply["ok"] is False and reply["code"] == 404 and f"no such {kind}" in reply["error"]
    for options in ([], ["--json"]):
        done = gw.cli("fakeip", "lookup", what, *options, check=False)
        assert done.returncode == 1 and done.stdout == "" and f"no such {kind}" in done.stderr


def test_an_empty_list(gw):
    assert gw.result("fakeip.list") == []
    assert cli_json(gw, "fakeip", "list") == []
    assert gw.cli("fakeip", "list").stdout.count("\n") == 1


def test_a_list_in_pages(gw, lab):
    names = {f"p{i}.test" for i in range(1250)}
    _ask_all(lab, names)
    reply = gw.request("fakeip.list")
    assert len(reply["result"]) == 1000 and "next" in reply
    rest = gw.request("fakeip.list", after=reply["next"])
    assert len(rest["result"]) == 250 and "next" not in rest
    assert all(MAPPING_KEYS <= set(m) for m in rest["result"])
    assert {m["name"] for m in reply["result"] + rest["result"]} == names
    seen, after = [], {}
    while True:
        page = gw.request("fakeip.list", limit=100, **after)
        assert len(page["result"]) <= 100
        seen += [m["name"] for m in page["result"]]
        if "next" not in page:
            break
        after = {"after": page["next"]}
    assert len(seen) == len(set(seen)) == 1250
    assert len(gw.result("fakeip.list", limit=5000)) == 1250
    assert gw.result("fakeip.list", limit=1)[0]["name"] in names
    assert {m["name"] for m in cli_json(gw, "fakeip", "list")} == names
    text = gw.cli("fakeip", "list").stdout
    assert all(f" {name}" in text for name in ("p0.test", "p777.test", "p1249.test")) and text.count("\n") == 1251


def _ask_all(lab, names):
    names = sorted(names)
    with lab.connect("8.8.8.8") as sock:
        for start in range(0, len(names), 50):
            for name in names[start:start + 50]:
                sock.send(question(name).to_wire())
            for _ in names[start:start + 50]:
                assert len(dns.message.from_wire(sock.recv(4096)).answer) == 1


# --- explain ---

def test_explain_a_name_of_a_list(gw):
    e = gw.result("explain", name="www.listed.test")
    assert (e["name"], e["type"], e["client"]) == ("www.listed.test", "A", None)
    assert e["lists"] == [{"list": "some", "file": str(gw.lab.dir / "names.txt"), "line": 3, "text": "listed.test"}]
    assert [(r["name"], r["matched"]) for r in e["rules"]] == [("ads", False), ("listed", True)]
    assert all(r["why"] for r in e["rules"])
    assert (e["rule"], e["answer"], e["egress"], e["upstream"]) == ("listed", "real", None, "wan")
    assert e["sets"] == ["4#inet#fw#listed"] and e["fakeip"] is None and e["records"] is False
    assert isinstance(e["notes"], list) and "cache" in e


def test_explain_a_fake_name(gw):
    assert gw.result("explain", name="one.test")["fakeip"] is None
    assert gw.result("fakeip.list") == []  # to explain is not to answer
    four, = addresses(gw.ask("one.test"))
    e = gw.result("explain", name="One.Test.", type="AAAA", client="192.168.77.2")
    assert (e["rule"], e["answer"], e["egress"], e["upstream"]) == ("rest", "fake", "direct", "wan")
    assert e["type"] == "AAAA" and e["client"] == "192.168.77.2"
    assert e["fakeip"]["v4"] == four and e["fakeip"]["name"] == "one.test"
    assert gw.result("explain", name="one.test", type="HTTPS")["notes"]


def test_explain_knows_the_client(gw):
    for client, rule in (("192.168.77.3", "tablet"), ("192.168.77.2", "rest"), ("fd77::2", "rest")):
        assert gw.result("explain", name="shared.test", client=client)["rule"] == rule
        done = gw.cli("explain", "shared.test", "--client", client, "--type", "AAAA", "--json")
        assert json.loads(done.stdout)["rule"] == rule


def test_explain_says_what_would_be_answered(gw):
    """For each kind of rule: explain's answer is that of a query."""
    for name, rule, answer in (("a.ads.test", "ads", "block"), ("listed.test", "listed", "real"),
                               ("a.real.test", "office", "real"), ("xlisted.test", "rest", "fake")):
        e = gw.result("explain", name=name)
        assert (e["rule"], e["answer"]) == (rule, answer)
        reply = gw.ask(name)
        kind = ("block" if rcode(reply) == "NXDOMAIN" and name == "a.ads.test" else
                "fake" if has_fake_address(reply) else "real")
        assert kind == answer
    text = gw.cli("explain", "www.listed.test").stdout
    for word in ("names.txt", "line 3", "ads", "listed", "real", "wan", "4#inet#fw#listed"):
        assert word in text


@pytest.mark.parametrize("arguments", [
    {}, {"name": "a..test"}, {"name": "x" * 64 + ".test"}, {"name": "a.test", "type": "NOSUCH"},
    {"name": "a.test", "client": "nobody"}, {"name": 7}, {"name": "a.test", "more": 1}])
def test_explain_of_nonsense(gw, arguments):
    reply = gw.request("explain", **arguments)
    assert reply["ok"] is False and 400 <= reply["code"] < 500 and reply["error"]


# --- reload ---

def reload_by(gw, how):
    if how == "socket":
        return gw.result("reload")
    if how == "command":
        return gw.cli("reload").stdout
    before = len(gw.log_lines("reload"))
    gw.signal(signal.SIGHUP)
    return wait_for(lambda: gw.log_lines("reload")[before:], "SIGHUP is answered in the log")


@pytest.mark.parametrize("how", ["socket", "command", "signal"])
def test_a_reload_is_in_force_at_once(gw, lab, how):
    assert rcode(gw.ask("web.test")) == "NOERROR"
    changed = config(lab)
    changed["rules"].insert(0, {"name": "new", "domain": ["web.test"], "answer": "block"})
    changed["fakeip"]["ttl"] = "33s"
    gw.rewrite(changed)
    reload_by(gw, how)
    assert rcode(gw.ask("web.test")) == "NXDOMAIN"
    assert gw.ask("one.test").answer[0].ttl == 33
    assert gw.result("explain", name="web.test")["rule"] == "new"
    gw.rewrite(config(lab))
    reload_by(gw, how)
    assert has_fake_address(gw.ask("web.test"))


def test_a_reload_tells_what_changed(gw, lab):
    changed = config(lab)
    changed["rules"][0]["domain"] = ["ads.test", "more-ads.test"]
    gw.rewrite(changed)
    told = gw.result("reload")["changed"]
    assert told and all(isinstance(line, str) for line in told)
    assert cli_json(gw, "reload").keys() == {"changed"}


def test_a_reload_reads_the_lists_again(gw, lab):
    assert has_fake_address(gw.ask("late.test"))
    (lab.dir / "names.txt").write_text(LIST_TEXT + "late.test\n")
    gw.result("reload")
    assert gw.result("explain", name="late.test")["rule"] == "listed"
    assert rcode(gw.ask("late.test")) == "NXDOMAIN"
    assert gw.status()["lists"][0]["names"] == 3


BAD = {
    "no YAML": ("rules: [", 1),
    "unknown keys": ("gateway: { lan: lan0, lam: 1 }\nrulez: []\n", 2),
    "a rule without its egress": ("rules:\n  - { name: x, answer: fake, egress: none }\n", 1),
    "a list that is not there": ("lists: { some: /does/not/exist }\n", 1),
}


@pytest.mark.parametrize("how", ["socket", "command", "signal"])
@pytest.mark.parametrize("bad", BAD)
def test_a_reload_of_a_bad_file_changes_nothing(gw, lab, how, bad):
    text, n_errors = BAD[bad]
    good = gw.config_file.read_text()
    if bad != "no YAML":
        parts = yaml.safe_load(good)
        for key in yaml.safe_load(text):
            parts.pop(key, None)
        text += yaml.safe_dump(parts)
    gw.config_file.write_text(text)
    if how == "socket":
        reply = gw.request("reload")
        assert reply["ok"] is False and 400 <= reply["code"] < 600
        told = json.dumps(reply)
    elif how == "command":
        done = gw.cli("reload", check=False)
        assert done.returncode == 1 and done.stdout == ""
        told = done.stderr
    else:
        gw.signal(signal.SIGHUP)
        told = wait_for(lambda: gw.log().count(f"{gw.config_file}:") >= n_errors and gw.log(), "errors in the log")
    assert told.count(f"{gw.config_file}:") >= n_errors
    assert rcode(gw.ask("x.ads.test")) == "NXDOMAIN"
    assert has_fake_address(gw.ask("web.test"))
    assert gw.result("explain", name="www.listed.test")["rule"] == "listed"
    gw.config_file.write_text(good)
    gw.result("reload")


def test_pairs_outlive_reloads(gw, lab):
    before = {name: addresses(gw.ask(name)) for name in (f"keep{i}.test" for i in range(20))}
    for i in range(5):
        changed = config(lab)
        changed["rules"][-1]["name"] = f"rest{i}"
        gw.rewrite(changed)
        gw.result("reload")
        assert {name: addresses(gw.ask(name)) for name in before} == before
    assert gw.result("fakeip.lookup", name="keep3.test")["rule"] == "rest4"


def test_reloads_under_questions_lose_none(gw, lab):
    """Answers come all the time while the policy is swapped under them."""
    with lab.connect("8.8.8.8") as sock:
        sock.setsockopt(socket.SOL_SOCKET, 33, 4 << 20)  # SO_RCVBUFFORCE: all answers wait there
        asked = 0
        for i in range(15):
            changed = config(lab)
            changed["rules"][-1]["name"] = f"rest{i}"
            gw.rewrite(changed)
            with socket.socket(socket.AF_UNIX) as control:
                control.connect(gw.socket_path)
                control.sendall(b'{"cmd":"reload"}\n')
                for n in range(40):
                    sock.send(question("a.real.test" if n % 2 else f"r{n}.test").to_wire())
                    asked += 1
                control.settimeout(PATIENCE_S)
                assert json.loads(control.makefile().readline())["ok"]
        for _ in range(asked):
            assert len(dns.message.from_wire(sock.recv(4096)).answer) == 1


# --- the socket ---

def test_the_sockets_mode(gw, gateway):
    assert stat.S_IMODE(os.stat(gw.socket_path).st_mode) == 0o660
    gw.stop()
    assert not os.path.exists(gw.socket_path)
    other = gateway({"control": {"mode": "0600"}})
    assert stat.S_IMODE(os.stat(other.socket_path).st_mode) == 0o600


def test_the_sockets_group(gateway):
    group = grp.getgrnam("daemon")
    gw = gateway({"control": {"group": "daemon"}})
    at = os.stat(gw.socket_path)
    assert at.st_gid == group.gr_gid and at.st_uid == 0 and stat.S_IMODE(at.st_mode) == 0o660
    as_group = ["setpriv", "--reuid=nobody", f"--regid={group.gr_gid}", "--clear-groups", PROGRAM, "status", "-s",
                gw.socket_path]
    assert subprocess.run(as_group, capture_output=True, timeout=10).returncode == 0
    as_group[2] = "--regid=65534"
    done = subprocess.run(as_group, capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "ermission" in done.stderr


@pytest.fixture
def raw(gw):
    """raw(bytes): sends them on one connection; .line() reads a reply."""
    class Raw:
        def __init__(self):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(PATIENCE_S)
            self.sock.connect(gw.socket_path)
            self.lines = self.sock.makefile("rb")

        def __call__(self, data):
            self.sock.sendall(data)
            return self

        def line(self):
            line = self.lines.readline()
            assert line.endswith(b"\n"), line
            return json.loads(line)
    one = Raw()
    yield one
    one.lines.close()
    one.sock.close()


def test_several_requests_on_one_connection(raw):
    raw(b'{"cmd":"version"}\n{"cmd":"help"}\n{"cmd":"fakeip.list"}\n')
    assert raw.line()["result"].keys() == {"version"}
    commands = json.dumps(raw.line()["result"])
    assert all(name in commands for name in ("status", "fakeip.list", "fakeip.lookup", "explain", "reload", "help"))
    assert raw.line() == {"ok": True, "result": []}
    raw(b'{"cmd":')
    raw(b'"version"')
    assert raw(b"}\n").line()["ok"] is True


NONSENSE = [b"hello", b"{", b"[]", b"7", b"null", b'"status"', b"{}", b'{"cmd":7}', b'{"cmd":"nothing"}',
            b'{"cmd":null}', b'{"cmd":"status","extra":1}', b'{"cmd":"status"} trailing', b'{"cmd":"fakeip.lookup"}',
            b"\xff\xfe\x00\x01",
            b'{"cmd":"fakeip.lookup","name":"a","address":"198.18.0.1"}', b'{"cmd":"fakeip.list","limit":-1}',
            b'{"cmd":"fakeip.list","limit":"many"}', b'{"cmd":"fakeip.list","after":1e99}', b"[" * 3000,
            b'{"a":' * 500 + b"1" + b"}" * 500, b'{"cmd":"fakeip.lookup","address":"nonsense"}',
            b'{"cmd":"st\\u0000atus"}', b'{"cmd":"fakeip.lookup","name":"' + b"a." * 400 + b'"}']


@pytest.mark.parametrize("line", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_refused_and_the_connection_stays(raw, line):
    reply = raw(line + b"\n").line()
    assert reply["ok"] is False and 400 <= reply["code"] < 500 and reply["error"]
    assert raw(b'{"cmd":"version"}\n').line()["ok"] is True


def test_lines_up_to_64_kib(raw, gw):
    def padded(size):
        return b'{"cmd":"version"' + b" " * (size - 18) + b"}\n"  # size counts the line without its end
    for size in (1000, 65535):
        assert raw(padded(size)).line()["ok"] is True
    reply = raw(padded(65538)).line()
    assert reply["ok"] is False and 400 <= reply["code"] < 500
    assert raw(b'{"cmd":"version"}\n').line()["ok"] is True
    reply = raw(b"x" * 300_000 + b"\n").line()
    assert reply["ok"] is False and raw(b'{"cmd":"version"}\n').line()["ok"] is True


def test_a_client_that_says_nothing_hinders_nobody(gw):
    quiet = []
    try:
        for _ in range(30):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(30)
            sock.connect(gw.socket_path)
            sock.sendall(b'{"cmd":')
            quiet.append(sock)
        assert gw.status()["state"] == "running"
        assert gw.cli("status").returncode == 0
    finally:
        for sock in quiet:
            sock.close()


def test_a_client_that_reads_nothing_hinders_nobody(gw, lab):
    _ask_all(lab, {f"long-name-to-make-it-large-{i}.test" for i in range(1000)})
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        sock.connect(gw.socket_path)
        try:
            for _ in range(2000):
                sock.send(b'{"cmd":"fakeip.list"}\n')
        except BlockingIOError:
            pass
        for _ in range(5):
            assert gw.status()["state"] == "running"
        assert addresses(gw.ask("web.test"))
    rss_kb, = [int(line.split()[1]) for line in open(f"/proc/{gw.pid}/status") if line.startswith("VmRSS")]
    assert rss_kb < 20_000 or "asan" in str(PROGRAM)


def test_without_a_daemon(lab):
    for words in (["status"], ["fakeip", "list"], ["fakeip", "flush"], ["reload"], ["explain", "a.test"]):
        done = subprocess.run([PROGRAM, *words, "-s", str(lab.dir / "nobody.sock")], capture_output=True, text=True,
                              timeout=10)
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.count("\n") == 1 and "not running" in done.stderr


@pytest.mark.parametrize("words", [["fakeip"], ["fakeip", "lookup"], ["explain"], ["nothing"], ["status", "more"], [],
                                   ["status", "--nothing"], ["fakeip", "lookup", "a", "b"]])
def test_wrong_usage_is_exit_2(words):
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2 and done.stderr and done.stdout == ""
