"""Gazetteer: the name lists that ship with the package (see data/README.md for their sources)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

HONORIFICS = frozenset({"mr", "mrs", "ms", "miss", "mx", "dr", "prof", "sri", "shri", "smt"})
_PARTICLE_WORDS = "de da del della der den di dos van von la le bin al née nee né"
PARTICLES = frozenset(_PARTICLE_WORDS.split())


@dataclass(frozen=True, kw_only=True)
class Gazetteer:
    """Names in lower case."""

    first_names: frozenset[str]
    surnames: frozenset[str]
    female_names: frozenset[str]
    """First names that only women bear, as far as is known."""
    male_names: frozenset[str]
    """First names that only men bear, as far as is known."""
    word_names: frozenset[str]
    """Names that are ordinary words too: no evidence of a person on their own."""

    @cached_property
    def common_first_names(self) -> frozenset[str]:
        """First names that are not words as well."""
        return self.first_names - self.word_names

    def is_first_name(self, word: str) -> bool:
        """Whether the word is a first name and not also an ordinary word."""
        lowered = word.lower()
        return lowered in self.first_names and lowered not in self.word_names

    def is_surname(self, word: str) -> bool:
        """Whether the word is a surname and not also an ordinary word."""
        lowered = word.lower()
        return lowered in self.surnames and lowered not in self.word_names

    def is_name(self, word: str) -> bool:
        """Whether the word can be a first name or surname at all."""
        lowered = word.lower()
        return lowered in self.first_names or lowered in self.surnames


@cache
def gazetteer() -> Gazetteer:
    """The shipped lists, read once."""
    return Gazetteer(
        first_names=_read("first_names.txt"),
        surnames=_read("surnames.txt"),
        female_names=_read("female_names.txt"),
        male_names=_read("male_names.txt"),
        word_names=_read("word_names.txt"),
    )


def _read(name: str) -> frozenset[str]:
    text = (files(__package__) / "data" / name).read_text(encoding="utf-8")
    return frozenset(line.lower() for line in text.splitlines())
