"""Address lists in every format that has them: told by where a fake name's traffic goes (`unless`)."""
import contextlib
import json

import dns.message
import dns.rdatatype

import list_files as files
from lab import Upstream, addresses, answer_to, greeter
from proxies import Socks5

HERE, NEXT, BEFORE = "10.99.0.10", "10.99.0.11", "10.99.0.9"  # the list has 10.99.0.10/31 and 2001:db8:99::10/127
PREFIXES = [f"{HERE}/31", "2001:db8:99::10/127"]
ADDRESS_LISTS = {
    "cidr": "# both families\n10.99.0.10/31\n2001:db8:99::10/127 # why\n",
    "range": "10.99.0.10-10.99.0.11\n2001:db8:99::10-2001:db8:99::11\n",
    "mapped": "::ffff:10.99.0.10/127\n2001:db8:99::10/128\n2001:db8:99::11\n",
    "ipset": "create s hash:net family inet\nadd s 10.99.0.10/31\nadd s6 2001:db8:99::10/127 timeout 0\n",
    "nft": "add set inet fw s { type ipv4_addr; flags interval; }\nadd element inet fw s { 10.99.0.10/31, 192.0.2.1 }\n"
           "add element inet fw s6 { 2001:db8:99::10-2001:db8:99::11 }\n",
    "clash-ip": "payload:\n  - '10.99.0.10/31'\n  - '2001:db8:99::10/127'\n",
    "clash-rules": "IP-CIDR,10.99.0.10/31,no-resolve\nIP-CIDR6,2001:db8:99::10/127\n",
    "plain-mixed": "names.too.test\n10.99.0.10/31\n2001:db8:99::10/127\n",
    "mrs-ip": files.mrs_prefixes(PREFIXES),
    "srs-ip": files.srs([{"ip_cidr": PREFIXES}]),
    "singbox-ip": json.dumps({"version": 1, "rules": [{"ip_cidr": PREFIXES}]}),
    "geoip.dat:cn": files.geoip({"US": ["10.0.0.0/8"], "CN": PREFIXES}),
    "rpz": "$TTL 60\n@ SOA a. b. 1 2 3 4 5\n31.10.0.99.10.rpz-ip CNAME .\n127.10.zz.99.db8.2001.rpz-ip CNAME .\n",
}


def answer_by_first_label(wire, _client, send):
    """in.X: in the list; out.X: not."""
    asked = dns.message.from_wire(wire).question[0]
    label, six = asked.name.labels[0], asked.rdtype == dns.rdatatype.AAAA
    where = {b"in": ("2001:db8:99::11", NEXT), b"out": ("2001:db8:99::12", BEFORE)}[label][not six]
    send(answer_to(wire, f"60 {'AAAA' if six else 'A'} {where}"))


def tell(sock, _host, _port):
    sock.sendall(b"proxy proxy\n")


def test_address_lists(gateway, lab):
    """Both families, the first address behind the prefix and the one before it, in every format that has prefixes."""
    rules, lists = [], {}
    for name, content in ADDRESS_LISTS.items():
        word = name.partition(".")[0]
        file = lab.dir / name.partition(":")[0]
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        lists[word] = [str(lab.dir / name)]
        rules.append({"name": word, "domain": [f"{word}.test"], "answer": "fake", "egress": "proxy",
                      "unless": {"resolves_in": word, "egress": "near", "within": "5s"}})
    with contextlib.ExitStack() as stack:
        stack.enter_context(Upstream(lab, answer_by_first_label, "10.99.0.2"))
        stack.enter_context(Socks5(lab, far=tell))
        for address in (NEXT, "2001:db8:99::11"):
            lab.run("wan", "ip", "addr", "add", f"{address}/{64 if ':' in address else 24}", "dev", "eth0",
                    *(["nodad"] if ":" in address else []))
            stack.enter_context(greeter(lab, address))
        gw = gateway({"upstreams": {"near": {"servers": ["udp://10.99.0.2:5354"], "timeout": "5s"}},
                      "egress": {"near": {"type": "direct", "upstream": "near"},
                                 "proxy": {"type": "socks5", "server": "10.99.0.2:1080"}},
                      "lists": lists, "rules": rules + [{"name": "rest", "answer": "fake", "egress": "direct"}]})
        counts = {entry["name"]: entry for entry in gw.status()["lists"]}
        for word in lists:
            assert counts[word]["skipped"] == 0 and 2 <= counts[word]["cidrs"] <= 3, counts[word]
            for rdtype, there in (("A", NEXT), ("AAAA", "2001:db8:99::11")):
                for label, way in (("in", there), ("out", "proxy")):
                    fake, = addresses(lab.ask(f"{label}.{word}.test", rdtype))
                    with lab.connect(fake, tcp=True, port=9000) as sock:
                        assert sock.recv(100).decode().split()[0] == way, (word, rdtype, label)
