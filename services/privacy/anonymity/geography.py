"""Where places are: the region and the country of towns, from a list that ships.

The list holds the towns of 100,000 inhabitants and more of GeoNames (CC BY 4.0), with the state
of those in the United States; `training/places.py` makes it. A name that towns of several countries
share counts as the one that is five times as large as all others abroad, or as none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_OTHER_NAMES = {
    "america": "United States",
    "britain": "United Kingdom",
    "czech republic": "Czechia",
    "great britain": "United Kingdom",
    "holland": "The Netherlands",
    "netherlands": "The Netherlands",
    "u.k.": "United Kingdom",
    "u.s.": "United States",
    "u.s.a.": "United States",
    "uk": "United Kingdom",
    "united states of america": "United States",
    "us": "United States",
    "usa": "United States",
}


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """Region and country of a place; empty where they are not known."""

    region: str
    country: str


NOWHERE = Whereabouts("", "")


def whereabouts(place: str) -> Whereabouts:
    """Where a place is, of "Leeds", "Portland, Oregon" or "the United States"."""
    found = NOWHERE
    # The last part says most: "Paris, Texas" is not in France.
    for part in reversed(place.split(",")):
        name = " ".join(part.lower().split()).removeprefix("the ")
        here = _list().get(name, NOWHERE)
        if found.country and found.country != here.country:
            continue
        found = Whereabouts(found.region or here.region, found.country or here.country)
    return found


@cache
def _list() -> Mapping[str, Whereabouts]:
    text = (files("recollect.services.privacy") / "data" / "places.tsv").read_text(encoding="utf-8")
    known: dict[str, Whereabouts] = {}
    for line in text.splitlines():
        name, region, country = line.split("\t")
        known[name] = Whereabouts(region, country)
    for other, country in _OTHER_NAMES.items():
        known[other] = Whereabouts("", country)
    return known
