"""Manifests: what the ledger says of a segment, so that its file can be proven to be the one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..ledger import JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentManifest:
    """A segment as its ledger entry describes it."""

    segment_id: str
    source: str
    path: str
    """Its file, relative to the data folder."""
    num_examples: int
    num_characters: int
    num_bytes: int
    sha256: str
    """SHA-256 of the file, in hex."""
    content_digest: str
    """SHA-256 over its example ids in order, in hex: does not depend on how they are encoded."""
    policies: tuple[str, ...]
    """Versions of the de-identification policies that made its examples, sorted."""
    findings: tuple[tuple[str, int], ...]
    """What was found and replaced in it: (entity type, count), sorted by type."""

    def to_body(self) -> dict[str, JSON]:
        """What the ledger holds of it."""
        body: dict[str, JSON] = {field.name: getattr(self, field.name) for field in fields(self)}
        body["findings"] = dict(self.findings)
        return body

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> SegmentManifest:
        """The manifest that `to_body` described."""
        return cls(
            **{
                **body,
                "policies": tuple(body["policies"]),
                "findings": tuple(sorted(body["findings"].items())),
            }
        )


def digest_of_ids(example_ids: Iterable[str]) -> str:
    """The content digest of a segment that holds these examples in this order."""
    digest = hashlib.sha256()
    for example_id in example_ids:
        digest.update(bytes.fromhex(example_id))
    return digest.hexdigest()


def total_findings(parts: Iterable[tuple[tuple[str, int], ...]]) -> tuple[tuple[str, int], ...]:
    """The sums of several findings, sorted by entity type."""
    totals: dict[str, int] = {}
    for part in parts:
        for entity_type, count in part:
            totals[entity_type] = totals.get(entity_type, 0) + count
    return tuple(sorted(totals.items()))
