"""The dashboard: every query of it asks for what a running service tells."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Scene, samples

pytestmark = pytest.mark.slow

BOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "deploy/grafana/recollect.json").read_text(encoding="utf-8")
)
QUERIES = [
    (panel["title"], target["expr"], target["legendFormat"])
    for panel in BOARD["panels"]
    for target in panel["targets"]
]


@pytest.fixture(scope="module")
def told(scene: Scene) -> dict[str, set[str]]:
    """Name → names of labels of what the service tells."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for name, labels in samples(scene.scraped()):
        found[name] |= {label for label, _ in labels}
    return found


def _labels(expression: str) -> Iterator[str]:
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        yield from (label.strip() for label in group.split(","))
    for matchers in re.findall(r"\{([^}]*)\}", expression):
        yield from re.findall(r"(\w+)\s*(?:=|!)", matchers)


@pytest.mark.parametrize(("title", "expression", "legend"), QUERIES)
def test_a_query_asks_for_what_is_told(
    told: dict[str, set[str]], title: str, expression: str, legend: str
) -> None:
    names = re.findall(r"recollect_\w+", expression)
    assert len(names) == 1 and names[0] in told
    grouped = set(_labels(expression))
    assert grouped <= told[names[0]]
    # What a legend names has to be left once the query has added everything else up.
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= grouped
    is_cumulative = names[0].endswith(("_total", "_bucket"))
    assert is_cumulative == bool(re.search(r"\b(?:rate|increase)\(", expression))
    assert ("histogram_quantile" in expression) == names[0].endswith("_bucket")
    assert expression.count("(") == expression.count(")")


def test_every_metric_is_on_the_dashboard(told: dict[str, set[str]]) -> None:
    shown = {name for _, query, _ in QUERIES for name in re.findall(r"recollect_\w+", query)}
    families = {re.sub("_(bucket|count|sum|created)$", "", name) for name in told}
    told_ones = {name for name in families if name.startswith("recollect_")}
    seen = {re.sub("_bucket$", "", name) for name in shown}
    assert {name for name in told_ones if f"{name}_total" not in told_ones} == seen


def test_panels_lie_beside_one_another() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in BOARD["panels"]]
    assert len({(x, y) for _, _, x, y in places}) == len(places)
    assert all(x + width <= 24 for _, width, x, _ in places)
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(places)
