"""Compiled lists in use: what an image holds is what its sources hold, and a broken one is an error."""
import gzip
import json
import random
import struct
import subprocess
import time

import pytest

import list_files as files
from asking import ask_all
from lab import PROGRAM, ROOT, rcode, wait_for

SANITIZED = b"__asan_init" in PROGRAM.read_bytes() or b"__tsan_init" in PROGRAM.read_bytes()
SLACK = 10 if SANITIZED else 1
HELD, NOT_HELD = 3, 5  # NXDOMAIN, REFUSED
VERSION_AT = 8  # in the header, behind the magic

SOURCES = {
    "plain.txt": "one.plain.test\nfull:two.plain.test\nkeyword:plainkey\nregexp:^plain[0-9]+\\.test$\n192.0.2.0/24\n",
    "clash.yaml": "payload:\n  - '+.one.clash.test'\n  - '.two.clash.test'\n"
                  "  - '*.three.clash.test'\n  - four.clash.test\n",
    "block.txt": "||one.block.test^\n@@||out.one.block.test^\n||in.out.one.block.test^$important\n||wordy\n",
    "names.conf": "server=/one.masq.test/1.1.1.1\nserver=/out.one.masq.test/#\nserver=/in.out.one.masq.test/1.1.1.1\n",
    "smart.conf": "address /one.smart.test/#\naddress /-.two.smart.test/#\naddress /out.one.smart.test/-\n",
    "prefixes.txt": "10.0.0.0/8\n2001:db8::/32\n10.1.0.0/16\n",
}
APEXES = ["one.plain.test", "two.plain.test", "plainkey.example", "plain7.test", "one.clash.test", "two.clash.test",
          "three.clash.test", "four.clash.test", "one.block.test", "out.one.block.test", "in.out.one.block.test",
          "wordyx.example", "one.masq.test", "out.one.masq.test", "in.out.one.masq.test", "one.smart.test",
          "two.smart.test", "out.one.smart.test", "none.test"]
NAMES = [name for apex in APEXES for name in (apex, f"a.{apex}", f"b.a.{apex}", f"x{apex}", f"{apex}.example")]


def compile_list(out, *sources, **how):
    done = subprocess.run([PROGRAM, "compile", *sources, "-o", out, "--json"], capture_output=True, text=True,
                          timeout=60, **how)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def sources(lab):
    for name, text in SOURCES.items():
        (lab.dir / name).write_text(text)
    return [str(lab.dir / name) for name in SOURCES]


def configured(lists, watch="1s"):
    """Two lists: the first decides about A, the second about AAAA; and so on."""
    return {"gateway": {"watch": watch}, "lists": lists,
            "rules": [{"name": name, "list": name, "answer": "block", "type": f"TYPE{65280 + i}"}
                      for i, name in enumerate(lists)] + [{"name": "rest", "answer": "block", "block": "refused"}]}


def verdicts(lab, names, lists):
    """[the rcodes of each list's rule]"""
    with lab.connect("8.8.8.8") as sock:
        answers = ask_all(sock, [(name, 65280 + i) for i in range(lists) for name in names])
    codes = [answer and answer.rcode for answer in answers]
    return [codes[i * len(names):(i + 1) * len(names)] for i in range(lists)]


def held(gw, name, number=0):
    return {"NXDOMAIN": True, "REFUSED": False}[rcode(gw.ask(name, f"TYPE{65280 + number}"))]


def entry(gw, name):
    found, = [each for each in gw.status()["lists"] if each["name"] == name]
    return found


def check(config, path):
    config.write_text("upstreams: {wan: {servers: ['tls://9.9.9.9@dns.quad9.net']}}\n"
                      "egress: {direct: {type: direct, upstream: wan}}\n"
                      f"lists: {{some: {path}}}\n"
                      "rules: [{name: some, list: some, answer: block}, {name: rest, answer: fake, egress: direct}]\n")
    done = subprocess.run([PROGRAM, "check", "-c", config], capture_output=True, text=True, timeout=30)
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
    return done.returncode, [line for line in done.stderr.splitlines()
                             if "fakeip.pool6" not in line and "gateway.lan" not in line]


