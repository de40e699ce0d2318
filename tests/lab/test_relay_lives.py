"""Items 9 and 13: how long a connection through the relay lives: idle times, reloads, restarts."""
import socket
import time

from lab import addresses, is_fake, read_exactly, wait_for
from proxies import Socks5, egress_status, is_open, proxied, wait_no_flows
from waiting import moment


def fake(gw, name):
    address, = addresses(gw.ask(name))
    assert is_fake([address])
    return address


def pair(gw, proxy):
    """A connection's two ends: the client's, the far one's."""
    client = gw.lab.connect(fake(gw, "relay.test"), tcp=True, port=7)
    return client, proxy.take()


def test_an_idle_connection_ends(gateway, lab):
    """egress.idle; what moves in either direction counts."""
    gw = gateway(proxied({"idle": "1s"}))
    with Socks5(lab) as proxy:
        client, far = pair(gw, proxy)
        with client, far:
            start = moment()
            for i in range(8):
                one, other = (client, far) if i % 2 else (far, client)
                one.sendall(b"x")
                assert other.recv(1) == b"x"
                end = time.monotonic() + 0.25
                wait_for(lambda: time.monotonic() > end, "a moment")
            assert is_open(client) and moment() - start > 1.9
            start = moment()
            for sock in (client, far):
                try:
                    assert sock.recv(1) == b""
                except ConnectionResetError:
                    pass
            assert 0.5 < moment() - start < 3
        wait_no_flows(gw)


def test_keep_alive(gateway, lab):
    """Both of the gateway's sockets have it, once a connection has lived for longer than most."""
    gw = gateway(proxied())
    with Socks5(lab) as proxy:
        client, far = pair(gw, proxy)
        with client, far:
            ends = [f":{sock.getpeername()[1]} " for sock in (far,)] + [f":{client.getsockname()[1]} "]

            def kept():
                lines = lab.run("gw", "ss", "-Htno", "state", "established").stdout.splitlines()
                return [line for line in lines if any(end in line + " " for end in ends) and "keepalive" in line]
            wait_for(lambda: len(kept()) == 2, "both are kept alive")


# --- reload and restart ---

def test_a_reload_in_the_middle_keeps_the_connection(gateway, lab):
    """Also one that takes its egress away; new connections go the new way."""
    gw = gateway(proxied())
    with Socks5(lab) as proxy, Socks5(lab, port=1090) as other:
        client, far = pair(gw, proxy)
        with client, far:
            for config in (proxied(), proxied({"server": "10.99.0.2:1090"}),
                           {"egress": {"new": {"type": "socks5", "server": "10.99.0.2:1090"}},
                            "rules": [{"name": "rest", "answer": "fake", "egress": "new"}]}, proxied()):
                gw.rewrite(config)
                gw.result("reload")
                for one, other_end in ((client, far), (far, client)):
                    one.sendall(b"still there?")
                    assert read_exactly(other_end, 12) == b"still there?"
                name = next(iter(config["rules"]))["egress"]
                with lab.connect(fake(gw, "relay.test"), tcp=True, port=8):
                    to = proxy if config == proxied() else other
                    to.take().close()
                wait_for(lambda: egress_status(gw, name)["flows"] <= 1, "the short one is over")
            client.shutdown(socket.SHUT_WR)
            assert far.recv(1) == b""
        wait_no_flows(gw)


def test_an_orderly_stop_ends_connections(gateway, lab):
    gw = gateway(proxied())
    with Socks5(lab) as proxy:
        client, far = pair(gw, proxy)
        with client, far:
            gw.stop()
            for sock in (client, far):
                try:
                    assert sock.recv(1) == b""
                except ConnectionResetError:
                    pass


def test_a_segment_of_a_connection_before_a_restart_is_reset(gateway, lab):
    gw = gateway(proxied())
    with Socks5(lab) as proxy:
        client, far = pair(gw, proxy)
        with client, far:
            gw.kill()
            assert far.recv(1) == b""
            gw.start()
            client.settimeout(30)
            try:
                client.sendall(b"hello?")
                assert client.recv(1) == b""
            except (ConnectionResetError, BrokenPipeError):
                pass
