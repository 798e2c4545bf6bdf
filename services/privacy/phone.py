"""Phone numbers: Presidio's recognizer, run only on digits that can be a number of a region.

Presidio scans the whole text once per region, which is two thirds of its time on chat text. A phone
number is a chain of digits with at most four characters of punctuation between two of them, or
with an extension mark (", extension no. 12"). So the text is cut where digits are farther apart
than that, and a region is only asked about digits among which its numbering plan has a number. A
test holds that the findings equal those of the stock recognizer.
"""

from __future__ import annotations

import re
from typing import Any

import phonenumbers
import regex
from presidio_analyzer import EntityRecognizer, RecognizerResult
from presidio_analyzer.predefined_recognizers import PhoneRecognizer

# The longest extension mark that libphonenumber knows has 25 characters with its padding.
_GAP = 32
# At most two brackets or plus signs, each with four characters of punctuation, lead a number.
_MARGIN = 12
_VALID = phonenumbers.Leniency.VALID
_DIGITS = regex.compile(rf"\d(?:[^\d]{{0,{_GAP}}}\d)*")
# A number of any country: behind a plus sign, or behind what is dialled instead of one.
_INTERNATIONAL = re.compile(r"[+\N{FULLWIDTH PLUS SIGN}]|(?:00|011)\d{4}")
# Too long for a number of any country with whatever is dialled before it, and in one piece.
_TOO_LONG = re.compile(r"[1-9](?:-?\d){16,}")


def min_digits(regions: tuple[str, ...]) -> int:
    """The least number of digits that a valid number of one of the regions has."""
    found = (phonenumbers.PhoneMetadata.metadata_for_region(region) for region in regions)
    national = (
        min(metadata.general_desc.possible_length)
        for metadata in found
        if metadata is not None and metadata.general_desc is not None
    )
    # Any country's number is recognised after a plus sign: one digit of country code at least.
    return min([*national, 6])


def _distinct(regions: tuple[str, ...]) -> tuple[str, ...]:
    """One region per calling code: the United States and Canada share their numbering plan."""
    codes = {phonenumbers.country_code_for_region(r): r for r in reversed(regions)}
    return tuple(region for region in regions if region in codes.values())


def _plan(region: str) -> re.Pattern[str]:
    """Found in all digits that hold a national number of the region's calling code.

    A prefix may stand before it, an extension behind it.
    """
    code = phonenumbers.country_code_for_region(region)
    patterns: list[str] = []
    for sharing in phonenumbers.region_codes_for_country_code(code):
        metadata = phonenumbers.PhoneMetadata.metadata_for_region_or_calling_code(code, sharing)
        if metadata is None or metadata.general_desc is None:
            return re.compile("")
        if sharing == region and metadata.national_prefix_transform_rule:
            # What is dialled is not what is parsed.
            return re.compile("")
        patterns.append(metadata.general_desc.national_number_pattern or "")
    return re.compile("|".join(patterns))


class DensePhoneRecognizer(PhoneRecognizer):
    """Finds what `PhoneRecognizer` finds, at a fraction of its cost."""

    def __init__(self, regions: tuple[str, ...]) -> None:
        super().__init__(supported_regions=_distinct(regions), name="DensePhoneRecognizer")
        self._min_digits = min_digits(regions)
        self._plans = {region: _plan(region) for region in self.supported_regions}

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: Any = None
    ) -> list[RecognizerResult]:
        """Phone numbers of the text."""
        results: list[RecognizerResult] = []
        for match in _DIGITS.finditer(text):
            digits = "".join(filter(str.isdecimal, match.group()))
            if len(digits) < self._min_digits:
                continue
            # Brackets and plus signs before, letters after a number decide whether it is one.
            start, end = max(match.start() - _MARGIN, 0), min(match.end() + _MARGIN, len(text))
            around = text[start:end]
            for region in self._regions(match.group(), digits, around):
                for number in phonenumbers.PhoneNumberMatcher(around, region, _VALID):
                    span = number.start + start, number.end + start
                    results.append(RecognizerResult(self.supported_entities[0], *span, self.SCORE))
        return list(EntityRecognizer.remove_duplicates(results))

    def _regions(self, chain: str, digits: str, around: str) -> list[str]:
        """Regions of which the digits may hold a number."""
        if "+" not in around and _TOO_LONG.fullmatch(chain):
            return []
        if _INTERNATIONAL.search(around) or _INTERNATIONAL.search(digits) or not digits.isascii():
            return list(self.supported_regions)
        return [region for region, plan in self._plans.items() if plan.search(digits)]
