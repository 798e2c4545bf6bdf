"""Where the stand-ins of a stored example are, sealed under the key of the surrogates.

An audit must tell a stand-in from an identifier that survived, and by their looks nobody can: that
is what hides a survivor among stand-ins from everybody else (hiding in plain sight, Carrell et al.
2013). So the places are kept, but readable with the key alone. The seal is bound to the example
(AES-SIV, RFC 5297: equal places, equal bytes), and its length tells no more than the counts beside
it do.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...mixer.errors import Reason, RecollectError

_VERSION = b"recollect stand-ins 1"
_PADDING = 32
_KEY_BYTES = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class StandIn:
    """A stand-in in a stored example: characters `start` up to `end` of one of its messages."""

    entity_type: str
    """Of what it stands for."""
    message: int
    start: int
    end: int


class PlaceSeal:
    """Seals and opens places with a key that is derived from the surrogates' own."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derived = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_VERSION)
        self._cipher = AESSIV(derived.derive(key))

    def sealed(self, example_id: str, stand_ins: Sequence[StandIn]) -> bytes:
        """The places, readable with the key alone, and only as those of this example."""
        flat: dict[str, list[int]] = defaultdict(list)
        for one in stand_ins:
            flat[one.entity_type] += (one.message, one.start, one.end)
        plain = json.dumps(flat, sort_keys=True, separators=(",", ":")).encode()
        padded = plain.ljust(-(-len(plain) // _PADDING) * _PADDING)
        return self._cipher.encrypt(padded, [_VERSION, example_id.encode()])

    def opened(self, example_id: str, sealed: bytes) -> tuple[StandIn, ...]:
        """The places that were sealed, by message and start.

        Raises:
            RecollectError: STORAGE_CORRUPT where they are another example's, changed, or sealed
                under another key.
        """
        from cryptography.exceptions import InvalidTag

        try:
            plain = self._cipher.decrypt(sealed, [_VERSION, example_id.encode()])
            flat: dict[str, list[int]] = json.loads(plain)
        except (InvalidTag, ValueError):
            raise RecollectError(
                Reason.STORAGE_CORRUPT,
                "the places of its stand-ins cannot be opened",
                where=f"example {example_id}",
                fix="Restore keys/surrogate.key, or the segment, from a copy.",
            ) from None
        found = [one for kind, numbers in flat.items() for one in _triples(kind, numbers)]
        return tuple(sorted(found, key=lambda one: (one.message, one.start)))


def _triples(entity_type: str, numbers: list[int]) -> Iterable[StandIn]:
    steps = iter(numbers)
    for message, start, end in zip(steps, steps, steps, strict=True):
        yield StandIn(entity_type=entity_type, message=message, start=start, end=end)


def places(ranges: Sequence[tuple[int, int]], replacements: Iterable[Any]) -> tuple[StandIn, ...]:
    """Where stand-ins are in the messages that come out.

    Args:
        ranges: where each message was in the text that went in.
        replacements: in text order, each with the `finding` in that text and the `surrogate`.
    """
    found: list[StandIn] = []
    message, shift = 0, 0
    for one in replacements:
        finding = one.finding
        while finding.start >= ranges[message][1]:
            message, shift = message + 1, 0
        start = finding.start - ranges[message][0] + shift
        end = start + len(one.surrogate)
        shift += len(one.surrogate) - len(finding)
        if start < end:
            found.append(
                StandIn(entity_type=finding.entity_type, message=message, start=start, end=end)
            )
    return tuple(found)
