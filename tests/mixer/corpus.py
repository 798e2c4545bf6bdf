"""Sources with lengths, for plans that pack or count tokens."""

from __future__ import annotations

from typing import Any

import numpy as np

from recollect.mixer.example import Purpose, Role
from recollect.mixer.measures import Measures
from recollect.mixer.mix import Mix
from recollect.mixer.plan import Plan, SourceSnapshot
from recollect.mixer.sealing import seal

SIZES = {"tickets": 700, "general": 300, "written": 120, "refusals": 60}
MEANS = {"tickets": 150, "general": 70, "written": 45, "refusals": 20}
SHARES = {"tickets": "70%", "general": "15%", "written": "10%", "refusals": "5%"}
ROLES = {
    "tickets": Role.TASK,
    "general": Role.GENERAL,
    "written": Role.SYNTHETIC,
    "refusals": Role.REFUSAL,
}


def measures(seed: int = 0) -> dict[str, Measures]:
    """Lengths as text has them: many short, some very long; the last part of each is learnt.

    Whole numbers only, so that they are the same everywhere.
    """
    found = {}
    for name, size in SIZES.items():
        numbers = (np.arange(size, dtype=np.int64) + 1 + seed) * 2654435761 % (1 << 32)
        tail = 1 + (numbers >> 20) % 13 // 12 * 4 + (numbers >> 8) % 3
        lengths = 2 + numbers % MEANS[name] * tail // 2
        learnt = 1 + lengths * (1 + (numbers >> 4) % 7) // 10
        mask = np.zeros(int(lengths.sum()), dtype=np.bool_)
        for end, count in zip(np.cumsum(lengths), np.minimum(learnt, lengths), strict=True):
            mask[end - count : end] = True
        found[name] = Measures.of_masks(lengths, mask)
    return found


def held() -> dict[str, SourceSnapshot]:
    """What a store says of them."""
    return {
        name: SourceSnapshot(
            name=name,
            role=ROLES[name],
            purpose=Purpose.TRAIN,
            num_examples=size,
            content_digest=name.encode().hex(),
        )
        for name, size in SIZES.items()
    }


def mapping(**changes: Any) -> dict[str, Any]:
    """The parsed YAML of a mix of them."""
    sources = [
        {"source": name, "role": ROLES[name].value, "share": share}
        for name, share in SHARES.items()
    ]
    base = {"name": "support", "batch_size": 16, "num_steps": 120, "max_length": 128, "seed": 3}
    return {**base, "sources": sources, **changes}


def plan(**changes: Any) -> Plan:
    """A sealed plan of them."""
    return seal(
        Mix.from_mapping(mapping(**changes)),
        snapshot_id="first",
        sources=held(),
        tokenizer_digest="f" * 64,
        measures=measures(),
    )
