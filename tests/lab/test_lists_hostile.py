"""Lists that are damaged, wrong, or made to hurt: an error with its place or a bound, never a crash."""
import os
import re
import subprocess
import sys
import zlib

import pytest

import list_files as files
from asking import ask_all
from lab import PROGRAM, wait_for
from waiting import moment

SANITIZED = b"__asan_init" in PROGRAM.read_bytes() or b"__tsan_init" in PROGRAM.read_bytes()
MEASURE = ("import resource, subprocess, sys; r = subprocess.run(sys.argv[1:]);"
           "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(r.returncode)")
PLAIN = ("allowed: one domain name, address or prefix a line, 'full:' 'domain:' 'keyword:' 'regexp:' before it, "
         "'#' comments")
CONFIG = """\
gateway: {{lan: [lan0]}}
upstreams: {{wan: {{servers: ["tls://9.9.9.9@dns.quad9.net"]}}}}
egress: {{direct: {{type: direct, upstream: wan}}}}
lists: {{some: {{path: "{path}"{more}}}}}
rules: [{{name: some, list: some, answer: block}}, {{name: rest, answer: fake, egress: direct}}]
"""
AT = "4:15"  # of the path in it


class Checked:
    def __init__(self, done, took_s, config):
        *_, peak_kb = done.stdout.split()
        self.status, self.took_s, self.peak_mb = done.returncode, took_s, int(peak_kb) / 1000
        self.said = [line.replace(str(config), "CONFIG") for line in done.stderr.splitlines()
                     if "fakeip.pool6" not in line]

    def __repr__(self):
        return f"exit {self.status} in {self.took_s:.2f} s, {self.peak_mb:.0f} MB: " + "\n".join(self.said)


@pytest.fixture
def check(tmp_path):
    """check(content, more="", name="list") → what `tungate check` says of a list file with it; content None: whatever
    is there."""
    def run(content, more="", name="list", path=None):
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        config = tmp_path / "tungate.yaml"
        config.write_text(CONFIG.format(path=path or file, more=more and ", " + more))
        start = moment()
        done = subprocess.run([sys.executable, "-c", MEASURE, PROGRAM, "check", "-c", config], capture_output=True,
                              text=True, timeout=300 if SANITIZED else 60)
        result = Checked(done, moment() - start, config)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, result
        return result
    return run


# --- texts ---

def test_a_clean_text_says_nothing(check):
    for text in ("", "a.test\n", "a.test", "a.test\r\nb.test\r\n", b"\xef\xbb\xbfa.test\n\n", "# only a comment\n"):
        assert (checked := check(text)).status == 0 and checked.said == [], checked


@pytest.mark.parametrize("content, place, what", [
    (b"a.test\nb\0.test\n", "2:2", "a NUL byte: this is not a text file"),
    ("a.test\nb.test\n".encode("utf-16"), "1:4", "a NUL byte: this is not a text file"),
    (b"a.test\n" + b"x" * 300_000 + b"\0", "2:300001", "a NUL byte: this is not a text file"),
    ("a.test\nb test\nc|test\nd/test\n", "1:1", "3 of 4 lines cannot be read"),
    ("<!DOCTYPE html>\n<html><body>\n<h1>404 Not Found</h1>\n</body></html>\n", "1:1", "4 of 4 lines cannot be read"),
    (b"x" * 1_000_000, "1:1", "1 of 1 lines cannot be read"),
], ids=["nul", "utf16", "late-nul", "most", "html", "long"])
def test_a_file_that_is_an_error(check, tmp_path, content, place, what):
    checked = check(content)
    assert checked.status == 1
    assert checked.said[-1] == f"{tmp_path}/list:{place}: lists.some: {what}; {PLAIN}", checked


