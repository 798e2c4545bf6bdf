"""Phone numbers: Presidio's recognizer, run only where digits are dense enough for a number.

Presidio scans the whole text once per region, which is two thirds of its time on chat text. A phone
number is a chain of digits with at most four characters of punctuation between two of them, or
with an extension mark (", extension no. 12"). So the text is cut where digits are farther apart
than that, and pieces with too few digits for any number are skipped. A test holds that the
findings equal those of the stock recognizer.
"""

from __future__ import annotations

from typing import Any

import phonenumbers
import regex
from presidio_analyzer import RecognizerResult
from presidio_analyzer.predefined_recognizers import PhoneRecognizer

# The longest extension mark that libphonenumber knows has 25 characters with its padding.
_GAP = 32
# At most two brackets or plus signs, each with four characters of punctuation, lead a number.
_MARGIN = 12
_DIGITS = regex.compile(rf"\d(?:[^\d]{{0,{_GAP}}}\d)*")


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


class DensePhoneRecognizer(PhoneRecognizer):
    """Finds what `PhoneRecognizer` finds, at a fraction of its cost."""

    def __init__(self, regions: tuple[str, ...]) -> None:
        super().__init__(supported_regions=_distinct(regions), name="DensePhoneRecognizer")
        self._min_digits = min_digits(regions)

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: Any = None
    ) -> list[RecognizerResult]:
        """Phone numbers of the text."""
        results: list[RecognizerResult] = []
        for match in _DIGITS.finditer(text):
            if sum(character.isdigit() for character in match.group()) < self._min_digits:
                continue
            # Brackets and plus signs before, letters after a number decide whether it is one.
            start, end = max(match.start() - _MARGIN, 0), min(match.end() + _MARGIN, len(text))
            for result in super().analyze(text[start:end], entities, nlp_artifacts):
                result.start += start
                result.end += start
                results.append(result)
        return results
