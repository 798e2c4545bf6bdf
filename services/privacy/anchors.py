"""Anchors: where in a text a pattern can match at all, derived from the pattern itself.

Three things can be read off a pattern's parse: what each of its matches begins with, whether each
holds a digit, and how many characters it takes to decide a match. A pattern then needs to be tried
at those beginnings only, or around digits only, with the very same matches. What cannot be read off
(an unknown construct, an unbounded repeat) leaves the pattern to be tried everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

# The standard library's own parser of patterns; private, so whatever fails below tries everywhere.
_PARSER: Any = import_module("re._parser")
_MAX_PREFIXES = 256
MAX_CHARACTERS = 4
"""Characters of a beginning that are looked for: more would make them many."""
_MAX_DIGITS = 100
# What `regex` knows and `re` does not: the cue is dropped from a match, a class by its property.
_KEEP = re.compile(r"\\K")
_PROPERTY = re.compile(r"\\p\{\w+\}")
# What `re` would read as something else: POSIX classes, approximate matching.
_STRANGE = re.compile(r"\[\[:|\{[^},]*[<=>]|\{[eids]\b")
_FLAGS = re.IGNORECASE | re.MULTILINE | re.DOTALL


@dataclass(frozen=True, kw_only=True, slots=True)
class Anchor:
    """Where a pattern can match."""

    beginnings: frozenset[str] | None = None
    """What matches begin with, in lower case (see `lower_case`); the cue that one drops included.
    """
    at_word: bool = False
    """No letter stands before a match, and if it begins with none, no digit or underscore."""
    num_digits: int = 0
    """Digits among the characters that decide a match, from its beginning on, at least."""
    reach: int | None = None
    """Characters from a match's beginning on that decide it; None without bound."""


