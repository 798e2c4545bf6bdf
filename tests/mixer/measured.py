"""Plans over sources whose examples have lengths and answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from recollect.mixer.limits import RatioPolicy
from recollect.mixer.measures import Measures
from recollect.mixer.mix import Mix
from recollect.mixer.plan import Plan
from recollect.mixer.sealing import seal

from .conftest import SOURCES, make_held, make_mapping

NAMES = [name for name, *_ in SOURCES]
COUNTS = {name: count for name, *_, count in SOURCES}
CHANGES = [
    {
        "first_step": 7,
        "shares": {"tickets": "1/2", "general": "1/4", "written": 0, "refusals": "1/4"},
    },
    {
        "first_step": 19,
        "shares": {"tickets": "1/5", "general": "1/5", "written": "2/5", "refusals": "1/5"},
    },
]


def measured(name: str, *, longest: int = 90, seed: int = 1) -> Measures:
    """Lengths and answers of a source, some of its examples without any answer."""
    generator = np.random.default_rng([seed, len(name)])
    lengths = generator.integers(2, longest, COUNTS[name])
    masks = []
    for length in lengths.tolist():
        mask = np.zeros(length, dtype=np.bool_)
        if generator.random() < 0.9:
            mask[int(generator.integers(0, length)) :] = True
        masks.append(mask)
    return Measures.of_masks(lengths, np.concatenate(masks))


def measured_plan(policy: RatioPolicy | None = None, **changes: Any) -> Plan:
    return seal(
        Mix.from_mapping(make_mapping(**changes)),
        snapshot_id="first",
        sources=make_held(),
        tokenizer_digest="f" * 64,
        measures={name: measured(name) for name in NAMES},
        policy=policy,
    )
