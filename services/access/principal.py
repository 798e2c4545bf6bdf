"""The principal: on whose behalf a call is made."""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass

from ...mixer.errors import Reason, RecollectError
from .scopes import Scope

DEFAULT_TENANT = "default"
"""The tenant whose rooms lie in the data folder itself."""
TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""What a tenant may be called: its name is also the name of a folder."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """Who asks."""

    holder: str
    """The name that the ledger records."""
    tenant: str
    scopes: frozenset[Scope]
    credential_id: str | None = None
    """The credential that was shown; None on a Unix socket, or where none is needed."""


_acting: ContextVar[Principal | None] = ContextVar("principal", default=None)


def acting_principal() -> Principal | None:
    """Who makes the call that is being answered; None outside of calls."""
    return _acting.get()


def act_as(principal: Principal) -> None:
    """From here on the current call is this principal's, also in threads that copy its context."""
    _acting.set(principal)


def require_tenant_name(name: str) -> str:
    """The name, if a tenant may be called so; raises CONFIG_INVALID."""
    if TENANT.fullmatch(name) is None:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"{name!r:.80} cannot be the name of a tenant.",
            where="tenant",
            fix="Use up to 63 small letters, digits and hyphens.",
        )
    return name
