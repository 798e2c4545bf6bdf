"""Identities: the names that a client certificate carries, each with its kind."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID


def identities_in(certificate: x509.Certificate) -> tuple[str, ...]:
    """`URI:…`, then `DNS:…`; or `CN:…`, which counts only where there is no alternative name.

    The kind is part of the identity, so that a DNS name cannot pose as a URI.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return tuple(f"CN:{name.value!s}" for name in common[:1])
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    hosts = names.get_values_for_type(x509.DNSName)
    return (*(f"URI:{uri}" for uri in uris), *(f"DNS:{host.lower()}" for host in hosts))
