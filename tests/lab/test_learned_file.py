"""The file of learned names, as its user meets it: written at once, shown, edited while the gateway runs, kept."""
import json
import re

import pytest

from lab import rcode, wait_for

NAME, OTHER = "a.real.test", "v4only.real.test"


@pytest.fixture
def path(lab):
    lab.dir.joinpath("near.txt").write_text("192.0.2.0/24\n")
    path = lab.dir / "learned" / "names.txt"  # a folder that is not there yet
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def gw(gateway, lab, path):
    return gateway({
        "gateway": {"watch": "200ms", "lame_duck": "0s"},
        "lists": {"near": [str(lab.dir / "near.txt")]},
        "rules": [
            {"name": "first", "domain": ["real.test"], "answer": "real", "upstream": "wan",
             "check": {"answers": "out", "of": "near", "rule": "far", "learn": str(path)}},
            {"name": "far", "answer": "block"}]})


def learned(gw, *words):
    return json.loads(gw.cli("learned", *words, "--json").stdout)


def test_a_learned_name_is_in_the_file_before_its_answer(gw, path):
    assert rcode(gw.ask(NAME)) == "NXDOMAIN"  # it takes the other rule within the query
    assert re.fullmatch(rf"full:{NAME} # asked=\d+ verified=\d+\n", path.read_text())
    one, = learned(gw)
    assert (one["name"], one["rule"], one["addresses"]) == (NAME, "far", ["10.99.0.10"])
    assert one["learned_at"] == one["verified_at"]
    assert learned(gw, "--rule", "far") == [one]
    status, = gw.status()["learned"]
    assert (status["file"], status["names"], status["learned"], status["error"]) == (str(path), 1, 1, None)
    gw.stop()
    gw.start()
    one, = learned(gw)
    assert (one["name"], one["learned_at"]) == (NAME, None)


def test_an_edit_is_followed_and_a_bad_one_changes_nothing(gw, path):
    gw.ask(NAME)
    path.write_text(f"# mine\nfull:{OTHER}\n")
    wait_for(lambda: [n["name"] for n in learned(gw)] == [OTHER], "the edit is in force", 2)
    path.write_bytes(b"\0x")
    wait_for(lambda: any("learned names" in p for p in gw.status()["problems"]), "it is a problem", 3)
    assert [n["name"] for n in learned(gw)] == [OTHER]
    path.write_text(f"# mine\nfull:{OTHER}\n")
    wait_for(lambda: not gw.status()["problems"], "it is none any more", 3)
    gw.ask(NAME)
    assert path.read_text().startswith(f"# mine\nfull:{OTHER}\nfull:{NAME} # asked=")
