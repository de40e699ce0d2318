"""Issue 6, item 1: to whom questions are told. A server that cannot show who it is gets none."""
import base64
import shutil

import pytest

import scripted_certificates
from lab import rcode, wait_for
from scripted import Scripted
from upstreams import SECURE, answered, behind, numbers, server

GOOD, OTHER = "10.50.0.1", "10.50.0.2"
NO_PIN = "sha256/" + base64.b64encode(bytes(32)).decode()
REASONS = {"expired": "expired", "early": "not valid yet", "wrong": "another name", "selfsigned": "self-signed"}


@pytest.fixture
def up(lab):
    with Scripted(lab, zone={"*": [f"60 A {GOOD}"]}) as up:
        yield up


def unknown_ca(lab, name="other CA"):
    """A CA file that is not the upstreams'."""
    folder = lab.dir / name.replace(" ", "-")
    folder.mkdir(exist_ok=True)
    return str(scripted_certificates.make_ca(folder, name))


def empty_store(lab):
    """The environment of a system without any CA of ours."""
    return {"SSL_CERT_FILE": unknown_ca(lab)}


def assert_refused(gw, up, *words, name="secret.test"):
    """SERVFAIL, and why in the log; the question is told to nobody."""
    with gw.lab.watch("gw", "wan0") as wire:
        assert rcode(gw.ask(name)) == "SERVFAIL"
        assert not up.queries() and not up.events("malformed")
        label = name.split(".", maxsplit=1)[0].encode()
        assert not [packet for packet in wire.packets() if label in packet.payload]
    assert gw.log_lines("warn: ", up.address, *words), gw.log()
    assert numbers(gw, up)["failures"] >= 1


@pytest.mark.parametrize("transport", SECURE)
def test_a_good_one(gateway, lab, up, transport):
    for how in (transport, transport + "_by_address"):
        gw = gateway(behind(server(up, how), lab=lab))
        answered(gw.ask("a.test"), GOOD)
        assert not gw.log_lines("certificate")
        gw.stop()


@pytest.mark.parametrize("transport", SECURE)
@pytest.mark.parametrize("which", REASONS)
def test_a_bad_one(gateway, lab, up, transport, which):
    up.fault("certificate", which=which)
    gw = gateway(behind(server(up, transport), lab=lab, timeout="500ms"))
    assert_refused(gw, up, REASONS[which])
    up.clear()
    wait_for(lambda: rcode(gw.ask("later.test", timeout_s=5)) == "NOERROR" or None, "the good one is believed", 8)


@pytest.mark.parametrize("transport", SECURE)
def test_a_name_that_is_not_in_it(gateway, lab, up, transport):
    one = getattr(up, transport).replace("@dns.test", "@other.test")
    gw = gateway(behind(one, lab=lab, timeout="500ms"))
    assert_refused(gw, up, "another name")


@pytest.mark.parametrize("transport", SECURE)
def test_an_address_that_is_not_in_it(gateway, lab, transport):
    with Scripted(lab) as up:
        up.fault("certificate", which="wrong")
        gw = gateway(behind(server(up, transport + "_by_address"), lab=lab, timeout="500ms"))
        assert_refused(gw, up, "not for this address")


@pytest.mark.parametrize("transport", SECURE)
def test_a_wildcard_is_for_one_label(gateway, lab, transport):
    with Scripted(lab, names=["*.dns.test"], zone={"*": [f"60 A {GOOD}"]}) as up:
        one = getattr(up, transport).replace("@*.dns.test", "@{}")
        gw = gateway(behind(one.format("a.dns.test"), lab=lab))
        answered(gw.ask("a.test"), GOOD)
        gw.stop()
        up.forget()
        for name in ("b.a.dns.test", "dns.test"):
            gw = gateway(behind(one.format(name), lab=lab, timeout="500ms"))
            assert_refused(gw, up, "another name")
            gw.stop()


@pytest.mark.parametrize("transport", SECURE)
def test_an_unknown_ca(gateway, lab, up, transport):
    for how in ({"ca": unknown_ca(lab)}, {"ca": ""}):
        env = empty_store(lab) if how["ca"] == "" else {}
        gw = gateway(behind(server(up, transport), timeout="500ms", **how), env=env)
        assert_refused(gw, up, "issuer is unknown")
        gw.stop()


@pytest.mark.parametrize("transport", SECURE)
def test_a_ca_of_the_same_name(gateway, lab, up, transport):
    gw = gateway(behind(server(up, transport), ca=unknown_ca(lab, "lab CA"), timeout="500ms"))
    assert_refused(gw, up, "signature")


