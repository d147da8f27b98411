"""A certificate of this machine's own, made on the spot, and the trust store that Java reads."""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID

from local.ports import HOST

_NAME = "localhost"
_DAYS = 30
_CERTIFICATE, _KEY, _TRUST_STORE = "certificate.pem", "key.pem", "trust.p12"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A self-signed certificate for 127.0.0.1 and localhost.

    Args:
        certificate: PEM.
        key: PEM, unencrypted: it is worth nothing beyond this machine.
        trust_store: The file, in PKCS #12, by which Java trusts it and nothing else.
        password: Of the trust store, which Java wants; it guards nothing.
    """

    certificate: bytes
    key: bytes
    trust_store: Path
    password: str = "changeit"  # noqa: S105 - Java's own default


def certificate_in(folder: Path) -> Certificate:
    """The folder's certificate; it is made where there is none."""
    names = _CERTIFICATE, _KEY, _TRUST_STORE
    if not all((folder / name).is_file() for name in names):
        return make_certificate(folder)
    certificate, key = ((folder / name).read_bytes() for name in names[:2])
    return Certificate(certificate, key, folder / _TRUST_STORE)


def make_certificate(folder: Path) -> Certificate:
    """Makes a key, its certificate and the trust store, all kept in the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName(_NAME), x509.IPAddress(ipaddress.ip_address(HOST))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=_DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate = Certificate(
        certificate=made.public_bytes(serialization.Encoding.PEM),
        key=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        trust_store=folder / _TRUST_STORE,
    )
    store = pkcs12.serialize_java_truststore(
        [pkcs12.PKCS12Certificate(made, b"stand-in")],
        serialization.BestAvailableEncryption(certificate.password.encode()),
    )
    certificate.trust_store.write_bytes(store)
    (folder / _CERTIFICATE).write_bytes(certificate.certificate)
    (folder / _KEY).write_bytes(certificate.key)
    return certificate