# --- what it holds ---

def test_an_image_holds_what_its_sources_hold(gateway, lab, sources):
    """The files as one list, each file alone, and the same as images; text and image stand in one configuration."""
    image = str(lab.dir / "all.tgl")
    compile_list(image, *sources)
    lists = {"texts": sources, "image": [image]}
    for number, source in enumerate(sources):
        compile_list(f"{source}.tgl", source)
        lists |= {f"text{number}": [source], f"image{number}": {"path": f"{source}.tgl", "format": "compiled"}}
    gw = gateway(configured(lists))
    found = verdicts(lab, NAMES, len(lists))
    for i in range(0, len(lists), 2):
        assert found[i] == found[i + 1], list(lists)[i]
        assert set(found[i]) == ({HELD, NOT_HELD} if "prefixes" not in sources[i // 2 - 1] or i == 0 else {NOT_HELD})
    together = dict(zip(NAMES, found[1]))
    assert together["b.a.one.plain.test"] == together["in.out.one.block.test"] == together["a.two.clash.test"] == HELD
    assert together["two.clash.test"] == together["out.one.block.test"] == together["out.one.smart.test"] == NOT_HELD
    status = {each["name"]: each for each in gw.status()["lists"]}
    for i in range(0, len(lists), 2):
        text, compiled = (status[list(lists)[k]] for k in (i, i + 1))
        assert compiled["error"] is None and text["error"] is None
        # 10.1.0.0/16 is in 10.0.0.0/8.
        assert compiled["cidrs"] == text["cidrs"] - (lists[list(lists)[i]][-1] == sources[-1]), (text, compiled)
        assert compiled["names"] == text["names"], (text, compiled)


def test_explain_names_the_image(gateway, lab, sources):
    image = str(lab.dir / "all.tgl")
    compile_list(image, *sources)
    gw = gateway(configured({"image": [image], "mixed": [sources[0], image]}))
    found = {each["list"]: each for each in gw.result("explain", name="a.one.block.test", type="TYPE65280")["lists"]}
    assert set(found) == {"image", "mixed"}
    assert all(each["file"] == image and each["line"] is None for each in found.values()), found
    # Where a text of the same list has the name, its line is told.
    found = {each["list"]: each for each in gw.result("explain", name="a.one.plain.test", type="TYPE65280")["lists"]}
    assert (found["mixed"]["file"], found["mixed"]["line"]) == (sources[0], 1) and found["image"]["line"] is None
    assert gw.result("explain", name="none.test")["lists"] == []
    assert image in gw.cli("explain", "a.one.block.test").stdout


def test_mixed_with_texts_and_twenty_images(gateway, lab):
    """One list of texts and images, and twenty images in lists of their own; each name in its own alone."""
    lists = {"mixed": []}
    for i in range(20):
        (lab.dir / f"t{i}").write_text("".join(f"n{k}.z{i}.test\n" for k in range(500)) + "shared.test\n")
        compile_list(str(lab.dir / f"i{i}"), str(lab.dir / f"t{i}"))
        lists[f"l{i}"] = [str(lab.dir / f"i{i}")]
        lists["mixed"].append(str(lab.dir / (f"i{i}" if i % 2 else f"t{i}")))
    gw = gateway(configured(lists))
    names = [f"a.n{k}.z{i}.test" for i in range(20) for k in (0, 250, 499)] + ["x.shared.test"]
    mixed, *own = verdicts(lab, names, len(lists))
    assert set(mixed) == {HELD}
    for i, found in enumerate(own):
        assert found == [HELD if at // 3 == i or at == 60 else NOT_HELD for at in range(61)]
    assert {each["list"] for each in gw.result("explain", name="shared.test")["lists"]} == set(lists)
    assert entry(gw, "mixed")["files"] == 20


def test_packed_by_gzip(gateway, lab, sources):
    compile_list(str(lab.dir / "all.tgl"), *sources)
    (lab.dir / "all.tgl.gz").write_bytes(files.gzipped((lab.dir / "all.tgl").read_bytes()))
    gw = gateway(configured({"image": [str(lab.dir / "all.tgl.gz")]}))
    assert held(gw, "a.one.block.test") and not held(gw, "out.one.block.test")


# --- what is wrong with it ---

def test_a_damaged_image_is_an_error(tmp_path):
    for name, text in SOURCES.items():
        (tmp_path / name).write_text(text)
    image, config = tmp_path / "all.tgl", tmp_path / "tungate.yaml"
    compile_list(str(image), *map(str, tmp_path.iterdir()))
    good = image.read_bytes()
    assert check(config, image) == (0, [])
    random.seed(5)
    spoiled = [good[:n] for n in (8, 9, 20, 79, 80, len(good) // 2, len(good) - 1)]
    spoiled += [good + b"\0", good[:80] + bytes(len(good) - 80), good[:VERSION_AT] + b"\xff" * 72 + good[80:]]
    for _ in range(40 if SANITIZED else 150):
        at = random.randrange(8, len(good))
        spoiled.append(good[:at] + bytes([good[at] ^ 1 << random.randrange(8)]) + good[at + 1:])
    for data in spoiled:
        image.write_bytes(data)
        status, said = check(config, image)
        assert status == 1 and len(said) == 1, (status, said)
        assert said[0].startswith(f"{image}:1:1: lists.some: "), said
        assert said[0].endswith("what `tungate compile` wrote"), said


def test_a_newer_version_says_so(tmp_path):
    (tmp_path / "a").write_text("a.test\n")
    image = tmp_path / "a.tgl"
    compile_list(str(image), str(tmp_path / "a"))
    data = bytearray(image.read_bytes())
    version, = struct.unpack_from("<I", data, VERSION_AT)
    struct.pack_into("<I", data, VERSION_AT, version + 1)
    image.write_bytes(data)
    status, (said,) = check(tmp_path / "tungate.yaml", image)
    assert status == 1 and "version" in said and said.startswith(f"{image}:1:1: lists.some: "), said


def test_a_text_is_no_image(tmp_path):
    (tmp_path / "a").write_text("a.test\n")
    status, (said,) = check(tmp_path / "tungate.yaml", f'{{path: "{tmp_path}/a", format: compiled}}')
    assert status == 1 and said.startswith(f"{tmp_path}/a:1:1: lists.some: "), said


# --- while the daemon runs ---

def in_force(gw, names, gone=(), within_s=SLACK):
    wait_for(lambda: all(held(gw, n) for n in names) and not any(held(gw, n) for n in gone),
             f"{names} are held and {gone} are not", within_s)


def test_an_image_that_is_replaced(gateway, lab):
    """By compile itself, under its own name: old, then new, never anything else. By a text, and by an image again."""
    source, image = lab.dir / "names", lab.dir / "names.tgl"
    source.write_text("v0.test\nboth.test\n")
    compile_list(str(image), str(source))
    gw = gateway(configured({"names": [str(image)], "texts": [str(source)]}))
    for i in range(1, 3):
        source.write_text(f"v{i}.test\nboth.test\n")
        compile_list(str(image), str(source))
        in_force(gw, [f"v{i}.test", "both.test"], [f"v{i - 1}.test"])
    other = lab.dir / "other"
    other.write_text("text.test\nboth.test\n")
    other.rename(image)
    in_force(gw, ["text.test", "both.test"], ["v2.test"])
    assert held(gw, "v2.test", 1) and held(gw, "both.test", 1)
    compile_list(str(image), str(source))
    in_force(gw, ["v2.test", "both.test"], ["text.test"])
    assert held(gw, "v2.test", 1) and entry(gw, "names")["error"] is None


@pytest.mark.parametrize("spoil", ["cut", "flip", "newer"])
def test_a_damaged_image_keeps_the_list(gateway, lab, spoil):
    source, image = lab.dir / "names", lab.dir / "names.tgl"
    source.write_text("old.test\n10.0.0.0/8\n")
    compile_list(str(image), str(source))
    gw = gateway(configured({"names": [str(image)]}, watch="200ms"))
    data = bytearray(image.read_bytes())
    if spoil == "cut":
        del data[-3:]
    elif spoil == "flip":
        data[-1] ^= 1
    else:
        data[VERSION_AT] += 1
    image.write_bytes(data)
    wait_for(lambda: entry(gw, "names")["error"], "the error in status")
    assert str(image) in entry(gw, "names")["error"] and held(gw, "old.test")
    assert entry(gw, "names")["cidrs"] == 1
    assert gw.cli("reload", check=False).returncode == 1
    source.write_text("new.test\n")
    compile_list(str(image), str(source))
    in_force(gw, ["new.test"], ["old.test"])
    assert entry(gw, "names")["error"] is None


def test_images_are_swapped_under_load(gateway, lab):
    """Compile over the file, again and again, while names are asked: no wrong answer, none lost."""
    source, image = lab.dir / "names", lab.dir / "names.tgl"
    count = 20_000 if SANITIZED else 200_000
    always, never = [f"a.n{i}.test" for i in range(0, count, count // 100)], [f"xn{i}.test" for i in range(100)]

    def write(version):
        source.write_text("".join(f"n{i}.test\n" for i in range(count)) + f"v{version}.test\n")
        compile_list(str(image), str(source))
    write(0)
    gw = gateway(configured({"names": [str(image)]}))
    slowest_s, asked = 0, 0
    with lab.connect("8.8.8.8") as sock:
        for version in range(1, 6):
            write(version)
            end = time.monotonic() + 1.2 * SLACK
            new = False
            while not new and time.monotonic() < end:
                answers = ask_all(sock, [(name, 65280) for name in [*always, *never, f"v{version}.test"]], window=16)
                assert all(answers), "one was lost"
                assert [a.rcode for a in answers[:-1]] == [HELD] * len(always) + [NOT_HELD] * len(never)
                slowest_s, asked, new = max(slowest_s, *(a.took_s for a in answers)), asked + len(answers), \
                    answers[-1].rcode == HELD
            assert new, f"version {version} is not in force"
    print(f"{asked} asked, slowest {slowest_s * 1000:.1f} ms")
    assert slowest_s < SLACK


# --- large ones ---

def test_a_million_names(gateway, lab):
    """Made of a real list where there is one; what it costs is told."""
    real = ROOT.parent / "shared" / "data" / "rules" / "domains-1m.txt.gz"
    source, image = lab.dir / "many", lab.dir / "many.tgl"
    if SANITIZED:
        pytest.skip("figures under a sanitizer are not its own")
    if real.exists():
        source = real
        names = gzip.open(real, "rt").read().split()
    else:
        names = [f"n{i}.z{i % 977}.test" for i in range(1_000_000)]
        source.write_text("\n".join(names))
    counted = compile_list(str(image), str(source))
    print(counted)
    # Of a real list many names are held by others; of the made one, none is.
    assert counted["bytes_per_name"] <= (8 if real.exists() else 8.6)
    gw = gateway(configured({"image": [str(image)]}))
    print(gw.log_lines("ready in"))
    probes = [f"{prefix}{name}".lower() for name in names[::997] for prefix in ("", "a.", "b.a.") if len(name) < 200]
    found, = verdicts(lab, probes, 1)
    assert set(found) == {HELD}
    # A name that no list has, made of those that it has.
    known = {name.lower() for name in names}
    others = [name for name in (f"qx7{name}".lower() for name in names[::499]) if not any(
        ".".join(name.split(".")[k:]) in known for k in range(name.count(".") + 1))]
    found, = verdicts(lab, others, 1)
    assert len(others) > 500 and set(found) == {NOT_HELD}
    image.unlink()
