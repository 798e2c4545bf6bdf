"""Annotations align with their tokens, and their mean is the mean over what is supervised."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pytest

from recollect.services.teacher import annotate as room
from recollect.services.teacher.annotate import Annotated, Tokens, annotate
from recollect.services.teacher.frozen import FrozenTeacher


class Rows:
    """A token cache held in memory."""

    def __init__(self, num_rows: int) -> None:
        generator = np.random.default_rng(5)
        self.ids = [
            generator.integers(0, 300, generator.integers(0, 60)).astype(np.int32)
            for _ in range(num_rows)
        ]
        self.masks = [generator.random(len(ids)) < 0.6 for ids in self.ids]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        return np.array([len(ids) for ids in self.ids], dtype=np.int32)

    def gather(
        self, example_rows: npt.NDArray[np.int64]
    ) -> tuple[list[npt.NDArray[np.int32]], list[npt.NDArray[np.bool_]]]:
        return [self.ids[i] for i in example_rows], [self.masks[i] for i in example_rows]


class Sink:
    """An annotation file held in memory."""

    def __init__(self) -> None:
        self.rows: list[npt.NDArray[np.float32]] = []
        self.durable = False

    def write(self, rows: Sequence[npt.NDArray[np.float32]]) -> None:
        self.rows += rows

    @contextmanager
    def open(self, tokens: Tokens, digest: str) -> Iterator["Sink"]:
        self.digest = digest
        yield self
        self.durable = True


@pytest.mark.parametrize("rows_per_step", [7, 1000])
def test_every_row_is_annotated_in_order(
    teacher: FrozenTeacher, monkeypatch: pytest.MonkeyPatch, rows_per_step: int
) -> None:
    monkeypatch.setattr(room, "ROWS_PER_STEP", rows_per_step)
    rows, sink = Rows(30), Sink()
    progress = list(annotate(teacher, "general", rows, sink.open))
    assert sink.digest == teacher.digest
    assert sink.durable
    assert [len(row) for row in sink.rows] == [len(ids) for ids in rows.ids]
    total, count = 0.0, 0
    for ids, mask, values in zip(rows.ids, rows.masks, sink.rows, strict=True):
        alone = teacher.log_probabilities([ids.tolist()])[0]
        np.testing.assert_allclose(values, alone, atol=1e-5)
        total -= float(alone[1:][mask[1:]].sum())
        count += int(mask[1:].sum())
    last = progress[-1]
    assert (last.source, last.num_examples, last.num_tokens) == ("general", 30, count)
    assert last.mean_nll == pytest.approx(total / count, rel=1e-5)
    assert [p.num_examples for p in progress] == sorted(p.num_examples for p in progress)


def test_a_source_without_supervised_tokens_has_mean_zero() -> None:
    assert Annotated(source="empty").mean_nll == 0


def test_an_annotation_broken_off_is_not_made_durable(
    teacher: FrozenTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "ROWS_PER_STEP", 5)
    sink = Sink()
    steps = annotate(teacher, "general", Rows(30), sink.open)
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert sink.rows
    assert not sink.durable