@pytest.mark.parametrize("transport", SECURE)
def test_ssl_cert_file(gateway, lab, up, transport):
    gw = gateway(behind(server(up, transport)), env={"SSL_CERT_FILE": str(up.ca)})
    answered(gw.ask("a.test"), GOOD)
    gw.stop()
    # What is written goes before it.
    gw = gateway(behind(server(up, transport), lab=lab), env=empty_store(lab))
    answered(gw.ask("b.test"), GOOD)


def test_a_ca_file_that_is_none(gateway, lab, up, tmp_path):
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    for path in (empty, tmp_path / "missing.pem"):
        gw = gateway(behind(server(up, "tls"), ca=str(path)), wait=False)
        assert gw.end() == 1
        assert gw.log_lines(str(path)), gw.log()


# --- pins ---

@pytest.mark.parametrize("transport", SECURE)
def test_a_pin_alone_decides(gateway, lab, up, transport):
    """Neither issuer, nor name, nor dates are looked at (RFC 8310 6.5)."""
    for which in ("good", "selfsigned", "expired", "wrong"):
        if which != "good":
            up.fault("certificate", which=which)
        for how in (transport, transport + "_by_address"):
            gw = gateway(behind(server(up, how, pin=up.pin)), env=empty_store(lab))
            answered(gw.ask("a.test"), GOOD)
            gw.stop()
        up.clear()


@pytest.mark.parametrize("transport", SECURE)
def test_a_wrong_pin(gateway, lab, up, transport):
    gw = gateway(behind(server(up, transport, pin=NO_PIN), lab=lab, timeout="500ms"))
    assert_refused(gw, up, "pinned key")


@pytest.mark.parametrize("transport", SECURE)
def test_one_of_several_pins_is_enough(gateway, lab, up, transport):
    gw = gateway(behind(server(up, transport, pin=[NO_PIN, up.pin]), lab=lab))
    answered(gw.ask("a.test"), GOOD)


# --- who is asked then, what is said ---

@pytest.mark.parametrize("transport", SECURE)
@pytest.mark.parametrize("which", REASONS)
def test_another_server_answers(gateway, lab, up, transport, which):
    up.fault("certificate", which=which)
    with Scripted(lab, zone={"*": [f"60 A {OTHER}"]}, address="10.99.0.55") as other:
        gw = gateway(behind(server(up, transport), server(other, transport), lab=lab))
        for i in range(6):
            answered(gw.ask(f"q{i}.test"), OTHER)
        bad, good = numbers(gw, up), numbers(gw, other)
        assert not bad["up"] and bad["failures"] >= 3 and bad["wrong_answers"] == 0
        assert good["up"] and good["failures"] == 0 and good["queries"] == 6
        assert not up.queries()


def test_it_is_said_once_a_minute_for_each_server(gateway, lab, up):
    up.fault("certificate", which="expired")
    with Scripted(lab, address="10.99.0.55") as other:
        other.fault("certificate", which="wrong")
        gw = gateway(behind(server(up, "tls"), server(other, "https"), lab=lab, health="100ms", timeout="300ms"))
        for i in range(5):
            assert rcode(gw.ask(f"q{i}.test")) == "SERVFAIL"
        wait_for(lambda: len(up.events("handshake_failed")) > 5, "it has been tried often")
        assert len(gw.log_lines("certificate")) == 2, gw.log()
        assert len(gw.log_lines(up.tls, "expired")) == 1 and len(gw.log_lines(other.https, "another name")) == 1


@pytest.mark.parametrize("transport", SECURE)
def test_a_session_is_no_way_around(gateway, lab, up, transport):
    """A certificate that has become bad is seen, though there was a session."""
    gw = gateway(behind(server(up, transport, idle="200ms"), lab=lab, timeout="500ms"))
    answered(gw.ask("a.test"), GOOD)
    wait_for(lambda: not up.connections(), "it is closed")
    up.forget()
    up.fault("certificate", which="expired")
    assert_refused(gw, up, "expired")


def test_a_server_that_speaks_no_tls(gateway, lab, up):
    """Its name and port are those of a plain one: nothing is asked there in the clear."""
    with lab.watch("gw", "wan0") as wire:
        gw = gateway(behind(up.tls.replace(":853", ":5354"), lab=lab, timeout="500ms"))
        assert rcode(gw.ask("secret.test")) == "SERVFAIL"
        assert not up.queries()
        assert not [packet for packet in wire.packets() if b"secret" in packet.payload]


def test_a_ca_file_that_changes_is_read_on_reload(gateway, lab, up, tmp_path):
    ca = tmp_path / "ca.pem"
    shutil.copy(unknown_ca(lab), ca)
    gw = gateway(behind(server(up, "tls"), ca=str(ca), timeout="500ms"))
    assert_refused(gw, up, "issuer is unknown")
    shutil.copy(up.ca, ca)
    gw.result("reload")
    wait_for(lambda: rcode(gw.ask("later.test", timeout_s=5)) == "NOERROR" or None, "the new CA is in force", 8)
