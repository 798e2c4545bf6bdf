"""Templates: sentences with slots and choices, by domain; some are held back from training."""

from __future__ import annotations

from importlib.resources import files

import regex

from .fill import SLOT, Filler
from .fill_numbers import Segment

_CHOICE = regex.compile(r"\[([^\[\]|]*(?:\|[^\[\]|]*)+)\]")


def templates(domain: str, split: str) -> list[str]:
    """The templates of a domain; each eighth is kept back, for dev and test in turn."""
    text = (files(__package__) / "templates" / f"{domain}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip()]
    kept_back = {5: "dev", 13: "test"}
    return [line for n, line in enumerate(lines) if kept_back.get(n % 16, "train") == split]


def expand(template: str, fill: Filler) -> list[Segment]:
    """A template's segments: one way through its choices, and its slots filled."""
    while choice := _CHOICE.search(template):
        one = fill.draw.choice(choice.group(1).split("|"))
        template = template[: choice.start()] + one + template[choice.end() :]
    template = template.replace("\\n", "\n").replace("\\t", "\t").replace("\\$", "$")
    segments: list[Segment] = []
    position = 0
    for slot in SLOT.finditer(template):
        segments.append((template[position : slot.start()], None))
        segments += fill(slot.group(1))
        position = slot.end()
    segments.append((template[position:], None))
    return [segment for segment in segments if segment[0]]
