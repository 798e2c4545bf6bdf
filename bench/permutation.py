"""How fast the keyed permutation is, in bulk and batch by batch.

    OMP_NUM_THREADS=1 python bench/permutation.py [RESULT.json]

Every figure is processor time, the best of several repeats, for other work on the machine only ever
adds to it. For comparison: what shuffling an array of that size with numpy costs, the usual way,
which is paid anew for every epoch and every resume.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from recollect.mixer.permutation import (
    PERMUTATION_VERSION,
    KeyedPermutation,
    permutation_of,
)

SIZES = [1_000, 4_096, 4_097, 10**5, 10**6, (1 << 20) + 1, 10**7, 10**9, 10**12, 1 << 48]
NUM_INDEXES = 2_000_000
SHARES = {"task": 22, "general": 5, "history": 3, "refusal": 2}
"""Rows of each source in a batch of 32."""


def seconds(work: Callable[[], object], num_repeats: int = 7) -> float:
    """The least processor time that the work took."""
    best = float("inf")
    for _ in range(num_repeats):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def microseconds_each(work: Callable[[], object], num_calls: int = 500) -> float:
    """The time of a call that is too short to be timed alone."""
    total = seconds(lambda: [work() for _ in range(num_calls)])
    return round(total / num_calls * 1e6, 1)


def batches(size: int, num_batches: int) -> Iterator[list[tuple[str, np.ndarray]]]:
    """The places that a run asks for, batch by batch."""
    first = dict.fromkeys(SHARES, 0)
    for _ in range(num_batches):
        yield [(name, np.arange(first[name], first[name] + num)) for name, num in SHARES.items()]
        for name, num in SHARES.items():
            first[name] = (first[name] + num) % (size - 32)


def batch_microseconds(size: int) -> float:
    """A batch of 32 rows over 4 sources, from looking the orders up to the last row."""
    asked = list(batches(size, 2000))

    def serve() -> None:
        for batch in asked:
            for name, places in batch:
                permutation_of(1, name, 0, size).forward(places)

    return round(seconds(serve) / len(asked) * 1e6, 1)


def measure(size: int) -> dict[str, float]:
    """All figures of one size."""
    permutation = KeyedPermutation(b"bench", size)
    places = np.arange(NUM_INDEXES) % size
    scattered = np.random.default_rng(0).integers(0, size, NUM_INDEXES)
    far = iter(np.random.default_rng(1).integers(0, size, (1_000_000, 1)))
    millions = NUM_INDEXES / 1e6
    return {
        "forward_in_order_M_per_s": round(
            millions / seconds(lambda: permutation.forward(places)), 1
        ),
        "forward_scattered_M_per_s": round(
            millions / seconds(lambda: permutation.forward(scattered)), 1
        ),
        "inverse_in_order_M_per_s": round(
            millions / seconds(lambda: permutation.inverse(places)), 1
        ),
        "inverse_scattered_M_per_s": round(
            millions / seconds(lambda: permutation.inverse(scattered)), 1
        ),
        "create_us": microseconds_each(lambda: KeyedPermutation(b"bench", size), 50),
        "one_anywhere_us": microseconds_each(lambda: permutation.forward(next(far))),
        "batch_of_32_over_4_sources_us": batch_microseconds(size),
    }


def shuffled_array(size: int) -> dict[str, float]:
    """The same order as an array, by numpy."""
    generator = np.random.default_rng(0)
    took = seconds(lambda: generator.permutation(size), 3)
    return {"seconds": round(took, 3), "MB": 8 * size / 1e6}


def main() -> None:
    """Prints the figures as JSON, and keeps them where told."""
    report = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}, numpy {np.__version__}, one core used",
        "permutation_version": PERMUTATION_VERSION,
        "permutation": {str(size): measure(size) for size in SIZES},
        "numpy_array_shuffled": {str(size): shuffled_array(size) for size in (10**6, 10**7)},
    }
    text = json.dumps(report, indent=2)
    print(text)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
