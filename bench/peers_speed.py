"""How fast positions and rows are found, beside Grain and Megatron in the same process.

Grain's wheel and Megatron's compiled helper are read from the environments that `bench/peers.py`
made for them. Every figure is processor time, the best of several repeats; ratios are to Grain.
"""

from __future__ import annotations

import importlib.util
import json
import site
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from recollect.mixer.peer_rules import blending
from recollect.mixer.peers import DEFAULT_SHARES
from recollect.mixer.permutation import KeyedPermutation
from recollect.mixer.schedule import Schedule

NUM_POSITIONS = 2_000_000
NUM_SINGLE = 20_000
PERMUTATION_SIZE = 10**9
MEMORY_SOURCES = 1_000


def seconds(work: Callable[[], object], num_repeats: int = 5) -> float:
    """The least processor time that the work took."""
    best = float("inf")
    for _ in range(num_repeats):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def shares_of(num_sources: int) -> tuple[Fraction, ...]:
    """The mix of the example for four sources; for more, shares 1 : 2 : 3 : … ."""
    if num_sources == len(DEFAULT_SHARES):
        return DEFAULT_SHARES
    total = num_sources * (num_sources + 1) // 2
    return tuple(Fraction(number, total) for number in range(num_sources, 0, -1))


def positions_per_second(num_sources: int, grain: Any) -> dict[str, Any]:
    """Positions to (source, ordinal), in a row and one by one."""
    shares = shares_of(num_sources)
    weights = [float(share) for share in shares]
    schedule = Schedule(shares)
    in_a_row = np.arange(NUM_POSITIONS, dtype=np.int64)
    first = seconds(lambda: Schedule(shares).at(in_a_row), 1)
    ours = NUM_POSITIONS / seconds(lambda: schedule.at(in_a_row))
    scattered = np.random.Generator(np.random.Philox(0)).integers(0, 10**12, NUM_SINGLE)
    far = [scattered[i : i + 1] for i in range(NUM_SINGLE)]
    single = seconds(lambda: [schedule.at(position) for position in far]) / NUM_SINGLE
    # Grain's selection alone: from index to (data set, index in it), with no element read.
    mixed = grain.MapDataset.mix([grain.MapDataset.range(10**12)] * num_sources, weights)
    select = mixed._selection_map
    numbers = scattered.tolist()
    theirs_single = seconds(lambda: [select[number] for number in numbers]) / NUM_SINGLE
    theirs_row = seconds(lambda: [select[i] for i in range(NUM_SINGLE)]) / NUM_SINGLE
    compiled, floats = blending.compiled, np.array(weights)
    compiled(floats, 10)
    return {
        "recollect_M_positions_per_s": round(ours / 1e6, 1),
        "recollect_first_2M_positions_cold_s": round(first, 3),
        "recollect_single_lookup_us": round(single * 1e6, 2),
        "grain_M_positions_per_s": round(1e-6 / theirs_row, 3),
        "grain_single_lookup_us": round(theirs_single * 1e6, 2),
        "megatron_rule_M_positions_per_s": round(
            NUM_POSITIONS / seconds(lambda: compiled(floats, NUM_POSITIONS)) / 1e6, 1
        ),
        "ratio_to_grain": round(ours * theirs_row, 1),
        "ratio_to_grain_single": round(theirs_single / single, 2),
    }


def megatron_package(helper: Path) -> dict[str, float]:
    """Megatron's own compiled helper over the same positions."""
    spec = importlib.util.spec_from_file_location("helpers_cpp", helper)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(helper)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    speeds = {}
    for num_sources in (4, 64):
        weights = np.array([float(share) for share in shares_of(num_sources)])
        chosen = np.zeros(NUM_POSITIONS, np.int16), np.zeros(NUM_POSITIONS, np.int64)
        took = seconds(
            lambda weights=weights, chosen=chosen: module.build_blending_indices(  # type: ignore[misc]
                *chosen, weights, weights.size, NUM_POSITIONS, False
            )
        )
        speeds[f"M_positions_per_s_{num_sources}_sources"] = round(NUM_POSITIONS / took / 1e6, 1)
    return speeds


def permutation(shuffle: Callable[..., int]) -> dict[str, Any]:
    """Ids of a keyed permutation of a thousand million rows."""
    order = KeyedPermutation(b"bench", PERMUTATION_SIZE)
    ids = np.arange(NUM_POSITIONS, dtype=np.int64)
    order.forward(ids)
    ours = NUM_POSITIONS / seconds(lambda: order.forward(ids))
    last = PERMUTATION_SIZE - 1
    calls = range(NUM_SINGLE)
    took = seconds(lambda: [shuffle(i, last, seed=7, rounds=4) for i in calls]) / NUM_SINGLE
    return {
        "size": PERMUTATION_SIZE,
        "recollect_M_ids_per_s": round(ours / 1e6, 1),
        "grain_M_ids_per_s": round(1e-6 / took, 3),
        "ratio_to_grain": round(ours * took, 1),
    }


MEMORY = """
import json, sys, tracemalloc
{prepare}
# Compiling and loading code is not the sources' doing: everything is done once before it counts.
first = work()
tracemalloc.start()
held = work()
print(json.dumps([value / 2**20 for value in tracemalloc.get_traced_memory()]))
"""
OURS = """
from fractions import Fraction
import numpy as np
from recollect.mixer.schedule import Schedule
def work():
    total = {num} * ({num} + 1) // 2
    schedule = Schedule(tuple(Fraction(number, total) for number in range({num}, 0, -1)))
    for first in (0, 10 ** 6, 10 ** 9, 10 ** 12):
        schedule.at(np.arange(first, first + 100_000))
        schedule.position_of(7, first)
    return schedule
"""
THEIRS = """
sys.path.append({path!r})
import grain
def work():
    data = [grain.MapDataset.range(10 ** 12) for _ in range({num})]
    total = {num} * ({num} + 1) // 2
    mixed = grain.MapDataset.mix(data, [number / total for number in range({num}, 0, -1)])
    for first in (0, 10 ** 6, 10 ** 9, 10 ** 12):
        mixed._selection_map[first]
    return mixed
"""


def memory(prepare: str, **values: object) -> dict[str, float]:
    """MiB that a mix of 1,000 sources holds, and at most took while it looked far apart."""
    text = MEMORY.format(prepare=prepare.format(num=MEMORY_SOURCES, **values))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    held, peak = json.loads(done.stdout)
    return {"held": round(held, 1), "peak": round(peak, 1)}


def measure(grain_packages: Path, megatron_helper: Path | None) -> dict[str, Any]:
    """All figures.

    Args:
        grain_packages: the site-packages folder that holds Grain.
        megatron_helper: Megatron's compiled helper, if it is there.
    """
    site.addsitedir(str(grain_packages))
    import grain

    shuffle = importlib.import_module(
        "grain._src.python.experimental.index_shuffle.python.index_shuffle_module"
    ).index_shuffle
    path = str(grain_packages)
    return {
        "sources": {str(num): positions_per_second(num, grain) for num in (4, 64)},
        "megatron_package": megatron_package(megatron_helper) if megatron_helper else None,
        "permutation": permutation(shuffle),
        "memory_of_1000_sources_MiB": {
            "recollect": memory(OURS),
            "grain": memory(THEIRS, path=path),
        },
    }
