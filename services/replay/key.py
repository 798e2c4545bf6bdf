"""The store key: what makes the ids of examples unguessable from outside the store.

A plain digest of a text would let anyone who has a candidate text prove that the store holds it.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from pathlib import Path

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Message, messages_to_json
from ..secret import secret_key

ID_BYTES = 16


class StoreKey:
    """The secret of one data folder, `keys/store.key`."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def open(cls, folder: Path, *, create: bool) -> StoreKey:
        """Reads the key of a data folder, or makes it where that is allowed.

        Raises:
            RecollectError: STORAGE_CORRUPT where the key is missing and may not be made anew,
                or is not a key.
        """
        return cls(secret_key(folder / "keys" / "store.key", create=create))

    def example_id(self, source: str, messages: Sequence[Message]) -> str:
        """The id of an example: equal source and messages, equal id; 32 hex digits.

        Raises:
            RecollectError: INPUT_ENCODING where a message holds half a surrogate pair.
        """
        content = to_utf8(f"{source}\0{messages_to_json(messages)}")
        return hmac.digest(self._secret, content, "sha256")[:ID_BYTES].hex()


def to_utf8(text: str) -> bytes:
    """The bytes of a text that can be stored; the refusal does not quote it."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise RecollectError(
            Reason.INPUT_ENCODING,
            "a text holds half a surrogate pair, which UTF-8 cannot write",
            fix="Repair the input: an escape such as \\ud83d must be followed by its other half.",
        ) from None
