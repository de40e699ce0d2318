"""A gateway in front of scripted upstreams (scripted.py): how its configuration names them, what it counts of them.

    gw = gateway(behind(server(up, "tls")))                       # all names are asked there
    gw = gateway(behind(server(a, "udp"), server(b, "udp"), strategy="sequential", timeout="1s"))
"""
import contextlib

from lab import addresses, rcode, wait_for
from scripted import ca_of

TRANSPORTS = ["udp", "tcp", "dns", "tls", "https", "https_get"]
STREAMS = ["tcp", "tls", "https"]
SECURE = ["tls", "https"]


def on_the_wire(transport):
    """What the scripted upstream calls it."""
    return {"dns": "udp", "https_get": "https"}.get(transport, transport)


def server(up, transport, **options):
    """tls_by_address and the like, too; options: idle=, pin=, ..."""
    url = getattr(up, transport)
    return {**(url if isinstance(url, dict) else {"url": url}), **options}


def behind(*servers, lab=None, ca=None, more=None, egress=None, **group):
    """All names get real answers of these servers, by one worker. ca: "" for the system's."""
    ca = str(ca_of(lab)) if ca is None and lab else ca
    group = {"servers": list(servers), "strategy": "sequential", **group, **({"ca": ca} if ca else {})}
    return {"gateway": {"workers": 1}, "upstreams": {"wan": group, **(more or {})}, "egress": egress or {},
            "rules": [{"name": "all", "answer": "real", "upstream": "wan"}]}


def numbers(gw, up, group="wan"):
    """What status tells of the group's servers at that upstream's address, summed up: a dict."""
    found = [s for s in gw.status()["upstreams"] if s["group"] == group and up.address in s["url"]]
    assert found, gw.status()["upstreams"]
    return {**{key: sum(s[key] for s in found) for key in ("queries", "failures", "wrong_answers")},
            "up": all(s["up"] for s in found)}


def answered(reply, *expected):
    assert rcode(reply) == "NOERROR", reply
    assert addresses(reply) == list(expected), reply


def wait_asked(up, count=1, **which):
    return wait_for(lambda: len(up.queries(**which)) >= count and up.queries(**which), f"{count} questions have come")


@contextlib.contextmanager
def counter(lab, *matches, part="gw", hook="output"):
    """Counts packets of the router: yields a function that tells how many each match (nft's words) has seen."""
    rules = "".join(f"{match} counter;" for match in matches)
    lab.nft(f"table inet seen {{ chain c {{ type filter hook {hook} priority 10; policy accept; {rules} }}; }}", part)

    def count():
        rules = [item["rule"] for item in lab.nft_json("list", "table", "inet", "seen", part=part) if "rule" in item]
        return [e["counter"]["packets"] for rule in rules for e in rule["expr"] if "counter" in e]
    try:
        yield count
    finally:
        lab.nft("delete table inet seen", part)
