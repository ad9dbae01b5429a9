"""Certificates of one's own: an authority that may vouch for one domain only, and a wildcard certificate for that domain.

The authority stays, so that clients trust it once; the certificate is made anew at each start. Who steals the authority's key
can pretend to be this domain and no other: its name constraints say so, and OpenSSL, Go, rustls and browsers obey them.
"""

from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sandyard.services.secrets_dir import create_once, put

_AUTHORITY = dt.timedelta(days=3650)
_LEAF = dt.timedelta(days=397)  # what clients accept at most
_SLACK = dt.timedelta(hours=1)  # clocks differ


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files: `server` is the wildcard certificate with its chain and key; `authority` what clients have to trust and `bundle` the
    same beside what this machine trusts, both None where the certificate is not of our making.
    """

    server: Path
    authority: Path | None = None
    bundle: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return what a listener needs: TLS 1.2 and later, HTTP/1.1."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server)
        context.set_alpn_protocols(["http/1.1"])
        return context


def find_certificates(chosen: Literal["self"] | Path, data_dir: Path, domain: str) -> Certificates:
    """Return what the operator chose: certificates of our own, or his file.

    Raises:
        OSError: a file cannot be read or written; `Certificates.context` raises it (as ssl.SSLError) for one that is no certificate.
    """
    return make_certificates(data_dir / "tls", domain) if chosen == "self" else Certificates(Path(chosen))


def make_certificates(directory: Path, domain: str) -> Certificates:
    """Return certificates for `domain` and every name one level below it, made in `directory` where they are missing.

    Raises:
        OSError: the directory cannot be written.
    """
    place = directory / domain
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    key_file = place / "authority.key"
    create_once(key_file, lambda: _pem(ec.generate_private_key(ec.SECP256R1())))
    key = serialization.load_pem_private_key(key_file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    text = create_once(place / "ca.pem", lambda: _authority(key, domain).public_bytes(serialization.Encoding.PEM))
    authority = x509.load_pem_x509_certificate(text)
    leaf_key = ec.generate_private_key(ec.SECP256R1())
    chain = [_leaf(leaf_key.public_key(), key, authority, domain), authority]
    put(place / "server.pem", b"".join([_pem(leaf_key), *(one.public_bytes(serialization.Encoding.PEM) for one in chain)]))
    put(place / "bundle.pem", text + _trusted_here())
    return Certificates(place / "server.pem", authority=place / "ca.pem", bundle=place / "bundle.pem")


def _authority(key: ec.EllipticCurvePrivateKey, domain: str) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Sandyard on this machine, for {domain}"[:64])])
    only = x509.NameConstraints(permitted_subtrees=[x509.DNSName(domain)], excluded_subtrees=None)
    return (
        _certificate(name, name, key.public_key(), _AUTHORITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(only, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _leaf(key: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePrivateKey, authority: x509.Certificate, domain: str) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain[:64])])
    names = x509.SubjectAlternativeName([x509.DNSName(domain), x509.DNSName(f"*.{domain}")])
    return (
        _certificate(name, authority.subject, key, _LEAF)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, life: dt.timedelta) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder(issuer_name=issuer, subject_name=subject, public_key=key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + life)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _trusted_here() -> bytes:
    """Return what this machine trusts already: `SSL_CERT_FILE` takes one file, and clients talk to others too."""
    paths = ssl.get_default_verify_paths()
    return _read(paths.cafile) or _read("/etc/ssl/certs/ca-certificates.crt")


def _read(path: str | None) -> bytes:
    file = None if path is None else Path(path)
    return file.read_bytes() if file is not None and file.is_file() else b""