def test_lines_that_are_skipped_are_told(check, tmp_path):
    checked = check("a.test\n  b test\nc.test\n" + "x" * 1_000_000 + "\nd.test\n")
    assert checked.status == 0
    assert checked.said == [f"{tmp_path}/list:2:4: warning: lists.some: more than one word; {PLAIN}",
                            f"{tmp_path}/list:4:1: warning: lists.some: a line above 64 KiB; {PLAIN}"]


def test_five_of_them_and_a_note(check, tmp_path):
    checked = check("".join(f"a{i}.test\nb {i}\n" for i in range(7)))
    assert checked.status == 0 and len(checked.said) == 6
    assert [line.split(": ")[0] for line in checked.said[:5]] == [f"{tmp_path}/list:{n}:2" for n in (2, 4, 6, 8, 10)]
    assert checked.said[5] == (f"{tmp_path}/list:14:1: note: lists.some: 7 lines skipped in all, "
                               "the first 5 are told above")


def test_a_line_of_64_kib_is_read(check):
    assert check(b"a.test # " + b"x" * (65536 - 9) + b"\n").said == []
    assert "a line above 64 KiB" in check(b"a.test\nb.test # " + b"x" * (65536 - 8) + b"\n").said[0]


def test_a_million_letters_a_line(check):
    checked = check((b"y" * 1_000_000 + b"\n") * 50 + b"a.test\n" * 51)
    assert checked.status == 0 and len(checked.said) == 6, checked
    assert SANITIZED or checked.peak_mb < 40, checked


def test_expressions_that_do_not_compile_or_explode(check, tmp_path):
    checked = check("regexp:(((\nregexp:^(a+)+$\na.test\nb.test\n")
    assert checked.status == 0 and len(checked.said) == 1
    assert checked.said[0].startswith(f"{tmp_path}/list:1:8: warning: lists.some: missing closing parenthesis")


# --- no files ---

def test_what_is_no_file(check, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, why in ((tmp_path, "Is a directory; allowed: a readable list file"),
                      (tmp_path / "fifo", "neither a file nor a link to one; allowed: a list file"),
                      ("/dev/zero", "neither a file nor a link to one; allowed: a list file"),
                      (tmp_path / "none", "No such file or directory; allowed: a readable list file")):
        checked = check(None, path=path)
        assert checked.status == 1 and checked.said == [f"CONFIG:{AT}: lists.some: {path}: {why}"], checked


def test_optional_ones(check, tmp_path):
    """A missing one is no error; one that cannot be read as a list is told, and no error either."""
    checked = check(None, more="optional: yes", path=tmp_path / "none")
    assert checked.status == 0
    assert checked.said == [f"CONFIG:{AT}: note: lists.some: {tmp_path}/none: No such file or directory; "
                            "allowed: a readable list file"]


@pytest.mark.parametrize("content, what", [(b"a.test\nb\0\n", "a NUL byte"), (b"a b\nc d\ne.test\n", "2 of 3 lines"),
                                           (files.gzipped(b"a.test\n" * 9)[:-4], "damaged or ends early")],
                         ids=["nul", "most", "torn"])
def test_an_optional_one_that_is_an_error(check, tmp_path, content, what):
    """A warning, and nothing of it is used: not even what stands before the mistake."""
    checked = check(content, more="optional: yes")
    assert checked.status == 0 and len(checked.said) == 1, checked
    assert checked.said[0].startswith(f"{tmp_path}/list:") and "warning: lists.some:" in checked.said[0]
    assert what in checked.said[0] and checked.said[0].endswith("nothing of it is used"), checked


def test_an_unreadable_one(tmp_path):
    """Root reads all, so somebody else asks."""
    (tmp_path / "list").write_text("a.test\n")
    (tmp_path / "list").chmod(0)
    config = tmp_path / "tungate.yaml"
    config.write_text(CONFIG.format(path="list", more=""))
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    config.chmod(0o644)
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", PROGRAM, "check", "-c",
                           config], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert f"{config}:{AT}: lists.some: {tmp_path}/list: Permission denied; allowed: " in done.stderr


