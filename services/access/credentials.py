"""Credentials: tokens and client certificates, as the register keeps them.

A token has 256 random bits and is shown once. Only its SHA-256 is kept: a digest without salt is
enough where nothing can be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from .principal import TENANT, Principal
from .scopes import Scope

_TOKEN = re.compile(r"rcl_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_NOBODY = hashlib.sha256(b"").hexdigest()

Name = Annotated[
    str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")
]


class Credential(BaseModel):
    """One entry of the register."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    credential_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
    kind: Literal["token", "certificate"]
    holder: Name
    tenant: Annotated[str, StringConstraints(pattern=f"^{TENANT.pattern}$")]
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    proof: Annotated[str, StringConstraints(min_length=1, max_length=2048)]
    """Of a token its SHA-256 in hex; of a certificate the name that it carries, as `URI:…`."""
    issued_at: AwareDatetime
    issued_by: Name
    expires_at: AwareDatetime
    revoked_at: AwareDatetime | None = None
    revoked_by: Name | None = None

    @property
    def principal(self) -> Principal:
        """Whom it stands for."""
        return Principal(
            holder=self.holder,
            tenant=self.tenant,
            scopes=frozenset(self.scopes),
            credential_id=self.credential_id,
        )

    def is_proven_by(self, token: str) -> bool:
        """Whether this is the token; takes the same time whatever the answer."""
        return self.kind == "token" and hmac.compare_digest(digest_of(token), self.proof)

    def state(self, now: datetime) -> Literal["valid", "revoked", "expired"]:
        """What it is worth at a moment."""
        if self.revoked_at is not None:
            return "revoked"
        return "valid" if now < self.expires_at else "expired"


def new_id() -> str:
    """The name of a new credential; no secret."""
    return secrets.token_hex(6)


def new_token(credential_id: str) -> str:
    """A token that nobody has seen yet."""
    return f"rcl_{credential_id}_{secrets.token_urlsafe(32)}"


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def id_in(token: str) -> str | None:
    """The id of the credential that a token claims to be; None where it is no token of ours."""
    found = _TOKEN.fullmatch(token)
    return found[1] if found else None


def compare_with_nothing(token: str) -> None:
    """As much work as comparing a token, so that time does not tell which ids exist."""
    hmac.compare_digest(digest_of(token), _NOBODY)
