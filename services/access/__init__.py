"""Access: who may ask for what, and in which tenant.

A *credential* (a token or a client certificate) names a holder, a tenant and scopes; the *register*
keeps them in one file; the *gate* lets no call through before it knows the *principal* and has
found its scope in the one table of `scopes`.
"""

from .authentication import Authenticator
from .credentials import Credential, new_token
from .gate import Gate
from .principal import DEFAULT_TENANT, Principal, acting_principal
from .register import CredentialRegister
from .scopes import OPEN_METHODS, SCOPES, Scope

__all__ = [
    "DEFAULT_TENANT",
    "OPEN_METHODS",
    "SCOPES",
    "Authenticator",
    "Credential",
    "CredentialRegister",
    "Gate",
    "Principal",
    "Scope",
    "acting_principal",
    "new_token",
]
