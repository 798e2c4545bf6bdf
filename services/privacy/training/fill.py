"""What the slots of a template become: people, places, bodies, dates, numbers, all invented."""

from __future__ import annotations

import random
import string
from collections.abc import Callable

import regex

from .. import vocabulary
from . import lists
from .fill_numbers import Numbers, Segment
from .names import Inventor, Locale, locales, places

SLOT = regex.compile(r"\{([a-z_0-9]+)\}")
_INVENTED = 0.3
_SYLLABLE_TEXT = "vo ra lux tech net nova qua zen al tri cor mi dex ly gen bio med sys on ex ta ver"
_SYLLABLES = tuple(_SYLLABLE_TEXT.split())


class Filler(Numbers):
    """Fills slots for one document: some of its people and places come back in it."""

    def __init__(self, draw: random.Random, nltk_names: tuple[str, ...]) -> None:
        self.draw = draw
        self._locales, self._weights = locales(nltk_names)
        self._places = places()
        self._inventors: dict[str, tuple[Inventor, Inventor]] = {}
        self._towns = Inventor(self._places.cities)
        self.new_document()

    def new_document(self) -> None:
        """Forget the people of the document before."""
        self._locale = self._draw_locale()
        self._people: list[tuple[str, str]] = []

    def __call__(self, slot: str) -> list[Segment]:
        """The segments that a slot becomes."""
        maker: Callable[[], list[Segment]] | None = getattr(self, f"_{slot}", None)
        if maker is not None:
            return maker()
        for ending, change in (("_caps", str.upper), ("_lower", str.lower)):
            if slot.endswith(ending):
                return [(change(text), label) for text, label in self(slot.removesuffix(ending))]
        if slot.endswith("_any"):
            changes: tuple[Callable[[str], str], ...] = (str, str, str.lower, str.lower, str.upper)
            alter = self.draw.choice(changes)
            return [(alter(text), label) for text, label in self(slot.removesuffix("_any"))]
        raise KeyError(slot)

    # People

    def _draw_locale(self) -> Locale:
        while True:
            found = self.draw.choices(self._locales, cum_weights=self._weights)[0]
            if found.latin or self.draw.random() < 0.15:
                return found

    def _inventor(self, locale: Locale) -> tuple[Inventor, Inventor]:
        if locale.code not in self._inventors:
            self._inventors[locale.code] = Inventor(locale.first), Inventor(locale.last)
        return self._inventors[locale.code]

    def _names(self) -> tuple[str, str]:
        """A first name and a surname, of the document's people or new."""
        draw = self.draw
        if self._people and draw.random() < 0.4:
            return draw.choice(self._people)
        locale = self._locale if draw.random() < 0.7 else self._draw_locale()
        first, last = draw.choice(locale.first), draw.choice(locale.last)
        invent = self._inventor(locale)
        if draw.random() < _INVENTED:
            last = invent[1].word(draw)
        if draw.random() < _INVENTED / 2:
            first = invent[0].word(draw)
        if draw.random() < 0.06:
            last += "-" + draw.choice(locale.last)
        self._people.append((first, last))
        return first, last

    def _person(self) -> list[Segment]:
        first, last = self._names()
        form = self.draw.random()
        if form < 0.72:
            name = f"{first} {last}"
        elif form < 0.80:
            name = f"{first} {self.draw.choice(string.ascii_uppercase)}. {last}"
        elif form < 0.86:
            name = f"{first} {self._names()[0]} {last}"
        elif form < 0.90:
            name = f"{first[0]}. {last}"
        elif form < 0.93:
            name = f"{last}, {first}"
        elif form < 0.96:
            name = f"{first} {last} {self._names()[1]}"
        elif form < 0.98:
            particle = self.draw.choice(
                ("de", "van", "van der", "von", "da", "del", "bin", "al", "dos")
            )
            name = f"{first} {particle} {last}"
        else:
            name = f"{first} {last} {self.draw.choice(('Jr.', 'II', 'III', 'Jr', 'Sr.'))}"
        return [(name, "PERSON")]

    def _first(self) -> list[Segment]:
        return [(self._names()[0], "PERSON")]

    def _last(self) -> list[Segment]:
        return [(self._names()[1], "PERSON")]

    def _initial_name(self) -> list[Segment]:
        first, last = self._names()
        middle = (
            f" {self.draw.choice(string.ascii_uppercase)}." if self.draw.random() < 0.15 else ""
        )
        return [(f"{first[0]}.{middle} {last}", "PERSON")]

    def _initials(self) -> list[Segment]:
        letters = self.draw.choices(string.ascii_uppercase, k=self.draw.choice((1, 2, 2, 2)))
        return [(".".join(letters) + ".", "PERSON")]

    def _mr(self) -> list[Segment]:
        return [(self.draw.choice(("Mr", "Mr", "Mr.", "Mr.")), None)]

    def _mrs(self) -> list[Segment]:
        return [(self.draw.choice(("Mrs", "Ms", "Mrs.", "Ms.", "Miss")), None)]

    def _pronoun(self) -> list[Segment]:
        return [(self.draw.choice(("his", "her")), None)]

    def _pronoun_obj(self) -> list[Segment]:
        return [(self.draw.choice(("him", "her")), None)]

    def _and(self) -> list[Segment]:
        return [(self.draw.choice(("and", "&", ", and")), None)]

    def _relative(self) -> list[Segment]:
        return [(self.draw.choice(lists.RELATIVES), None)]

    def _username(self) -> list[Segment]:
        draw = self.draw
        first, last = (n.lower().replace(" ", "") for n in self._names())
        word = draw.choice(lists.INTERNET_WORDS)
        number = str(draw.randrange(1, 2010))
        form = draw.choice(
            (first + number, f"{first}_{last}", word + number, f"{word}_{first}", f"{first}.{last}",
             f"{word}{draw.choice(lists.INTERNET_WORDS)}", f"xX{word}{number}", first[0] + last)
        )  # fmt: skip
        return [(form, "CODE")]

    _username2 = _username

    def _email(self) -> list[Segment]:
        first, last = (
            "".join(c for c in n.lower() if c.isalnum() and c.isascii()) or "info"
            for n in self._names()
        )
        host = self.draw.choice(
            ("gmail.com", "yahoo.com", "example.com", f"{last}.com", "hotmail.co.uk", "mail.ru")
        )
        form = self.draw.choice(
            (f"{first}.{last}", f"{first}{self.draw.randrange(99)}", f"{first[0]}{last}")
        )
        return [(f"{form}@{host}", "CODE")]

    # Places

    def _town(self) -> str:
        if self.draw.random() < 0.12:
            return self._towns.word(self.draw)
        weights = self._places.city_weights
        return self.draw.choices(self._places.cities, cum_weights=weights)[0]

    def _city(self) -> list[Segment]:
        return [(self._town(), "LOC")]

    def _big_city(self) -> list[Segment]:
        return [(self.draw.choice(lists.BIG_CITIES), "LOC")]

    def _country(self) -> list[Segment]:
        return [(self.draw.choice(self._places.countries), "LOC")]

    def _country_the(self) -> list[Segment]:
        country = self.draw.choice(self._places.countries)
        if self.draw.random() < 0.5:
            return [(country, "LOC")]
        return [("the ", None), (f"Republic of {country}", "LOC")]

    def _state(self) -> list[Segment]:
        return [(self.draw.choice(self._places.states), "LOC")]

    def _region(self) -> list[Segment]:
        pools = (self._places.states, self._places.counties, self._places.cities)
        place = self.draw.choice(self.draw.choice(pools))
        return [
            (
                place
                + self.draw.choice(
                    ("", "", " region", " Province", " district", " County", " Oblast")
                ),
                "LOC",
            )
        ]

    def _fill_list(self, pattern: str) -> str:
        """A pattern of a list with its own slots filled."""

        def text_for(match: regex.Match[str]) -> str:
            slot = match.group(1)
            if slot == "thing":
                return self.draw.choice(lists.THINGS)
            if slot == "place":
                return self.draw.choice(lists.PLACES_OF_TRADE)
            if slot == "invented":
                return self._invented()
            if slot == "acronym":
                return "".join(
                    self.draw.choices(string.ascii_uppercase, k=self.draw.choice((2, 3, 3, 4)))
                )
            return "".join(text for text, _ in self(slot))

        return str(SLOT.sub(text_for, pattern))

    def _invented(self) -> str:
        return "".join(self.draw.choices(_SYLLABLES, k=self.draw.choice((2, 2, 3)))).capitalize()

    def _street(self) -> list[Segment]:
        return [(self._street_text(), "ADDRESS")]

    def _street_text(self) -> str:
        draw = self.draw
        number = str(draw.randrange(1, 400)) + draw.choice(
            ("",) * 8 + ("A", "b", "/2", "-14", "bis")
        )
        if draw.random() < 0.3:
            name = self._fill_list(draw.choice(lists.STREETS_ABROAD))
            return f"{name} {number}" if draw.random() < 0.75 else f"{number} {name}"
        name = draw.choice((self._names()[1], self._town(), self._names()[0])) + " "
        return f"{number} {name}{draw.choice(lists.STREET_KINDS)}"

    def _unit(self) -> str:
        number = self.draw.choice((str(self.draw.randrange(1, 999)), f"{self.draw.randrange(9)}B"))
        kind = self.draw.choice(
            ("Apt.", "Apt", "apt.", "Suite", "Flat", "Unit", "Room", "Apartment", "Floor")
        )
        return f"{kind} {number}"

    def _address(self) -> list[Segment]:
        draw = self.draw
        comma = draw.choice((", ", ", ", ", ", " ", "\n", " , "))
        parts = [self._street_text()]
        if draw.random() < 0.35:
            parts.append(self._unit())
        if draw.random() < 0.15:
            # The continent's order: the code before the town.
            parts.append(f"{self._postcode_text()} {self._town()}")
            return [(comma.join(parts), "ADDRESS")]
        if draw.random() < 0.9:
            parts.append(self._town())
        if draw.random() < 0.3:
            parts.append(draw.choice(self._places.states)[: draw.choice((2, 20))])
        if draw.random() < 0.6:
            parts[-1] += draw.choice((" ", ", ")) + self._postcode_text()
        if draw.random() < 0.25:
            parts.append(draw.choice(self._places.countries))
        return [(comma.join(parts), "ADDRESS")]

    def _address_lines(self) -> list[Segment]:
        lines = [self._street_text()]
        if self.draw.random() < 0.4:
            lines.append(self._unit())
        lines.append(self._town())
        if self.draw.random() < 0.5:
            lines.append(self.draw.choice(self._places.countries))
        lines[-1] += " " + self._postcode_text()
        glue = self.draw.choice(("\n", "\n ", "\n\n ", "\n>"))
        return [(glue.join(lines), "ADDRESS")]

    def _postcode_text(self) -> str:
        forms = (
            "#####",
            "#####",
            "#####-####",
            "?? ###",
            "??# #??",
            "?# #??",
            "######",
            "#### ??",
            "##-###",
            "####",
        )
        return self.shaped(self.draw.choice(forms))

    def _postcode(self) -> list[Segment]:
        return [(self._postcode_text(), "ADDRESS")]

    # Bodies

    def _of(self, *pools: tuple[str, ...]) -> list[Segment]:
        return [(self._fill_list(self.draw.choice(self.draw.choice(pools))), "ORG")]

    def _org(self) -> list[Segment]:
        pools = (
            *(lists.COMPANIES,) * 6, *(lists.KNOWN_ORGS,) * 3, lists.SCHOOLS, lists.AGENCIES,
            lists.HOSPITALS, lists.MINISTRIES, lists.BODIES, lists.KNOWN_MEDIA, lists.PARTIES,
        )  # fmt: skip
        return self._of(*pools)

    def _court(self) -> list[Segment]:
        return self._of(lists.COURTS)

    def _agency(self) -> list[Segment]:
        return self._of(lists.AGENCIES)

    def _school(self) -> list[Segment]:
        return self._of(lists.SCHOOLS)

    def _hospital(self) -> list[Segment]:
        return self._of(lists.HOSPITALS)

    def _prison(self) -> list[Segment]:
        return self._of(lists.PRISONS)

    def _media(self) -> list[Segment]:
        return self._of(lists.KNOWN_MEDIA)

    def _bank(self) -> list[Segment]:
        return self._of(lists.KNOWN_BANKS)

    def _ministry(self) -> list[Segment]:
        return self._of(lists.MINISTRIES)

    def _body(self) -> list[Segment]:
        pools = (lists.COURTS, lists.AGENCIES, lists.MINISTRIES, lists.BODIES, lists.BODIES)
        return self._of(*pools)

    def _newspaper_kind(self) -> list[Segment]:
        return [(self.draw.choice(("daily", "newspaper", "magazine", "weekly")), None)]

    def _party(self) -> list[Segment]:
        return self._of(lists.PARTIES)

    def _product(self) -> list[Segment]:
        return [(self.draw.choice(lists.PRODUCTS), "PRODUCT")]

    # What a person is

    def _nationality(self) -> list[Segment]:
        return [(self.draw.choice(vocabulary.NATIONALITIES), "DEM")]

    def _ethnicity(self) -> list[Segment]:
        return [(self.draw.choice(vocabulary.ETHNICITIES), "DEM")]

    def _religion(self) -> list[Segment]:
        return [(self.draw.choice(vocabulary.RELIGIONS), "DEM")]

    def _religion_the(self) -> list[Segment]:
        return [("the ", None), *self._religion()]

    def _occupation(self) -> list[Segment]:
        return [(self.draw.choice(vocabulary.OCCUPATIONS), "DEM")]

    def _an_occupation(self) -> list[Segment]:
        job = self.draw.choice(vocabulary.OCCUPATIONS)
        return [("n " if job[0] in "aeiou" else " ", None), (job, "DEM")]

    def _occupation_cap(self) -> list[Segment]:
        return [(self.draw.choice(vocabulary.OCCUPATIONS).title(), "DEM")]

    def _condition(self) -> list[Segment]:
        return [(self.draw.choice(vocabulary.CONDITIONS), "DEM")]

    def _dem_status(self) -> list[Segment]:
        return [(self.draw.choice(vocabulary.DEM_STATUSES), "DEM")]

    def _dem_age(self) -> list[Segment]:
        if self.draw.random() < 0.3:
            return [(self.draw.choice(lists.DEM_AGES), "DEM")]
        age = self.draw.randrange(1, 99)
        return [
            (f"{age}{self.draw.choice(('-year-old', ' year old', ' years old', ' y/o'))}", "AGE")
        ]

    def _agenum(self) -> list[Segment]:
        return [(str(self.draw.randrange(1, 99)), "AGE")]
