from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.services.stream.progress import Intervals, Progress

STEPS = st.integers(0, 30)


@settings(max_examples=100)
@given(st.lists(STEPS))
def test_intervals_are_the_set_of_what_was_added(steps: list[int]) -> None:
    intervals = Intervals()
    for step in steps:
        intervals.add(step)
    assert [step for step in range(32) if step in intervals] == sorted(set(steps))
    for step in range(32):
        end = next(n for n in range(step, 100) if n not in set(steps))
        assert intervals.end_after(step) == end


def test_steps_in_order_are_one_interval() -> None:
    intervals = Intervals()
    for step in range(10_000):
        intervals.add(step)
    assert len(intervals._firsts) == 1


@settings(max_examples=100)
@given(st.lists(st.tuples(STEPS, st.integers(0, 2), st.integers(1, 3)), max_size=80))
def test_a_step_is_done_when_all_ranks_of_one_world_have_it(
    acks: list[tuple[int, int, int]],
) -> None:
    progress = Progress()
    valid = {(step, rank, size) for step, rank, size in acks if rank < size}
    for step, rank, size in valid:
        progress.add(step, rank, size)
        assert progress.has(step, rank, size)

    def is_done(step: int) -> bool:
        return any(all((step, rank, size) in valid for rank in range(size)) for size in (1, 2, 3))

    assert progress.first_step == next(step for step in range(100) if not is_done(step))
