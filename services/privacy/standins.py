"""Stand-ins: one maker per kind of identifier, each a pure function of the value and a draw."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from unicodedata import decimal

import regex

from .draw import DIGITS, Draw
from .gazetteer import HONORIFICS, PARTICLES, gazetteer
from .spelled import is_spoken, respoken, spoken_digits
from .standins_national import make_national_id
from .standins_quasi import QUASI_MAKERS, is_possessive, like
from .standins_scripts import in_script_of
from .standins_time import TIME_MAKERS

_SHORTEST_NAME = 2
_WORD = regex.compile(r"[\p{L}\p{M}]+")


def squeeze(value: str) -> str:
    """Letters and digits only, in lower case: one code however it is spaced."""
    return "".join(character for character in value.lower() if character.isalnum())


def make_code(value: str, draw: Draw) -> str:
    """The same shape: a digit for a digit, a letter for a letter, the rest as it was.

    Of a code that is said digit by digit, other digits are said.
    """
    seed = squeeze(value)
    if is_spoken(value):
        digits = "".join(spoken_digits(value))
        return respoken(value, make_code(digits, draw))
    return "".join(_same_sort(c, draw, seed, str(i)) for i, c in enumerate(value))


def make_wallet(value: str, draw: Draw) -> str:
    """An address of the same network; its check is wrong, but by chance."""
    prefix = next((p for p in ("0x", "bc1", "ltc1") if value.startswith(p)), value[:1])
    seed, hexadecimal = value.lower(), prefix == "0x"
    rest = "".join(
        draw.choice(seed, "0123456789abcdef", str(i))
        if hexadecimal
        else _same_sort(c, draw, seed, str(i))
        for i, c in enumerate(value[len(prefix) :])
    )
    return prefix + rest


def _same_sort(character: str, draw: Draw, seed: str, label: str) -> str:
    if character.isdigit():
        return draw.choice(seed, "0123456789", label)
    if character.isalpha():
        letter = draw.choice(seed, "abcdefghijkmnpqrstuvwxyz", label)
        return letter.upper() if character.isupper() else letter
    return character


def fill(template: str, digits: str) -> str:
    """The template with its digits replaced from the right; it shrinks or grows at its left."""
    left = list(digits)
    filled: list[str] = []
    for character in reversed(template):
        if not character.isdigit():
            filled.append(character)
        elif left:
            filled.append(left.pop())
    head = "".join(left)
    body = "".join(reversed(filled))
    return body[:1] + head + body[1:] if body[:1] in {"+", "("} else head + body


def make_person(value: str, draw: Draw) -> str:
    """A name for a name, word by word: the same first name stays the same in longer ones."""
    words = _WORD.findall(value)
    last = len(words) - 1
    # Behind a title, one word is a surname and more are a full name.
    titled = last > 0 and words[0].lower() in HONORIFICS
    first = 1 if titled else 0
    index = -1

    def word_for(match: regex.Match[str]) -> str:
        nonlocal index
        index += 1
        word: str = match.group()
        lowered = word.lower()
        if lowered in PARTICLES and 0 < index < last:
            return word
        if (lowered in HONORIFICS and last > 0) or is_possessive(match):
            return word
        if len(word) == 1 and word.isascii():
            return draw.choice(lowered, "ABCDEGHJKLMNPRSTVW", "initial")
        given = index == first and not (titled and last == 1)
        new = _first_name(lowered, draw) if given else draw.surname(lowered)
        return in_script_of(word, like(word, new))

    return str(_WORD.sub(word_for, value))


def _first_name(word: str, draw: Draw) -> str:
    """An invented first name of the same sex, where the word is known for one."""
    names = gazetteer()
    sex = "female" if word in names.female_names else "male" if word in names.male_names else ""
    return draw.first_name(word, sex)


def make_surname(value: str, draw: Draw) -> str:
    """A surname for a surname that stands alone: the one it has behind a first name."""
    person = Draw(draw.key, "PERSON", draw.attempt)

    def word_for(match: regex.Match[str]) -> str:
        word: str = match.group()
        return in_script_of(word, like(word, person.surname(word.lower())))

    return str(_WORD.sub(word_for, value))


def make_email(value: str, draw: Draw) -> str:
    """An address at example.com (RFC 2606), of the stand-in of the name that it holds.

    rosa.acht@… becomes the stand-ins of Rosa and of Acht, as they stand elsewhere in the text.
    """
    # Without the line breaks that may cut it in two.
    value = "".join(value.split())
    local, _, _ = value.lower().partition("@")
    words = _WORD.findall(local)
    person = Draw(draw.key, "PERSON", draw.attempt)
    seed = value.lower()
    if not words or len(words[0]) < _SHORTEST_NAME:
        name = f"{draw.first_name(seed)}.{draw.surname(seed)}{draw.digits(seed, 2)}"
    elif len(words) == 1:
        name = f"{_first_name(words[0], person)}{draw.digits(seed, 2)}"
    else:
        name = f"{_first_name(words[0], person)}.{person.surname(words[-1])}"
        # Two people of one name have addresses that differ by more than their names.
        name += draw.digits(seed, 2) if any(map(str.isdigit, local)) else ""
    return f"{name.lower()}@example.com"


def make_phone(value: str, draw: Draw) -> str:
    """A number that nobody has: 555-01xx in North America, 07700 900xxx in Britain.

    One that is said in words is said in words again, the same as if it were written in digits.
    """
    if is_spoken(value):
        return respoken(value, make_phone("".join(spoken_digits(value)), draw))
    seed = "".join(filter(str.isdigit, value))[-10:]
    count = sum(character.isdigit() for character in value)
    area = draw.choice(seed, "23456789", "a") + draw.choice(seed, "012345678", "b")
    american = f"{area}{draw.choice(seed, '023456789', 'c')}55501{draw.digits(seed, 2)}"
    british = f"7700900{draw.digits(seed, 3)}"
    international = value.lstrip(" (").startswith(("+", "00"))
    if international:
        is_british = value.lstrip(" (+0").startswith("44")
        dialled = "" if "+" in value else "00"
        trunk = "0" if is_british and "(0)" in value else ""
        return fill(value, dialled + (f"44{trunk}{british}" if is_british else "1" + american))
    if count == 11 and next(filter(str.isdigit, value)) == "0":
        return fill(value, "0" + british)
    if count >= 10:
        return fill(value, ("1" if count > 10 else "") + american.rjust(10, "0"))
    # Shorter national numbers: none is reserved; a leading 0 before 555 01 leads nowhere.
    return fill(value, ("0" * count + "55501" + draw.digits(seed, 2))[-count:])


def make_card(value: str, draw: Draw) -> str:
    """A number of the networks' well-known test range, with a valid check digit (ISO 7812)."""
    seed = squeeze(value)
    count = sum(character.isdigit() for character in value)
    body = ("411111" + draw.digits(seed, count))[: count - 1]
    return fill(value, body + luhn_digit(body))


