"""A certificate authority of the tests' own, made with the package `cryptography` that Authlib brings along."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

VALID: Final = datetime.timedelta(days=1)

SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


class Authority:
    """Vouches for one server, at the loopback addresses. `file` holds the authority's certificate, `server` is the context
    of a server that has the other one."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a private CA")])
        root = self._certificate(name, name, key, key, x509.BasicConstraints(ca=True, path_length=0), SIGNS)
        here = ec.generate_private_key(ec.SECP256R1())
        addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "loopback")])
        names = x509.SubjectAlternativeName(addresses)
        leaf = self._certificate(subject, name, here, key, x509.BasicConstraints(ca=False, path_length=None), names)
        self.file = folder / "ca.pem"
        self.file.write_bytes(root.public_bytes(serialization.Encoding.PEM))
        pair = folder / "server.pem"
        secret = here.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pair.write_bytes(secret + leaf.public_bytes(serialization.Encoding.PEM))
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(pair)

    @staticmethod
    def _certificate(
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        signed_by: ec.EllipticCurvePrivateKey,
        *extensions: x509.ExtensionType,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - VALID)
            .not_valid_after(now + VALID)
        )
        # Python 3.13 verifies strictly: key identifiers, and the usage of an authority's key (RFC 5280 §4.2.1.1 to §4.2.1.3).
        identifiers = (
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.public_key()),
        )
        for extension in (*extensions, *identifiers):
            builder = builder.add_extension(
                extension, critical=isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
            )
        return builder.sign(signed_by, hashes.SHA256())
