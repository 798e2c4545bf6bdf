"""Seals what belongs to a row and is for the holder of the key alone (AES-SIV, RFC 5297)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from ....mixer.errors import Reason, RecollectError

_VERSION = b"recollect rows 1"
_KEY_BYTES = 64
_PADDING = 64


def bound_to(texts: Sequence[str]) -> bytes:
    """What a seal is bound to that belongs to these texts."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).digest()


class RowSeal:
    """Seals and opens values with a key that is derived from the surrogates' own."""

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        derived = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_VERSION)
        self._cipher = AESSIV(derived.derive(key))

    def sealed(self, bound: bytes, value: Any) -> str:
        """The value as Base64, readable with the key alone and where it is bound to."""
        plain = json.dumps(value, separators=(",", ":")).encode()
        padded = plain.ljust(-(-len(plain) // _PADDING) * _PADDING)
        return base64.b64encode(self._cipher.encrypt(padded, [_VERSION, bound])).decode()

    def opened(self, bound: bytes, sealed: str) -> Any:
        """The value that was sealed.

        Raises:
            RecollectError: INPUT_MALFORMED where it was changed, belongs elsewhere, or was sealed
                under another key.
        """
        from cryptography.exceptions import InvalidTag

        try:
            return json.loads(self._cipher.decrypt(base64.b64decode(sealed), [_VERSION, bound]))
        except (InvalidTag, ValueError):
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                "what is sealed in the row cannot be opened",
                fix="Give the key that made the file; a row that was changed cannot be opened.",
            ) from None
