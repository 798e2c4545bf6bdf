"""Draw: a keyed source of choices, the same for the same value and for nobody without the key."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

DIGITS = "0123456789"
_CONSONANTS = (
    "b",
    "br",
    "c",
    "d",
    "dr",
    "f",
    "g",
    "gr",
    "h",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "t",
    "th",
    "v",
    "w",
)
_MIDDLES = (
    "al",
    "an",
    "ar",
    "ed",
    "el",
    "em",
    "en",
    "er",
    "il",
    "im",
    "in",
    "ol",
    "on",
    "or",
    "ul",
    "ur",
)
_SURNAME_ENDS = (
    "bourne",
    "combe",
    "field",
    "ford",
    "ham",
    "hurst",
    "leigh",
    "low",
    "mere",
    "more",
    "sey",
    "stead",
    "stone",
    "ton",
    "wick",
    "wood",
    "worth",
    "by",
    "dale",
    "gate",
)
_FEMALE_ENDS = ("a", "ia", "ine", "ette", "ina", "ira", "ela", "ys")
_MALE_ENDS = ("o", "us", "an", "en", "ian", "on", "ic", "is")
_FIRST_ENDS = _FEMALE_ENDS + _MALE_ENDS


@dataclass(frozen=True, slots=True)
class Draw:
    """Choices for one kind of value; `attempt` gives another set when a choice was refused."""

    key: bytes
    kind: str
    attempt: int = 0
    subject: str = ""
    """Whose value it is: what must fit together for one person is drawn for the person."""

    def number(self, value: str, below: int, label: str = "") -> int:
        """A number in 0 … below - 1 that depends on the value and the label."""
        message = f"{self.kind}\x00{label}\x00{self.attempt}\x00{value}".encode()
        digest = hmac.new(self.key, message, hashlib.sha256).digest()
        return int.from_bytes(digest[:16], "big") % below

    def days(self) -> int:
        """By how many days the subject's dates are moved: 1 to 180, or as many back."""
        return self._of_subject("days", 180)

    def years(self) -> int:
        """By how many years the subject's birth is moved, and so the age: 1 to 3, or back."""
        return self._of_subject("years", 3)

    def _of_subject(self, what: str, most: int) -> int:
        drawn = Draw(self.key, what).number(self.subject, 2 * most)
        return drawn - most if drawn < most else drawn - most + 1

    def choice(self, value: str, options: Sequence[str], label: str = "") -> str:
        """One of the options."""
        return options[self.number(value, len(options), label)]

    def digits(self, value: str, count: int, label: str = "") -> str:
        """A string of digits."""
        return "".join(self.choice(value, DIGITS, f"{label}{index}") for index in range(count))

    def surname(self, value: str) -> str:
        """An invented surname: one of 6,400, so that it is hardly anybody's."""
        return self._syllables(value, "surname", _SURNAME_ENDS).title()

    def first_name(self, value: str, sex: str = "") -> str:
        """An invented first name: one of 5,120, or of 2,560 of one sex, `female` or `male`."""
        ends = {"female": _FEMALE_ENDS, "male": _MALE_ENDS}.get(sex, _FIRST_ENDS)
        return self._syllables(value, "first", ends).title()

    def _syllables(self, value: str, label: str, ends: tuple[str, ...]) -> str:
        parts = (_CONSONANTS, _MIDDLES, ends)
        return "".join(self.choice(value, part, f"{label}{i}") for i, part in enumerate(parts))


def is_invented(word: str) -> bool:
    """Whether a draw could have made the name, a first name or a surname, in any case."""
    return _INVENTED.fullmatch(word.lower()) is not None


_INVENTED = re.compile(
    "".join(
        f"(?:{'|'.join(part)})" for part in (_CONSONANTS, _MIDDLES, _SURNAME_ENDS + _FIRST_ENDS)
    )
)
