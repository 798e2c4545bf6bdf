"""Amounts that identify together with a name: sums, shares, measures."""

from __future__ import annotations

import regex

from .quasi_rule import Rule, with_plurals
from .spelled import NUMBER_WORDS

NUMBER_WORD = rf"(?:{NUMBER_WORDS.pattern}|a hundred|several hundred)"
"""A number in words, as they are used of amounts."""
CURRENCY_CODE = (
    r"(?:EUR|USD|GBP|CHF|PLN|TRL|TRY|RUB|RUR|UAH|HUF|CZK|SKK|RON|ROL|BGN|BGL|SEK|NOK|DKK|"
    r"FIM|ATS|DEM|FRF|ITL|ESP|PTE|GRD|MDL|GEL|AMD|AZN|HRK|RSD|MKD|INR|Rs\.?|JPY|CAD|AUD|"
    r"NLG|BEF|IEP|LTL|LVL|EEK|SIT|BAM|ALL|LUF|MTL|CYP|ISK|CNY|BRL|ZAR|MXN)"
)
"""Codes of currencies (ISO 4217), those of the past as well."""
_CURRENCY = (
    r"(?:euros?|dollars?|pounds(?: sterling)?|francs?|marks?|kronor|kroner|zlotys?|"
    r"roubles?|rubles?|liras?|lire|lei|leva|levs?|forints?|hryvnias?|denars?|dinars?|"
    r"rupees?|yen|yuan|pesetas?|escudos?|drachmas?|crowns?|korunas?|schillings?|shillings?|"
    r"guilders?|markkas?|litai|lats|tolars?|kunas?|marka|manats?|drams?|rand|pesos?|reais|dirhams?)"
)
_AMOUNT = (
    r"(?<!\d[ ,.])\d{1,3}(?:[ ,.]\d{3}){0,4}+(?:[.,]\d{1,2})?(?: (?:million|billion|thousand))?"
)
_MEASURE = (
    r"(?:kg|kilograms?|grams?|g|kilos?|pounds|lbs|tonnes|km|kilometres|miles|metres|"
    r"hectares|acres|dön[üu]ms?|dunams?|litres|square (?:metres|kilometres|feet)|sq\.? ?m|m2|m²|"
    r"cubic metres|cm|centimetres|mm|millimetres|feet|inches|yards|pages|per ?cent|percent)"
)

_CURRENCY_WORDS = with_plurals(
    "euro dollar pound sterling franc mark kronor kroner zloty rouble ruble lira lire lei leva lev "
    "forint hryvnia denar dinar rupee yen yuan peseta escudo drachma crown koruna schilling "
    "shilling guilder markka litai lats tolar kuna marka manat dram rand peso reais dirham"
) | frozenset(regex.findall(r"[a-z]+", CURRENCY_CODE.lower()))
_MEASURE_WORDS = with_plurals(
    "kg kilogram gram g kilo lbs pound tonne km kilometre mile metre hectare acre dönüm dönum "
    "donüm donum dunam litre square sq m cubic cm centimetre mm millimetre feet inche yard page "
    "per percent cent"
)
_SHARE_WORDS = with_plurals("half third quarter fifth sixth eighth tenth")
_ANY: frozenset[str] = frozenset()
_PATTERNS: tuple[tuple[str, frozenset[str]], ...] = (
    (
        rf"(?<![\w])(?:{CURRENCY_CODE} ?|(?:DM|SFr\.?|FF|Fmk|Ptas?\.?|Lit\.?|kr\.?|ATS|öS) "
        rf"|(?:IR|US|C|A|NZ|HK|S|R|CA|AU)?[$€£₹] ?){_AMOUNT}(?!\w)",
        _ANY,
    ),
    (
        rf"(?<![\w.,])(?:{_AMOUNT}|{NUMBER_WORD}) (?:(?:old|new) )?(?:[A-Z][a-z]+ ){{0,2}}"
        rf"(?:{_CURRENCY}|{CURRENCY_CODE})\b"
        r"(?: \([A-Z]{3}\)| \((?:approximately|about|around|some|equivalent to) [^()\n]{1,40}\))?",
        _CURRENCY_WORDS,
    ),
    (
        rf"(?<![\w.,])(?:{_AMOUNT}|{NUMBER_WORD})(?:(?: to | or |"
        rf"[-–]){_AMOUNT})? ?(?:{_MEASURE})(?!\w)",
        _MEASURE_WORDS,
    ),
    (
        rf"(?<![\w.,]){_AMOUNT} (?:\p{{L}}+ ){{1,3}}\((?:{CURRENCY_CODE})\)",
        _CURRENCY_WORDS,
    ),
    (r"(?<![\w.,])\d+(?:[.,]\d+)?%", _ANY),
    # Shares, and pounds, shillings and pence.
    (r"(?<![\w./§-])[1-9]\d?/[1-9]\d?(?![\w/]|[.,]\d)", _ANY),
    (
        r"\b(?:one|two|three|four|five)[ -](?:half|thirds?|quarters?|fifths?|sixths?|eighths?|"
        r"tenths?)\b",
        _SHARE_WORDS,
    ),
    (r"£\d{1,4} \d{1,2}s\.(?: \d{1,2}d\.)?", _ANY),
)
AMOUNTS = tuple(
    Rule(kind="QUANTITY", pattern=pattern, words=words, reads_capitals=False)
    for pattern, words in _PATTERNS
)
"""Rules for amounts."""
