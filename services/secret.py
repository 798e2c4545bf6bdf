"""Secret keys: made once, readable by their owner alone, and never made anew over data."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from ..mixer.errors import Reason, RecollectError
from .durable import atomic_file, make_folder, storage

KEY_BYTES = 32


def secret_key(path: Path, *, create: bool) -> bytes:
    """The key in a file: 32 bytes.

    Args:
        path: the file.
        create: whether to make the key if there is none; only where nothing depends on it yet.

    Raises:
        RecollectError: STORAGE_CORRUPT where the key is missing and may not be made anew, or is
            no key; STORAGE_FULL; STORAGE_FAILED.
    """
    with storage(path):
        if create and not path.exists():
            _create(path)
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            key = b""
    if len(key) != KEY_BYTES:
        raise RecollectError(
            Reason.STORAGE_CORRUPT,
            f"the key file has {len(key)} bytes where {KEY_BYTES} belong",
            where=str(path),
            fix=f"Restore keys/{path.name} from a copy: what is stored depends on it.",
        )
    return key


def key_id(key: bytes) -> str:
    """32 hex digits that stand for a key of surrogates, and tell nothing of it."""
    return hmac.new(key, b"recollect surrogate key id", hashlib.sha256).hexdigest()[:32]


def _create(path: Path) -> None:
    make_folder(path.parent)
    os.chmod(path.parent, 0o700)
    # A name with half a key under it must never exist.
    with atomic_file(path) as file:
        file.write(secrets.token_bytes(KEY_BYTES))
