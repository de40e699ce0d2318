"""Lists in the binary formats that people have, written from what their home programs read.

Each function gives bytes. trie() is the set of strings that sing-box and mihomo share; zstd_frame() needs no zstd.
"""
import gzip
import ipaddress
import struct
import zlib


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7f | 0x80])
        value >>= 7
    return out + bytes([value])


# --- protocol buffers of v2ray ---

def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


KEYWORD, REGEXP, SUFFIX, FULL = 0, 1, 2, 3


def geosite(categories):
    """{CODE: [(type, value, attribute..)]}"""
    out = b""
    for code, domains in categories.items():
        entry = field(1, code)
        for kind, value, *attributes in domains:
            domain = (field(1, kind) if kind else b"") + field(2, value)
            for attribute in attributes:
                domain += field(3, field(1, attribute) + field(2, 1))
            entry += field(2, domain)
        out += field(1, entry)
    return out


def geoip(categories):
    """{CODE: [prefix..]}"""
    out = b""
    for code, prefixes in categories.items():
        entry = field(1, code)
        for prefix in map(ipaddress.ip_network, prefixes):
            entry += field(2, field(1, prefix.network_address.packed) + field(2, prefix.prefixlen))
        out += field(1, entry)
    return out


# --- the succinct trie ---

def trie(strings, length):
    """Strings as they are written, the end first; length: how numbers are spelled."""
    keys = sorted({s[::-1].encode() for s in strings})
    leaves, bitmap, labels = [], [], b""
    queue = [(0, len(keys), 0)]
    for node, (start, end, depth) in enumerate(queue):  # it grows as it is read
        if len(keys[start]) == depth:
            leaves.append(node)
            start += 1
        while start < end:
            first, at = keys[start][depth], start
            while at < end and keys[at][depth] == first:
                at += 1
            queue.append((start, at, depth + 1))
            labels += bytes([first])
            bitmap.append(0)
            start = at
        bitmap.append(1)

    def words(bits):
        values = [0] * ((max(bits) if bits else 0) // 64 + 1)
        for bit in bits:
            values[bit // 64] |= 1 << bit % 64
        return length(len(values)) + struct.pack(f">{len(values)}Q", *values)
    return words(leaves) + words([i for i, bit in enumerate(bitmap) if bit]) + length(len(labels)) + labels


def be64(value):
    return struct.pack(">q", value)


# --- zstd: frames of raw or repeated bytes ---

BLOCK_MAX = 1 << 17


def zstd_frame(*pieces):
    """A piece: bytes, or (byte, count) for that byte repeated, four bytes for each 128 KiB."""
    blocks = []
    for piece in pieces:
        if isinstance(piece, tuple):
            byte, count = piece
            blocks += [(1, min(BLOCK_MAX, count - at), bytes([byte])) for at in range(0, count, BLOCK_MAX)]
        else:
            blocks += [(0, len(piece[at:at + BLOCK_MAX]), piece[at:at + BLOCK_MAX])
                       for at in range(0, len(piece), BLOCK_MAX)]
    out = struct.pack("<I", 0xfd2fb528) + bytes([0, 0x58])  # a window of 2 MiB, no size, no checksum
    for i, (kind, size, data) in enumerate(blocks):
        out += struct.pack("<I", size << 3 | kind << 1 | (i == len(blocks) - 1))[:3] + data
    return out


# --- mihomo ---

def mrs_domains(rules):
    """Rules as Clash writes them; mihomo makes two strings of "+.x" and "+.x" of ".x"."""
    strings = set()
    for rule in rules:
        if rule.startswith("+."):
            strings |= {rule[2:], rule}
        else:
            strings.add("+" + rule if rule.startswith(".") else rule)
    return zstd_frame(mrs_head(0, len(rules)) + b"\1" + trie(strings, be64))


def mrs_prefixes(prefixes):
    ranges = b""
    for prefix in map(ipaddress.ip_network, prefixes):
        for address in (prefix[0], prefix[-1]):
            ranges += (b"" if prefix.version == 6 else bytes(10) + b"\xff\xff") + address.packed
    return zstd_frame(mrs_head(1, len(prefixes)) + b"\1" + be64(len(prefixes)) + ranges)


def mrs_head(behaviour, count):
    return b"MRS\1" + bytes([behaviour]) + be64(count) + be64(0)


# --- sing-box ---

def srs(rules, version=3):
    """A rule: {"domain", "domain_suffix", "domain_keyword", "domain_regex", "ip_cidr"} of lists."""
    out = varint(len(rules))
    for rule in rules:
        out += b"\0"
        domains = list(rule.get("domain", []))
        for suffix in rule.get("domain_suffix", []):
            if suffix.startswith("."):
                domains.append("\r" + suffix)
            elif version == 1:
                domains += [suffix, "\r." + suffix]
            else:
                domains.append("\n" + suffix)
        if domains:
            out += b"\2" + b"\0" + trie(domains, varint)
        for kind, key in ((3, "domain_keyword"), (4, "domain_regex")):
            if values := rule.get(key):
                out += bytes([kind]) + varint(len(values))
                out += b"".join(varint(len(v)) + v.encode() for v in values)
        if prefixes := rule.get("ip_cidr"):
            out += b"\6\1" + struct.pack(">Q", len(prefixes))
            for prefix in map(ipaddress.ip_network, prefixes):
                for address in (prefix[0], prefix[-1]):
                    out += varint(len(address.packed)) + address.packed
        if names := rule.get("process_name"):
            out += b"\x0b" + varint(len(names)) + b"".join(varint(len(n)) + n.encode() for n in names)
        out += b"\xff\0"
    return b"SRS" + bytes([version]) + zlib.compress(out)


# --- what is packed ---

def gzip_bomb(size, byte=b"a", end=b"\n"):
    """size bytes, a thousandth of that in the file."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = byte * (1 << 20)
    out = b"".join(packer.compress(piece) for _ in range(size // len(piece)))
    return out + packer.compress(end) + packer.flush()


def gzipped(data):
    return gzip.compress(data, mtime=0)
