"""The refusal of a model folder whose tokenizer cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...mixer.errors import Reason, RecollectError
from ...v1.tokenizer import FIX, TOKENIZER_FILE, UnusableTokenizer


def unusable(message: str, *, where: str = TOKENIZER_FILE, fix: str = FIX) -> RecollectError:
    """The refusal of a model folder."""
    return RecollectError(Reason.MODEL_UNUSABLE, message, where=where, fix=fix)


@contextmanager
def reading() -> Iterator[None]:
    """While a model folder is read: raises MODEL_UNUSABLE for what is wrong with it."""
    try:
        yield
    except UnusableTokenizer as error:
        raise unusable(str(error), where=error.where, fix=error.fix) from error
