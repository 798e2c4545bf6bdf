from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recollect.mixer.plan import Plan, SourceSnapshot
from recollect.mixer.preview import exhaustion_step, preview

Mapping = Callable[..., dict[str, Any]]
Held = Callable[..., dict[str, SourceSnapshot]]
Sealed = Callable[..., Plan]


@pytest.mark.parametrize("num_steps", [1, 12, 200])
def test_a_preview_is_what_running_the_plan_serves(sealed: Sealed, num_steps: int) -> None:
    plan = sealed(num_steps=num_steps)
    generator = np.random.default_rng(1)
    tokens = {s.name: generator.integers(1, 128, s.num_examples) for s in plan.sources}
    supervised = {name: lengths // 3 for name, lengths in tokens.items()}
    rows = plan.rows(np.arange(plan.num_positions), step=0)
    for index, found in enumerate(preview(plan, tokens, supervised)):
        examples = rows.examples[rows.sources == index]
        epochs = rows.epochs[rows.sources == index]
        lengths = tokens[found.source][examples]
        repeats = np.flatnonzero((rows.sources == index) & (rows.epochs == 1))
        assert found.num_rows == examples.size
        assert found.num_tokens == np.minimum(lengths, 64).sum()
        assert found.num_truncated == (lengths > 64).sum()
        assert found.num_supervised_tokens == supervised[found.source][examples].sum()
        assert found.max_repeats == np.bincount(examples).max() == epochs.max() + 1
        assert found.epochs == examples.size / found.num_examples
        assert found.exhaustion_step == (repeats[0] // 32 if repeats.size else -1)


def test_a_source_that_stops_the_plan_ends_in_the_last_step(
    sealed: Sealed, mapping: Mapping
) -> None:
    changed = mapping(num_steps=None)
    changed["sources"][2]["on_exhaustion"] = "stop"
    plan = sealed(**changed)
    found = preview(plan, {})
    assert found[2].exhaustion_step == plan.num_steps - 1
    assert found[2].epochs == 1
    assert found[2].num_tokens == 0


def test_a_plan_over_a_thousand_million_examples_is_previewed_at_once(
    sealed: Sealed, held: Held
) -> None:
    plan = sealed(held(tickets=10**9), num_steps=10**8)
    assert plan.schedule.served(plan.num_positions)[0] == 2_240_000_000
    assert exhaustion_step(plan, 0) == pytest.approx(10**9 / 0.7 / 32, rel=1e-6)
