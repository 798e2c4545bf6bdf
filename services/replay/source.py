"""Sources: named streams of examples, each with its role, licence and legal basis."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Purpose, Role
from ..ledger import JSON

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The properties of a source, which never change once it is registered."""

    name: str
    """Lower-case letters, digits and underscores, a letter first, 64 at most."""
    role: Role
    purpose: Purpose
    licence: str
    """SPDX identifier or name of the licence."""
    legal_basis: str
    """Why the data may be processed, such as contract, consent or public."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"{self.name[:80]!r} cannot name a source",
                where="source.name",
                fix="Use up to 64 lower-case letters, digits and underscores, a letter first.",
            )
        for field in ("licence", "legal_basis"):
            if not getattr(self, field).strip():
                raise RecollectError(
                    Reason.CONFIG_INVALID,
                    f"source {self.name} does not state its {field}",
                    where=f"source.{field}",
                    fix="An auditor will ask; state it.",
                )

    def to_body(self) -> dict[str, JSON]:
        """What the ledger holds of it."""
        return {
            "name": self.name,
            "role": self.role.value,
            "purpose": self.purpose.value,
            "licence": self.licence,
            "legal_basis": self.legal_basis,
        }

    @classmethod
    def from_body(cls, body: Mapping[str, JSON]) -> Source:
        """The source that `to_body` described."""
        return cls(
            name=str(body["name"]),
            role=Role(str(body["role"])),
            purpose=Purpose(str(body["purpose"])),
            licence=str(body["licence"]),
            legal_basis=str(body["legal_basis"]),
        )
