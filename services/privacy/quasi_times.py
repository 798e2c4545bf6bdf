"""Dates and times of day as people tell them: "the fifth of March", "half past nine".

They identify together with a name, as other dates do; see `quasi_patterns`.
"""

from __future__ import annotations

from . import vocabulary
from .quasi_rule import Rule

_MONTHS = "|".join(vocabulary.MONTHS)
_SHORT_MONTHS = "|".join(month[:3] for month in vocabulary.MONTHS)
_WEEKDAYS = "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday"
_ORDINALS = "|".join(sorted(vocabulary.ORDINALS, key=len, reverse=True)).replace("-", "[- ]")
_SEASONS = "spring|summer|autumn|fall|winter"
_HOURS = "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_YEAR = r"(?:1[89]\d\d|20[0-3]\d)"
_FEASTS = r"Thanksgiving|Juneteenth|Hogmanay|Lent|Advent|Shrove Tuesday|Halloween|Nowruz|Holi|Vesak"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.lower().split("|"))


TIMES: tuple[Rule, ...] = (
    Rule(
        kind="DATE_TIME",
        pattern=rf"\b(?i:(?:the )?(?:{_ORDINALS})(?: day)? of )(?:{_MONTHS})(?:,? {_YEAR})?\b"
        rf"|\b(?:{_MONTHS}),? (?i:the )?(?i:{_ORDINALS})\b",
        words=_words(_MONTHS),
        reads_capitals=False,
    ),
    Rule(
        kind="DATE_TIME",
        pattern=rf"\b(?i:{_SEASONS})(?: of)? (?:{_YEAR}|['’]\d\d)(?!\w)",
        words=_words(_SEASONS),
        reads_capitals=False,
    ),
    Rule(
        kind="DATE_TIME",
        pattern=r"\bthe (?:(?:early|late|mid)[ -])?(?:nineteen[- ])?"
        rf"(?:{'|'.join(vocabulary.DECADES)}|(?:1[89]\d0|20[0-2]0|['’]\d0)s)\b",
    ),
    Rule(
        kind="DATE_TIME",
        pattern=r"\b(?i:last|next|this coming|the following) "
        rf"(?i:{_WEEKDAYS}|{_MONTHS}|{_SEASONS})\b",
        words=_words(f"{_WEEKDAYS}|{_MONTHS}|{_SEASONS}"),
        reads_capitals=False,
    ),
    Rule(
        kind="DATE_TIME",
        pattern=rf"\b(?:in|by|until|till|since|from|of|during|late|early|mid|before|after)[ -]"
        rf"\K(?:{_MONTHS})\b(?! \p{{Lu}}\p{{Ll}}+ing\b)",
        words=_words(_MONTHS),
    ),
    Rule(
        kind="DATE_TIME",
        pattern=rf"\b(?:{_SHORT_MONTHS}|Sept)\.? \d{{1,2}}(?:st|nd|rd|th)?\b(?![.,:]\d)",
    ),
    Rule(
        kind="DATE_TIME",
        pattern=r"\bthe \K\d{1,2}(?:st|nd|rd|th)(?=[,;:!?)]|\.(?:\s|$)|$| (?:at|and|or|to)\b)",
        reads_capitals=False,
    ),
    Rule(
        kind="DATE_TIME",
        pattern=r"(?<![\w./-])\d{1,2}([./-])\d{1,2}\1['’]\d\d(?!\w)",
        reads_capitals=False,
    ),
    Rule(
        kind="DATE_TIME",
        pattern=r"\b(?:calendar )?week (?:no\.? )?\d{1,2}\b(?! (?:of|weeks|days))",
        words=frozenset({"week"}),
        reads_capitals=False,
    ),
    Rule(
        kind="DATE_TIME",
        pattern=rf"\b(?:{_FEASTS})(?: (?:Day|Eve))?(?:,? {_YEAR})?\b",
        words=_words(_FEASTS) | {"shrove"},
    ),
    Rule(
        kind="DURATION",
        pattern=r"\b(?i:(?:half|quarter|five|ten|twenty|twenty[- ]five) (?:past|to) "
        rf"(?:{_HOURS}|\d{{1,2}})"
        rf"|(?:at|by|about|around|until|till|before|after|from) \Khalf (?:{_HOURS})"
        rf"|(?:{_HOURS}|\d{{1,2}}) o['’]?clock)\b",
        words=frozenset({"half", "quarter", "past", "to", "clock", "oclock"}),
        reads_capitals=False,
    ),
    Rule(
        kind="DURATION",
        pattern=r"(?<![\w.:])(?:[01]?\d|2[0-3])[hH][0-5]\d(?!\w)"
        r"|(?<![\w.:])(?:[01]\d|2[0-3])[0-5]\d ?(?:hrs|hours|h)\b",
        reads_capitals=False,
    ),
)
"""Rules for dates and times that are told in words, or in part."""
