"""
Certificates as values: an authority, and leaves that say which role their holder has.

A role is a DNS name in the leaf, and nothing else is: pods are dialled by
address, and what a peer may do is decided by its role. Every key is on P-256,
which gRPC, Envoy and Python all take.

What is made depends on its arguments alone: `entropy` gives as many random
bytes as it is asked for. What is read may be anything; what cannot be used is
None, and no error carries any of it.

Not promised: revocation. A key that leaked is good until its certificate ends
or its authority is no longer trusted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from orchestrator.platform.kube.names import PRODUCT

AUTHORITY_LIFE: Final = timedelta(days=3650)
LEAF_LIFE: Final = timedelta(days=90)
#: Clocks of nodes differ: what was made a moment ago is valid everywhere.
BACKDATE: Final = timedelta(hours=1)

#: Order of the group of P-256 (FIPS 186-5).
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)
_UNREADABLE: Final = (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.ExtensionNotFound)

Entropy = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate as it was read."""

    pem: bytes
    since: datetime
    until: datetime
    #: The DNS names in it.
    roles: frozenset[str]
    authority: bool
    #: What tells one key from another.
    public: bytes
    parsed: x509.Certificate = field(repr=False, compare=False)

    def valid(self, now: datetime) -> bool:
        """Whether a peer whose clock says `now` takes it."""
        return self.since <= now < self.until

    def due(self, now: datetime) -> bool:
        """Whether two thirds of its life are over."""
        return now >= self.since + (self.until - self.since) * 2 / 3

    def signed_by(self, other: Certificate) -> bool:
        """Whether the other's key signed it."""
        try:
            self.parsed.verify_directly_issued_by(other.parsed)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True


def make_authority(now: datetime, entropy: Entropy) -> Pair:
    """A new authority, valid from now."""
    key = _key(entropy)
    serial = _serial(entropy)
    # Its number is in its name: peers that trust two of them find the right one.
    name = _name(f"{PRODUCT} authority {serial:x}")
    builder = (
        _builder(name, name, key.public_key(), serial, now, now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return _pair(builder, key, key)


def make_leaf(authority: Pair, role: str, now: datetime, entropy: Entropy) -> Pair:
    """A leaf for that role, for both ends of a connection; it does not outlive its authority."""
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    signer = load_pem_private_key(authority.key, None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise TypeError("the authority's key is not on an elliptic curve")
    key = _key(entropy)
    until = min(now + LEAF_LIFE, issuer.not_valid_after_utc)
    builder = (
        _builder(_name(role), issuer.subject, key.public_key(), _serial(entropy), now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(role)]), critical=False)
    )
    return _pair(builder, key, signer)


def read(pem: bytes) -> Certificate | None:
    """The first certificate of that text; None if there is none that can be used."""
    found = _PEM.search(pem)
    return _read(found.group()) if found else None


def read_bundle(pem: bytes) -> tuple[Certificate, ...]:
    """All of them; what cannot be used is passed over."""
    return tuple(c for c in (_read(part) for part in _PEM.findall(pem)) if c is not None)


def belongs(key: bytes, certificate: Certificate) -> bool:
    """Whether that is the private key of the certificate."""
    try:
        read_key = load_pem_private_key(key, None)
    except _UNREADABLE:
        return False
    return isinstance(read_key, ec.EllipticCurvePrivateKey) and _public(read_key.public_key()) == certificate.public


def _read(pem: bytes) -> Certificate | None:
    try:
        parsed = x509.load_pem_x509_certificate(pem)
        key = parsed.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            return None
        basic = parsed.extensions.get_extension_for_class(x509.BasicConstraints).value
        return Certificate(
            pem=pem.strip() + b"\n",
            since=parsed.not_valid_before_utc,
            until=parsed.not_valid_after_utc,
            roles=_roles(parsed),
            authority=basic.ca,
            public=_public(key),
            parsed=parsed,
        )
    except _UNREADABLE:
        return None


def _roles(parsed: x509.Certificate) -> frozenset[str]:
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(names.get_values_for_type(x509.DNSName))


def _key(entropy: Entropy) -> ec.EllipticCurvePrivateKey:
    # 64 bits more than the order has: every key is as likely as another, to within 2^-64 (FIPS 186-5, A.2.1).
    return ec.derive_private_key(int.from_bytes(entropy(40), "big") % (_ORDER - 1) + 1, ec.SECP256R1())


def _serial(entropy: Entropy) -> int:
    return int.from_bytes(entropy(16), "big") | 1


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    serial: int,
    now: datetime,
    until: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(now - BACKDATE)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pair(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> Pair:
    signed = builder.sign(signer, hashes.SHA256(), ecdsa_deterministic=True)
    return Pair(
        certificate=signed.public_bytes(Encoding.PEM),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _public(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