# --- includes ---

def test_a_circle_of_includes(check, tmp_path):
    (tmp_path / "two").write_text("b.test\n include:three\n")
    (tmp_path / "three").write_text("include:list\n")
    checked = check("a.test\ninclude:two\n", "format: v2fly")
    assert checked.status == 1
    circle = f"lists.some: includes {tmp_path}/list, which includes this file: a circle"
    assert checked.said == [f"{tmp_path}/three:1:1: {circle}"]
    checked = check("a.test\ninclude:list\n", "format: v2fly")
    assert checked.said == [f"{tmp_path}/list:2:1: {circle}"]


def test_includes_of_nothing_and_of_elsewhere(check, tmp_path):
    assert check("a.test\ninclude:none\n", "format: v2fly").said == [
        f"{tmp_path}/list:2:1: lists.some: includes {tmp_path}/none: No such file or directory"]
    checked = check("a.test\n include:../x @cn\n", "format: v2fly")
    assert checked.status == 0 and checked.said[0].startswith(
        f"{tmp_path}/list:2:10: warning: lists.some: not the name of a list beside this one"), checked


def test_includes_that_double_at_each_step(check, tmp_path):
    """30 files, each with the next one twice: each is read once."""
    for i in range(30):
        (tmp_path / f"n{i}").write_text(f"x{i}.test\n" + f"include:n{i + 1}\n" * 2)
    (tmp_path / "n30").write_text("end.test\n")
    checked = check("include:n0\n", "format: v2fly")
    assert checked.status == 0 or "nested more than" in checked.said[0], checked
    assert checked.took_s < 5


# --- bombs ---

GIGABYTE = 1 << 30


def assert_bounded(checked, peak_mb, within_s):
    assert checked.status == 1, checked
    if not SANITIZED:
        assert checked.peak_mb < peak_mb and checked.took_s < within_s, checked


@pytest.mark.parametrize("bomb, peak_mb", [
    (lambda: files.gzip_bomb(GIGABYTE), 30),
    (lambda: files.gzip_bomb(GIGABYTE, b"#\n"), 30),
    (lambda: b"SRS\3" + zlib_bomb(files.varint(1 << 60), 300), 200),
    (lambda: b"SRS\3" + zlib_bomb(files.varint(1) + b"\0\3" + files.varint(1 << 60), 300, b"\1a"), 200),
    (lambda: files.zstd_frame(files.mrs_head(0, 1) + b"\1" + files.be64(1 << 27), (0, GIGABYTE)), 100),
    (lambda: files.zstd_frame(b"MRS\1\0" + files.be64(1) + files.be64(GIGABYTE), (0, GIGABYTE)), 50),
    (lambda: files.zstd_frame(files.mrs_head(0, 1) + b"\1" + files.be64(1) + bytes(8) + files.be64(-1), (0, 100)), 50),
], ids=["gzip-line", "gzip-comments", "srs-rules", "srs-keywords", "mrs-trie", "mrs-extra", "mrs-negative"])
def test_a_gigabyte_in_a_small_file(check, bomb, peak_mb):
    data = bomb()
    assert len(data) < 3 << 20
    checked = check(data)
    del data
    print(checked)
    assert_bounded(checked, peak_mb, 20)
    assert re.search("too large; allowed: at most 268435456 bytes, unpacked|damaged", checked.said[-1]), checked


