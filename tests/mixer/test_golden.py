"""What a plan means, pinned for ever: a plan that was sealed once gives the same bytes ever after.

Where one of these fails, the change needs another plan version, not another vector.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from recollect.mixer.dealing import Dealing
from recollect.mixer.plan import PLAN_VERSION
from recollect.mixer.schedule import Schedule
from recollect.mixer.timeline import Stage, Timeline

from . import corpus

SUPPORT = [Fraction(7, 10), Fraction(3, 20), Fraction(1, 10), Fraction(1, 20)]
LONG = [Fraction(1, 99_991), Fraction(1, 3), Fraction(2, 3) - Fraction(1, 99_991)]
MANY = [Fraction(part, 4950) for part in range(1, 100)]
CHANGING = Timeline(
    [
        Stage(first_position=0, shares=(Fraction(1, 2), Fraction(1, 3), Fraction(1, 6))),
        Stage(first_position=101, shares=(Fraction(0), Fraction(1, 7), Fraction(6, 7))),
        Stage(first_position=5000, shares=(Fraction(1, 5), Fraction(1, 5), Fraction(3, 5))),
    ]
)


def digest(numbers: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(numbers, dtype="<i8").tobytes()).hexdigest()[:32]


def test_the_order_of_sources() -> None:
    assert Schedule(SUPPORT).at(np.arange(20))[0].tolist() == (
        [0, 0, 1, 0, 0, 0, 2, 0, 0, 1, 0, 0, 3, 0, 0, 0, 1, 0, 2, 0]
    )


@pytest.mark.parametrize(
    ("shares", "first", "expected"),
    [
        (SUPPORT, 10**12, "245757e3ab7068555ae5f31bdb8e97a7"),
        (LONG, 10**12, "9e002e7b5a9a0fc03e57369418aa6a38"),
        (MANY, 10**12, "b1e12b92ecdfc0ffea52fab714db8ae5"),
        (CHANGING, 0, "553ff0c6a8dc604183d1dfe809cdb166"),
        (CHANGING, 10**9, "1124ff924625313da9bc3260995076f0"),
    ],
    ids=["support", "long", "many", "changing", "changed"],
)
def test_sources_and_ordinals(shares: list[Fraction] | Timeline, first: int, expected: str) -> None:
    found = Schedule(shares).at(np.arange(first, first + 8000))
    assert digest(np.concatenate(found)) == expected


@pytest.mark.parametrize(
    ("batch_size", "world_size", "expected"),
    [
        (32, 4, "e8955d9dccc99c5346cdce2e0b157662"),
        (33, 8, "8b544efb6575d2d43a8f35775d2bcf3e"),
        (100, 7, "de88e67ed9e66fbefb8cc3f764b8dd55"),
        (512, 64, "8656df79ec84886c7722f0a25cc8df4d"),
    ],
)
def test_ranks(batch_size: int, world_size: int, expected: str) -> None:
    dealing = Dealing(Schedule(SUPPORT), batch_size, world_size)
    assert digest(np.concatenate([dealing.ranks(step) for step in range(50)])) == expected


PLANS: list[tuple[dict[str, Any], str, str, str]] = [
    (
        {},
        "9637d82810b1ac27072894ca8fe5f387",
        "10957f324be8229e1125fe60ba54072b",
        "e3b0c44298fc1c149afbf4c8996fb924",
    ),
    (
        {"packing": "best_fit"},
        "2cdee1e223eb2dca8f54a55bf181ec96",
        "b99d3f8d4b597a4bf922db26f5f39492",
        "2eff180ccbd6b8578acf0e25561bf6f2",
    ),
    (
        {"unit": "tokens"},
        "57b4e894baa7913ab5375376fc691e52",
        "1981ee6443071b8c46cdd0239291bed2",
        "5dd4c73807f6e45198f84bb043f085ce",
    ),
    (
        {"unit": "tokens", "packing": "split"},
        "8f1110f3c021d43a4f09055a0ed55188",
        "334fe63d7da11f113a1f2d1621aa273d",
        "97ecdda3629d24fea8156ec6479111b0",
    ),
    (
        {"unit": "supervised_tokens", "packing": "best_fit"},
        "c2a4e36208906ee8d16cff40e84094c2",
        "9d9df788fb99628d566db7e462755952",
        "edad986d458145f2b7c6d7bafae8002b",
    ),
    (
        {"unit": "supervised_tokens", "packing": "split"},
        "c6d1080b14388dbaba597956770b0d8d",
        "bb7735122bd7d321936a782a7f12150f",
        "883f11e1747025b1be8087a9146ebbbd",
    ),
]


@pytest.mark.parametrize(("changes", "plan_id", "rows", "pieces"), PLANS, ids=str)
def test_plans(changes: dict[str, Any], plan_id: str, rows: str, pieces: str) -> None:
    plan = corpus.plan(**changes)
    batch, shard = plan.batch(77), plan.shard(77, 1, 3)
    held = np.concatenate(plan.pieces(batch)) if plan.needs_measures else np.empty(0)
    found = (
        plan.plan_id[:32],
        digest(np.concatenate((batch.examples, batch.epochs, shard.positions))),
        digest(held),
    )
    assert found == (plan_id, rows, pieces)


def test_the_version_that_these_are_of() -> None:
    assert PLAN_VERSION == 2
