"""Item 5: local records: from files, from the configuration, pushed over the socket; lines of clients."""
import json
import os
import signal
import subprocess

import dns.flags
import pytest

from lab import PROGRAM, addresses, has_fake_address, has_soa, mounted, rcode, rdata, ttls, wait_for

WATCH_S = 0.2
OTHER = "192.168.77.3"  # a second client
RECORDS = [
    {"name": "house.test", "type": "A", "ttl": 42, "rdata": "192.168.77.80"},
    {"name": "line.test", "type": "A", "rdata": "192.168.77.81", "labels": ["tv"]},
    {"name": "line.test", "type": "A", "rdata": "192.168.77.82", "labels": ["kids"]},
    {"name": "line.test", "type": "TXT", "rdata": "for all"},
    {"name": "*.wild.test", "type": "A", "rdata": "192.168.77.83"},
    {"name": "sub.wild.test", "type": "TXT", "rdata": "t"},
    {"name": "alias.test", "type": "CNAME", "rdata": "a.real.test"},
    {"name": "mail.test", "type": "MX", "rdata": {"preference": 10, "exchange": "mx.mail.test"}},
    {"name": "denied.test", "status": "deny"},
    {"name": "_sip._udp.test", "type": "SRV", "rdata": {"priority": 1, "weight": 2, "port": 5060, "target": "s.test"}},
    {"name": "svc.test", "type": "HTTPS", "rdata": {"priority": 1, "target": ".", "params": {"alpn": ["h2"], "port": 8443}}},
    {"name": "ca.test", "type": "CAA", "rdata": {"flags": 0, "tag": "issue", "value": "ca.example"}},
    {"name": "a.real.test", "type": "NS", "rdata": "ns.test"},
]
HOSTS = "192.168.77.90 printer.lan printer\nfd77::90 printer.lan\n"


def write(lab, name, text):
    new = lab.dir / f"{name}.new"
    new.write_text(text)
    os.replace(new, lab.dir / name)


def config(lab, **records):
    return {"gateway": {"watch": f"{int(WATCH_S * 1000)}ms"}, "fakeip": {"store": ""},
            "records": {"files": [str(lab.dir / "records.json"), str(lab.dir / "hosts")],
                        "lines": {"tv": ["192.168.77.2"]}, "lines_file": str(lab.dir / "lines.json"),
                        "inline": [{"name": "inline.test", "type": "A", "rdata": "192.168.77.70", "ttl": "1h"}],
                        "store": str(lab.dir / "pushed.json"), **records}}


@pytest.fixture
def files(lab):
    write(lab, "records.json", json.dumps(RECORDS, indent=1))
    write(lab, "hosts", HOSTS)
    write(lab, "lines.json", '{"kids": ["192.168.77.3/32"]}')
    (lab.dir / "pushed.json").unlink(missing_ok=True)
    lab.run("cl", "ip", "addr", "replace", f"{OTHER}/24", "dev", "eth0")


@pytest.fixture
def gw(files, lab, gateway):
    return gateway(config(lab))


def push(gw, source, *records):
    return gw.request("records.set", source=source, records=list(records))


def a_record(name, address, **more):
    return {"name": name, "type": "A", "rdata": address, **more}


def test_names_of_files_and_configuration(gw):
    reply = gw.ask("house.test")
    assert addresses(reply) == ["192.168.77.80"] and ttls(reply) == [42]
    assert reply.flags & dns.flags.AA
    assert addresses(gw.ask("inline.test")) == ["192.168.77.70"] and ttls(gw.ask("inline.test")) == [3600]
    assert addresses(gw.ask("printer.lan")) == ["192.168.77.90"]
    assert addresses(gw.ask("printer", "AAAA")) == []
    assert addresses(gw.ask("printer.lan", "AAAA")) == ["fd77::90"]
    assert rdata(gw.ask("90.77.168.192.in-addr.arpa", "PTR")) == ["printer.lan."]
    assert rdata(gw.ask("mail.test", "MX")) == ["10 mx.mail.test."]
    assert rdata(gw.ask("_sip._udp.test", "SRV")) == ["1 2 5060 s.test."]
    assert rdata(gw.ask("svc.test", "HTTPS")) == ['1 . alpn="h2" port="8443"']
    assert rdata(gw.ask("ca.test", "CAA")) == ['0 issue "ca.example"']
    assert rdata(gw.ask("line.test", "TXT")) == ['"for all"']
    assert rcode(gw.ask("denied.test")) == "REFUSED" and rcode(gw.ask("denied.test", "MX")) == "REFUSED"
    assert gw.status()["queries"]["local"] >= 10


def test_a_name_with_addresses_is_never_faked(gw):
    for rdtype in ("AAAA", "HTTPS", "SVCB"):
        reply = gw.ask("house.test", rdtype)
        assert rcode(reply) == "NOERROR" and not reply.answer and has_soa(reply), rdtype
    assert has_fake_address(gw.ask("xhouse.test")) and has_fake_address(gw.ask("a.house.test"))
    # One without: its other types are the rules' to answer.
    assert has_fake_address(gw.ask("mail.test"))


