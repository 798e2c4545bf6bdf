"""Slots of numbers: dates, times, codes, sums."""

from __future__ import annotations

import random
import string
from datetime import date, timedelta

from .. import vocabulary
from . import lists

Segment = tuple[str, str | None]
"""A piece of text and its label; None where it is nobody's."""

_DIGIT_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_TEEN_TEXT = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TEENS = tuple(_TEEN_TEXT.split())
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_EPOCH = date(1925, 1, 1)


class Numbers:
    """Dates, times, codes and sums, each drawn anew."""

    draw: random.Random

    # Dates and times

    def _day(self, since: date = date(1950, 1, 1)) -> date:
        return since + timedelta(days=self.draw.randrange((date(2027, 1, 1) - since).days))

    def _date_text(self, day: date) -> str:
        draw = self.draw
        month = vocabulary.MONTHS[day.month - 1]
        short = month[:3]
        suffix = {1: "st", 2: "nd", 3: "rd"}.get(day.day if day.day < 4 else 0, "th")
        forms = (
            *(f"{day.day} {month} {day.year}",) * 5,
            *(f"{month} {day.day}, {day.year}",) * 4,
            f"{day.day}{suffix} {month} {day.year}", f"{day.day}{suffix} of {month}, {day.year}",
            f"{day:%d/%m/%Y}", f"{day:%m/%d/%Y}", f"{day:%Y-%m-%d}", f"{day:%d.%m.%Y}",
            f"{day:%d-%m-%Y}", f"{day.day} {short} {day.year}", f"{short} {day.day}, {day.year}",
            f"{day:%m/%d/%y}", f"{day:%d/%m/%y}", f"{day.day}-{short}-{day.year}",
            f"{month} {day.day} {day.year}", f"{day.month}/{day.day}/{day.year}",
        )  # fmt: skip
        return draw.choice(forms)

    def _date(self) -> list[Segment]:
        return [(self._date_text(self._day()), "DATE")]

    def _date_any(self) -> list[Segment]:
        return self.draw.choice((self._date, self._daymonth, self._month_year, self._date))()

    def _dob(self) -> list[Segment]:
        return [(self._date_text(self._day(_EPOCH)), "DATE")]

    def _dob_words(self) -> list[Segment]:
        day = self._day(_EPOCH)
        month = vocabulary.MONTHS[day.month - 1].lower()
        decade = self.draw.choice(("twenties", "thirties", "forties"))
        spoken = f"{month} {self._spoken(day.day)} nineteen {self._spoken(day.year % 100)}"
        text = self.draw.choice((spoken, f"{month} {day.day} {day.year}", f"in the {decade}"))
        return [(text, "DATE")]

    def _spoken(self, number: int) -> str:
        if number < 10:
            return _DIGIT_WORDS[number]
        if number < 20:
            return _TEENS[number - 10]
        tens = _TENS[number // 10 - 2]
        return f"{tens} {_DIGIT_WORDS[number % 10]}" if number % 10 else tens

    def _weekday_date(self) -> list[Segment]:
        day = self._day()
        suffix = {1: "st", 2: "nd", 3: "rd"}.get(day.day if day.day < 4 else 0, "th")
        weekday = self.draw.choice(lists.WEEKDAYS)
        weekday = weekday[: self.draw.choice((3, 9))]
        month = vocabulary.MONTHS[day.month - 1]
        written = (f"{day.day}{suffix} {month}", f"{day.day} {month}", f"{month} {day.day}{suffix}")
        return [(f"{weekday} {self.draw.choice(written)}", "DATE")]

    def _date_spoken(self) -> list[Segment]:
        day = self._day()
        suffix = {1: "st", 2: "nd", 3: "rd"}.get(day.day if day.day < 4 else 0, "th")
        month = vocabulary.MONTHS[day.month - 1]
        text = f"the {day.day}{suffix} of {month}"
        return [(text if self.draw.random() < 0.5 else text.lower(), "DATE")]

    def _age_word(self) -> list[Segment]:
        return [(self.draw.choice(vocabulary.SMALL_NUMBERS), "AGE")]

    def _daymonth(self) -> list[Segment]:
        day = self._day()
        month = vocabulary.MONTHS[day.month - 1]
        return [
            (
                self.draw.choice(
                    (f"{day.day} {month}", f"{month} {day.day}", f"{month} {day.day}th")
                ),
                "DATE",
            )
        ]

    def _month_year(self) -> list[Segment]:
        day = self._day()
        return [(f"{vocabulary.MONTHS[day.month - 1]} {day.year}", "DATE")]

    def _date_pair(self) -> list[Segment]:
        day = self._day()
        month = vocabulary.MONTHS[day.month - 1]
        glue = self.draw.choice((" and ", ", ", " or "))
        more = [(f"{self.draw.randrange(1, 28)}", "DATE"), (glue, None)]
        return [*more, (f"{day.day} {month} {day.year}", "DATE")]

    def _year(self) -> list[Segment]:
        year = self.draw.randrange(1900, 2027)
        prefix = self.draw.choice(("",) * 12 + ("early ", "late ", "mid-", "the beginning of "))
        return [(f"{prefix}{year}{self.draw.choice(('',) * 14 + ('s',))}", "DATE")]

    def _weekday(self) -> list[Segment]:
        return [(self.draw.choice(lists.WEEKDAYS), "DAY")]

    def _time(self) -> list[Segment]:
        hour, minute = self.draw.randrange(24), self.draw.randrange(60)
        half = self.draw.choice(("a.m.", "p.m.", "am", "pm", "AM", "PM"))
        forms = (
            f"{hour:02d}:{minute:02d}",
            f"{hour % 12 or 12} {half}",
            f"{hour % 12 or 12}.{minute:02d} {half}",
            f"{hour % 12 or 12}:{minute:02d} {half}",
            f"{hour:02d}:{minute:02d}:{minute:02d}",
        )
        return [(self.draw.choice(forms), "TIME")]

    def _duration(self) -> list[Segment]:
        counts = (
            self.draw.choice(vocabulary.SMALL_NUMBERS),
            self._spoken(self.draw.randrange(2, 60)),
        )
        count = self.draw.choice((*counts, str(self.draw.randrange(2, 30))))
        unit = self.draw.choice(("years", "months", "weeks", "days", "hours"))
        more = self.draw.choice(("", "", " and six months", " and eight months"))
        return [(f"{count} {unit}{more}", "TIME")]

    # Numbers

    def shaped(self, shape: str) -> str:
        """A shape with a digit for each #, a capital for each ?, a small letter for each *."""
        kinds = {"#": string.digits, "?": string.ascii_uppercase, "*": string.ascii_lowercase}
        return "".join(self.draw.choice(kinds[c]) if c in kinds else c for c in shape)

    def _coded(self, *shapes: str) -> list[Segment]:
        return [(self.shaped(self.draw.choice(shapes)), "CODE")]

    def _n(self) -> list[Segment]:
        return [(str(self.draw.randrange(1, 140)), None)]

    def _smallnum(self) -> list[Segment]:
        return [
            (self.draw.choice((*vocabulary.SMALL_NUMBERS, str(self.draw.randrange(2, 60)))), None)
        ]

    def _bignum(self) -> list[Segment]:
        return [(str(self.draw.randrange(10, 5000)), None)]

    def _small(self) -> list[Segment]:
        return [(str(self.draw.randrange(0, self.draw.choice((10, 100, 1000)))), None)]

    def _last4(self) -> list[Segment]:
        return self._coded("####")

    def _appno(self) -> list[Segment]:
        return self._coded("#####/##", "####/##", "#####/##")

    def _caseno(self) -> list[Segment]:
        return self._coded(
            "####/####", "##-####", "#:##-cv-#####", "####/##", "K-###/##", "II ?? ###/##",
            "##-cr-###", "???-####-####", "?#-###/####", "####-###", "####/## ??", "## ?? ####/##",
            "#-####/####",
        )  # fmt: skip

    def _order(self) -> list[Segment]:
        return self._coded(
            "###-#######-#######", "#########", "??-######", "#######", "???######??", "???-####-##"
        )

    _ticket = _order

    def _account(self) -> list[Segment]:
        return self._coded(
            "########", "##########", "####-####", "??#######", "???-######", "######"
        )

    def _code_short(self) -> list[Segment]:
        return self._coded("??????", "?#?#?#", "?#####", "*#*##*", "?##?##", "???###")

    def _tracking(self) -> list[Segment]:
        return self._coded(
            "1Z###?#######", "??#########??", "############", "???########", "#Z######"
        )

    def _phone(self) -> list[Segment]:
        return self._coded(
            "###-###-####", "(###) ###-####", "+1 ### ### ####", "+44 #### ######",
            "0#### ######", "+91 ##########", "##########", "+49 ## ########", "0# ## ## ## ##",
            "+33 # ## ## ## ##", "###.###.####", "+1-###-###-####x###", "001-###-###-####",
            "#### ####", "+7 ### ###-##-##",
        )  # fmt: skip

    def _phone_words(self) -> list[Segment]:
        return [(" ".join(self.draw.choices(_DIGIT_WORDS, k=self.draw.choice((7, 10)))), "CODE")]

    def _spelled(self) -> list[Segment]:
        letters = self.draw.choices(string.ascii_lowercase, k=self.draw.randrange(4, 9))
        return [((self.draw.choice((" ", "-"))).join(letters), "PERSON")]

    def _ssn(self) -> list[Segment]:
        return self._coded("###-##-####", "### ## ####", "#########")

    def _card(self) -> list[Segment]:
        return self._coded(
            "################", "#### #### #### ####", "####-####-####-####", "###############"
        )

    def _iban(self) -> list[Segment]:
        return self._coded(
            "GB##????##############", "DE####################", "FR## #### #### #### #### #### ###"
        )

    def _license(self) -> list[Segment]:
        return self._coded("?#######", "########", "?###-####-####", "??######", "#######?")

    def _passport(self) -> list[Segment]:
        return self._coded("#########", "?########", "??#######", "##??#####")

    def _plate(self) -> list[Segment]:
        return self._coded(
            "?? ## ???", "??-###-??", "## ?? ###", "???-####", "?-?? ####", "??## ?? ####"
        )

    def _natid(self) -> list[Segment]:
        return self._coded("?? ## ## ## ?", "??######?", "########?", "?#######?", "#### #### ####")

    def _vat(self) -> list[Segment]:
        return self._coded("GB#########", "DE#########", "FR##########", "ATU########")

    def _sortcode(self) -> list[Segment]:
        return self._coded("##-##-##")

    def _ip(self) -> list[Segment]:
        return [(".".join(str(self.draw.randrange(256)) for _ in range(4)), "CODE")]

    def _money(self) -> list[Segment]:
        draw = self.draw
        amount = f"{draw.randrange(1, 900):,}" + draw.choice(("", ",000", "00", ",000,000", ".50"))
        forms = (
            f"EUR {amount}",
            f"{amount} {draw.choice(lists.CURRENCIES)}",
            f"{amount} euros (EUR)",
            f"${amount}",
            f"£{amount}",
            f"€{amount}",
            f"USD {amount}",
            f"{amount} {draw.choice(('TRL', 'PLN', 'RUB', 'HUF'))}",
        )
        return [(draw.choice(forms), "QTY")]

    def _smallmoney(self) -> list[Segment]:
        amount = self.draw.choice(
            (f"{self.draw.randrange(1, 2000)}", f"{self.draw.randrange(5, 400)}.99")
        )
        sign = self.draw.choice(("$", "£", "€", "Rs. ", "₹"))
        return [(f"{sign}{amount}", "PRICE")]

    def _quantity(self) -> list[Segment]:
        number = self.draw.choice(
            (f"{self.draw.randrange(1, 9000):,}", f"{self.draw.random() * 90:.2f}")
        )
        unit = self.draw.choice(
            ("kg", "grams", "square metres", "sq. m", "hectares", "litres", "km", "tonnes")
        )
        return [(f"{number} {unit}", "QTY")]

    def _percent(self) -> list[Segment]:
        return [
            (f"{self.draw.randrange(1, 99)}{self.draw.choice(('%', ' per cent', '.5%'))}", "QTY")
        ]
