"""Certificates for scripted upstreams: one CA a folder, and for each server a good one and those that are wrong."""
import base64
import datetime
import hashlib
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


def _name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _write(file, *parts):
    file.write_bytes(b"".join(parts))
    return file


def _key_text(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def _cert_text(cert):
    return cert.public_bytes(serialization.Encoding.PEM)


def _make(subject, key, issuer, issuer_key, first, last, alternatives=None):
    now = datetime.datetime.utcnow()
    made = (x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(_name(issuer))
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now + first * DAY).not_valid_after(now + last * DAY)
            .add_extension(x509.BasicConstraints(ca=alternatives is None, path_length=None), critical=True))
    if alternatives:
        made = made.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return made.sign(issuer_key, hashes.SHA256())


def _read(file):
    return serialization.load_pem_private_key(file.read_bytes(), None)


def make_ca(folder, name="lab CA"):
    """ca.pem, for clients; ca.key beside it. Made once. The certificates are by the "lab CA"."""
    if not (folder / "ca.pem").exists():
        key = ec.generate_private_key(ec.SECP256R1())
        _write(folder / "ca.key", _key_text(key))
        _write(folder / "ca.pem", _cert_text(_make(name, key, name, key, -30, 30)))
    return folder / "ca.pem"


def make_certificates(ca_folder, folder, names, addresses):
    """KIND.pem, key and certificate, for each kind: good, expired, early (not valid yet), wrong (name and address),
    selfsigned. One key for all, so that its pin fits all of them."""
    make_ca(ca_folder)
    ca_key = _read(ca_folder / "ca.key")
    key = ec.generate_private_key(ec.SECP256R1())
    right = [x509.DNSName(name) for name in names] + [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
    wrong = [x509.DNSName("somebody-else.test")]
    for kind, first, last, alternatives in (("good", -2, 2, right), ("expired", -20, -10, right),
                                            ("early", 10, 20, right), ("wrong", -2, 2, wrong)):
        cert = _make("scripted", key, "lab CA", ca_key, first, last, alternatives)
        _write(folder / f"{kind}.pem", _key_text(key), _cert_text(cert))
    cert = _make("scripted", key, "scripted", key, -2, 2, right)
    _write(folder / "selfsigned.pem", _key_text(key), _cert_text(cert))


def pin_of(folder):
    """sha256/BASE64 of the key that make_certificates() made."""
    public = _read(folder / "good.pem").public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return "sha256/" + base64.b64encode(hashlib.sha256(public).digest()).decode()
