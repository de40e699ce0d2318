"""tungate compile: lists of any format become one file, which is a list like any other; without a daemon."""
import gzip
import json
import pathlib
import struct
import subprocess
import zlib

import pytest

from lab import PROGRAM

SHARED = pathlib.Path("/work/shared/data/rules")


def tungate(*words, folder):
    return subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=60, cwd=folder)


@pytest.fixture
def compiled(tmp_path):
    """compiled(words): what is counted; the list is in "out"."""
    def run(*words):
        done = tungate("compile", *words, "--json", "-o", "out", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\n") == 1
        return json.loads(done.stdout)
    return run


def varint(n):
    out = b""
    while n >= 128:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def domain(kind, value, *attributes):
    return field(2, field(1, kind) + field(2, value) + b"".join(field(3, field(1, a) + field(2, 1)) for a in attributes))


GEOSITE = field(1, field(1, b"CN") + domain(2, b"a.test", b"ads") + domain(3, b"b.test") + domain(0, b"track")
                + domain(1, rb"^c\d+\.")) + field(1, field(1, b"US") + domain(2, b"us.test"))
GEOIP = field(1, field(1, b"CN") + field(2, field(1, b"\x0a\0\0\0") + field(2, 8)))
KEYWORDS = b"\x03\x01\x02ad"
SRS = b"SRS\x01" + zlib.compress(b"\x01\x00" + KEYWORDS + b"\x06\x01" + struct.pack(">Q", 1) + b"\x04\x01\x00\x00\x01"
                                + b"\x04\x01\x00\x00\x06" + b"\xff\x00")


def test_many_formats(tmp_path, compiled):
    files = {"plain.txt": b"a.test\nb.test\n10.0.0.0/8\n", "more.txt.gz": gzip.compress(b"c.test\nd.c.test\nregexp:^x\n"),
             "hosts": b"0.0.0.0 e.test\n::1 localhost\n", "block.txt": b"||f.test^\n@@||g.f.test^\n/path/x.js\n",
             "site.dat": GEOSITE, "ip.dat": GEOIP, "rules.srs": SRS,
             "rules.json": b'{"version": 1, "rules": [{"domain_suffix": ["h.test"]}, {"port": 53}]}',
             "cidr.txt": b"10.0.0.0/8\n2001:db8::/32\n"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    counted = compiled("plain.txt", "more.txt.gz", "hosts", "block.txt", "site.dat:us", "ip.dat:CN", "rules.srs", "rules.json",
                       "cidr.txt")
    assert counted["prefixes"] == 1 + 4 + 1  # 10.0.0.0/8 is in three, the range from .1 to .6 is four
    assert counted["keywords"] == 1 and counted["regexps"] == 1
    assert counted["skipped"] == 0 and counted["unused"] >= 2
    assert counted["names"] >= 9 and counted["names_kept"] == counted["names"] - 1
    assert counted["bytes"] == (tmp_path / "out").stat().st_size
    assert (tmp_path / "out").read_bytes().startswith(b"TGLIST\r\n")


@pytest.mark.parametrize("word, names, patterns", [("site.dat:cn", 2, 2), ("site.dat:CN@ads", 1, 0), ("site.dat:us", 1, 0)])
def test_a_category(tmp_path, compiled, word, names, patterns):
    (tmp_path / "site.dat").write_bytes(GEOSITE)
    counted = compiled(word)
    assert (counted["names"], counted["keywords"] + counted["regexps"]) == (names, patterns)


def test_compiled_again(tmp_path, compiled):
    """Nothing is lost, and a list compiled twice is the same."""
    (tmp_path / "a").write_text("a.test\nfull:b.test\nkeyword:ad\nregexp:^x\n10.0.0.0/8\n")
    (tmp_path / "b").write_text("||b.test^\n@@||c.b.test^\n||d.c.b.test^$important\n")
    first = compiled("a", "b")
    (tmp_path / "out").rename(tmp_path / "one")
    again = compiled("one")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "out").read_bytes()
    assert {k: again[k] for k in again if k not in ("lines", "unused")} == {k: first[k] for k in first if k not in ("lines", "unused")}
    joined = compiled("one", "one", "a", "b")
    for key in ("names_kept", "keywords", "regexps", "prefixes", "bytes"):
        assert joined[key] == first[key]


def test_the_screen(tmp_path):
    (tmp_path / "a").write_text("a.test\nb.a.test\nx y\nkeyword:ad\n10.0.0.0/8\n")
    done = tungate("compile", "a", "-o", "out", folder=tmp_path)
    assert done.returncode == 0
    rows = dict(line.split(None, 1) for line in done.stdout.splitlines())
    assert list(rows) == ["names", "keywords", "expressions", "prefixes", "skipped", "unused", "bytes"]
    assert rows["names"] == "2, of which 1 are kept: they hold the others"
    assert rows["skipped"] == "1"
    assert done.stderr.startswith("a:3:2: warning: compile: more than one word; allowed: ")


@pytest.mark.parametrize("content, words, said", [
    (None, ["a"], "tungate: a: No such file or directory"),
    (None, ["."], "tungate: .: Is a directory"),
    (b"a\0b\n", ["a", "--format", "plain"], "a:1:2: compile: a NUL byte"),
    (b"a b\nc d\ne.test\n", ["a", "--format", "plain"], "2 of 3 lines cannot be read"),
    (GEOSITE, ["a", "--format", "geosite"], None),
    (GEOSITE, ["a.dat:d/e"], None),
    (GEOSITE, ["a.dat"], "one of them is named behind it: path:tag"),
    (GEOSITE, ["a.dat:de"], 'no category "de" among its 2; allowed: CN, US'),
    (GEOSITE[:-3], ["a.dat:us"], "cut short or damaged"),
    (SRS[:-3], ["a"], "a:1:1: compile: cut short or damaged"),
    (b"TGLIST\r\n", ["a"], "allowed: what `tungate compile` wrote"),
])
def test_what_fails_writes_nothing(tmp_path, content, words, said):
    before = {"good", "out"}
    if content is not None:
        name = words[0].partition(":")[0]
        (tmp_path / name).write_bytes(content)
        before.add(name)
    (tmp_path / "good").write_text("good.test\n")
    (tmp_path / "out").write_text("what was")
    done = tungate("compile", "good", *words, "-o", "out", folder=tmp_path)
    assert done.returncode == (1 if said is not None else 2)
    assert (said or "") in done.stderr and done.stderr.endswith("\n")
    assert done.stdout == ""
    assert (tmp_path / "out").read_text() == "what was"
    assert {p.name for p in tmp_path.iterdir()} == before


def test_no_place_to_write(tmp_path):
    (tmp_path / "a").write_text("a.test\n")
    for out in ("none/out", "."):
        done = tungate("compile", "a", "-o", out, folder=tmp_path)
        assert done.returncode == 1 and done.stderr.startswith(f"tungate: {out}: ")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("words", [[], ["a"], ["-o", "out"], ["a", "-o", "out", "--format", "x"], ["a.dat:b c", "-o", "out"],
                                   ["a:tag@x", "--format", "geoip", "-o", "out"], ["a", "-o", "out", "-c", "x"]])
def test_wrong_usage(tmp_path, words):
    done = tungate("compile", *words, folder=tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert "usage: tungate compile LIST... [--format FORMAT] -o FILE [--json]" in done.stderr


def test_check_takes_it_like_any_other(tmp_path, compiled):
    (tmp_path / "a").write_text("a.test\nkeyword:ad\n")
    compiled("a")
    (tmp_path / "t.yaml").write_text("""\
upstreams: { wan: { servers: ["udp://10.99.0.53"] } }
egress: { direct: { type: direct, upstream: wan } }
lists: { mine: [out], named: { path: out, format: compiled } }
rules: [{ name: some, list: [mine, named], answer: fake, egress: direct }]
default: { answer: real, upstream: wan }
""")
    done = tungate("check", "-c", "t.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    image = bytearray((tmp_path / "out").read_bytes())
    image[len(image) // 2] ^= 1
    (tmp_path / "out").write_bytes(image)
    done = tungate("check", "-c", "t.yaml", folder=tmp_path)
    assert done.returncode == 1
    assert "lists.mine: a damaged compiled list: its checksum is wrong; allowed: what `tungate compile` wrote" in done.stderr


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")
def test_a_million_names(tmp_path, compiled):
    counted = compiled(SHARED / "domains-1m.txt.gz")
    assert counted["lines"] == 1_000_000 and counted["names"] == 999_908
    assert counted["bytes"] <= 8 * counted["names"]
