"""Certificates for development: a CA of one's own, and what it signs.

ECDSA on P-256: the TLS of gRPC (BoringSSL) accepts no Ed25519 certificates. Keys are readable by
their owner alone. Who has a CA already uses that, and names its files in the configuration.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ...mixer.errors import Reason, RecollectError
from ..durable import atomic_file, storage
from .register import Clock, now_in_utc

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
"""What a server's certificate always holds."""
CA_DAYS = 3650.0
_EARLIER = timedelta(minutes=5)
"""Certificates are valid from a little before, for clocks that go late."""
_USAGES = {
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Files of a certificate and of its key."""

    certificate: Path
    key: Path


class DevelopmentCA:
    """A certificate authority in a folder, made when it is first needed."""

    def __init__(self, folder: Path, *, clock: Clock = now_in_utc) -> None:
        self.folder = folder
        self.pair = Pair(certificate=folder / "ca.pem", key=folder / "ca.key")
        self._clock = clock
        if not self.pair.key.exists():
            self._make()
        self._key = _load_key(self.pair.key)
        self._certificate = load_certificate(self.pair.certificate)

    def server(self, hosts: Sequence[str], *, days: float) -> Pair:
        """A new certificate for the service, in place of the one before."""
        names = [_host(name) for name in dict.fromkeys((*LOCAL_NAMES, *hosts))]
        return self._sign("server", "recollect", names, days=days, usage="server")

    def client(self, file: str, identity: str, holder: str, *, days: float) -> Pair:
        """A new certificate for a client, with one URI as its name."""
        names = [x509.UniformResourceIdentifier(identity)]
        return self._sign(f"client-{file}", holder, names, days=days, usage="client")

    def _make(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("Recollect development CA")
        builder = self._builder(name, name, key, CA_DAYS)
        usage = x509.KeyUsage(
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
        builder = builder.add_extension(usage, critical=True).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        _write(self.pair, key, builder.sign(key, hashes.SHA256()))

    def _sign(
        self,
        file: str,
        common_name: str,
        names: Sequence[x509.GeneralName],
        *,
        days: float,
        usage: str,
    ) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_name(common_name[:64]), self._certificate.subject, key, days)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = (
            builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([_USAGES[usage]]), critical=False)
            .add_extension(issuer, critical=False)
        )
        pair = Pair(certificate=self.folder / f"{file}.pem", key=self.folder / f"{file}.key")
        _write(pair, key, builder.sign(self._key, hashes.SHA256()))
        return pair

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: float
    ) -> x509.CertificateBuilder:
        now = self._clock()
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _EARLIER)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(identifier, critical=False)
        )


def load_certificate(path: Path) -> x509.Certificate:
    """The first certificate of a PEM file; raises CONFIG_INVALID where there is none."""
    with storage(path):
        content = path.read_bytes()
    return parse_certificate(content, path)


def parse_certificate(content: bytes, path: Path) -> x509.Certificate:
    """The first certificate in a PEM text; raises CONFIG_INVALID naming its file."""
    try:
        return x509.load_pem_x509_certificate(content)
    except ValueError:
        raise _unusable(path, "holds no certificate in PEM") from None


def require_pair(certificate: bytes, key: bytes, pair: Pair) -> x509.Certificate:
    """The certificate, if the key is its own; raises CONFIG_INVALID."""
    found = parse_certificate(certificate, pair.certificate)
    private = _parse_key(key, pair.key)
    if private.public_key() != found.public_key():
        raise _unusable(pair.key, f"is not the key of {pair.certificate.name}")
    return found


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether an issuer's key signed a certificate."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    with storage(path):
        content = path.read_bytes()
    key = _parse_key(content, path)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _unusable(path, "is no key of ours")
    return key


def _parse_key(content: bytes, path: Path) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _unusable(path, "holds no unencrypted private key in PEM") from None


def _unusable(path: Path, what: str) -> RecollectError:
    return RecollectError(
        Reason.CONFIG_INVALID,
        f"the file {what}.",
        where=str(path),
        fix="Name a certificate and its key, or make them: `recollect access certificate create`.",
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"{name!r:.80} cannot be the name of a host.",
            where="--host",
            fix="Write names in ASCII (xn--…), or addresses.",
        ) from None


def _write(pair: Pair, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    # A server that reads between the two sees that they do not match, and keeps what it had.
    with atomic_file(pair.key) as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    with atomic_file(pair.certificate) as file:
        file.write(certificate.public_bytes(serialization.Encoding.PEM))