def test_wildcards(gw):
    for name in ("a.wild.test", "b.a.wild.test", "A.Wild.test"):
        assert addresses(gw.ask(name)) == ["192.168.77.83"]
    assert rcode(gw.ask("a.wild.test", "AAAA")) == "NOERROR" and not gw.ask("a.wild.test", "AAAA").answer
    assert has_fake_address(gw.ask("sub.wild.test"))    # a closer name is there
    assert has_fake_address(gw.ask("x.sub.wild.test"))
    assert has_fake_address(gw.ask("wild.test"))


def test_an_alias_is_resolved_by_the_rules(gw):
    reply = gw.ask("alias.test")
    assert rdata(reply) == ["a.real.test.", "10.99.0.10"]
    assert rdata(gw.ask("alias.test", "AAAA")) == ["a.real.test.", "2001:db8:99::10"]
    assert rdata(gw.ask("alias.test", "CNAME")) == ["a.real.test."]
    # And a name that upstream answers may have records besides.
    assert rdata(gw.ask("a.real.test", "NS")) == ["ns.test."]
    assert addresses(gw.ask("a.real.test")) == ["10.99.0.10"]


def test_lines_of_clients(gw):
    assert addresses(gw.ask("line.test", source="192.168.77.2")) == ["192.168.77.81"]
    assert addresses(gw.ask("line.test", source=OTHER)) == ["192.168.77.82"]
    assert addresses(gw.ask("line.test", part="gw")) == ["192.168.77.81", "192.168.77.82"]  # of no line
    assert rdata(gw.ask("line.test", "TXT", source=OTHER)) == ['"for all"']


def test_clients_of_no_line_may_get_none(files, lab, gateway):
    gw = gateway(config(lab, no_line="none"))
    reply = gw.ask("line.test", part="gw")
    assert rcode(reply) == "NOERROR" and not reply.answer and has_soa(reply)
    assert addresses(gw.ask("line.test", source=OTHER)) == ["192.168.77.82"]


def test_a_changed_file_is_in_force_at_once(gw, lab):
    write(lab, "records.json", json.dumps([a_record("house.test", "192.168.77.99")]))
    wait_for(lambda: addresses(gw.ask("house.test")) == ["192.168.77.99"], "the new record", 2)
    write(lab, "lines.json", '{"kids": ["192.168.77.0/24"]}')
    write(lab, "hosts", "192.168.77.98 printer.lan\n")
    wait_for(lambda: addresses(gw.ask("printer.lan")) == ["192.168.77.98"], "the new host", 2)


def test_a_bad_file_keeps_the_old_records(gw, lab):
    write(lab, "records.json", '[\n  {"name": "house.test", "type": "A", "rdata": "192.168.77"}\n]')
    gw.wait_log("records.json:2:48: records[0].rdata: not an IPv4 address; allowed: an IPv4 address")
    assert addresses(gw.ask("house.test")) == ["192.168.77.80"]
    assert any("records" in problem for problem in gw.status()["problems"])
    write(lab, "records.json", json.dumps(RECORDS[1:]))
    wait_for(lambda: has_fake_address(gw.ask("house.test")), "the good file", 2)
    assert gw.status()["problems"] == []


