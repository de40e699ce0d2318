"""Item 9: HTTP/3 of real programs (ngtcp2's) through fake addresses."""
import hashlib
import os
import threading

import pytest

from lab import wait_for
from proxies import Socks5, egress_status, proxied, wait_no_flows

MODES = pytest.mark.parametrize("intercept", ["tun", "tproxy"])


@pytest.fixture
def server(lab):
    """An HTTP/3 server of web.test, with 2 MB of noise: the noise."""
    key, certificate, folder = lab.dir / "quic.key", lab.dir / "quic.pem", lab.dir / "www"
    lab.run("wan", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=web.test")
    noise = os.urandom(2_000_000)
    (folder / "quic-noise").write_bytes(noise)
    with open(lab.dir / "quic-server.log", "wb") as log:
        process = lab.popen("wan", "gtlsserver", "-q", "-d", folder, "*", "443", key, certificate, stdout=log,
                            stderr=log)
    wait_for(lambda: process.poll() is not None or lab.run("wan", "ss", "-Hlnu", "sport = :443").stdout, "it listens")
    assert process.poll() is None, (lab.dir / "quic-server.log").read_text()
    return noise


def download(lab, family, part="cl", options=(), name="web.test"):
    """What one request brings."""
    folder = lab.dir / "quic-got"
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    target, = [line for line in lab.dig(name, "A" if family == 4 else "AAAA", part=part)]
    lab.run(part, "gtlsclient", "-q", "--exit-on-all-streams-close", f"--download={folder}", f"--sni={name}", *options,
            target, "443", f"https://{name}/quic-noise")
    return (folder / "quic-noise").read_bytes()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("part", ["cl", "gw"], ids=["lan", "host"])
@MODES
def test_a_download_by_a_real_proxy(gateway, lab, server, intercept, part, family):
    far_end = lab.dante()
    gw = gateway(proxied({"server": far_end.server}), intercept)
    with lab.watch("wan") as wire:
        got = download(lab, family, part)
        assert hashlib.sha256(got).digest() == hashlib.sha256(server).digest()
        assert not [packet for packet in wire.packets() if packet.protocol == 17 and packet.target_port == 443]
    assert egress_status(gw)["flows"] == 1
    far_end.end()
    wait_no_flows(gw)


def test_a_client_whose_port_changes_in_the_middle(gateway, lab, server):
    """Another socket, another association; the server finds its client again (RFC 9000 9)."""
    far_end = lab.dante()
    gw = gateway(proxied({"server": far_end.server}))
    got = download(lab, 4, options=["--change-local-addr=5ms", "--nat-rebinding", "--delay-stream=50ms"])
    assert hashlib.sha256(got).digest() == hashlib.sha256(server).digest()
    assert gw.status()["relay"]["udp"]["flows"] == 2


def test_the_proxy_is_asked_for_the_name(gateway, lab, server):
    sockets = {}

    def onward(_proxy, association, _host, port, payload, answer):
        if association not in sockets:
            sock = sockets[association] = lab.socket("wan")
            sock.connect(("10.99.0.10", port))

            def back():
                try:
                    while True:
                        answer(sock.recv(2000), host="10.99.0.10")
                except OSError:
                    pass
            threading.Thread(target=back, daemon=True).start()
        sockets[association].send(payload)
    with Socks5(lab, udp=onward) as proxy:
        gateway(proxied())
        got = download(lab, 4)
        assert hashlib.sha256(got).digest() == hashlib.sha256(server).digest()
        assert {(host, port) for _, host, port, _ in proxy.datagrams} == {("web.test", 443)}
        assert proxy.associated == 1
    for sock in sockets.values():
        sock.close()


@pytest.mark.parametrize("family", [4, 6])
def test_a_download_directly(gateway, lab, server, family):
    gateway({})
    assert hashlib.sha256(download(lab, family)).digest() == hashlib.sha256(server).digest()