def lower_case(text: str) -> str:
    """The text in lower case, as long as it was; letters that `regex` takes for one are one."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = "".join(c if len(c.lower()) > 1 else c.lower() for c in text)
    return lowered if lowered.isascii() else lowered.replace("\N{LATIN SMALL LETTER LONG S}", "s")


def anchor_of(pattern: str, flags: int) -> Anchor:
    """What the matches of a pattern of `re` or `regex` have in common."""
    if _STRANGE.search(pattern):
        return Anchor()
    try:
        plain = _PROPERTY.sub(r"\\w", _KEEP.sub("", pattern))
        parsed = list(_PARSER.parse(plain, flags & int(_FLAGS)))
        return Anchor(
            beginnings=_beginnings(parsed),
            at_word=_is_at_word(parsed),
            num_digits=_num_digits(parsed)[1],
            reach=_reach(parsed)[1],
        )
    except Exception:
        return Anchor()


def _name(item: Any) -> str:
    return str(item[0])


def _is_at_word(parsed: Sequence[Any]) -> bool:
    """Whether a boundary, or the absence of a word's character before it, leads the items.

    Only told of what begins with a word's character: a boundary before a sign is the end of a word.
    """
    for item in parsed:
        name, value = _name(item), item[1]
        if name == "AT" and str(value) == "AT_BOUNDARY":
            return True
        if name == "ASSERT_NOT" and value[0] < 0 and _is_word_class(list(value[1])):
            return True
        if not name.startswith(("AT", "ASSERT")):
            return False
    return False


def _is_word_class(parsed: Sequence[Any]) -> bool:
    members = parsed[0][1] if len(parsed) == 1 and _name(parsed[0]) == "IN" else []
    words = [m for m in members if _name(m) == "CATEGORY" and str(m[1]) == "CATEGORY_WORD"]
    return bool(words) and _name(members[0]) != "NEGATE"


def _beginnings(parsed: Sequence[Any]) -> frozenset[str] | None:
    """What matches begin with; None if that is not all known."""
    still, done = _prefixes(parsed, {""})
    found = still | done
    return None if "" in found or len(found) > _MAX_PREFIXES else frozenset(found)


def _prefixes(parsed: Sequence[Any], begun: set[str]) -> tuple[set[str], set[str]]:
    """What matches may begin with: prefixes that go on behind the items, and those that ended."""
    done: set[str] = set()
    for item in parsed:
        if not begun or len(begun) > _MAX_PREFIXES:
            break
        name = _name(item)
        if name.startswith(("AT", "ASSERT")):
            continue
        if name == "SUBPATTERN":
            begun, ended = _prefixes(item[1][3], begun)
        elif name.endswith("REPEAT") and item[1][1] == 1:
            taken, ended = _prefixes(item[1][2], begun)
            begun = taken | (begun if item[1][0] == 0 else set())
        elif name == "BRANCH":
            both = [_prefixes(branch, begun) for branch in item[1][1]]
            begun = {prefix for still, _ in both for prefix in still}
            ended = {prefix for _, stopped in both for prefix in stopped}
        else:
            characters = _characters(item)
            ended = set() if characters else begun
            begun = {prefix + character for prefix in begun for character in characters}
        done |= ended
        long = {prefix for prefix in begun if len(prefix) >= MAX_CHARACTERS}
        done, begun = done | long, begun - long
    return begun, done


def _characters(item: Any) -> set[str]:
    """The characters, in lower case, that an item stands for if they are few."""
    name, value = _name(item), item[1]
    if name == "LITERAL":
        codes = [value]
    elif name == "IN" and len(value) <= 4 and all(_name(m) == "LITERAL" for m in value):
        codes = [member[1] for member in value]
    else:
        return set()
    return {lower_case(chr(code)) for code in codes}


def _num_digits(parsed: Iterable[Any]) -> tuple[int, int]:
    """How many digits the items take at least, and how many they take or ask for ahead."""
    taken, seen = 0, 0
    for item in parsed:
        takes, sees = _num_digits_of(item)
        seen = max(seen, taken + sees)
        taken += takes
    return taken, seen


def _num_digits_of(item: Any) -> tuple[int, int]:
    name, value = _name(item), item[1]
    takes, sees = 0, 0
    if name == "LITERAL":
        takes = int(chr(value).isdecimal())
    elif name == "IN":
        takes = int(all(map(_is_digit_class, value)))
    elif name.endswith("REPEAT"):
        least = min(value[0], _MAX_DIGITS)
        takes, sees = _num_digits(value[2]) if least else (0, 0)
        takes *= least
    elif name == "SUBPATTERN":
        takes, sees = _num_digits(value[3])
    elif name == "ATOMIC_GROUP":
        takes, sees = _num_digits(value)
    elif name == "BRANCH":
        every = [_num_digits(branch) for branch in value[1]]
        takes, sees = min(t for t, _ in every), min(s for _, s in every)
    elif name == "ASSERT" and value[0] > 0:
        sees = _num_digits(value[1])[1]
    return takes, max(takes, sees)


def _is_digit_class(member: Any) -> bool:
    name, value = _name(member), member[1]
    if name == "LITERAL":
        return chr(value).isdecimal()
    if name == "RANGE":
        return bool(value[0] >= 48 and value[1] <= 57)
    return name == "CATEGORY" and str(value) == "CATEGORY_DIGIT"


def _reach(parsed: Iterable[Any]) -> tuple[int | None, int | None]:
    """How many characters the items take at most, and how far they look; None without bound."""
    taken, seen = 0, 0
    for item in parsed:
        takes, sees = _reach_of(item)
        if sees is None:
            return None, None
        seen = max(seen, taken + sees)
        if takes is None:
            return None, None
        taken += takes
    return taken, seen


def _reach_of(item: Any) -> tuple[int | None, int | None]:
    name, value = _name(item), item[1]
    if name == "AT":
        return 0, 1
    if name in ("ASSERT", "ASSERT_NOT"):
        return 0, _reach(value[1])[1] if value[0] > 0 else 0
    if name == "SUBPATTERN":
        return _reach(value[3])
    if name == "ATOMIC_GROUP":
        return _reach(value)
    if name == "BRANCH":
        return _most(map(_reach, value[1]))
    if name.endswith("REPEAT"):
        takes, sees = _reach(value[2])
        if takes is None or sees is None or value[1] is _PARSER.MAXREPEAT:
            return None, None
        return takes * value[1], max(takes * (value[1] - 1), 0) + sees
    if name in ("LITERAL", "NOT_LITERAL", "IN", "ANY", "RANGE", "CATEGORY"):
        return 1, 1
    return None, None


def _most(reaches: Iterable[tuple[int | None, int | None]]) -> tuple[int | None, int | None]:
    taken, seen = zip(*reaches, strict=True)
    return (
        None if None in taken else max(taken),
        None if None in seen else max(seen),
    )
