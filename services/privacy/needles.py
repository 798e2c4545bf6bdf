"""Needles: many values looked for at once in bytes, in the spellings that software gives them.

A text that was written somewhere is seldom lost by its letters, but by its spelling: a ledger
escapes it, a header packs it into base64, a log breaks its line. Each value is looked for in all of
these; ten thousand values cost little more than ten.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

PLAIN, ESCAPED, BASE64 = "", "escaped", "base64"
_WINDOW = 8
"""Bytes of a needle by which places are picked; a shorter one is looked for by itself."""
_SHORTEST_BASE64 = 8
"""Fewer characters of base64 stand somewhere by chance, since case is not told apart."""
_TABLE_BITS = 22
_FACTOR = np.uint64(0x9E3779B97F4A7C15)

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


class Needles:
    """The spellings of some values, to be found in bytes of any case."""

    def __init__(self, values: Sequence[str]) -> None:
        """Spells every value.

        Args:
            values: what is looked for, without regard to case; empty ones are nowhere.
        """
        self.longest = 0
        """Bytes of the longest spelling."""
        self._short: list[tuple[bytes, int, str]] = []
        self._long: dict[bytes, list[tuple[bytes, int, str]]] = defaultdict(list)
        for position, value in enumerate(values):
            for needle, spelling in spellings(value):
                self.longest = max(self.longest, len(needle))
                entry = (needle, position, spelling)
                if len(needle) < _WINDOW:
                    self._short.append(entry)
                else:
                    self._long[needle[:_WINDOW]].append(entry)
        heads = np.frombuffer(b"".join(self._long), "<u8")
        self._heads = np.sort(heads)
        self._table = np.zeros(1 << _TABLE_BITS, bool) if len(heads) else np.zeros(0, bool)
        self._table[_hashed(heads)] = True

    def found(self, haystack: bytes) -> Iterator[tuple[int, str]]:
        """(position of the value, spelling) of what stands in the bytes, perhaps repeatedly.

        Args:
            haystack: bytes in lower case (`lowered`).
        """
        for needle, position, spelling in self._short:
            if needle in haystack and _holds(haystack, needle):
                yield position, spelling
        for start in self._candidates(haystack):
            for needle, position, spelling in self._long[haystack[start : start + _WINDOW]]:
                if haystack.startswith(needle, start) and _is_apart(haystack, needle, start):
                    yield position, spelling

    def _candidates(self, haystack: bytes) -> list[int]:
        """Where the first bytes of a needle stand."""
        if not len(self._heads):
            return []
        found: list[int] = []
        for shift in range(min(_WINDOW, max(len(haystack) - _WINDOW + 1, 0))):
            count = (len(haystack) - shift) // _WINDOW
            words = np.frombuffer(haystack, "<u8", count, shift)
            maybe = np.flatnonzero(self._table[_hashed(words)])
            places = np.searchsorted(self._heads, words[maybe])
            places[places == len(self._heads)] = 0
            sure = maybe[self._heads[places] == words[maybe]]
            found += (sure * _WINDOW + shift).tolist()
        return found


def _hashed(words: Words) -> Places:
    return ((words * _FACTOR) >> np.uint64(64 - _TABLE_BITS)).astype(np.int64)


def lowered(block: bytes) -> bytes:
    """Bytes with their letters in lower case, where they are UTF-8; others stay as they are."""
    if block.isascii():
        return block.lower()
    # Letters beyond ASCII change case by more than one byte.
    text = block.decode("utf-8", errors="surrogateescape").lower()
    return text.encode("utf-8", errors="surrogateescape")


def spellings(value: str) -> dict[tuple[bytes, str], None]:
    """How a value may stand in bytes of lower case, each with the name of the spelling."""
    if not value:
        return {}
    cases = dict.fromkeys((value, value.lower(), value.upper()))
    found: dict[tuple[bytes, str], None] = {(_bytes(value.lower()), PLAIN): None}
    for case in cases:
        for escaped in _escaped(case):
            found.setdefault((lowered(_bytes(escaped)), ESCAPED))
        if not case.isascii():
            for encoding in ("utf-16-le", "utf-16-be"):
                wide = case.encode(encoding, errors="surrogatepass")
                found.setdefault((lowered(wide), "utf-16"))
        for encoding in ("utf-8", "utf-16-le"):
            packed = case.encode(encoding, errors="surrogatepass")
            found.update(dict.fromkeys((piece, BASE64) for piece in _base64(packed)))
    return found


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


def _escaped(value: str) -> Iterator[str]:
    """As in JSON, in an address of the web, and with line breaks for spaces."""
    in_json = json.dumps(value)[1:-1]
    for escaped in (in_json, in_json.replace("\\", "\\\\"), quote(value), quote(value, safe="")):
        if escaped != value:
            yield escaped
    inner = value.strip()
    if len(words := inner.split()) > 1:
        yield from (f"{gap}".join(words) for gap in ("\n", "\r\n", "\\n", "\\r\\n", "+", "_"))


def _base64(content: bytes) -> Iterator[bytes]:
    """The characters that stand for the bytes in base64, whatever stands before and behind them."""
    for ahead in range(3):
        packed = b64encode(bytes(ahead) + content)
        first = -(-ahead * 8 // 6)
        last = (ahead + len(content)) * 8 // 6
        piece = packed[first:last].lower()
        if len(piece) >= _SHORTEST_BASE64:
            yield piece
            if b"+" in piece or b"/" in piece:
                yield piece.replace(b"+", b"-").replace(b"/", b"_")


def _holds(haystack: bytes, needle: bytes) -> bool:
    """Whether the value stands there; a number within a longer number is another number."""
    if not needle.isdigit():
        return True
    return re.search(rb"(?<!\d)" + needle + rb"(?!\d)", haystack) is not None


def _is_apart(haystack: bytes, needle: bytes, start: int) -> bool:
    if not needle.isdigit():
        return True
    before, after = haystack[max(start - 1, 0) : start], haystack[start + len(needle) :][:1]
    return not (before.isdigit() or after.isdigit())


def all_found(blocks: Iterable[bytes], needles: Needles) -> Iterator[tuple[int, str]]:
    """What stands in blocks that follow one another, values across two of them included."""
    # One byte more than the longest: what stands before a value tells a number from a longer one.
    kept = 1 + needles.longest
    tail = b""
    for block in blocks:
        whole = tail + block
        yield from needles.found(lowered(whole))
        tail = whole[-kept:]
