"""Authentication: from what a call carries to the principal that makes it."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import NoReturn

from ...mixer.errors import CATALOG, Reason, RecollectError
from ..status import Context
from .credentials import Credential, compare_with_nothing, id_in
from .principal import DEFAULT_TENANT, Principal
from .register import CredentialRegister
from .scopes import SCOPES, Scope

_AUTHORIZATION = "authorization"
_EVERYTHING = frozenset(Scope)


class Authenticator:
    """Knows the register and how the service listens."""

    def __init__(self, register: CredentialRegister, *, owner: str, insecure: bool = False) -> None:
        """Reads nothing yet.

        Args:
            register: the credentials.
            owner: who is recorded for calls over the Unix socket, which is its owner's alone.
            insecure: whether to answer anybody over TCP as long as no credential was ever issued.
        """
        self._register = register
        self._owner = Principal(holder=owner, tenant=DEFAULT_TENANT, scopes=_EVERYTHING)
        self._anybody = Principal(holder="anonymous", tenant=DEFAULT_TENANT, scopes=_EVERYTHING)
        self._insecure = insecure

    def principal(self, context: Context) -> Principal:
        """Who makes a call; a token says so before a certificate does, and that before a socket.

        Raises:
            RecollectError: CREDENTIAL_MISSING, CREDENTIAL_UNKNOWN, CREDENTIAL_EXPIRED,
                CREDENTIAL_REVOKED, or INTERNAL while the register cannot be read.
        """
        try:
            token = _bearer_token(context)
            if token is not None:
                return self._of_token(token)
            for certificate in context.auth_context().get("x509_pem_cert", ()):
                return self._of_certificate(bytes(certificate))
            if context.peer().startswith("unix:"):
                return self._owner
            # An expired or revoked credential counts: revoking the last must not open the door.
            if self._insecure and not self._register.all():
                return self._anybody
        except RecollectError as error:
            raise _public(error) from None
        raise RecollectError(Reason.CREDENTIAL_MISSING, "the call carries no credential.")

    def require(self, principal: Principal, method: str) -> None:
        """Refuses what the scopes of a principal do not allow; SCOPE_MISSING."""
        allowed = SCOPES.get(method, frozenset())
        if not principal.scopes & allowed:
            wanted = ", ".join(sorted(allowed - {Scope.ADMIN})) or Scope.ADMIN
            raise RecollectError(
                Reason.SCOPE_MISSING,
                f"the credential does not allow this call, which needs the scope {wanted}.",
                where=method.rpartition("/")[2],
            )

    def confirm(self, principal: Principal) -> None:
        """Refuses a principal whose credential has ended since the call began."""
        if principal.credential_id is None:
            return
        try:
            credential = self._register.of_id(principal.credential_id)
            if credential is None:
                _refuse(Reason.CREDENTIAL_REVOKED)
            self._require_valid(credential)
        except RecollectError as error:
            raise _public(error) from None

    def _of_token(self, token: str) -> Principal:
        credential_id = id_in(token)
        credential = None if credential_id is None else self._register.of_id(credential_id)
        if credential is None:
            compare_with_nothing(token)
            _refuse(Reason.CREDENTIAL_UNKNOWN)
        if not credential.is_proven_by(token):
            _refuse(Reason.CREDENTIAL_UNKNOWN)
        # Only whoever holds the token learns that it has ended.
        return self._require_valid(credential).principal

    def _of_certificate(self, pem: bytes) -> Principal:
        not_after, identities = _read_certificate(pem)
        # The handshake looked at the dates; a connection outlives them.
        if self._register.clock() >= not_after:
            _refuse(Reason.CREDENTIAL_EXPIRED)
        for identity in identities:
            credential = self._register.of_identity(identity)
            if credential is not None:
                return self._require_valid(credential).principal
        _refuse(Reason.CREDENTIAL_UNKNOWN)

    def _require_valid(self, credential: Credential) -> Credential:
        state = credential.state(self._register.clock())
        if state == "revoked":
            _refuse(Reason.CREDENTIAL_REVOKED)
        if state == "expired":
            _refuse(Reason.CREDENTIAL_EXPIRED)
        return credential


def _bearer_token(context: Context) -> str | None:
    """The token in the metadata; CREDENTIAL_UNKNOWN where there is something else, or several."""
    values = [value for key, value in context.invocation_metadata() or () if key == _AUTHORIZATION]
    if not values:
        return None
    scheme, _, token = str(values[0]).partition(" ")
    if len(values) > 1 or scheme.lower() != "bearer" or not token.strip().isascii():
        _refuse(Reason.CREDENTIAL_UNKNOWN)
    return token.strip()


@functools.lru_cache(maxsize=1024)
def _read_certificate(pem: bytes) -> tuple[datetime, tuple[str, ...]]:
    # Here, because a trainer's installation, whose command line knows this room, has it not.
    from cryptography import x509

    from .identities import identities_in

    certificate = x509.load_pem_x509_certificate(pem)
    return certificate.not_valid_after_utc, identities_in(certificate)


def _refuse(reason: Reason) -> NoReturn:
    raise RecollectError(reason, CATALOG[reason].public)


def _public(error: RecollectError) -> RecollectError:
    """What a caller may know who has not shown a credential: nothing of the register's file."""
    if CATALOG[error.reason].status == "UNAUTHENTICATED":
        return error
    return RecollectError(Reason.INTERNAL, "the service cannot check credentials at the moment.")
