"""Encoded texts: what is said in Base64, in hexadecimal digits, or in words of a mail's head.

A reader sees letters at random; whoever decodes them sees an address. What they say is read like
any text, also where it is encoded or compressed once more, and replaced whole if it says an
identifier. Standards: RFC 4648 (Base64), RFC 2047 (encoded words), RFC 1950 and 1952 (zlib, gzip).
"""

from __future__ import annotations

import re
import zlib
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

MAX_DEPTH = 3
"""How often a text may be encoded."""
CUE = 48
"""Characters before an encoded text that are read with what it says."""
MOST_SAID = 1 << 16
"""Bytes of a compressed text that are read: the rest of a bomb stays folded, and is replaced."""
_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/_-])(?=[A-Za-z0-9+/_-]{12})(?:[A-Za-z0-9+/]{76}\r?\n|[A-Za-z0-9+/]{64}\r?\n){0,128}"
    r"(?=[A-Za-z]*[0-9A-Z+/_=-])[A-Za-z0-9+/_-]{12,200000}={0,2}(?![A-Za-z0-9+/=_-])"
)
_HEX = re.compile(
    r"(?<![0-9A-Za-z])(?=[0-9A-Fa-fx]{16})(?:0x)?"
    r"((?:[0-9a-f]{2}){8,100000}|(?:[0-9A-F]{2}){8,100000})(?!\w)"
)
_WORD = re.compile(
    r"=\?(utf-8|us-ascii|iso-8859-1|windows-1252)\?([bq])\?([^\s?]{1,1000})\?=", re.I
)
_URL_SAFE = str.maketrans("-_", "+/")
_LEAST_READABLE = 0.95
_COMPRESSED = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")


def encoded_texts(text: str) -> Iterator[tuple[int, int, str]]:
    """Each run of a text that is text itself: where it begins, where it ends, and what it says."""
    for match in _BASE64.finditer(text):
        said = _said(_from_base64(match.group()))
        if said is not None:
            yield match.start(), match.end(), said
    for match in _HEX.finditer(text):
        said = _said(bytes.fromhex(match[1]))
        if said is not None:
            yield match.start(), match.end(), said
    if "=?" in text:
        yield from _words(text)


def _words(text: str) -> Iterator[tuple[int, int, str]]:
    """The encoded words of a mail's head."""
    for match in _WORD.finditer(text):
        charset, way, body = match.groups()
        if way in "bB":
            raw = _from_base64(body)
        else:
            raw = unquote_to_bytes(body.replace("_", " ").replace("=", "%"))
        if raw is not None:
            yield match.start(), match.end(), raw.decode(charset, "replace")


def _from_base64(run: str) -> bytes | None:
    plain = "".join(run.split()).translate(_URL_SAFE).rstrip("=")
    try:
        return b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (NotBase64, ValueError):
        return None


def _said(raw: bytes | None) -> str | None:
    """The text that bytes are; None if they are none."""
    if raw is None:
        return None
    if raw.startswith(_COMPRESSED):
        raw = _unfolded(raw)
    try:
        said = raw.decode(_charset(raw))
    except UnicodeDecodeError:
        return None
    # Random letters seldom decode to letters and spaces.
    readable = sum(c.isprintable() or c.isspace() for c in said)
    return said if said and readable >= _LEAST_READABLE * len(said) else None


def _unfolded(raw: bytes) -> bytes:
    """Compressed bytes as they were, as many as are read; the same if they are not compressed."""
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)
    try:
        # What is cut off may have cut a character in two.
        return unzip.decompress(raw, MOST_SAID).decode(errors="ignore").encode()
    except zlib.error:
        return raw


def _charset(raw: bytes) -> str:
    if raw.count(0) * 3 < len(raw):
        return "utf-8"
    return "utf-16-be" if raw[::2].count(0) > raw[1::2].count(0) else "utf-16-le"