def luhn_digit(body: str) -> str:
    """The digit that completes a number to a multiple of ten under Luhn's rule."""
    doubled = (int(d) * (2 - index % 2) for index, d in enumerate(reversed(body)))
    return str(-sum(d - 9 if d > 9 else d for d in doubled) % 10)


def make_iban(value: str, draw: Draw) -> str:
    """Same country and shape, with valid check digits (ISO 13616)."""
    compact = squeeze(value).upper()
    if len(compact) < 5 or not compact.isascii():
        return make_code(value, draw)
    account = make_code(compact[4:], draw)
    numeric = "".join(str(int(c, 36)) for c in account + compact[:2] + "00")
    plain = iter(f"{compact[:2]}{98 - int(numeric) % 97:02d}{account}")
    return "".join(next(plain) if c.isalnum() else c for c in value)


def make_ip(value: str, draw: Draw) -> str:
    """An address of a documentation range (RFC 5737, RFC 3849); the prefix length stays."""
    address, slash, prefix = value.partition("/")
    seed = address.lower()
    if ":" in address:
        # RFC 3849 or, for what is of that range itself, RFC 9637.
        net = "3fff" if seed.startswith("2001:") else "2001:db8"
        new = f"{net}::{draw.number(seed, 1 << 16, 'a'):x}:{draw.number(seed, 1 << 16, 'b'):x}"
    else:
        net = draw.choice(seed, ("192.0.2", "198.51.100", "203.0.113"), "net")
        new = f"{net}.{1 + draw.number(seed, 254, 'host')}"
    return new + slash + prefix


def make_ssn(value: str, draw: Draw) -> str:
    """An area from 900 on with a group below 50: neither issued nor a taxpayer number."""
    seed = squeeze(value)
    group = 1 + draw.number(seed, 49, "group")
    return fill(
        value, f"9{draw.digits(seed, 2, 'area')}{group:02d}{draw.digits(seed, 4, 'serial')}"
    )


def make_mac(value: str, draw: Draw) -> str:
    """A locally administered address, so of no maker."""
    seed = squeeze(value)
    digits = iter("02" + "".join(draw.choice(seed, "0123456789abcdef", str(i)) for i in range(10)))
    lower = value.islower()
    new = "".join(next(digits, "0") if c.isalnum() else c for c in value)
    return new if lower else new.upper()


def make_uuid(value: str, draw: Draw) -> str:
    """Hexadecimal digits for hexadecimal digits."""
    seed = squeeze(value)
    return "".join(
        draw.choice(seed, "0123456789abcdef", str(i)) if c.isalnum() else c
        for i, c in enumerate(value)
    )


def make_url(value: str, draw: Draw) -> str:
    """A page at example.com."""
    scheme, mark, _ = value.rpartition("://")
    seed = value.lower()
    return f"{scheme}{mark}www.example.com/{draw.surname(seed).lower()}{draw.digits(seed, 2)}"


