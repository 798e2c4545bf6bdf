"""Which policy made something: a policy as it was at one moment, told by name and fingerprint."""

from __future__ import annotations

from dataclasses import dataclass

from .privacy import Policy


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyVersion:
    """Name, version and fingerprint of a policy."""

    name: str
    version: str
    fingerprint: str
    """SHA-256 over all of its values."""

    @classmethod
    def of(cls, policy: Policy) -> PolicyVersion:
        """As the policy is now."""
        return cls(name=policy.name, version=policy.version, fingerprint=policy.fingerprint)

    def __str__(self) -> str:
        return f"{self.name} {self.version} {self.fingerprint[:12]}"
