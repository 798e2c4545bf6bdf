"""Canaries: invented identifiers that can be told from everything else, in the forms text has.

Each is drawn from a seed. Its words are three syllables of three letters and none is used twice,
its numbers are of ranges that no stand-in comes from: found anywhere in the bytes of a service, it
can only have come from where it was planted.
"""

from __future__ import annotations

import base64
import itertools
import random
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

ONSETS, VOWELS, CODAS = "bdfghjklmnprstvw", "aeiou", "lmnrsk"
FIRST_NAMES = (
    *("Lorna", "Maria", "Peter", "Aisha", "Tomasz", "Ingrid", "Ravi", "Chloe", "Samuel", "Yusuf"),
    *("Elena", "Hugo", "Priya", "Daniel", "Noor", "Katrin", "Marcus", "Lucia", "Owen", "Fatima"),
    *("Stefan", "Grace", "Ivan", "Nadia", "Thomas", "Amara", "Felix", "Joan", "Viktor", "Hannah"),
)
STREETS = ("Lane", "Street", "Road", "Avenue", "Close", "Drive")
STATES = ("OH 44127", "TX 75208", "WA 98118", "NY 14609", "GA 30312")
PROVIDERS = ("gmail.com", "outlook.com", "yahoo.co.uk", "gmx.de", "orange.fr", "proton.me")
COUNTRIES = {"DE": 18, "GB": 18, "FR": 23, "NL": 14}
"""Characters of an IBAN behind its check digits."""
FORMS = (
    "raw",
    "lower case",
    "capitals",
    "known value",
    "line break",
    "JSON escapes",
    "HTML entities",
    "base64",
    "UTF-16 misread",
    "UTF-16 file",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Canary:
    """One planted identifier."""

    number: int
    kind: str
    form: str
    value: str
    """As a person would write it."""
    parts: tuple[str, ...]
    """What of it tells it from all others even alone: a surname, a street, digits without gaps."""
    planted: str
    """As it stands in the text."""

    @property
    def strings(self) -> tuple[str, ...]:
        """All that must be nowhere once it was found."""
        return tuple(dict.fromkeys((self.planted, self.value, *self.parts)))


class Draw:
    """What canaries are made of; nothing is drawn twice."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self._used: set[str] = set()

    def fresh(self, draw: Callable[[], str]) -> str:
        """A string that was never drawn before."""
        while (drawn := draw()) in self._used:
            pass
        self._used.add(drawn)
        return drawn

    def word(self) -> str:
        """An invented word of nine letters, none of which can lie within another."""
        syllables = (ONSETS, VOWELS, CODAS) * 3
        return self.fresh(lambda: "".join(map(self.dice.choice, syllables)))

    def name(self) -> str:
        """An invented word that begins like a name."""
        return self.word().capitalize()

    def digits(self, shape: str) -> str:
        """A shape such as `###-##-####` with its marks replaced by digits; unlike all others."""
        return self.fresh(lambda: "".join(self._digit(mark) for mark in shape))

    def _digit(self, mark: str) -> str:
        if mark == "#":
            return self.dice.choice(string.digits)
        return self.dice.choice("23456789") if mark == "N" else mark


Made = tuple[str, tuple[str, ...]]
"""A value and its telling parts."""


def _person(draw: Draw) -> Made:
    first, last, other = draw.dice.choice(FIRST_NAMES), draw.name(), draw.name()
    return draw.dice.choice(
        [
            (f"{first} {last}", (last,)),
            (f"{first} {last}", (last,)),
            (f"{first} {draw.dice.choice('BDHKLMRT')}. {last}", (last,)),
            (f"{first} {last}-{other}", (last, other)),
            (f"{draw.dice.choice(('Mr', 'Mrs', 'Dr.'))} {last}", (last,)),
        ]
    )


def _email(draw: Draw) -> Made:
    first, last = draw.dice.choice(FIRST_NAMES).lower(), draw.word()
    provider = draw.dice.choice([*PROVIDERS, f"{draw.word()}.net"])
    year = draw.dice.randrange(10, 99)
    local = draw.dice.choice([f"{first}.{last}", f"{first[0]}{last}", f"{last}_{year}"])
    return f"{local}@{provider}", (last,)


def _phone(draw: Draw) -> Made:
    shapes = ("+1 (N1#) NN#-####", "(N1#) NN#-####", "N1#-NN#-####", "+44 20 7NN# ####")
    value = draw.digits(draw.dice.choice([*shapes, "+49 30 NN## ####", "+33 6 NN ## ## ##"]))
    return value, (_compact(value),)


def _address(draw: Draw) -> Made:
    number, street, town = draw.dice.randrange(11, 990), draw.name(), draw.name()
    return draw.dice.choice(
        [
            (
                f"{number} {street} {draw.dice.choice(STREETS)}, {town}, "
                f"{draw.dice.choice(STATES)}",
                (street,),
            ),
            (f"{number} {street} {draw.dice.choice(STREETS)}", (street,)),
            (f"{street}straße {number}, 10437 Berlin", (f"{street}straße",)),
            (f"{number} rue {street}, 75011 Paris", (street,)),
        ]
    )


def _card(draw: Draw) -> Made:
    shape = draw.dice.choice(("4N## #### #### ###", "52## #### #### ###", "37## ###### ####"))
    body = draw.digits(shape)
    value = body + _luhn(body)
    gap = draw.dice.choice((" ", "-", ""))
    return value.replace(" ", gap), (_compact(value),)


def _luhn(body: str) -> str:
    digits = [int(c) for c in body if c.isdigit()][::-1]
    doubled = (d * (2 - index % 2) for index, d in enumerate(digits))
    return str(-sum(d - 9 if d > 9 else d for d in doubled) % 10)


def _iban(draw: Draw) -> Made:
    country = draw.dice.choice(list(COUNTRIES))
    letters = {"GB": "WQKD", "NL": "QWKB"}.get(country, "")
    account = letters + draw.digits("#" * (COUNTRIES[country] - len(letters)))
    numeric = "".join(str(int(c, 36)) for c in f"{account}{country}00")
    value = f"{country}{98 - int(numeric) % 97:02d}{account}"
    spaced = " ".join(value[start : start + 4] for start in range(0, len(value), 4))
    return draw.dice.choice((value, spaced)), (value,)


def _ssn(draw: Draw) -> Made:
    # None begins with 9 or 666.
    value = f"{draw.dice.choice('234578')}{draw.digits('1#-N#-N###')}"
    return value, (_compact(value),)


def _account(draw: Draw) -> Made:
    shapes = ("ACC-N#######", "N###-####-####", "N#########", "KN###### ##")
    value = draw.digits(draw.dice.choice(shapes))
    return value, (_compact(value),)


def _order(draw: Draw) -> Made:
    shapes = ("ORD-N#######", "N##-#######-#######", "#N######-##", "PO-N######-QX", "WN########")
    value = draw.digits(draw.dice.choice(shapes)).upper()
    return value, (_compact(value),)


def _born(draw: Draw) -> Made:
    def drawn() -> str:
        day = date(1921, 1, 1) + timedelta(days=draw.dice.randrange(31_000))
        return draw.dice.choice(
            (f"{day:%Y-%m-%d}", f"{day:%d/%m/%Y}", f"{day:%d %B %Y}", f"{day:%B %d, %Y}")
        )

    return draw.fresh(drawn), ()


def _ip(draw: Draw) -> Made:
    def octet(least: int, most: int) -> int:
        return draw.dice.randrange(least, most)

    def drawn() -> str:
        if draw.dice.random() < 0.3:
            groups = (f"{octet(0x1000, 0xFFFF):x}" for _ in range(3))
            return f"2a02:8{octet(0x100, 0xFFF):x}:" + ":".join(groups) + f"::{octet(16, 255):x}"
        return f"{octet(100, 126)}.{octet(110, 255)}.{octet(110, 255)}.{octet(110, 255)}"

    return draw.fresh(drawn), ()


def _username(draw: Draw) -> Made:
    word, number = draw.word(), draw.dice.randrange(10, 999)
    value = draw.dice.choice((f"{word}_{number}", f"{word}{number}", f"@{word}"))
    return value, (word,)


MAKERS: Mapping[str, Callable[[Draw], Made]] = {
    "person": _person,
    "e-mail": _email,
    "phone": _phone,
    "address": _address,
    "card": _card,
    "IBAN": _iban,
    "SSN": _ssn,
    "account": _account,
    "order": _order,
    "date of birth": _born,
    "IP address": _ip,
    "user name": _username,
}
"""Twelve classes."""


def _compact(value: str) -> str:
    return "".join(filter(str.isalnum, value))


def _escaped(value: str, one: Callable[[str], str]) -> str:
    """A value with all that is no letter or digit escaped; its first character, if that is none."""
    if value.isalnum():
        return one(value[0]) + value[1:]
    return "".join(c if c.isalnum() else one(c) for c in value)


def _broken(value: str, dice: random.Random) -> str:
    spaces = [index for index, c in enumerate(value) if c == " "]
    if spaces:
        at = dice.choice(spaces)
        return f"{value[:at]}\n{value[at + 1 :]}"
    at = dice.randrange(3, len(value) - 2)
    return f"{value[:at]}\n{value[at:]}"


def _misread(value: str, dice: random.Random) -> str:
    encoded = value.encode("utf-16-le")
    return encoded.decode(dice.choice(("latin-1", "utf-16-be")), errors="replace")


def planted(value: str, form: str, dice: random.Random) -> str:
    """A value in one of the forms."""
    match form:
        case "lower case":
            return value.lower()
        case "capitals":
            return value.upper()
        case "line break":
            return _broken(value, dice)
        case "JSON escapes":
            return _escaped(value, lambda c: f"\\u{ord(c):04x}")
        case "HTML entities":
            return _escaped(value, lambda c: "&nbsp;" if c == " " else f"&#{ord(c)};")
        case "base64":
            return base64.b64encode(value.encode()).decode()
        case "UTF-16 misread":
            return _misread(value, dice)
        case _:
            return value


def canaries(number: int, seed: int, forms: Sequence[str] = FORMS) -> Iterator[Canary]:
    """So many canaries, of all classes in all forms by turns."""
    draw = Draw(seed)
    every = itertools.cycle(itertools.product(forms, MAKERS))
    for count, (form, kind) in enumerate(itertools.islice(every, number)):
        value, parts = MAKERS[kind](draw)
        text = planted(value, form, draw.dice)
        yield Canary(number=count, kind=kind, form=form, value=value, parts=parts, planted=text)