def make_username(value: str, draw: Draw) -> str:
    """A handle for a handle; a payment handle keeps its at sign."""
    seed = value.lower().lstrip("@")
    new = f"{draw.first_name(seed).lower()}{draw.digits(seed, 3)}"
    if value.startswith("@"):
        return "@" + new
    return f"{new}@example" if "@" in value else new


def make_address(value: str, draw: Draw) -> str:
    """Digits for digits and invented places for places; words for kinds of places stay."""
    seed = squeeze(value)
    position = -1
    # "740 Park Avenue, Leeds": by its lines, since a part of words for kinds of places alone would
    # stay as it is.
    kept = [_kept_words(line.group()) for line in _LINE.finditer(value)]
    ends = [line.end() for line in _LINE.finditer(value)]

    def part_for(match: regex.Match[str]) -> str:
        nonlocal position
        position += 1
        part: str = match.group()
        if _POSTCODE.fullmatch(part):
            return _postcode(part, draw)
        if part.isdigit():
            return _numberlike(part, draw, seed, position)
        if part.lower() in kept[bisect_left(ends, match.end())] or is_possessive(match):
            return part
        if len(part) <= 2:
            return "".join(_same_sort(c, draw, seed, f"{position}.{i}") for i, c in enumerate(part))
        return in_script_of(part, like(part, draw.surname(part.lower())))

    return str(_ADDRESS_PART.sub(part_for, value))


def _kept_words(line: str) -> frozenset[str]:
    """What stays of a line of an address: kinds of places beside a name, or the street's alone."""
    words = {word.lower() for word in regex.findall(r"[^\W\d_]+", line)}
    if words - _KEPT_IN_ADDRESSES:
        return _KEPT_IN_ADDRESSES
    return _KEPT_ALONE if len(words) > 1 else frozenset()


_LINE = regex.compile(r"[^,\n]+")
_POSTCODE = regex.compile(r"[A-Za-z]{1,2}\d[A-Za-z\d]? ?\d[A-Za-z]{2}|\d{5,6}|\d{5}-\d{4}")
_ADDRESS_PART = regex.compile(rf"\b(?:{_POSTCODE.pattern})\b|\d+|[^\W\d_]+")


def _postcode(part: str, draw: Draw) -> str:
    """The same for the same code in whatever address, and codes that begin alike still do.

    Each character goes by a permutation that those before it choose (as in Xu et al. 2002, for
    addresses of networks): a region stays a region, and two codes stay two.
    """
    # Digits of other scripts are read as what they say.
    plain = [str(decimal(c)) if c.isdecimal() else c for c in squeeze(part)]
    new = iter(
        _permuted(c, DIGITS if c.isdigit() else _LETTERS, "".join(plain[:i]), draw)
        for i, c in enumerate(plain)
    )
    shown = ((next(new), c) if c.isalnum() else (c, c) for c in part)
    return "".join(n.upper() if c.isupper() else n for n, c in shown)


def _permuted(character: str, alphabet: str, before: str, draw: Draw) -> str:
    order = sorted(alphabet, key=lambda c: draw.number(f"{before}>{c}", 1 << 64, "code"))
    return order[alphabet.index(character)]


_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _numberlike(part: str, draw: Draw, seed: str, position: int) -> str:
    first = draw.choice(seed, "123456789", f"{position}first")
    return first + draw.digits(seed, len(part) - 1, str(position))


_KEPT_WORDS = """
street st road rd avenue ave lane ln drive boulevard blvd court ct place pl square sq terrace
crescent circle parkway pkwy highway hwy close way nagar colony layout marg vihar enclave society
residency residences apartment apartments apt towers tower heights garden gardens estate chowk
bazaar puram main cross phase sector block kunj bagh park flat house plot door unit suite villa
room no number near opp opposite behind next to the of and floor th nd north south east west old
new rue avenue boulevard bd chemin impasse allée quai place route calle avenida avda paseo plaza
carrer via viale piazza corso largo vicolo rua travessa praça straße strasse weg gasse platz allee
ring damm ufer laan chaussée bis ter de du des la le les del della di da do am an der im in bei
unter den zum zur auf aan sur sous
"""
_KEPT_IN_ADDRESSES = frozenset(_KEPT_WORDS.split())
_ALONE = """
street st road rd avenue ave lane ln drive boulevard flat apt apartment unit suite room no floor
"""
_KEPT_ALONE = frozenset(_ALONE.split())
MAKERS: dict[str, Callable[[str, Draw], str]] = {
    **QUASI_MAKERS,
    **TIME_MAKERS,
    "ADDRESS": make_address,
    "CODE": make_code,
    "CREDIT_CARD": make_card,
    "CRYPTO": make_wallet,
    "EMAIL_ADDRESS": make_email,
    "IBAN_CODE": make_iban,
    "IP_ADDRESS": make_ip,
    "MAC_ADDRESS": make_mac,
    "NATIONAL_ID": make_national_id,
    "PERSON": make_person,
    "PHONE_NUMBER": make_phone,
    "SURNAME": make_surname,
    "URL": make_url,
    "USERNAME": make_username,
    "US_SSN": make_ssn,
    "UUID": make_uuid,
}