def zlib_bomb(head, megabytes, unit=b"\0"):
    packer = zlib.compressobj(9)
    piece = unit * ((1 << 20) // len(unit))
    return packer.compress(head) + b"".join(packer.compress(piece) for _ in range(megabytes)) + packer.flush()


@pytest.mark.parametrize("bomb", [
    lambda: files.gzip_bomb(GIGABYTE, b"a\n"),
    lambda: files.zstd_frame(files.mrs_head(1, 1) + b"\1" + files.be64(1 << 40), (1, GIGABYTE)),
], ids=["names", "prefixes"])
def test_a_gigabyte_of_entries(check, bomb):
    checked = check(bomb())
    print(checked)
    assert_bounded(checked, 400, 30)
    assert "too many names" in checked.said[-1], checked


def test_yaml_that_multiplies_itself(check, tmp_path):
    """The billion laughs: an alias is no rule, so nothing is unfolded."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    lines += [f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefghi", "bcdefghij")]
    checked = check("\n".join(lines) + "\npayload: *j\n", "format: clash")
    assert_bounded(checked, 30, 5)
    assert checked.said == [f"{tmp_path}/list:11:10: lists.some: `payload` is not a list; "
                            "allowed: `payload:` with a list of rules"]
    checked = check("\n".join(lines) + "\npayload: [a.test, b.test, *j]\n", "format: clash")
    assert checked.status == 0 and "11:27: warning: lists.some: not a single value" in checked.said[0], checked
    checked = check("payload:\n  - " + "[" * 100_000, "format: clash")
    assert_bounded(checked, 30, 5)
    assert "nested too deep" in checked.said[-1]


def test_json_that_is_deep_or_ends_early(check, tmp_path):
    rule = '{"type":"logical","mode":"or","rules":['
    for text, what in (('{"version":3,"rules":[' + rule * 50_000, "32 of them in one another|too deep"),
                       ('{"version":3,"rules":[{"domain":["a.test"', "not JSON"),
                       ('{"version":3,"rules":[{"domain":' + "[" * 100_000, ""),
                       ('{"version":99,"rules":[]}', "version")):
        checked = check(text)
        assert_bounded(checked, 40, 5)
        assert re.search(what, checked.said[-1]) and checked.said[-1].startswith(f"{tmp_path}/list:"), checked


# --- torn files ---

def test_binary_files_that_end_early(check, tmp_path):
    names = [f"n{i}.test" for i in range(1000)]
    whole = {
        "some.gz": (files.gzipped("\n".join(names).encode()), ""),
        "some.dat": (files.geosite({"A": [(files.SUFFIX, name) for name in names]}), ":a"),
        "ip.dat": (files.geoip({"A": [f"10.{i}.0.0/16" for i in range(200)]}), ":a"),
        "some.mrs": (files.mrs_domains(names), ""),
        "ip.mrs": (files.mrs_prefixes([f"10.{i}.0.0/16" for i in range(200)]), ""),
        "some.srs": (files.srs([{"domain": names}]), ""),
    }
    for name, (data, tag) in whole.items():
        assert check(data, name=name, path=f"{tmp_path}/{name}{tag}").status == 0, name
        for cut in (1, 5, 100, len(data) // 2):
            checked = check(data[:-cut], name=name, path=f"{tmp_path}/{name}{tag}")
            assert checked.status == 1 and checked.said[-1].startswith(f"{tmp_path}/{name}:"), (name, cut, checked)


def test_a_category_that_is_not_there(check, tmp_path):
    data = files.geosite({"CN": [(files.SUFFIX, "a.test")], "GEOLOCATION-!CN": [(files.SUFFIX, "b.test")]})
    for path, why in (("x.dat:no", 'no category "no" among its 2; allowed: CN, GEOLOCATION-!CN'),
                      ("x.dat", "a file of many categories; one of them is named behind it: path:tag")):
        checked = check(data, name="x.dat", path=f"{tmp_path}/{path}")
        assert checked.status == 1 and checked.said == [f"{tmp_path}/x.dat:1:1: lists.some: {why}"], checked
    assert check(data, name="x.dat", path=f"{tmp_path}/x.dat:geolocation-!cn").said == []


def test_a_tag_where_there_are_none(check, tmp_path):
    """A file that is no geosite.dat, whatever it is called, is not taken whole instead."""
    checked = check("a.test\n", name="geosite.dat", path=f"{tmp_path}/geosite.dat:cn")
    assert checked.status == 1 and checked.said == [
        f'{tmp_path}/geosite.dat:1:1: lists.some: the tag "cn" is asked for, but this is a plain file; '
        "allowed: geosite, geoip"]
    checked = check("0.0.0.0 a.test\n", more='tag: "@cn"')
    assert checked.status == 1 and checked.said == [
        f'{tmp_path}/list:1:1: lists.some: the attribute "cn" is asked for, but this is a hosts file; '
        "allowed: geosite, v2fly"]
    data = files.geoip({"CN": ["10.0.0.0/8"]})
    checked = check(data, name="x.dat", path=f"{tmp_path}/x.dat:cn@ads")
    assert checked.status == 1 and "but this is a geoip file" in checked.said[0], checked
    # Names alone, of which none has the attribute just now: a list without any.
    assert check("a.test\n", more='tag: "@cn"').said == []


# --- the daemon itself ---

def test_run_refuses_and_says_the_same(gateway, lab):
    (lab.dir / "bad.txt").write_bytes(b"a.test\nb\0\n")
    gw = gateway({"lists": {"bad": ["bad.txt"]},
                  "rules": [{"name": "bad", "list": "bad", "answer": "block"},
                            {"name": "rest", "answer": "fake", "egress": "direct"}]}, wait=False)
    assert gw.end() == 1
    assert gw.log_lines(f"{lab.dir}/bad.txt:2:2: lists.bad: a NUL byte")
    gw.assert_nothing_left()


def test_optional_lists_start_without(gateway, lab):
    (lab.dir / "torn.gz").write_bytes(files.gzipped(b"torn.test\n" * 1000)[:-5])
    gw = gateway({"lists": {"later": {"path": "later.txt", "optional": True},
                            "torn": {"path": "torn.gz", "optional": True}},
                  "gateway": {"watch": "200ms"},
                  "rules": [{"name": "later", "list": ["later", "torn"], "answer": "block"},
                            {"name": "rest", "answer": "fake", "egress": "direct"}]})
    with lab.connect("8.8.8.8") as sock:
        assert [a.rcode for a in ask_all(sock, [("a.later.test", "A"), ("torn.test", "A")])] == [0, 0]
        later = {entry["name"]: entry for entry in gw.status()["lists"]}["later"]
        assert later["names"] == 0 and later["error"] is None
        (lab.dir / "later.txt").write_text("later.test\n")
        (lab.dir / "torn.gz").write_bytes(files.gzipped(b"torn.test\n"))
        wait_for(lambda: ask_all(sock, [("torn.test", "A")])[0].rcode == 3, "the other is whole")
        wait_for(lambda: ask_all(sock, [("a.later.test", "A")])[0].rcode == 3, "the list is there")


def test_expressions_that_never_end_are_bounded(gateway, lab):
    """300 that try every way to cut a long name into pieces."""
    (lab.dir / "evil.txt").write_text("".join(f"regexp:^(([a-z])+.?)+[0-9{'_' * (i + 1)}]$\n" for i in range(300)))
    gw = gateway({"lists": {"evil": ["evil.txt"]}, "rules": [{"name": "evil", "list": "evil", "answer": "block"},
                                                             {"name": "rest", "answer": "block", "block": "refused"}]})
    assert gw.status()["lists"][0]["names"] == 300
    with lab.connect("8.8.8.8") as sock:
        answers = ask_all(sock, [(".".join(["a" * 60] * 4), "A"), ("a7", "A"), ("web.test", "A")] * 10, window=1)
    assert [answer.rcode for answer in answers] == [5, 3, 5] * 10
    slowest_s = max(answer.took_s for answer in answers)
    print(f"slowest {slowest_s * 1000:.1f} ms")
    assert slowest_s < (5 if SANITIZED else 0.2)