def test_check_tells_everything_that_is_wrong(files, lab):
    write(lab, "records.json", '[{"name": "a..b", "type": "A", "rdata": "x"}, {"name": "c"}]')
    write(lab, "hosts", "1.2.3 x\n")
    write(lab, "check.yaml", json.dumps({**config(lab), "rules": []}))
    done = subprocess.run([PROGRAM, "check", "-c", lab.dir / "check.yaml"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    where = str(lab.dir)
    for line in (f"{where}/records.json:1:11: records[0].name: not a domain name; allowed: NAME, *.NAME",
                 f"{where}/records.json:1:41: records[0].rdata: not an IPv4 address; allowed: an IPv4 address",
                 f"{where}/hosts:1:1: records: not an address; allowed: ADDRESS NAME…"):
        assert line in done.stderr.splitlines(), done.stderr
    assert "records[1].type: " in done.stderr


def test_pushed_records(gw, lab):
    assert gw.result("records.list") == {}
    assert push(gw, "dhcp", a_record("pc.test", "192.168.77.60"), a_record("pc.test", "192.168.77.61"))["ok"]
    assert addresses(gw.ask("pc.test")) == ["192.168.77.60", "192.168.77.61"]  # before the reply
    assert push(gw, "k8s", a_record("pod.test", "192.168.77.62", labels=["kids"]))["ok"]
    assert push(gw, "dhcp", a_record("pc.test", "192.168.77.63"))["ok"]
    assert addresses(gw.ask("pc.test")) == ["192.168.77.63"]
    assert addresses(gw.ask("house.test")) == ["192.168.77.80"]
    listed = gw.result("records.list")
    assert listed == {"dhcp": [a_record("pc.test", "192.168.77.63")],
                      "k8s": [a_record("pod.test", "192.168.77.62", labels=["kids"])]}
    assert gw.result("records.list", source="k8s") == {"k8s": listed["k8s"]}
    assert gw.result("explain", name="pc.test")["records"] is True
    assert gw.result("records.delete", source="dhcp") == {"source": "dhcp"}
    assert has_fake_address(gw.ask("pc.test"))
    assert gw.request("records.delete", source="dhcp")["code"] == 404


def test_a_push_is_whole_or_nothing(gw, lab):
    assert push(gw, "dhcp", a_record("pc.test", "192.168.77.60"))["ok"]
    reply = push(gw, "dhcp", a_record("pc.test", "192.168.77.61"), a_record("b.test", "192.168.77"))
    assert not reply["ok"] and reply["code"] == 422
    assert reply["error"] == "records[1].rdata: not an IPv4 address; allowed: an IPv4 address"
    reply = push(gw, "dhcp", a_record("b.test", "192.168.77.1", labels=["guests"]))
    assert reply["error"] == "records[0].labels: no such line: guests; allowed: tv, kids"
    reply = push(gw, "dhcp", {"name": "house.test", "type": "CNAME", "rdata": "x.test"})
    assert not reply["ok"] and "CNAME" in reply["error"]
    reply = push(gw, "big", *(a_record(f"n{i}.test", "192.168.77.1") for i in range(2000)))
    assert reply["code"] == 413 and "65536 bytes" in reply["error"]
    assert addresses(gw.ask("pc.test")) == ["192.168.77.60"]
    assert list(gw.result("records.list")) == ["dhcp"]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_pushed_records_outlive_the_daemon(gw, lab, end):
    assert push(gw, "dhcp", a_record("pc.test", "192.168.77.60"))["ok"]
    getattr(gw, end)()
    gw.start()
    if end == "kill":
        gw.wait_answers()
    assert addresses(gw.ask("pc.test")) == ["192.168.77.60"]
    gw.signal(signal.SIGHUP)
    gw.wait_log("reloaded")
    assert addresses(gw.ask("pc.test")) == ["192.168.77.60"]


def test_a_broken_store_is_no_outage(files, lab, gateway):
    (lab.dir / "pushed.json").write_text('{"dhcp": [{"name": ')
    (lab.dir / "pushed.json.broken").unlink(missing_ok=True)
    gw = gateway(config(lab))
    gw.wait_log("pushed.json", "records.store", "going on without")
    assert addresses(gw.ask("house.test")) == ["192.168.77.80"]
    assert not gw.request("records.list")["ok"]
    assert push(gw, "dhcp", a_record("pc.test", "192.168.77.60"))["ok"]
    assert addresses(gw.ask("pc.test")) == ["192.168.77.60"]
    assert (lab.dir / "pushed.json.broken").read_text() == '{"dhcp": [{"name": '


def test_a_full_disk_changes_nothing(files, lab, gateway):
    with mounted(lab.dir / "disk", "-t", "tmpfs", "-o", "size=16k", "tmpfs") as disk:
        gw = gateway(config(lab, store=str(disk / "pushed.json")))
        assert push(gw, "dhcp", a_record("pc.test", "192.168.77.60"))["ok"]
        reply = push(gw, "more", *(a_record(f"n{i}.test", "192.168.77.1") for i in range(500)))
        assert reply["code"] == 500 and "No space left on device" in reply["error"]
        assert has_fake_address(gw.ask("n1.test")) and addresses(gw.ask("pc.test")) == ["192.168.77.60"]
        assert sorted(path.name for path in disk.iterdir()) == ["pushed.json"]
        gw.stop()


def test_nothing_can_be_pushed_without_a_store(files, lab, gateway):
    gw = gateway(config(lab, store=""))
    reply = push(gw, "dhcp", a_record("pc.test", "192.168.77.60"))
    assert reply["code"] == 422 and "records.store" in reply["error"]
    assert gw.result("records.list") == {}


def test_all_of_a_name(files, lab, gateway):
    """ANY, over UDP and, where that is too small, over TCP."""
    gw = gateway(config(lab, whole="yes"))
    assert sorted(rdata(gw.ask("line.test", "ANY"))) == ['"for all"', "192.168.77.81"]
    reply = gw.ask("house.test", "MX")  # whole
    assert rcode(reply) == "NOERROR" and not reply.answer and has_soa(reply)
    write(lab, "records.json", json.dumps([a_record("many.test", f"10.0.{i // 250}.{i % 250}") for i in range(500)]))
    wait_for(lambda: gw.ask("many.test").flags & dns.flags.TC, "too much for UDP", 2)
    assert addresses(gw.ask("many.test", tcp=True)) == [f"10.0.{i // 250}.{i % 250}" for i in range(500)]
