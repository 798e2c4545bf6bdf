from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from recollect.mixer.example import Purpose, Role
from recollect.mixer.mix import Mix
from recollect.mixer.plan import Plan, SourceSnapshot
from recollect.mixer.sealing import seal

SOURCES = (
    ("tickets", Role.TASK, "70%", 500),
    ("general", Role.GENERAL, "0.15", 90),
    ("written", Role.SYNTHETIC, "1/10", 40),
    ("refusals", Role.REFUSAL, "0.05", 7),
)


def make_mapping(**changes: object) -> dict[str, Any]:
    sources = [
        {"source": name, "role": role.value, "share": share} for name, role, share, _ in SOURCES
    ]
    base = {"name": "support", "batch_size": 32, "num_steps": 200, "max_length": 64, "seed": 5}
    return {**base, "sources": sources, **changes}


def make_held(**num_examples: int) -> dict[str, SourceSnapshot]:
    return {
        name: SourceSnapshot(
            name=name,
            role=role,
            purpose=Purpose.TRAIN,
            num_examples=num_examples.get(name, count),
            content_digest=name.encode().hex(),
        )
        for name, role, _, count in SOURCES
    }


def make_plan(snapshot: dict[str, SourceSnapshot] | None = None, **changes: object) -> Plan:
    return seal(
        Mix.from_mapping(make_mapping(**changes)),
        snapshot_id="first",
        sources=make_held() if snapshot is None else snapshot,
        tokenizer_digest="f" * 64,
    )


@pytest.fixture(scope="session")
def mapping() -> Callable[..., dict[str, Any]]:
    """The parsed YAML of a mix, with changes."""
    return make_mapping


@pytest.fixture(scope="session")
def held() -> Callable[..., dict[str, SourceSnapshot]]:
    """What the store holds, with other numbers of examples by name."""
    return make_held


@pytest.fixture(scope="session")
def sealed() -> Callable[..., Plan]:
    """A sealed plan, with changes to its mix."""
    return make_plan
