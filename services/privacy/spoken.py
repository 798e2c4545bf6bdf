"""Numbers that are said digit by digit: "oh seven double nine, one two three".

Transcripts of calls and chats that were dictated are full of them. A run of seven digits and more
is a phone number wherever it stands, unless it only counts up or down; fewer are one behind a word
that says so, and a code behind a word that says that.
"""

from __future__ import annotations

from itertools import pairwise

import regex
from presidio_analyzer import Pattern, PatternRecognizer

from .spelled import spoken_digits

_DIGIT = r"(?:zero|nought|naught|nil|oh|o|one|two|three|four|five|six|seven|eight|nine)"
_TEEN = (
    r"(?:ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen|"
    r"(?:twen|thir|for|fif|six|seven|eigh|nine)ty)"
)
_TIMES = r"(?:double|triple|treble)[ -]"
_WORD = rf"(?:(?:{_TIMES})?(?:{_DIGIT}|\d)|{_TEEN}|\d{{2,6}})\b"
_FILLER = r"(?:(?:uh|um|erm?|then|and then|dash|hyphen|space)[ ,-]{1,2})"
_BREAK = rf"(?:[ ,./–-]{{1,3}}{_FILLER}?)"
# What a number begins with; "o" and "oh" are told by what follows them.
_FIRST = (
    rf"(?:(?:double|triple|treble)[ -]{_DIGIT}|zero|nought|naught|one|two|three|four|five|six|"
    r"seven|eight|nine|oh?(?=[ ,-] ?(?:zero|oh|one|two|three|four|five|six|seven|eight|nine|dou|"
    r"tri|tre|\d)))"
)
_CALLED = (
    r"(?:phone|mobile|mob|cell|landline|whatsapp|telephone|tel|my number"
    r"|(?:call|text|reach|ring|phone)(?: me| us| him| her| them)?(?: back)?(?: at| on)?)"
)
_LINK = r"(?:[ :,]{1,2}(?:number|no|is|was|its|it['’]?s|uh|um|me|at|on)\b){0,3}[ :,-]{1,3}"
_CODES = (
    r"(?:pin|otp|cvv|passcode|(?:security|verification|access|entry|door|gate|alarm|pass|sms) code)"
)
_FEWEST = 7
_FEWEST_TOLD = 4


class SpokenNumberRecognizer(PatternRecognizer):
    """Finds numbers that are said digit by digit.

    Args:
        entity: what they are.
        pattern: their shape; what of them is too short does not count.
        fewest: digits that they have at least.
    """

    def __init__(self, entity: str, pattern: Pattern, fewest: int) -> None:
        self._fewest = fewest
        super().__init__(
            supported_entity=entity,
            patterns=[Pattern(pattern.name, pattern.regex, pattern.score)],
            name=f"{pattern.name.title().replace(' ', '')}Recognizer",
            global_regex_flags=regex.IGNORECASE | regex.MULTILINE,
        )

    def validate_result(self, pattern_text: str) -> bool | None:
        """False of too few digits, and of what counts up or down; otherwise nothing is known."""
        said = spoken_digits(pattern_text)
        digits = "".join(said)
        if len(digits) < self._fewest or _is_count(said):
            return False
        # Not "thirty five, forty, forty five".
        single = sum(len(set(part)) == 1 for part in said)
        return None if 2 * single > len(said) or self._fewest < _FEWEST else False


def _is_count(said: list[str]) -> bool:
    """Whether most numbers follow the ones before them: "one, two, three, four"."""
    numbers = [int(part) for part in said]
    steps = [b - a for a, b in pairwise(numbers)]
    return len(steps) > 1 and max(steps.count(1), steps.count(-1)) >= len(steps) - 1


def spoken_recognizers() -> list[SpokenNumberRecognizer]:
    """All of them, freshly made."""
    return [
        SpokenNumberRecognizer("PHONE_NUMBER", _PHONE, _FEWEST),
        SpokenNumberRecognizer("PHONE_NUMBER", _PHONE_BY_CUE, _FEWEST_TOLD),
        SpokenNumberRecognizer("SECRET", _SECRET_BY_CUE, _FEWEST_TOLD),
    ]


_PHONE = Pattern(
    "spoken phone",
    rf"\b(?<!['’-]){_FIRST}[ ,.-](?: ?{_FILLER})? ?{_WORD}(?:{_BREAK}{_WORD}){{3,17}}",
    0.6,
)
_PHONE_BY_CUE = Pattern(
    "spoken phone cue",
    rf"\b{_CALLED}{_LINK}\K(?=(?:\d{{1,6}}{_BREAK}){{0,3}}(?:{_TIMES}|{_DIGIT}\b)){_WORD}(?:{_BREAK}{_WORD}){{2,18}}",
    0.6,
)
_SECRET_BY_CUE = Pattern(
    "spoken code cue",
    rf"\b{_CODES}{_LINK}\K(?:{_TIMES})?{_DIGIT}\b(?:{_BREAK}(?:{_TIMES})?{_DIGIT}\b){{2,7}}",
    0.6,
)
