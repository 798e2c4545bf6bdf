"""Stand-ins of national numbers: in their shape, and never one that an office has given out."""

from __future__ import annotations

import regex

from .draw import Draw

_SHAPES = (
    # British: no prefix begins with Q (HMRC NIM39110).
    (regex.compile(r"[A-Z][A-Z](?: ?\d{2}){3} ?[A-D]", regex.I), {0: "Q", 1: "Q"}),
    # Spanish: I, O and U are no check letters (Orden INT/2058/2008).
    (regex.compile(r"(?:\d{8}|[XYZ]-?\d{7})-?[A-Z]", regex.I), {-1: "IOU"}),
    # Italian: no month is F, G, I, J or K (D.M. 12/03/1974).
    (
        regex.compile(r"(?:[A-Z]{3} ?){2}\d{2}[A-Z]\d{2} ?[A-Z]\d{3}[A-Z]", regex.I),
        {8: "FGIJK"},
    ),
    # French: the first digit is never 9 (INSEE).
    (regex.compile(r"[12378](?: ?\d){12,14}|[12378] ?\d\d ?\d\d ?2[AB](?: ?\d){6,8}"), {0: "9"}),
    # German pension insurance: a day of birth is 01 to 31, or 51 to 81.
    (regex.compile(r"\d{2} ?\d{6} ?[A-Z] ?\d{3}", regex.I), {2: "4", 3: "0123456789"}),
    # German tax: numbers for tests begin with 0 (BZSt).
    (regex.compile(r"\d{2} ?\d{3} ?\d{3} ?\d{3}"), {0: "0"}),
    # Indian: an Aadhaar number never begins with 0 or 1; the fourth letter of a PAN is the sort of
    # its holder.
    (regex.compile(r"\d{4}([ -]?)\d{4}\1\d{4}"), {0: "01"}),
    (regex.compile(r"[A-Z]{5}\d{4}[A-Z]", regex.I), {3: "QXYZ"}),
)
"""Shape of a number, and what makes it one that is not given out: place → allowed characters,
counted over letters and digits."""


def make_national_id(value: str, draw: Draw) -> str:
    """A digit for a digit and a letter for a letter, so changed that no office has given it out.

    For shapes that are not known, only the characters are exchanged.
    """
    plain = [character for character in value if character.isalnum()]
    seed = "".join(plain).lower()
    fixed: dict[int, str] = {}
    for shape, places in _SHAPES:
        if shape.fullmatch(value):
            fixed = {place % len(plain): choices for place, choices in places.items()}
            break
    new: list[str] = []
    for place, character in enumerate(plain):
        sort = "0123456789" if character.isdigit() else "ABCDEFGHJKLMNPRSTVWXYZ"
        drawn = draw.choice(seed, fixed.get(place, sort), str(place))
        new.append(drawn.lower() if character.islower() else drawn)
    left = iter(new)
    return "".join(next(left) if character.isalnum() else character for character in value)
